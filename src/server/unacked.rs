//! How much of what was written to a socket its peer has not acknowledged, as Linux's `sock_diag` tells it (sock_diag(7),
//! `linux/inet_diag.h`): what `SIOCOUTQ` tells, without a call that is unsafe in Rust.

use std::{
    io::{self, ErrorKind, Read},
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK`.
const NETLINK: i32 = 16;

/// `NETLINK_SOCK_DIAG`.
const SOCK_DIAG: i32 = 4;

/// `SOCK_DIAG_BY_FAMILY`, a message's type; and `NLMSG_ERROR`, another.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Bytes of a request: `struct nlmsghdr` and `struct inet_diag_req_v2`.
const ASKED: usize = HEADER + 56;

/// Where `idiag_wqueue` is in an answer: behind `struct nlmsghdr`, four bytes, `struct inet_diag_sockid`, the expiry and the
/// receive queue.
const WQUEUE: usize = HEADER + 4 + 48 + 4 + 4;

/// `AF_INET`, `AF_INET6`, `IPPROTO_TCP`.
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;

/// `ENOENT`: there is no such socket, nor one that listens where it would be.
const NOT_FOUND: i32 = 2;

/// `TCP_LISTEN`: there is none, and this is the one that listens there.
const LISTEN: u8 = 10;

/// A socket on which the system is asked about others.
#[derive(Debug)]
pub struct Unacked {
    socket: Socket,
    sequence: u32,
}

impl Unacked {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// The system has no `sock_diag`, or does not let us use it.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(NETLINK), Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
        // The answer is there when the question has been sent.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// How many bytes the TCP socket at `local` holds that `peer` has not acknowledged; `None` if there is no such socket.
    ///
    /// # Errors
    ///
    /// The system cannot be asked.
    pub fn of(&mut self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(self.sequence, local, peer))?;
        let mut answer = [0; 512];
        loop {
            let count = (&self.socket).read(&mut answer)?;
            let answer = answer.get(..count).unwrap_or_default();
            // An answer to a question before, of which only an error was read.
            if u32::from_ne_bytes(bytes_at(answer, 8)?) == self.sequence {
                return read(answer);
            }
        }
    }
}

/// A question for the one socket between these addresses.
fn request(sequence: u32, local: SocketAddr, peer: SocketAddr) -> [u8; ASKED] {
    let mut asked = [0; ASKED];
    asked[..4].copy_from_slice(&(ASKED as u32).to_ne_bytes());
    asked[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    asked[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    asked[8..12].copy_from_slice(&sequence.to_ne_bytes());
    let body = &mut asked[HEADER..];
    body[0] = if local.is_ipv4() { INET } else { INET6 };
    body[1] = TCP;
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
    asked
}

fn put_ip(to: &mut [u8], ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => to[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => to.copy_from_slice(&ip.octets()),
    }
}

fn read(answer: &[u8]) -> io::Result<Option<u32>> {
    match u16::from_ne_bytes(bytes_at(answer, 4)?) {
        BY_FAMILY => {
            let ([state], wqueue) = (bytes_at(answer, HEADER + 1)?, bytes_at(answer, WQUEUE)?);
            Ok((state != LISTEN).then_some(u32::from_ne_bytes(wqueue)))
        }
        ERROR => match i32::from_ne_bytes(bytes_at(answer, HEADER)?).wrapping_neg() {
            NOT_FOUND => Ok(None),
            code => Err(io::Error::from_raw_os_error(code)),
        },
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn bytes_at<const N: usize>(answer: &[u8], at: usize) -> io::Result<[u8; N]> {
    let bytes = answer.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
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
        for length in 0..WQUEUE + 4 {
            let mut answer = vec![0; length];
            if let Some(kind) = answer.get_mut(4..6) {
                kind.copy_from_slice(&BY_FAMILY.to_ne_bytes());
            }
            assert!(read(&answer).is_err(), "{length}");
        }
    }
}
