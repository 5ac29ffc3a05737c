//! Sockets: those that listen, and the options of those they accept.

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, ToSocketAddrs},
    task::Poll,
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::{host::without_brackets, own_listeners};

/// TCP keep-alive: how long a connection may be silent before the first probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// TCP keep-alive: the time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// TCP keep-alive: how many probes without an answer end the connection: after 60 s in all (log-pitfalls A2).
const KEEPALIVE_RETRIES: u32 = 3;

/// How much later than [`super::stalled`], which is an eighth late at most, the kernel ends a stalled connection.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// The longest `TCP_USER_TIMEOUT` that Linux takes.
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Most bytes that the kernel holds for a client that has not been sent them yet, per socket. Without it the queue grows
/// to `tcp_wmem` (4 MiB), and some 560 clients that take nothing use up the TCP memory of the whole host.
const MAX_UNSENT: u32 = 128 * 1024;

/// Most connections that are accepted at the end: clients may come faster than they are.
const MAX_LAST: usize = 4096;

/// Sockets that listen, one for each address of a name. The proxy connects to none of them ([`own_listeners`]).
#[derive(Debug)]
pub struct Listeners {
    all: Vec<TcpListener>,
    /// Whose turn it is to be asked first, so that a busy address does not shut out another.
    next: usize,
}

impl Listeners {
    /// Listens on every address of `host` and on `port`, each with a queue of `backlog` connections. An address that this
    /// machine does not have, such as `::1` without IPv6, is passed over if there is another. `::` is IPv6 only, as on the
    /// existing server.
    ///
    /// # Errors
    ///
    /// The name has no address, this machine has none of them, or the port is taken on one that it has.
    pub fn bind(host: &str, port: u16, backlog: u32) -> io::Result<Self> {
        let host = without_brackets(host);
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in (host, port).to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Self::bind_all(&addresses, backlog)
    }

    fn bind_all(addresses: &[SocketAddr], backlog: u32) -> io::Result<Self> {
        let mut all = Vec::new();
        let mut absent = Vec::new();
        for address in addresses {
            match bind_to(*address, backlog) {
                Ok(listener) => all.push(listener),
                Err(error) if is_absent(&error) => absent.push((address, error)),
                Err(error) if addresses.len() == 1 => return Err(error),
                Err(error) => return Err(io::Error::new(error.kind(), format!("{address}: {error}"))),
            }
        }
        if all.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            return Err(absent.pop().map_or_else(none, |(_, error)| error));
        }
        for (address, error) in absent {
            tracing::warn!("not listening on {address}, which this machine does not have: {error}");
        }
        Ok(Self { all, next: 0 })
    }

    /// The next connection of any of the sockets. Nothing is lost when this is dropped.
    ///
    /// # Errors
    ///
    /// The client has already left, or the process lacks descriptors or memory.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let count = self.all.len();
            for number in (self.next..count).chain(0..self.next) {
                if let Poll::Ready(accepted) = self.all[number].poll_accept(cx) {
                    self.next = (number + 1) % count;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The connections that wait; none comes after them.
    pub fn last(self) -> Vec<(std::net::TcpStream, SocketAddr)> {
        let mut last = Vec::new();
        for listener in &self.all {
            // Asks the kernel itself: the runtime may not have heard of them yet. An error is that there are no more.
            for _ in 0..MAX_LAST {
                let Ok((socket, peer)) = SockRef::from(listener).accept() else { break };
                if let (Ok(()), Some(peer)) = (socket.set_nonblocking(true), peer.as_socket()) {
                    last.push((socket.into(), peer));
                }
            }
        }
        last
    }

    /// Where the sockets listen.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().filter_map(|listener| listener.local_addr().ok())
    }
}

/// The machine does not have the address, or does not know its family.
fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn bind_to(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Else `::` would take the port of `0.0.0.0` as well.
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the connections of the process before to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = TcpListener::from_std(socket.into())?;
    own_listeners::add(listener.local_addr()?);
    Ok(listener)
}

/// Sets the options of an accepted socket: lines leave at once, a client that vanished is noticed, and one that takes
/// nothing fills no queue of the kernel's. If `is_blind`, it is the kernel that cuts off a client who takes nothing for
/// `write_stall`; else it gives up those who are gone.
///
/// # Errors
///
/// The client has already left.
pub fn tune(stream: &TcpStream, write_stall: Duration, is_blind: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
    let vanished = KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES;
    let later = write_stall.saturating_add(write_stall / 4).saturating_add(USER_TIMEOUT_MARGIN);
    let timeout = if is_blind { write_stall } else { vanished.max(later) };
    socket.set_tcp_user_timeout(Some(timeout.min(MAX_USER_TIMEOUT)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener as Plain};

    use super::*;

    fn listening(addresses: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
        Listeners::bind_all(addresses, 8).map(|listeners| listeners.addresses().collect())
    }

    fn v4(last: u8) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, last), 0).into()
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_listened_on() {
        let addresses = [v4(1), v4(2), (Ipv6Addr::LOCALHOST, 0).into()];
        let mut listeners = Listeners::bind_all(&addresses, 8).unwrap();
        let bound: Vec<_> = listeners.addresses().collect();
        assert_eq!(bound.len(), 3);
        for address in bound.iter().chain(bound.iter().rev()) {
            let _client = TcpStream::connect(address).await.unwrap();
            let (served, _) = listeners.accept().await.unwrap();
            assert_eq!(served.local_addr().unwrap(), *address);
        }
    }

    #[tokio::test]
    async fn an_address_that_the_machine_lacks_is_passed_over_and_a_taken_one_is_not() {
        // TEST-NET-1 is nobody's (RFC 5737).
        let absent = SocketAddr::from(([192, 0, 2, 1], 0));
        assert_eq!(listening(&[absent, v4(1)]).unwrap().len(), 1);
        assert_eq!(listening(&[absent]).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(listening(&[]).unwrap_err().kind(), io::ErrorKind::NotFound);
        let taken = Plain::bind(v4(1)).unwrap();
        let error = listening(&[v4(2), taken.local_addr().unwrap()]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&taken.local_addr().unwrap().to_string()), "{error}");
    }

    #[tokio::test]
    async fn all_of_ipv6_leaves_ipv4_alone() {
        let bound = listening(&[(Ipv6Addr::UNSPECIFIED, 0).into()]).unwrap();
        assert!(Plain::bind((Ipv4Addr::UNSPECIFIED, bound[0].port())).is_ok());
    }

    #[tokio::test]
    async fn a_name_with_one_address_twice_is_listened_on_once() {
        let port = Plain::bind(v4(1)).unwrap().local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            assert!(Listeners::bind(host, port, 8).unwrap().addresses().count() >= 1, "{host}");
        }
        assert!(Listeners::bind("no-such-name.invalid", port, 8).is_err());
    }
}
