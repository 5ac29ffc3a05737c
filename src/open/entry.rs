//! What is known of one open connection.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;

use super::{now_ms, source};

/// One open connection. Shared by its socket, its requests and the [`Table`](super::Table).
#[derive(Debug)]
pub struct Entry {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    /// Counts as one of its address's.
    has_source: bool,
    /// There has been a request.
    was_asked: AtomicBool,
    /// One of [`GIVE_WAY`] and [`STALLED`] when the connection is to end.
    end: AtomicU8,
    /// Requests whose answers have not all been written.
    requests: AtomicU32,
    /// For how long it had acknowledged nothing when it was last looked at, in milliseconds.
    still: AtomicU32,
    /// Since when there has been no request, by [`now_ms`].
    idle_since: AtomicU64,
    /// Bytes that the system has taken for the client.
    written: AtomicU64,
    /// Bytes of those that the client's system has acknowledged, as far as we have asked ours.
    acked: AtomicU64,
    /// When it was last seen to acknowledge some, or first seen to owe some, by [`now_ms`]; 0 while it owes nothing.
    moved: AtomicU64,
    /// Bytes of heads that are on their way to the client's socket, over HTTP/2.
    heads: AtomicU32,
    /// The connection's task.
    task: AtomicWaker,
}

/// Another connection needs the place.
const GIVE_WAY: u8 = 1;

/// The client takes nothing.
const STALLED: u8 = 2;

/// A request in flight, as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<Entry>);

impl Entry {
    /// The connection `id` from `peer` to `local`, which counts as one of its address's if it `has_source`.
    pub(super) fn new(id: u64, peer: SocketAddr, local: SocketAddr, has_source: bool) -> Self {
        Self {
            id,
            peer,
            local,
            has_source,
            was_asked: AtomicBool::new(false),
            end: AtomicU8::new(0),
            requests: AtomicU32::new(0),
            still: AtomicU32::new(0),
            idle_since: AtomicU64::new(now_ms()),
            written: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            heads: AtomicU32::new(0),
            task: AtomicWaker::new(),
        }
    }

