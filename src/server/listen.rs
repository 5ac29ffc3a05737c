//! Sockets: the one that listens, and the options of those it accepts.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// When a connection has been silent for so long, the client's host is asked whether it is still there …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// … again and again after so long …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// … and given up after so many questions without an answer: 60 s in all (log-pitfalls A2).
const KEEPALIVE_RETRIES: u32 = 3;

/// How much later than the write-stall timeout, which knows the reason, the kernel gives a connection up.
const AFTER_STALL: Duration = Duration::from_secs(10);

/// The longest `TCP_USER_TIMEOUT` that Linux takes.
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Most bytes that the kernel holds for a client that has not been sent them yet, per socket. Without it the queue grows
/// to `tcp_wmem` (4 MiB), and some 560 clients that take nothing use up the TCP memory of the whole host.
const UNSENT: u32 = 128 * 1024;

/// Listens on `host` and `port`, with a queue of `backlog` connections.
///
/// # Errors
///
/// The name has no address, or none of its addresses can be had.
pub fn bind(host: &str, port: u16, backlog: u32) -> io::Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match bind_to(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_to(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Sets the options of an accepted socket: lines leave at once, a client that vanished is noticed, and one that takes
/// nothing fills no queue of the kernel's.
///
/// # Errors
///
/// The client has already left.
pub fn tune(stream: &TcpStream, write_stall: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    let vanished = KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES;
    socket.set_tcp_user_timeout(Some(vanished.max(write_stall.saturating_add(AFTER_STALL)).min(MAX_USER_TIMEOUT)))
}
