//! The addresses that this process itself listens on: the proxy does not connect to them.
//!
//! A sandbox on the host's network, or a local process, has the gateway's ports among its own, and a request that is
//! forwarded to one comes back as another request of the same client, again and again.
//!
//! One list for the process, since a port is the process's: what listens adds itself with [`add`], and nothing is ever taken
//! out. [`crate::server::listen::Listeners::bind`] does it for whatever is bound there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
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

/// Whether a connection to `address` would reach a listener of this process. Asks the system whether an address is this
/// machine's own only when the port is a listener's.
pub fn contains(address: SocketAddr) -> bool {
    let listeners = LISTENERS.read().unwrap_or_else(PoisonError::into_inner);
    listeners.iter().any(|listener| reaches(*listener, address, is_local))
}

/// Whether a connection to `address` reaches `listener`. One that listens on all addresses is reached at each that
/// `is_local` says is this machine's.
fn reaches(listener: SocketAddr, address: SocketAddr, is_local: impl Fn(IpAddr) -> bool) -> bool {
    if listener.port() != address.port() {
        return false;
    }
    let (listener, mut ip) = (listener.ip().to_canonical(), address.ip().to_canonical());
    if listener.is_unspecified() {
        return ip.is_unspecified() || is_local(ip);
    }
    // The unspecified address connects to the loopback one.
    if ip.is_unspecified() {
        ip = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    }
    listener == ip
}

/// Whether an address is one of this machine's: only on such a one can a socket be bound. One that cannot be told counts as
/// local.
fn is_local(ip: IpAddr) -> bool {
    let bound = UdpSocket::bind((ip, 0));
    ip.is_loopback() || !matches!(bound, Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_at_each_of_the_machine_s() {
        let is_local = |ip: IpAddr| ip.is_loopback() || ip == IpAddr::from([10, 0, 0, 5]);
        for listener in ["0.0.0.0:8080", "[::]:8080"] {
            let reached = |target: &str| reaches(address(listener), address(target), is_local);
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
        let never = |_: IpAddr| false;
        let reached = |target: &str| reaches(address("127.0.0.1:8080"), address(target), never);
        assert!(reached("127.0.0.1:8080") && reached("0.0.0.0:8080") && reached("[::ffff:127.0.0.1]:8080"));
        assert!(!reached("127.0.0.2:8080") && !reached("127.0.0.1:8081") && !reached("[::1]:8080"));
        assert!(reaches(address("[::1]:8080"), address("[::]:8080"), never));
    }

    #[test]
    fn the_system_tells_what_is_local() {
        assert!(is_local([127, 0, 0, 1].into()) && is_local([127, 1, 2, 3].into()));
        // RFC 5737 and RFC 3849: nobody has them.
        assert!(!is_local([192, 0, 2, 1].into()) && !is_local("2001:db8::1".parse().unwrap()));
    }
}
