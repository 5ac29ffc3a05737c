//! The socket of a backend.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
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

/// What hyper's client end reads from and writes to.
#[derive(Debug)]
pub struct BackendIo {
    stream: TcpStream,
    probe: Probe,
}

/// Asks a [`BackendIo`] that rests to look at the socket itself, past what the runtime has heard of it.
#[derive(Debug, Clone, Default)]
pub struct Probe(Arc<AtomicBool>);

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
        Ok(Self { stream, probe: Probe::default() })
    }

    /// A handle to ask for a look.
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Whether there is something to read: of a connection that rests, its end, or what nobody has asked for.
    fn is_disturbed(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Probe {
    /// Asks for a look at the next read.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.probe.0.load(Ordering::Relaxed) {
            self.probe.0.store(false, Ordering::Relaxed);
            if self.is_disturbed() {
                return Poll::Ready(Ok(()));
            }
        }
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
