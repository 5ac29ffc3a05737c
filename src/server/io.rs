//! The client's socket as hyper sees it: watched while a response is pending, what it takes is counted, and it is not closed
//! while its client is still sending.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::Instant,
};
use tokio_rustls::server::TlsStream;

use crate::{
    client::{ClientWatch, Http1Watch, Progress, Shared, Socket},
    deadline::Deadline,
    open::Entry,
};

/// How long a client may go on sending after an answer that ends the connection. A socket that is closed with unread bytes is
/// reset, and a reset takes from the client what it has not read of the answer (RFC 9112 §9.6).
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the client may send nothing meanwhile. Whether its request is complete is not known here.
const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes that are read from it and thrown away in that time.
const MAX_DISCARDED: usize = 16 << 20;

/// What hyper reads from and writes to.
#[derive(Debug)]
pub struct WatchedIo {
    /// None with TLS, which reads as well and is shared with the watch.
    write: Option<OwnedWriteHalf>,
    shared: Arc<Shared>,
    is_blind: bool,
    is_blocked: bool,
    /// While the client may still be sending. Boxed: few connections ever need the room.
    linger: Option<Box<Linger>>,
}

/// Waits for a client that is still sending.
#[derive(Debug)]
struct Linger {
    left: usize,
    end: Instant,
    silence: Deadline,
}

impl Linger {
    fn begin() -> Box<Self> {
        let now = Instant::now();
        Box::new(Self {
            left: MAX_DISCARDED,
            end: now + LINGER_TIMEOUT,
            silence: Deadline::at(now + LINGER_IDLE_TIMEOUT),
        })
    }

    /// Polls until the client has closed, or for as long, or as much, as it is waited for.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<()> {
        let mut scrap = [0; 4096];
        while self.left > 0 && self.silence.poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scrap);
            let read = ready!(shared.poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            self.left = self.left.saturating_sub(buf.filled().len());
            self.silence.set(self.end.min(Instant::now() + LINGER_IDLE_TIMEOUT));
        }
        Poll::Ready(())
    }
}

impl WatchedIo {
    /// Watches `stream`, the socket of `entry`. If `is_blind`, the system cuts off a client that takes nothing, and what it
    /// says then is the first that is known of it.
    pub fn new(stream: TcpStream, entry: Arc<Entry>, is_blind: bool) -> Self {
        let (half, write) = stream.into_split();
        Self { write: Some(write), shared: Shared::new(half, entry), is_blind, is_blocked: false, linger: None }
    }

    /// Watches the TLS of `entry`, whose socket counts what the system takes.
    pub(crate) fn over_tls(stream: TlsStream<Socket>, entry: Arc<Entry>) -> Self {
        Self { write: None, shared: Shared::over_tls(stream, entry), is_blind: false, is_blocked: false, linger: None }
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
        std::future::poll_fn(|cx| self.shared.poll_begins_with(cx, wanted)).await
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.note_blocked(written.is_pending());
        match &written {
            Poll::Ready(Ok(count)) => self.shared.entry().add_written(*count),
            Poll::Ready(Err(error)) => self.shared.entry().note_error(error, self.is_blind),
            Poll::Pending => {}
        }
        self.unless_cut(written)
    }

    /// Has TLS write, or say that nothing more comes. What its socket cannot take yet it keeps, up to the 64 KiB of rustls, and
    /// answers as if it was taken.
    fn through_tls<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut TlsStream<Socket>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (written, Progress { has_moved, is_blocked }) = self.shared.with_tls(write);
        if has_moved {
            self.note_blocked(false);
        }
        self.note_blocked(is_blocked);
        self.unless_cut(written)
    }

    fn note_blocked(&mut self, is_blocked: bool) {
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            self.shared.set_blocked(is_blocked);
        }
    }

    /// An error instead of waiting for a client that is to be given up.
    fn unless_cut<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending if self.shared.is_cut() => {
                let ended = io::Error::new(io::ErrorKind::ConnectionAborted, "ended by the administrator");
                Poll::Ready(Err(ended))
            }
            written => written,
        }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.shared.poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.shared.entry().note_error(error, self.is_blind);
        }
        read
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(write) = &mut self.write else { return self.through_tls(|tls| tls.poll_write(cx, buf)) };
        let written = Pin::new(write).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(write) = &mut self.write else { return self.through_tls(|tls| tls.poll_write_vectored(cx, bufs)) };
        let written = Pin::new(write).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write.is_none() {
            ready!(self.through_tls(|tls| tls.poll_flush(cx)))?;
        }
        self.shared.set_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            match &mut self.write {
                Some(write) => ready!(Pin::new(write).poll_shutdown(cx))?,
                None => ready!(self.through_tls(|tls| tls.poll_shutdown(cx)))?,
            }
            if !self.shared.had_upload() {
                return Poll::Ready(Ok(()));
            }
        }
        let Self { shared, linger, .. } = &mut *self;
        linger.get_or_insert_with(Linger::begin).poll(cx, shared).map(Ok)
    }
}

impl Drop for WatchedIo {
    fn drop(&mut self) {
        if self.write.is_none() {
            // As the other half of a plain socket does: a watch may outlast this. Without `close_notify`, which only a shutdown
            // sends, the client knows that the connection broke off.
            self.shared.with_tls(|tls| tls.get_ref().0.close());
        }
        self.shared.set_closed();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        time::{Duration, Instant},
    };

    use tokio::net::TcpListener;

    use super::*;
    use crate::server::listen;

    /// Where the system does not tell what is unacknowledged, its own time-out ends the connection, and counts as a stall.
    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_by_the_system_where_we_are_blind() {
        const PERIOD: Duration = Duration::from_secs(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        listen::tune(&stream, PERIOD, true).unwrap();
        let entry = Entry::detached();
        let mut io = WatchedIo::new(stream, Arc::clone(&entry), true);
        let start = Instant::now();
        let error = loop {
            let written = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &[0; 65_536])).await;
            if let Err(error) = written {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(entry.is_stalled());
        assert!(start.elapsed() < 3 * PERIOD, "{:?}", start.elapsed());
    }
}
