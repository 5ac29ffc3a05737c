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
    net::TcpStream,
};

/// When a connection has been silent for so long, the backend is asked whether it is still there …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// … again and again after so long …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// … and given up after so many questions without an answer: a container that was cut off its network says no farewell.
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection's socket.
#[derive(Debug)]
pub struct BackendIo(TcpStream);

impl BackendIo {
    /// Connects to `authority`, which is `host:port`, within `time`.
    ///
    /// # Errors
    ///
    /// The connection is refused, or not made in time.
    pub async fn connect(authority: &str, time: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(time, TcpStream::connect(authority)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", time.as_secs()))
        })??;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Self(stream))
    }

    /// Polls until there may be something to read.
    ///
    /// # Errors
    ///
    /// The runtime is ending.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Whether the runtime has heard of something to read.
    pub fn has_heard(&self) -> bool {
        self.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Whether there is something to read, as the system knows: of a connection that rests, its end, or what nobody has
    /// asked for.
    pub fn is_disturbed(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.0).peek(&mut byte);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
