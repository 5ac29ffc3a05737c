//! Host ports for sandboxes (docker-runtime.md §4).

pub(super) mod container_addresses;
pub(super) mod host_address;
pub(super) mod host_ports;

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socket2::{Domain, Socket, Type};
use uuid::Uuid;

/// How often a port is drawn before the range is looked through.
const DRAWS: usize = 50;

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

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

    /// A free port for a transport; nothing only when the range has none. Drawn, so that ports of sandboxes that are gone are
    /// not taken again at once; a range that is nearly full is looked through.
    pub(super) fn reserve(self: &Arc<Self>, transport: Transport) -> Option<Reservation> {
        let drawn = (0..DRAWS).map(|_| self.draw()).find_map(|port| self.try_reserve(port, transport));
        drawn.or_else(|| {
            let first = self.draw();
            let (start, end) = (*self.range.start(), *self.range.end());
            (first..=end).chain(start..first).find_map(|port| self.try_reserve(port, transport))
        })
    }

    /// Reserves a port of the range that another program has, so that it is not drawn; `None` if it is reserved already or not
    /// in the range.
    pub(super) fn pass_over(self: &Arc<Self>, port: u16) -> Option<Reservation> {
        let is_new = self.range.contains(&port) && self.reserved().insert(port);
        is_new.then(|| Reservation { port, ports: self.clone() })
    }

    fn draw(&self) -> u16 {
        let span = u64::from(self.range.end().saturating_sub(*self.range.start())) + 1;
        // The lower half of a random UUID has 62 random bits, so the bias over 64 Ki ports is nil.
        let offset = (Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff) % span;
        self.range.start().saturating_add(u16::try_from(offset).unwrap_or(0))
    }

    fn try_reserve(self: &Arc<Self>, port: u16, transport: Transport) -> Option<Reservation> {
        if !self.reserved().insert(port) {
            return None;
        }
        let reservation = Reservation { port, ports: self.clone() };
        is_free(self.host, port, transport).then_some(reservation)
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

/// Binds without listening, so that no client can connect meanwhile. An address of another machine (the engine is remote)
/// is replaced by the wildcard.
fn is_free(host: Ipv4Addr, port: u16, transport: Transport) -> bool {
    match bind(host, port, transport) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            bind(Ipv4Addr::UNSPECIFIED, port, transport).is_ok()
        }
        bound => bound.is_ok(),
    }
}

fn bind(host: Ipv4Addr, port: u16, transport: Transport) -> io::Result<()> {
    let socket = match transport {
        // With the option of servers, for which connections that ended a moment ago are no obstacle (TIME_WAIT). With UDP it
        // would let two have one port.
        Transport::Tcp => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket
        }
        Transport::Udp => Socket::new(Domain::IPV4, Type::DGRAM, None)?,
    };
    socket.bind(&SocketAddrV4::new(host, port).into())
}

/// The port that the engine's words name as taken, as in `Bind for 0.0.0.0:40001 failed: port is already allocated`.
pub(super) fn named(text: &str) -> Option<u16> {
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches([':', ',', '.']));
    words.find_map(|word| word.rsplit_once(':')?.1.parse().ok())
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
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn gives_no_port_twice_until_it_is_dropped() {
        // Below the range from which the system draws ports for the connections of other tests.
        let ports = Ports::new(23_000..=23_099, Ipv4Addr::LOCALHOST);
        let first = ports.reserve(Transport::Tcp).unwrap();
        let port = first.port();
        assert!(ports.try_reserve(port, Transport::Tcp).is_none());
        drop(first);
        assert!(ports.try_reserve(port, Transport::Tcp).is_some());
    }

    #[test]
    fn passes_over_ports_in_use() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(Ports::new(port..=port, Ipv4Addr::LOCALHOST).reserve(Transport::Tcp).is_none());
    }

    #[test]
    fn a_foreign_address_is_tested_on_the_wildcard() {
        assert!(Ports::new(42_100..=42_200, Ipv4Addr::new(192, 0, 2, 1)).reserve(Transport::Tcp).is_some());
    }

    #[test]
    fn knows_the_words_for_a_clash() {
        assert!(is_clash("driver failed: Bind for 0.0.0.0:40001 failed: port is already allocated"));
        assert!(is_clash("listen tcp 0.0.0.0:80: bind: Permission denied"));
        assert!(!is_clash("permission denied"));
        assert!(!is_clash("no such image"));
    }

    /// Fifty draws would miss the last one of so many nearly always.
    #[test]
    fn the_last_free_port_of_a_range_is_found() {
        let ports = Ports::new(23_200..=25_199, Ipv4Addr::LOCALHOST);
        // Some of the range may be in use on this machine.
        let all: Vec<Reservation> = (0..=2_000).map_while(|_| ports.reserve(Transport::Tcp)).collect();
        assert!(all.len() > 1_900, "{}", all.len());
        assert!(ports.reserve(Transport::Tcp).is_none(), "the range is full");
        let mut all = all;
        for _ in 0..20 {
            let freed = all.swap_remove(all.len() / 2).port();
            let found = ports.reserve(Transport::Tcp).expect("there is one");
            assert_eq!(found.port(), freed);
            all.push(found);
        }
    }

    #[test]
    fn the_ports_of_a_transport_are_its_own() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let ports = Ports::new(port..=port, Ipv4Addr::LOCALHOST);
        assert!(ports.reserve(Transport::Udp).is_none());
    }

    #[test]
    fn what_the_engine_says_is_taken_is_passed_over() {
        let ports = Ports::new(25_200..=25_201, Ipv4Addr::LOCALHOST);
        let held = ports.pass_over(25_200).unwrap();
        assert!(ports.pass_over(25_200).is_none() && ports.pass_over(80).is_none());
        assert_eq!(ports.reserve(Transport::Tcp).map(|found| found.port()), Some(25_201));
        drop(held);
        assert!(ports.try_reserve(25_200, Transport::Tcp).is_some());
        assert_eq!(named("driver failed: Bind for 0.0.0.0:40001 failed: port is already allocated"), Some(40_001));
        assert_eq!(named("listen tcp4 0.0.0.0:40002: bind: address already in use"), Some(40_002));
        assert_eq!(named("port is already allocated"), None);
    }
}
