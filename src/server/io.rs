//! The client's socket as hyper sees it: watched while a response is pending, with a deadline on blocked writes.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::{Sleep, sleep},
};

use crate::client::{ClientWatch, Http1Watch, Shared};

/// What hyper reads from and writes to.
#[derive(Debug)]
pub struct WatchedIo {
    write: OwnedWriteHalf,
    shared: Arc<Shared>,
    stall: Stall,
}

/// The write-progress deadline. There is a timer only while a write is blocked.
#[derive(Debug)]
struct Stall {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl WatchedIo {
    /// Watches `stream`; a write that makes no progress for `write_stall` fails.
    pub fn new(stream: TcpStream, write_stall: Duration) -> Self {
        let (half, write) = stream.into_split();
        Self { write, shared: Shared::new(half), stall: Stall { timeout: write_stall, timer: None } }
    }

    /// A watch on this socket's client, for the bodies of its responses.
    pub fn watch(&self) -> ClientWatch {
        ClientWatch::Http1(Http1Watch::new(Arc::clone(&self.shared)))
    }

    /// Waits until the client has sent as many bytes as `wanted` or something that does not begin like it, and says
    /// whether it is `wanted`. What was read stays readable.
    ///
    /// # Errors
    ///
    /// The client left before that.
    pub async fn begins_with(&self, wanted: &[u8]) -> io::Result<bool> {
        poll_fn(|cx| self.shared.poll_begins_with(cx, wanted)).await
    }

    /// Keeps the deadline of a write that was tried: `again` tries it once more, past the runtime's idea of readiness.
    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        again: impl FnOnce(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.stall.timer.take().is_some() {
                self.shared.set_blocked(false);
            }
            return written;
        }
        if self.shared.is_cut() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "ended by the administrator")));
        }
        let timeout = self.stall.timeout;
        let timer = self.stall.timer.get_or_insert_with(|| {
            self.shared.set_blocked(true);
            Box::pin(sleep(timeout))
        });
        ready!(timer.as_mut().poll(cx));
        self.stall.timer = None;
        // A socket counts as writable only when a third of its buffer is free and half of what may be unsent is sent, which
        // takes a slow reader long. But it takes a byte as soon as there is room for one.
        match again(self.write.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.shared.set_stalled();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
            }
            written => {
                self.shared.set_blocked(false);
                Poll::Ready(written)
            }
        }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_read(cx, buf)
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.write).poll_write(cx, buf);
        self.poll_progress(cx, written, |stream| SockRef::from(stream).send(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.write).poll_write_vectored(cx, bufs);
        self.poll_progress(cx, written, |stream| SockRef::from(stream).send_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.set_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
