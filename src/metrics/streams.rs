//! The log streams that are open: who reads what, how much of it, and the order to end.
//!
//! A stream's body owns its entry, and counts in the entry what it hands over: nothing is shared on the log path. A scrape sums
//! the entries. When a stream ends, its counts move to the totals under the lock that a sum holds, so that totals never
//! decrease.

mod info;
mod sums;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use uuid::Uuid;

pub use self::info::{ClientAddress, StreamInfo};
use super::labels::{OfEnd, OfEnded, StreamFormat};
use crate::{client::ClientWatch, end_reason::EndReason};

/// Bounds of the buckets for a stream's time: 1 s to 24 h, by about four.
const DURATIONS: [f64; 9] = [1.0, 4.0, 16.0, 60.0, 240.0, 960.0, 3_600.0, 14_400.0, 86_400.0];

/// Bounds of the buckets for the first byte, in seconds.
const FIRST_BYTE: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Bounds of the buckets for a release, in seconds.
const RELEASE: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// An open stream.
struct LiveStream {
    streams: Arc<LiveStreams>,
    id: u64,
    info: StreamInfo,
    client: ClientWatch,
    sent: AtomicU64,
    read: AtomicU64,
    /// The backend's part has been let go of.
    is_released: AtomicBool,
    /// Somebody asked to end it.
    is_ended: AtomicBool,
    /// The task that the body is polled in.
    task: AtomicWaker,
}

/// An open stream's place in the list, as long as this lives. To be kept until the client has been sent everything.
pub struct StreamGuard(StreamHandle);

/// What a stream's body tells of it, and is told.
#[derive(Clone)]
pub struct StreamHandle(Arc<LiveStream>);

/// All open streams, and what those before them have counted.
#[derive(Debug)]
pub struct LiveStreams {
    runtime: &'static str,
    source: &'static str,
    open: Mutex<Open>,
    ended: Family<OfEnded, Counter>,
    durations: Family<OfEnd, Histogram, fn() -> Histogram>,
    first_byte: Histogram,
    release: Histogram,
}

#[derive(Debug)]
struct Open {
    /// Begins at a random number, so that an id of another process, or of this one before its restart, names no stream here.
    last_id: u64,
    streams: HashMap<u64, Arc<LiveStream>>,
    /// Bytes of streams that have ended.
    sent: u64,
    read: u64,
}

/// What can be told of an open stream.
#[derive(Debug, Clone)]
pub struct StreamState {
    /// Its id, in this process alone.
    pub id: u64,
    /// Who reads what.
    pub info: StreamInfo,
    /// Bytes that were handed over for the client.
    pub sent: u64,
    /// How long the client has taken nothing of what there is for it.
    pub stalled: Duration,
}

impl LiveStreams {
    /// No stream is open yet. `source` is what the logs of `runtime` are read from. Shows them in `registry`.
    pub(super) fn register(registry: &mut Registry, runtime: &'static str, source: &'static str) -> Arc<Self> {
        let streams = Arc::new(Self {
            runtime,
            source,
            open: Mutex::new(Open::new()),
            ended: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            first_byte: Histogram::new(FIRST_BYTE),
            release: Histogram::new(RELEASE),
        });
        // A rate needs a first value of 0: a series that starts at 1 shows no increase.
        for (format, finish) in StreamFormat::ALL.into_iter().flat_map(|format| EndReason::ALL.map(|end| (format, end)))
        {
            drop(streams.ended.get_or_create(&streams.of_ended(format, finish)));
        }
        registry.register("log_streams", "Log streams that have ended, by why", Family::clone(&streams.ended));
        registry.register_with_unit(
            "log_stream_duration",
            "Time from a log request to its stream's end",
            Unit::Seconds,
            Family::clone(&streams.durations),
        );
        registry.register_collector(Box::new(Arc::clone(&streams)));
        streams
    }

