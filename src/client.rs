//! What a response body can know of its client: whether it has left, stalls, or has taken everything so far.
//!
//! hyper reads ahead while a response is under way, and so notices a client that leaves, but only as long as its own read
//! buffer is empty: one stray byte after a request blinds it (log-pitfalls A1). So the socket's read side is shared
//! between hyper, through [`crate::server::io`], and [`ClientWatch`]. What the watch finds goes into a small side buffer
//! that hyper gets first.

mod blocked;
mod stream;
mod transport;

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::tcp::OwnedReadHalf,
};
use tokio_rustls::server::TlsStream;

use self::blocked::Blocked;
pub use self::stream::{Http2Stream, Piece};
pub(crate) use self::transport::{Progress, Socket, Transport};
use crate::{end_reason::EndReason, open::Entry};

/// Most bytes that a client may send ahead while a log response is under way, in bytes.
const MAX_SIDE: usize = 16 * 1024;

/// The size of a frame that every HTTP/2 client takes (RFC 9113 §4.2), in bytes.
const MAX_HTTP2_FRAME: usize = 16 * 1024;

/// How long a stream that is to be broken off stays open for what was handed over before. hyper resets it with its body's
/// error, and h2 then drops what it still holds, down to the head; neither tells when it holds nothing any more.
const LINGER_TIMEOUT: Duration = Duration::from_millis(250);

/// What waits until an answer has been written: dropped then, without a word.
pub trait Settle: fmt::Debug + Send {
    /// The client left, or was cut off, before it was.
    fn ended(&mut self, reason: EndReason);
}

/// The view that a response body has of its client.
#[derive(Debug, Clone)]
pub enum ClientWatch {
    /// The connection carries this response alone.
    Http1(Http1Watch),
    /// The response is one stream of many; hyper itself goes on reading the connection.
    Http2(Arc<Http2Stream>),
}

/// The view of an HTTP/1.1 connection.
#[derive(Debug, Clone)]
pub struct Http1Watch {
    shared: Arc<Shared>,
}

/// One connection's state, shared by hyper's socket and the bodies of its responses.
#[derive(Debug)]
pub(crate) struct Shared {
    entry: Arc<Entry>,
    read: Mutex<ReadSide>,
    /// The client takes nothing of what is to be written.
    blocked: Blocked,
    /// To be given up if it is blocked.
    cut: AtomicBool,
    /// The last request came with a body.
    had_upload: AtomicBool,
    /// How often everything that hyper held was written.
    flushes: AtomicU64,
    on_flush: Mutex<OnFlush>,
}

/// What is to be done when everything that hyper holds has been written.
#[derive(Debug, Default)]
struct OnFlush {
    waker: Option<Waker>,
    /// On an answer whose body hyper has taken to its end.
    report: Option<Box<dyn Settle>>,
}

#[derive(Debug)]
struct ReadSide {
    transport: Transport,
    side: BytesMut,
    closed: bool,
}

impl Shared {
    /// The state of the connection `entry`, whose read half is `half`.
    pub(crate) fn new(half: OwnedReadHalf, entry: Arc<Entry>) -> Arc<Self> {
        Self::over(Transport::Plain { half, unseen: false }, entry)
    }

    /// The state of the connection `entry`, whose client speaks TLS.
    pub(crate) fn over_tls(stream: TlsStream<Socket>, entry: Arc<Entry>) -> Arc<Self> {
        Self::over(Transport::Tls(Box::new(stream)), entry)
    }

    fn over(transport: Transport, entry: Arc<Entry>) -> Arc<Self> {
        Arc::new(Self {
            entry,
            read: Mutex::new(ReadSide { transport, side: BytesMut::new(), closed: false }),
            blocked: Blocked::default(),
            cut: AtomicBool::new(false),
            had_upload: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
            on_flush: Mutex::default(),
        })
    }

    /// The connection.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether a write makes no progress, from now on or no longer.
    pub(crate) fn set_blocked(&self, is_blocked: bool) {
        if is_blocked { self.blocked.begin() } else { self.blocked.end() }
    }

    /// Whether the connection is to be given up rather than wait for its client any longer.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Whether the last request came with a body.
    pub(crate) fn had_upload(&self) -> bool {
        self.had_upload.load(Ordering::Relaxed)
    }

    /// Notes that everything there was to write has been written.
    pub(crate) fn set_flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        // The report is written when it is dropped, out of the lock.
        let OnFlush { waker, report: _report } = std::mem::take(&mut *lock(&self.on_flush));
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Notes that nothing more will be written.
    pub(crate) fn set_closed(&self) {
        let report = lock(&self.on_flush).report.take();
        if let Some(mut report) = report {
            report.ended(if self.entry.is_stalled() { EndReason::SlowClient } else { EndReason::ClientGone });
        }
    }

