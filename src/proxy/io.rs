//! The socket of a backend.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
};

use super::limits::Place;
use crate::own_listeners;

/// When a connection has been silent for so long, the backend is asked whether it is still there …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// … again and again after so long …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// … and given up after so many questions without an answer: a container that was cut off its network says no farewell.
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection's socket.
#[derive(Debug)]
pub struct BackendIo {
    stream: TcpStream,
    /// Given back after the socket is closed; none for what the gateway asks on its own behalf.
    place: Option<Place>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The system says so, or it took too long.
    Io(io::Error),
    /// The gateway itself listens there.
    OwnListener,
}

impl BackendIo {
    /// Connects to `authority`, which is `host:port`, within `time`. The connection counts as `place`.
    ///
    /// # Errors
    ///
    /// The connection is refused, not made in time, or would be one to the gateway itself.
    pub async fn connect(authority: &str, time: Duration, place: Option<Place>) -> Result<Self, ConnectError> {
        let stream = tokio::time::timeout(time, connect(authority)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", time.as_secs()))
        })??;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Self { stream, place })
    }

    /// Whether it counts against the limits, as all connections of clients do.
    pub fn is_counted(&self) -> bool {
        self.place.is_some()
    }

    /// Polls until there may be something to read.
    ///
    /// # Errors
    ///
    /// The runtime is ending.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Whether the runtime has heard of something to read.
    pub fn has_heard(&self) -> bool {
        self.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Whether there is something to read, as the system knows: of a connection that rests, its end, or what nobody has
    /// asked for.
    pub fn is_disturbed(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Connects to the first of the addresses of `authority` that answers. Looked at are the addresses themselves, so that no
/// name leads to the gateway.
async fn connect(authority: &str) -> Result<TcpStream, ConnectError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host(authority).await? {
        if own_listeners::contains(address) {
            return Err(ConnectError::OwnListener);
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