    /// Lists a stream until the guard is dropped.
    pub(super) fn open(this: &Arc<Self>, info: StreamInfo, client: ClientWatch) -> StreamGuard {
        let mut open = this.lock();
        open.last_id += 1;
        let stream = Arc::new(LiveStream {
            streams: Arc::clone(this),
            id: open.last_id,
            info,
            client,
            sent: AtomicU64::new(0),
            read: AtomicU64::new(0),
            is_released: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        open.streams.insert(stream.id, Arc::clone(&stream));
        StreamGuard(StreamHandle(stream))
    }

    /// All open streams, the oldest first.
    pub fn list(&self) -> Vec<StreamState> {
        let mut all: Vec<_> = self.lock().streams.values().map(|stream| stream.state()).collect();
        all.sort_unstable_by_key(|stream| stream.id);
        all
    }

    /// Whether the stream is open.
    pub fn is_open(&self, id: u64) -> bool {
        self.lock().streams.contains_key(&id)
    }

    /// Ends the stream; says who read what, if it is open.
    pub fn end(&self, id: u64) -> Option<StreamState> {
        let open = self.lock();
        let stream = open.streams.get(&id)?;
        // Under the lock, so that the guard has not been dropped before, and takes this back when it is.
        stream.client.set_cut(true);
        stream.is_ended.store(true, Ordering::Release);
        stream.task.wake();
        Some(stream.state())
    }

    fn of_ended(&self, format: StreamFormat, finish: EndReason) -> OfEnded {
        OfEnded { runtime: self.runtime, format: format.label(), end: finish.name() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn new() -> Self {
        // Room for as many streams again as there can be.
        let last_id = Uuid::new_v4().as_u64_pair().1 >> 1;
        Self { last_id, streams: HashMap::new(), sent: 0, read: 0 }
    }
}

impl LiveStream {
    fn state(&self) -> StreamState {
        StreamState {
            id: self.id,
            info: self.info.clone(),
            sent: self.sent.load(Ordering::Relaxed),
            stalled: self.client.blocked_for(),
        }
    }
}

impl StreamGuard {
    /// The stream's number.
    pub fn id(&self) -> u64 {
        self.0.0.id
    }

    /// What its body is given.
    pub fn handle(&self) -> StreamHandle {
        self.0.clone()
    }

    /// The stream has ended like this. Returns the reason that counts: a stream that an operator ended did not end by itself.
    pub fn ended(self, finish: EndReason) -> EndReason {
        let LiveStream { streams, info, .. } = &*self.0.0;
        let finish = match finish {
            EndReason::ClientGone | EndReason::SlowClient if self.0.is_ended() => EndReason::EndedByAdmin,
            other => other,
        };
        streams.ended.get_or_create(&streams.of_ended(info.format, finish)).inc();
        let labels = OfEnd { runtime: streams.runtime, end: finish.name() };
        streams.durations.get_or_create(&labels).observe(info.begun.elapsed().as_secs_f64());
        finish
    }
}

impl StreamHandle {
    /// Adds what was handed over for the client, and notes how much its source has read so far. Both in bytes.
    pub fn add(&self, sent: usize, read: u64) {
        let LiveStream { sent: so_far, read: all_read, streams, info, .. } = &*self.0;
        // Only the body's task writes, so no addition can be lost.
        let before = so_far.load(Ordering::Relaxed);
        so_far.store(before + sent as u64, Ordering::Relaxed);
        all_read.store(read, Ordering::Relaxed);
        if before == 0 {
            streams.first_byte.observe(info.begun.elapsed().as_secs_f64());
        }
    }

    /// Whether somebody asked to end the stream.
    pub fn is_ended(&self) -> bool {
        self.0.is_ended.load(Ordering::Acquire)
    }

    /// Wakes this task when somebody asks to end the stream; to be called before [`Self::is_ended`] is.
    pub fn wakes(&self, waker: &Waker) {
        self.0.task.register(waker);
    }

    /// The backend's part has been let go of; `after` the client's leaving, if it was that.
    pub fn released(&self, after: Option<Duration>) {
        self.0.is_released.store(true, Ordering::Relaxed);
        if let Some(after) = after {
            self.0.streams.release.observe(after.as_secs_f64());
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let LiveStream { streams, id, sent, read, client, .. } = &*self.0.0;
        let mut open = streams.lock();
        open.sent += sent.load(Ordering::Relaxed);
        open.read += read.load(Ordering::Relaxed);
        open.streams.remove(id);
        drop(open);
        // The connection may go on with another request.
        client.set_cut(false);
    }
}

impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveStream").field("id", &self.id).field("info", &self.info).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StreamHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Instant};

    use super::{sums::Sums, *};

    fn info(follow: bool) -> StreamInfo {
        let client = "192.0.2.1:5".parse::<SocketAddr>().unwrap().into();
        let format = StreamFormat::Text;
        StreamInfo { sandbox: "a".into(), follow, format, client, key: None, agent: None, begun: Instant::now() }
    }

    fn open(streams: &Arc<LiveStreams>, follow: bool) -> StreamGuard {
        LiveStreams::open(streams, info(follow), ClientWatch::Http2(Arc::default()))
    }

    #[test]
    fn totals_never_go_back() {
        let streams = LiveStreams::register(&mut Registry::default(), "docker", "engine");
        let (first, second) = (open(&streams, true), open(&streams, false));
        first.handle().add(10, 18);
        first.handle().add(10, 36);
        second.handle().add(5, 6);
        second.handle().released(None);
        let sums = Sums { following: [1, 0, 0], others: [1, 0, 0], backends: 1, stalled: 0, sent: 25, read: 42 };
        assert_eq!(streams.sums(), sums);
        assert_eq!(first.ended(EndReason::ClientGone), EndReason::ClientGone);
        assert_eq!(streams.sums(), Sums { following: [0; 3], backends: 0, ..sums });
        let listed: Vec<_> = streams.list().iter().map(|stream| (stream.id, stream.sent)).collect();
        assert_eq!(listed, [(second.id(), 5)]);
        drop(second);
        assert_eq!((streams.sums().sent, streams.list().len()), (25, 0));
    }

    #[test]
    fn no_two_processes_give_a_stream_the_same_id() {
        let [a, b] = [(); 2].map(|()| LiveStreams::register(&mut Registry::default(), "docker", "engine"));
        let mine: Vec<_> = (0..100).map(|_| open(&a, true)).collect();
        assert!(mine.is_sorted_by_key(StreamGuard::id));
        let other = open(&b, true);
        assert!(mine.iter().all(|stream| b.end(stream.id()).is_none()) && b.end(1).is_none());
        assert!(!other.handle().is_ended());
    }

    #[test]
    fn a_stream_is_told_to_end() {
        let streams = LiveStreams::register(&mut Registry::default(), "docker", "engine");
        let stream = open(&streams, true);
        assert!(!stream.handle().is_ended() && streams.end(7).is_none());
        assert_eq!(streams.end(stream.id()).unwrap().info.client.to_string(), "192.0.2.1:5");
        assert!(stream.handle().is_ended() && streams.is_open(stream.id()));
        assert_eq!(stream.ended(EndReason::ClientGone), EndReason::EndedByAdmin);
    }

    /// A silent follower costs little: this is what its entry adds when metrics are on.
    #[test]
    fn an_entry_is_small() {
        // With the two counts of its `Arc`, one of the allocator's sizes: 192 bytes.
        assert!(size_of::<LiveStream>() <= 176, "{}", size_of::<LiveStream>());
    }
}
