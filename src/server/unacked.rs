//! How much of what was written to a socket its peer has not acknowledged, as Linux's `sock_diag` tells it (sock_diag(7),
//! `linux/inet_diag.h`): what `SIOCOUTQ` tells, without a call that is unsafe in Rust.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, ipproto, netlink::SOCK_DIAG},
};

use crate::netlink::{Answer, Netlink, bytes_at};

/// `SOCK_DIAG_BY_FAMILY`, the type of the question and of the answer.
const BY_FAMILY: u16 = 20;

/// Bytes of `struct inet_diag_req_v2`.
const REQUEST_LENGTH: usize = 56;

/// Where `idiag_wqueue` is in an answer: behind four bytes, `struct inet_diag_sockid`, the expiry and the receive queue.
const WQUEUE_OFFSET: usize = 4 + 48 + 4 + 4;

/// `TCP_LISTEN`.
const LISTEN: u8 = 10;

/// A socket on which the system is asked about others.
#[derive(Debug)]
pub struct Unacked {
    netlink: Netlink,
}

/// What there is between two addresses.
#[derive(Debug, PartialEq)]
enum Found {
    /// A socket that holds so many bytes which its peer has not acknowledged.
    Connected(u32),
    /// No socket, but the one that listens where it would be.
    Listening,
    /// Nothing that the system could tell of.
    Nothing,
}

impl Unacked {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// The system has no `sock_diag`, none for TCP, or does not let us use it.
    pub fn open() -> io::Result<Self> {
        let mut unacked = Self { netlink: Netlink::open(Some(SOCK_DIAG))? };
        // A system that knows nothing of TCP's sockets gives the same error as for one that does not exist (`tcp_diag` is a
        // module of its own). This one exists.
        let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let listener = TcpListener::bind(hosts.map(|host| SocketAddr::new(host, 0)).as_slice())?;
        let local = listener.local_addr()?;
        witnessed(&unacked.find(local, SocketAddr::new(local.ip(), 1))?)?;
        Ok(unacked)
    }

    /// How many bytes the TCP socket at `local` holds that `peer` has not acknowledged; `None` if there is no such socket.
    ///
    /// # Errors
    ///
    /// The system cannot be asked.
    pub fn of(&mut self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
        match self.find(local, peer)? {
            Found::Connected(left) => Ok(Some(left)),
            Found::Listening | Found::Nothing => Ok(None),
        }
    }

    fn find(&mut self, local: SocketAddr, peer: SocketAddr) -> io::Result<Found> {
        read(&self.netlink.ask(BY_FAMILY, &question(local, peer))?)
    }
}

/// Fails unless a socket that exists was found.
fn witnessed(found: &Found) -> io::Result<()> {
    match found {
        Found::Nothing => Err(io::Error::new(ErrorKind::Unsupported, "the system does not tell of TCP sockets")),
        Found::Connected(_) | Found::Listening => Ok(()),
    }
}

/// A question for the one socket between these addresses.
fn question(local: SocketAddr, peer: SocketAddr) -> [u8; REQUEST_LENGTH] {
    let mut body = [0; REQUEST_LENGTH];
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    body[0] = family.as_raw() as u8;
    body[1] = ipproto::TCP.as_raw().get() as u8;
    // Sockets in any state.
    body[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    body[8..10].copy_from_slice(&local.port().to_be_bytes());
    body[10..12].copy_from_slice(&peer.port().to_be_bytes());
    put_ip(&mut body[12..28], local.ip());
    put_ip(&mut body[28..44], peer.ip());
    let scope = if let SocketAddr::V6(local) = local { local.scope_id() } else { 0 };
    body[44..48].copy_from_slice(&scope.to_ne_bytes());
    // `INET_DIAG_NOCOOKIE`: whichever socket it is.
    body[48..56].copy_from_slice(&u64::MAX.to_ne_bytes());
    body
}

fn put_ip(to: &mut [u8], ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => to[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => to.copy_from_slice(&ip.octets()),
    }
}

fn read(answer: &Answer<'_>) -> io::Result<Found> {
    match answer {
        Answer::Message(BY_FAMILY, body) => {
            let ([state], wqueue) = (bytes_at(body, 1)?, bytes_at(body, WQUEUE_OFFSET)?);
            Ok(if state == LISTEN { Found::Listening } else { Found::Connected(u32::from_ne_bytes(wqueue)) })
        }
        Answer::Refusal(code) if *code == Errno::NOENT.raw_os_error() => Ok(Found::Nothing),
        answer => Err(answer.error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    fn unacknowledged(host: &str) {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        let mut unacked = Unacked::open().unwrap();
        assert_eq!(unacked.of(local, peer).unwrap(), Some(0), "{host}");
        server.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = server.write(&[0; 65_536]) {
            written += count;
        }
        let left = unacked.of(local, peer).unwrap().unwrap() as usize;
        assert!(0 < left && left < written, "{host}: {left} of {written}");
        let mut taken = vec![0; written];
        client.read_exact(&mut taken).unwrap();
        while unacked.of(local, peer).unwrap() != Some(0) {}
        drop((client, server));
        // Where the listening socket would take it, and where nobody would.
        let other = SocketAddr::new(local.ip(), 1);
        assert_eq!(unacked.of(local, other).unwrap(), None, "{host}");
        drop(listener);
        assert_eq!(unacked.of(local, other).unwrap(), None, "{host}");
    }

    #[test]
    fn what_a_peer_has_not_taken_is_told_for_every_kind_of_address() {
        unacknowledged("127.0.0.1");
        unacknowledged("::1");
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        for length in 0..WQUEUE_OFFSET + 4 {
            assert!(read(&Answer::Message(BY_FAMILY, &vec![0; length])).is_err(), "{length}");
        }
        assert!(read(&Answer::Message(0, &[0; 128])).is_err());
    }

    /// Whatever it answers for a socket that exists: `ENOENT`, as for one that does not, or another error.
    #[test]
    fn a_system_without_tcp_s_diagnosis_is_not_one_without_sockets() {
        let answered = |code: Errno| read(&Answer::Refusal(code.raw_os_error())).and_then(|found| witnessed(&found));
        for code in [Errno::NOENT, Errno::PROTONOSUPPORT, Errno::INVAL, Errno::OPNOTSUPP, Errno::PERM] {
            assert!(answered(code).is_err(), "{code}");
        }
        let mut listening = [0; WQUEUE_OFFSET + 4];
        listening[1] = LISTEN;
        let found = read(&Answer::Message(BY_FAMILY, &listening)).unwrap();
        assert_eq!(found, Found::Listening);
        witnessed(&found).unwrap();
    }
}
