//! The addresses that this process itself listens on: the proxy does not connect to them.
//!
//! A sandbox on the host's network, or a local process, has the gateway's ports among its own, and a request that is
//! forwarded to one comes back as another request of the same client, again and again.
//!
//! One list for the process, since a port is the process's: what listens adds itself with [`add`], and nothing is ever taken
//! out. [`crate::server::listen::Listeners::bind`] does it for whatever is bound there.

mod rtnetlink;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{PoisonError, RwLock},
};

/// The addresses, as the system tells them of a bound socket.
static LISTENERS: RwLock<Vec<SocketAddr>> = RwLock::new(Vec::new());

/// Notes that this process listens on `address`, which is a bound socket's own.
pub fn add(address: SocketAddr) {
    let mut listeners = LISTENERS.write().unwrap_or_else(PoisonError::into_inner);
    if !listeners.contains(&address) {
        listeners.push(address);
    }
}

/// Whether a connection to `address` would reach a listener of this process. Asks the kernel whether an address is this
/// machine's own only when the port is a listener's.
///
/// # Errors
///
/// The kernel cannot be asked: then nobody knows, and the address must not be connected to.
pub fn contains(address: SocketAddr) -> io::Result<bool> {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    let listeners = LISTENERS.read().unwrap_or_else(PoisonError::into_inner);
    for listener in listeners.iter() {
        if reaches(*listener, address, |ip| is_local(ip, scope))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a connection to `address` reaches `listener`. One that listens on all addresses is reached at each that
/// `is_local` says is this machine's.
fn reaches(
    listener: SocketAddr,
    address: SocketAddr,
    is_local: impl Fn(IpAddr) -> io::Result<bool>,
) -> io::Result<bool> {
    if listener.port() != address.port() {
        return Ok(false);
    }
    let (listener, mut ip) = (listener.ip().to_canonical(), address.ip().to_canonical());
    if listener.is_unspecified() {
        return if ip.is_unspecified() { Ok(true) } else { is_local(ip) };
    }
    // The unspecified address connects to the loopback one.
    if ip.is_unspecified() {
        ip = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    }
    Ok(listener == ip)
}

/// Whether an address is one of this machine's. `scope` is the interface of a link-local one, or 0.
fn is_local(ip: IpAddr, scope: u32) -> io::Result<bool> {
    if ip.is_loopback() { Ok(true) } else { rtnetlink::is_local(ip, scope) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_at_each_of_the_machine_s() {
        let is_local = |ip: IpAddr| Ok(ip.is_loopback() || ip == IpAddr::from([10, 0, 0, 5]));
        for listener in ["0.0.0.0:8080", "[::]:8080"] {
            let reached = |target: &str| reaches(address(listener), address(target), is_local).unwrap();
            for target in
                ["127.0.0.1:8080", "127.9.9.9:8080", "10.0.0.5:8080", "[::1]:8080", "0.0.0.0:8080", "[::]:8080"]
            {
                assert!(reached(target), "{target}");
            }
            assert!(reached("[::ffff:10.0.0.5]:8080"));
            for target in ["127.0.0.1:8081", "10.0.0.6:8080", "[fd00::1]:8080"] {
                assert!(!reached(target), "{target}");
            }
        }
    }

    #[test]
    fn a_listener_on_one_address_is_reached_there_alone() {
        let never = |_: IpAddr| Ok(false);
        let reached = |target: &str| reaches(address("127.0.0.1:8080"), address(target), never).unwrap();
        assert!(reached("127.0.0.1:8080") && reached("0.0.0.0:8080") && reached("[::ffff:127.0.0.1]:8080"));
        assert!(!reached("127.0.0.2:8080") && !reached("127.0.0.1:8081") && !reached("[::1]:8080"));
        assert!(reaches(address("[::1]:8080"), address("[::]:8080"), never).unwrap());
    }

    #[test]
    fn what_nobody_knows_is_no_answer() {
        let unknown = |_: IpAddr| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(reaches(address("0.0.0.0:8080"), address("10.0.0.5:8080"), unknown).is_err());
        assert!(!reaches(address("0.0.0.0:8080"), address("10.0.0.5:8081"), unknown).unwrap(), "nobody is asked");
    }

    #[test]
    fn the_kernel_tells_what_is_local() {
        let at = |ip: &str| is_local(ip.parse().unwrap(), 0).unwrap();
        assert!(at("127.0.0.1") && at("127.1.2.3") && at("::1"));
        // RFC 5737 and RFC 3849: nobody has them.
        assert!(!at("192.0.2.1") && !at("2001:db8::1"));
    }
}