    /// A connection that is in no table.
    #[cfg(test)]
    pub(crate) fn detached() -> Arc<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Self::new(0, nowhere, nowhere, false))
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The address that it counts as one of.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.has_source.then(|| source(self.peer.ip()))
    }

    /// The client's end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether there has been a request.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Relaxed)
    }

    /// Since when there is no request, by [`now_ms`]; `None` if there is one.
    pub(super) fn idle_since(&self) -> Option<u64> {
        (self.requests.load(Relaxed) == 0).then(|| self.idle_since.load(Relaxed))
    }

    /// Tells the connection to end, since another needs its place.
    pub(super) fn give_way(&self) {
        self.tell(GIVE_WAY);
    }

    /// Tells the connection to end at once, since its client takes nothing.
    pub fn cut_stalled(&self) {
        self.tell(STALLED);
    }

    fn tell(&self, why: u8) {
        self.end.fetch_max(why, AcqRel);
        self.task.wake();
    }

    /// Whether the client was cut off because it took nothing for too long.
    pub fn is_stalled(&self) -> bool {
        self.end.load(Acquire) == STALLED
    }

    /// Notes an error of the socket. If we are `is_blind` to what the client acknowledges, the system cuts off who takes nothing,
    /// and its time-out is the first that is known of it.
    pub fn note_error(&self, error: &io::Error, is_blind: bool) {
        if is_blind && error.kind() == io::ErrorKind::TimedOut {
            self.end.store(STALLED, Release);
        }
    }

    /// Resolves when the connection is to end: at once if [`Self::is_stalled`], else as soon as it has no request. Only the
    /// connection's task may wait for this and for [`Self::stalled`].
    pub fn told(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.poll_told(cx, GIVE_WAY))
    }

    /// Resolves when the connection is to end at once.
    pub fn stalled(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.poll_told(cx, STALLED))
    }

    fn poll_told(&self, cx: &Context<'_>, least: u8) -> Poll<()> {
        if self.end.load(Acquire) >= least {
            return Poll::Ready(());
        }
        self.task.register(cx.waker());
        if self.end.load(Acquire) >= least { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Counts bytes that the system has taken. Only one task writes at a time.
    pub fn add_written(&self, count: usize) {
        self.written.store(self.written.load(Relaxed) + count as u64, Relaxed);
    }

    /// What the system has taken and the client, as far as is known, has not acknowledged; `None` if that is nothing.
    pub fn owed(&self) -> Option<u64> {
        let written = self.written.load(Relaxed);
        if written == self.acked.load(Relaxed) {
            self.moved.store(0, Relaxed);
            self.still.store(0, Relaxed);
            return None;
        }
        Some(written)
    }

    /// Notes that at `now` all but `unacked` of `written` bytes were acknowledged. Answers for how many milliseconds the
    /// client has acknowledged nothing while it had something to.
    pub fn acknowledged(&self, written: u64, unacked: u64, now: u64) -> u64 {
        let acked = written.saturating_sub(unacked);
        let moved = self.moved.load(Relaxed);
        if acked > self.acked.load(Relaxed) || moved == 0 {
            self.acked.fetch_max(acked, Relaxed);
            self.moved.store(if unacked == 0 { 0 } else { now }, Relaxed);
            self.still.store(0, Relaxed);
            return 0;
        }
        let still = now.saturating_sub(moved);
        self.still.store(u32::try_from(still).unwrap_or(u32::MAX), Relaxed);
        still
    }

    /// Notes that a head of `length` bytes is on its way.
    pub fn add_head(&self, length: u32) {
        self.heads.fetch_add(length, Relaxed);
    }

    /// Notes that a head of `length` bytes was written, or dropped.
    pub fn head_written(&self, length: u32) {
        self.heads.fetch_sub(length, Relaxed);
    }

    /// Bytes of heads that are on their way.
    pub fn unwritten_heads(&self) -> u32 {
        self.heads.load(Relaxed)
    }

    /// For how long the client had acknowledged nothing of what it owed when it was last looked at.
    pub fn still_for(&self) -> Duration {
        Duration::from_millis(self.still.load(Relaxed).into())
    }
}

impl InFlight {
    /// A request on this connection begins.
    pub fn new(entry: &Arc<Entry>) -> Self {
        entry.requests.fetch_add(1, Relaxed);
        Self(Arc::clone(entry))
    }

    /// The connection.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.was_asked.store(true, Relaxed);
        self.0.idle_since.store(now_ms(), Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_last_byte_that_was_acknowledged() {
        let entry = Entry::detached();
        assert_eq!(entry.owed(), None);
        entry.add_written(100);
        assert_eq!(entry.owed(), Some(100));
        assert_eq!(entry.acknowledged(100, 60, 1_000), 0);
        assert_eq!(entry.acknowledged(100, 60, 1_500), 500);
        // More is written, and nothing of it taken.
        entry.add_written(100);
        assert_eq!(entry.acknowledged(200, 160, 2_000), 1_000);
        assert_eq!(entry.acknowledged(200, 159, 2_500), 0);
        assert_eq!(entry.acknowledged(200, 159, 3_000), 500);
        assert_eq!(entry.still_for(), Duration::from_millis(500));
        // All is taken; what comes an hour later has its own time.
        assert_eq!(entry.acknowledged(200, 0, 3_100), 0);
        assert_eq!(entry.owed(), None);
        assert_eq!(entry.still_for(), Duration::ZERO);
        entry.add_written(1);
        assert_eq!(entry.owed(), Some(201));
        assert_eq!(entry.acknowledged(201, 1, 3_600_000), 0);
        assert_eq!(entry.acknowledged(201, 1, 3_600_700), 700);
    }
}