    /// Reads for hyper: first what the watch has read, then the socket.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut read = self.read();
        if !read.side.is_empty() {
            let len = read.side.len().min(buf.remaining());
            buf.put_slice(&read.side[..len]);
            read.side.advance(len);
            if read.side.is_empty() {
                read.side = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        if read.closed {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut read.transport).poll_read(cx, buf)
    }

    /// Lets `write` write to the TLS of a connection that has it; answers also whether the system takes what there is.
    pub(crate) fn with_tls<T>(&self, write: impl FnOnce(Pin<&mut TlsStream<Socket>>) -> T) -> (T, Progress) {
        let mut read = self.read();
        let mut tls = read.transport.tls();
        let written = write(tls.as_mut());
        (written, tls.get_mut().get_mut().0.take_progress())
    }

    /// Polls until the client has sent as many bytes as `wanted`, or something that does not begin like it; answers
    /// whether it is `wanted`. What was read stays readable.
    pub(crate) fn poll_begins_with(&self, cx: &mut Context<'_>, wanted: &[u8]) -> Poll<io::Result<bool>> {
        let mut read = self.read();
        loop {
            let seen = read.side.len().min(wanted.len());
            let is_like = read.side[..seen] == wanted[..seen];
            if !is_like || seen == wanted.len() {
                return Poll::Ready(Ok(is_like));
            }
            if read.closed {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(read.poll_ahead(cx))?;
        }
    }

    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut read = self.read();
        loop {
            if read.closed || read.side.len() >= MAX_SIDE || ready!(read.poll_ahead(cx)).is_err() {
                return Poll::Ready(());
            }
        }
    }

    fn poll_hung_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut read = self.read();
        if read.closed { Poll::Ready(()) } else { read.transport.poll_hung_up(cx) }
    }

    fn poll_flushed(&self, cx: &mut Context<'_>, seen: u64) -> Poll<()> {
        if self.flushes.load(Ordering::Relaxed) > seen {
            return Poll::Ready(());
        }
        lock(&self.on_flush).waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn read(&self) -> MutexGuard<'_, ReadSide> {
        lock(&self.read)
    }
}

impl ReadSide {
    /// Reads what is there into the side buffer.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.transport.poll_ahead(cx, &mut self.side));
        self.closed = !matches!(read, Ok(1..));
        Poll::Ready(read.map(|_| ()))
    }
}

impl ClientWatch {
    /// Polls for the client's leaving: it closed or reset the connection, or only its sending side.
    ///
    /// Also when it floods the connection with requests behind the one that is under way. Never on HTTP/2, where hyper
    /// drops the body of a stream that was reset.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.poll_gone(cx),
            Self::Http2(_) => Poll::Pending,
        }
    }

    /// Polls for the client's leaving as [`Self::poll_gone`] does, but takes nothing of what it has sent, however much that
    /// is: for a request with a body that nobody may be reading.
    pub fn poll_hung_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.poll_hung_up(cx),
            Self::Http2(_) => Poll::Pending,
        }
    }

    /// Whether the client was cut off because it took nothing for too long.
    pub fn has_stalled(&self) -> bool {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.entry.is_stalled(),
            Self::Http2(stream) => stream.is_stalled(),
        }
    }

    /// How long the client has taken nothing of what there is for it.
    pub fn blocked_for(&self) -> Duration {
        match self {
            // What the kernel still holds for a client blocks no write.
            Self::Http1(Http1Watch { shared }) => shared.blocked.time().max(shared.entry.still_for()),
            Self::Http2(stream) => stream.blocked_for(),
        }
    }

    /// Has the response given up as soon as its task is woken and its client takes nothing, or no longer.
    pub fn set_cut(&self, is_cut: bool) {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.cut.store(is_cut, Ordering::Release),
            Self::Http2(stream) => stream.set_cut(is_cut),
        }
    }

    /// How often all that there was to write has been written; what a later [`Self::poll_flushed`] compares with.
    pub fn flushes(&self) -> u64 {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.flushes.load(Ordering::Relaxed),
            Self::Http2(_) => 0,
        }
    }

    /// Polls until what was handed over before `seen` was read off has been written.
    ///
    /// On HTTP/2 the connection is another task's, and the answer is always ready: see [`Self::linger`].
    pub fn poll_flushed(&self, cx: &mut Context<'_>, seen: u64) -> Poll<()> {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.poll_flushed(cx, seen),
            Self::Http2(_) => Poll::Ready(()),
        }
    }

    /// How long the body's error has to wait so that what was handed over before has a chance to be written.
    ///
    /// `None` on HTTP/1.1, where [`Self::poll_flushed`] knows.
    pub fn linger(&self) -> Option<Duration> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(_) => Some(LINGER_TIMEOUT),
        }
    }

    /// The longest frame that the body should hand over, in bytes.
    ///
    /// On HTTP/2 frames are short, so that many streams take turns.
    pub fn max_frame(&self) -> usize {
        match self {
            Self::Http1(_) => usize::MAX,
            Self::Http2(_) => MAX_HTTP2_FRAME,
        }
    }

    /// Notes whether the request comes with a body: its client may then still be sending when the answer has been written.
    pub fn set_upload(&self, has_upload: bool) {
        match self {
            Self::Http1(Http1Watch { shared }) => shared.had_upload.store(has_upload, Ordering::Relaxed),
            Self::Http2(stream) => stream.set_upload(has_upload),
        }
    }

    /// The stream, on HTTP/2.
    pub fn stream(&self) -> Option<&Arc<Http2Stream>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => Some(stream),
        }
    }

    /// Takes the report on an answer that was handed over to its end, until it has been written.
    pub fn settle(&self, report: Box<dyn Settle>) {
        match self {
            Self::Http1(Http1Watch { shared }) => {
                // The one before was of a request behind which this one was waiting.
                let _before = lock(&shared.on_flush).report.replace(report);
            }
            Self::Http2(stream) => stream.park(report),
        }
    }
}

impl Http1Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Locks also after a panic elsewhere: the state is valid between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
