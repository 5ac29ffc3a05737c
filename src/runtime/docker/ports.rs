//! Host ports for sandboxes (docker-runtime.md §4).

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socket2::{Domain, Socket, Type};
use uuid::Uuid;

/// How often a port is drawn before giving up.
const DRAWS: usize = 50;

/// Chooses free host ports, no port twice at the same time.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    host: Ipv4Addr,
    reserved: Mutex<HashSet<u16>>,
}

/// A port that this process gives to no one else until the reservation is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    port: u16,
    ports: Arc<Ports>,
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>, host: Ipv4Addr) -> Arc<Self> {
        Arc::new(Self { range, host, reserved: Mutex::default() })
    }

    /// A free port, or nothing when fifty random draws found none.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Reservation> {
        (0..DRAWS).map(|_| self.draw()).find_map(|port| self.try_reserve(port))
    }

    fn draw(&self) -> u16 {
        let span = u64::from(self.range.end().saturating_sub(*self.range.start())) + 1;
        // The lower half of a random UUID has 62 random bits, so the bias over 64 Ki ports is nil.
        let offset = (Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff) % span;
        self.range.start().saturating_add(u16::try_from(offset).unwrap_or(0))
    }

    fn try_reserve(self: &Arc<Self>, port: u16) -> Option<Reservation> {
        if !self.reserved().insert(port) {
            return None;
        }
        let reservation = Reservation { port, ports: self.clone() };
        is_free(self.host, port).then_some(reservation)
    }

    fn reserved(&self) -> MutexGuard<'_, HashSet<u16>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ports.reserved().remove(&self.port);
    }
}

/// Binds without listening, so that nobody can connect meanwhile. An address of another machine (the engine is remote)
/// is replaced by the wildcard.
fn is_free(host: Ipv4Addr, port: u16) -> bool {
    match bind(host, port) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => bind(Ipv4Addr::UNSPECIFIED, port).is_ok(),
        bound => bound.is_ok(),
    }
}

fn bind(host: Ipv4Addr, port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(host, port).into())
}

/// Whether the engine's words say that a host port was taken.
pub(super) fn is_clash(text: &str) -> bool {
    let text = text.to_lowercase();
    let taken = ["port is already allocated", "ports are not available", "address already in use"];
    let refused = ["forbidden", "permission denied"];
    taken.iter().any(|words| text.contains(words))
        || text.contains("bind:") && refused.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn gives_no_port_twice_until_it_is_dropped() {
        // Below the range from which the system draws ports for the connections of other tests.
        let ports = Ports::new(23_000..=23_099, Ipv4Addr::LOCALHOST);
        let first = ports.reserve().unwrap();
        let port = first.port();
        assert!(ports.try_reserve(port).is_none());
        drop(first);
        assert!(ports.try_reserve(port).is_some());
    }

    #[test]
    fn passes_over_ports_in_use() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(Ports::new(port..=port, Ipv4Addr::LOCALHOST).reserve().is_none());
    }

    #[test]
    fn a_foreign_address_is_tested_on_the_wildcard() {
        assert!(Ports::new(42_100..=42_200, Ipv4Addr::new(192, 0, 2, 1)).reserve().is_some());
    }

    #[test]
    fn knows_the_words_for_a_clash() {
        assert!(is_clash("driver failed: Bind for 0.0.0.0:40001 failed: port is already allocated"));
        assert!(is_clash("listen tcp 0.0.0.0:80: bind: Permission denied"));
        assert!(!is_clash("permission denied"));
        assert!(!is_clash("no such image"));
    }
}
