//! What is known of an HTTP/2 stream's client: whether it lets the stream send.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http::HeaderValue;

use super::Settle;
use crate::{
    end_reason::EndReason,
    open::{Entry, InFlight, at_ms, now_ms},
};

/// Most bytes of heads that a connection's client has not taken yet, those apart that are short.
const MAX_HEADS: u32 = 1024 * 1024;

tokio::task_local! {
    /// The stream whose request the current task works on.
    static STREAM: Arc<Http2Stream>;
}

/// The state of one HTTP/2 stream, shared by its body, the pieces of that, and its task.
#[derive(Debug, Default)]
pub struct Http2Stream {
    /// `None` for a stream that nobody watches.
    request: Option<InFlight>,
    /// Pieces that were handed over and have not been written: hyper or h2 has them.
    held: AtomicUsize,
    /// When there last was none, or the client last made room for some of them, by [`now_ms`].
    moved: AtomicU64,
    stalled: AtomicBool,
    /// To be given up if the client makes no room.
    cut: AtomicBool,
    /// The request came with a body.
    has_upload: AtomicBool,
    /// On an answer that was handed over to its end.
    report: Mutex<Option<Box<dyn Settle>>>,
    /// Who waits until nothing is held.
    on_taken: AtomicWaker,
}

/// A piece of a body on its way to hyper. On HTTP/2 its stream learns how much of it is written, and when it is gone.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    stream: Option<Arc<Http2Stream>>,
}

/// The request's id on its way to the client as the last value of an answer's head, so that the stream learns when h2 has
/// written that: h2 keeps a head as it is as long as the client's socket takes nothing.
struct Head {
    id: HeaderValue,
    length: u32,
    stream: Arc<Http2Stream>,
}

impl AsRef<[u8]> for Head {
    fn as_ref(&self) -> &[u8] {
        self.id.as_bytes()
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        if let Some(request) = &self.stream.request {
            request.entry().head_written(self.length);
        }
        self.stream.is_rid_of();
    }
}

impl Http2Stream {
    /// A stream of the connection `entry`, on which a request begins.
    pub fn new(entry: &Arc<Entry>) -> Arc<Self> {
        let mut stream = Self::default();
        stream.request = Some(InFlight::new(entry));
        Arc::new(stream)
    }

    /// Polls `future`, the task of a stream, with `stream` as the current one.
    pub fn scope<T>(stream: &Arc<Self>, future: impl FnOnce() -> T) -> T {
        STREAM.sync_scope(Arc::clone(stream), future)
    }

    /// The current task's stream. Outside of one, a stream that nobody watches.
    pub fn current() -> Arc<Self> {
        STREAM.try_with(Arc::clone).unwrap_or_default()
    }

    /// Since when the client makes no room for what was handed over; `None` if all of that is written.
    pub fn waits_since(&self) -> Option<Instant> {
        (self.held.load(Acquire) > 0).then(|| at_ms(self.moved.load(Relaxed)))
    }

    /// Polls until all that was handed over has been written.
    pub fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.load(Acquire) == 0 {
            return Poll::Ready(());
        }
        self.on_taken.register(cx.waker());
        if self.held.load(Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the client was cut off because it took nothing, on this stream or on the whole connection.
    pub fn is_stalled(&self) -> bool {
        let on_connection = || self.request.as_ref().is_some_and(|request| request.entry().is_stalled());
        self.stalled.load(Relaxed) || on_connection()
    }

    /// Notes that the stream is cut off since its client makes no room.
    pub fn set_stalled(&self) {
        self.stalled.store(true, Relaxed);
    }

    /// Cuts the whole connection off.
    pub fn cut_connection(&self) {
        if let Some(request) = &self.request {
            request.entry().cut_stalled();
        }
    }

    /// Whether there is room for a head of `length` bytes beside those of the connection that wait to be written.
    pub fn has_room(&self, length: u32) -> bool {
        self.request
            .as_ref()
            .is_none_or(|request| request.entry().unwritten_heads().saturating_add(length) <= MAX_HEADS)
    }

    /// Hands over a head of `length` bytes, in which `id` is to be replaced by what this returns.
    pub fn hand_head(self: &Arc<Self>, id: HeaderValue, length: u32) -> HeaderValue {
        if let Some(request) = &self.request {
            request.entry().add_head(length);
        }
        self.hands();
        let head = Bytes::from_owner(Head { id, length, stream: Arc::clone(self) });
        let mut value = HeaderValue::from_maybe_shared(head).expect("it was a value before");
        // Or it would stay in the table of what h2 has sent (RFC 7541 §7.1.3).
        value.set_sensitive(true);
        value
    }

    /// Notes whether the request comes with a body.
    pub fn set_upload(&self, has_upload: bool) {
        self.has_upload.store(has_upload, Relaxed);
    }

    /// Whether the request came with a body.
    pub fn has_upload(&self) -> bool {
        self.has_upload.load(Relaxed)
    }

    /// Takes the report on an answer that was handed over to its end, until it has been written.
    pub fn park(&self, report: Box<dyn Settle>) {
        *self.report() = Some(report);
    }

    /// The answer has been written: so its report is due.
    pub fn settle(&self) {
        // It is written when it is dropped, out of the lock.
        let _report = self.report().take();
    }

    fn report(&self) -> MutexGuard<'_, Option<Box<dyn Settle>>> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the client has made no room for what was handed over.
    pub fn blocked_for(&self) -> Duration {
        self.waits_since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Has the stream given up as soon as its task is woken and its client makes no room, or no longer.
    pub fn set_cut(&self, is_cut: bool) {
        self.cut.store(is_cut, Release);
    }

    /// Whether the stream is to be given up rather than wait for its client any longer.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Acquire)
    }

    fn hands(&self) {
        if self.held.fetch_add(1, AcqRel) == 0 {
            self.moves();
        }
    }

    fn moves(&self) {
        self.moved.store(now_ms(), Relaxed);
    }

    fn is_rid_of(&self) {
        self.moves();
        if self.held.fetch_sub(1, AcqRel) == 1 {
            self.on_taken.wake();
        }
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let report = self.report().take();
        if let Some(mut report) = report {
            report.ended(if self.is_stalled() { EndReason::SlowClient } else { EndReason::ClientGone });
        }
    }
}

impl Piece {
    /// A piece of which nobody learns anything more.
    pub fn of_http1(bytes: Bytes) -> Self {
        Self { bytes, stream: None }
    }

    /// A piece for `stream`.
    pub fn of_http2(bytes: Bytes, stream: &Arc<Http2Stream>) -> Self {
        stream.hands();
        Self { bytes, stream: Some(Arc::clone(stream)) }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(stream) = &self.stream {
            stream.moves();
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            stream.is_rid_of();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_stream_waits_until_the_last_piece_is_gone() {
        let stream = Arc::new(Http2Stream::default());
        assert!(stream.waits_since().is_none());
        let mut first = Piece::of_http2(Bytes::from_static(b"one"), &stream);
        let second = Piece::of_http2(Bytes::from_static(b"two"), &stream);
        let began = stream.waits_since().unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(stream.waits_since(), Some(began), "time alone changes nothing");
        first.advance(1);
        assert!(stream.waits_since().unwrap() > began);
        drop(first);
        let waiting = tokio::spawn({
            let stream = Arc::clone(&stream);
            async move { poll_fn(|cx| stream.poll_taken(cx)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        assert!(stream.waits_since().is_none());
    }
}
