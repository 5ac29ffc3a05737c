//! What is known of one open connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::now_ms;

/// One open connection. Shared by its socket, its requests and the [`Table`](super::Table).
#[derive(Debug)]
pub struct Entry {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    source: Option<IpAddr>,
    /// Requests whose answers have not all been written.
    requests: AtomicUsize,
    /// There has been a request.
    was_asked: AtomicBool,
    /// Since when there has been no request, by [`now_ms`].
    idle_since: AtomicU64,
    /// Bytes that the system has taken for the client.
    written: AtomicU64,
    /// Bytes of those that the client's system has acknowledged, as far as we have asked ours.
    acked: AtomicU64,
    /// When it was last seen to acknowledge some, or first seen to owe some, by [`now_ms`]; 0 while it owes nothing.
    moved: AtomicU64,
    /// For how long it had acknowledged nothing when it was last looked at, in milliseconds.
    still: AtomicU64,
    is_stalled: AtomicBool,
    /// The connection's task has something to do: see [`Entry::told`].
    told: Notify,
}

/// A request in flight, as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<Entry>);

impl Entry {
    /// The connection `id` from `peer` to `local`, which counts as one of `source`.
    pub(super) fn new(id: u64, peer: SocketAddr, local: SocketAddr, source: Option<IpAddr>) -> Self {
        Self {
            id,
            peer,
            local,
            source,
            requests: AtomicUsize::new(0),
            was_asked: AtomicBool::new(false),
            idle_since: AtomicU64::new(now_ms()),
            written: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            still: AtomicU64::new(0),
            is_stalled: AtomicBool::new(false),
            told: Notify::new(),
        }
    }

    /// A connection that is in no table.
    #[cfg(test)]
    pub(crate) fn detached() -> Arc<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Self::new(0, nowhere, nowhere, None))
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
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
        self.told.notify_one();
    }

    /// Tells the connection to end at once, since its client takes nothing.
    pub fn cut_stalled(&self) {
        self.is_stalled.store(true, Relaxed);
        self.told.notify_one();
    }

    /// Whether the client was cut off because it took nothing for too long.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Relaxed)
    }

    /// Notes that the client was cut off by the system for taking nothing.
    pub fn set_stalled(&self) {
        self.is_stalled.store(true, Relaxed);
    }

    /// Resolves when the connection is to end: at once if [`Self::is_stalled`], else as soon as it has no request.
    pub async fn told(&self) {
        self.told.notified().await;
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
        self.still.store(still, Relaxed);
        still
    }

    /// For how long the client had acknowledged nothing of what it owed when it was last looked at.
    pub fn still_for(&self) -> Duration {
        Duration::from_millis(self.still.load(Relaxed))
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
