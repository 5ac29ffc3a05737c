//! A container's log as a backend for records.
//!
//! A kubelet gives the log of one instance of a container. When that was restarted while it was followed, the log of the instance
//! before is put in front of the present one's, so that what it has printed last is not lost.

mod state;

use std::{
    future::poll_fn,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::timeout;

use self::state::has_previous;
use super::{
    gone,
    lease::Lease,
    no_log,
    owner::Owner,
    reader::{Chained, LogEnd, LogReader, What},
    refused,
    target::Target,
};
use crate::{
    error::{Error, Family, Kind},
    logs::{
        LogError,
        backend::{Backend, Fate, RecordReader, State, Window, look},
        cursor::RunId,
        decode::kubelet::LastLine,
        record::{Mark, Stream},
    },
    runtime::kubernetes::{
        client::Cluster,
        objects::Pod,
        pods::{self, Instance},
    },
};

/// How long the API server may take to refuse one stream of a followed log before the answer begins without it.
const GRACE: Duration = Duration::from_millis(50);

/// Most records of the present instance that are counted to see whether the one before is needed too.
const MAX_COUNTED: u64 = 4096;

/// Most instances among which one is looked for that has begun.
const MAX_BEGUN: usize = 1000;

/// How far before the newest record one stream is read again, which has no tail.
const OVERLAP: Duration = Duration::from_secs(2);

/// How far before a time the log is read again that has it: a line is found by its first record.
const LINE: Duration = Duration::from_secs(1);

/// How long a live read is silent before the log is looked at for the first time.
const SILENCE: Duration = Duration::from_secs(10);

/// The log of one container of a sandbox.
pub(super) struct PodLog {
    pub(super) cluster: Cluster,
    pub(super) namespace: Arc<str>,
    pub(super) owner: Owner,
    /// Of a pool's pod, by what the sandbox has it.
    pub(super) lease: Option<Lease>,
    pub(super) container: String,
    /// One stream alone.
    pub(super) stream: Option<Stream>,
    /// The state of the instance before the present one, if its log is asked for.
    pub(super) previous: Option<State>,
    pub(super) run: RunId,
    /// Most bytes of one read.
    pub(super) buffer: usize,
    pub(super) place: Mutex<Place>,
    pub(super) newest: Arc<AtomicI64>,
}

/// Where the log is now.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) pod: String,
    pub(super) uid: String,
    /// The pod's node; empty if none is told.
    pub(super) node: String,
    /// The number of the instance with which it began.
    pub(super) number: u64,
    /// That of the present one.
    pub(super) present: u64,
    /// The present instance has ended.
    pub(super) is_over: bool,
    /// The pod is being deleted.
    pub(super) is_deleted: bool,
    /// There is no such pod any more.
    pub(super) is_gone: bool,
    /// The node has removed the log for good if it says that it cannot give it.
    pub(super) is_log_lost: bool,
    /// There was a restart since, and the log of the instance before is there: it is needed too.
    pub(super) is_chained: bool,
}

impl Place {
    /// In the log of a container that begins with its instance `number`, of which `present` is the one that is now.
    pub(super) fn of(pod: &Pod, container: &str, number: u64, present: &Instance) -> Self {
        Self {
            pod: pod.name().to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: pod.spec.node_name.clone().unwrap_or_default(),
            number,
            present: present.number,
            is_over: present.ended.is_some(),
            is_deleted: pod.metadata.deletion_timestamp.is_some(),
            is_gone: false,
            is_log_lost: pods::is_log_lost(pod, container),
            is_chained: number < present.number && has_previous(pod, container, present),
        }
    }
}

impl PodLog {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, window: Window, previous: bool) -> Result<Box<LogReader>, Error> {
        self.open_since(window, previous, None).await
    }

    /// Opens a window; if it is not followed and both streams', it is checked that it goes to the log's end.
    async fn open_since(
        &self,
        window: Window,
        previous: bool,
        since: Option<Timestamp>,
    ) -> Result<Box<LogReader>, Error> {
        let last_alone = Window { last: NonZeroU64::new(1), follow: false };
        // One stream alone has no last record.
        let is_checked = !window.follow && window != last_alone && self.stream.is_none();
        let end = if is_checked {
            let last = window.last.map_or(LogEnd::RECORDS, |last| last.min(LogEnd::RECORDS));
            let mut reader = self.open_window(Window { last: Some(last), ..last_alone }, previous, None).await?;
            let mut end = None;
            while let Some(records) = next(reader.as_mut()).await? {
                end = LogEnd::behind(end, &records);
            }
            end.filter(|end| since.is_none_or(|since| !end.is_before(since)))
        } else {
            None
        };
        let mut reader = self.open_window(window, previous, since).await?;
        reader.is_to_reach(end);
        Ok(reader)
    }

    async fn open_window(
        &self,
        window: Window,
        previous: bool,
        since: Option<Timestamp>,
    ) -> Result<Box<LogReader>, Error> {
        if let Some(lease) = &self.lease {
            lease.check().await?;
        }
        let Place { pod, uid, is_over, present, is_log_lost, .. } = self.place().clone();
        let Window { last, follow } = window;
        let newest = self.newest.load(Ordering::Relaxed);
        // One stream alone has no tail.
        let of_stream = || self.stream.and(last).filter(|_| newest > 0).and_then(|_| before(newest, OVERLAP));
        let since = since.or_else(of_stream);
        let target = Target {
            namespace: &self.namespace,
            pod: &pod,
            container: &self.container,
            follow,
            previous,
            last: last.map(NonZeroU64::get),
            stream: self.stream,
            since,
        };
        // The head of one stream alone comes with its first line.
        let may_wait = follow && self.stream.is_some();
        let answer = self.cluster.open_log(target.text(), may_wait);
        let last_line = if !follow && (previous || is_over) { LastLine::Kept } else { LastLine::LeftOut };
        let stream = self.stream.unwrap_or(Stream::Stdout);
        let newest = Arc::clone(&self.newest);
        // What a kubelet does not show it minds all the same.
        let is_part = self.stream.is_some() || since.is_some();
        let run = match self.previous {
            Some(_) => self.run,
            None => RunId::of_instance(&uid, &self.container, present.saturating_sub(u64::from(previous))),
        };
        let what = What { run, stream, last_line, follow, is_part, max_read: self.buffer };
        let mut reader = Box::new(LogReader::open(answer, what, newest));
        if let Some(lease) = &self.lease {
            reader.ends_with(lease.clone(), follow);
        }
        let opened =
            if may_wait { timeout(GRACE, reader.opened()).await.unwrap_or(Ok(())) } else { reader.opened().await };
        let meaning = if is_log_lost { gone } else { refused };
        opened.map_err(|failure| meaning(failure, &pod, previous))?;
        if !follow && let Some(error) = reader.peek().await {
            return Err(if previous { taken_away(&self.container, error) } else { unreadable(error, is_log_lost) });
        }
        Ok(reader)
    }

    /// Whether the watch has seen a later instance than the one whose log is read as the present one's. That is the present one
    /// from now on.
    fn was_restarted(&self) -> bool {
        let Place { pod, uid, present, .. } = self.place().clone();
        let known = self.owner.inner.pods(&self.owner.scope).at_hand(&pod);
        let Some(pod) = known.filter(|pod| pod.metadata.uid.as_deref() == Some(uid.as_str())) else { return false };
        if Instance::present(&pod, &self.container).is_none_or(|instance| instance.number <= present) {
            return false;
        }
        self.state_of(&pod);
        true
    }

    async fn open_present(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        let is_chained = self.place().is_chained;
        if is_chained { self.open_chained(window).await } else { Ok(self.open(window, false).await?) }
    }

    /// The log of the instance before the present one, if there is one.
    async fn open_previous(&self, window: Window) -> Result<Option<Box<LogReader>>, Error> {
        match self.open(window, true).await {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.family == Family::PreviousLog => Ok(None),
            // The kubelet has taken it away meanwhile.
            Err(error) if matches!(LogError::of(&error), Some(LogError::Interrupted(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The log of the instance before, and the present one's behind it.
    async fn open_chained(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        if let Some(last) = window.last.filter(|last| last.get() <= MAX_COUNTED) {
            let mut reader = self.open(Window { follow: false, ..window }, false).await?;
            let mut count = 0;
            while let Some(records) = next(reader.as_mut()).await? {
                count += records.index.len() as u64;
            }
            if count >= last.get() {
                return Ok(self.open(window, false).await?);
            }
        }
        let first = self.open_previous(Window { follow: false, ..window }).await?;
        let second = self.open(Window { last: None, ..window }, false).await?;
        let first = first.map(|first| first as Box<dyn RecordReader>);
        Ok(Box::new(Chained { first, second, read: 0 }))
    }
}

/// So long before a time in nanoseconds since 1970.
fn before(time: i64, span: Duration) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(time)).ok()?.checked_sub(span).ok().filter(|time| time.as_second() > 0)
}

/// The same in place of the log of the instance before: its container is gone. A kubelet keeps one dead container of a container,
/// and the pod goes on to name the one that it removed when the present one died.
fn taken_away(container: &str, error: LogError) -> Error {
    let LogError::Interrupted(text) = &error else { return error.into_error() };
    tracing::info!(text, "a node does not have the log of the instance before");
    super::no_previous(container).caused_by(error)
}

/// What a kubelet reports in place of a log, in our own words: its own may be anything, and name paths of its node.
fn unreadable(error: LogError, is_log_lost: bool) -> Error {
    let LogError::Interrupted(text) = &error else { return error.into_error() };
    tracing::info!(text, "a node cannot give a container's log");
    if is_log_lost {
        return no_log().caused_by(error);
    }
    let text = "The node cannot give the container's log at the moment.";
    Error::new(Family::Logs, Kind::Unavailable, text).caused_by(error)
}

async fn next(reader: &mut dyn RecordReader) -> Result<Option<crate::logs::record::Records>, Error> {
    poll_fn(|cx| reader.poll_records(cx)).await.transpose().map_err(LogError::into_error)
}

#[async_trait]
impl Backend for PodLog {
    async fn read(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        if self.previous.is_some() {
            return Ok(self.open(Window { follow: false, ..window }, true).await?);
        }
        let reader = self.open_present(window).await?;
        // The container may have been restarted since its state was asked for: whose log this is is not known then.
        if !self.was_restarted() {
            return Ok(reader);
        }
        drop(reader);
        self.open_present(window).await
    }

    async fn read_since(&self, time: i64) -> Result<Option<Box<dyn RecordReader>>, Error> {
        let is_chained = self.place().is_chained;
        let Some(since) = before(time, LINE).filter(|_| !is_chained) else { return Ok(None) };
        let all = Window { last: None, follow: false };
        Ok(Some(self.open_since(all, self.previous.is_some(), Some(since)).await?))
    }

    async fn state(&self) -> Result<State, Error> {
        self.state_by(false).await
    }

    async fn state_now(&self) -> Result<State, Error> {
        self.state_by(true).await
    }

    fn run(&self) -> RunId {
        self.run
    }

    fn has_begun(&self, run: RunId) {
        let mut place = self.place();
        let numbers = place.number..=place.present;
        let is_it = |number: &u64| RunId::of_instance(&place.uid, &self.container, *number) == run;
        if let Some(number) = numbers.rev().take(MAX_BEGUN).find(is_it) {
            place.number = number;
            place.is_chained &= number < place.present;
        }
    }

    fn tells_streams(&self) -> bool {
        self.stream.is_some()
    }

    async fn fate(&self) -> Result<Fate, Error> {
        // An instance before the present one is not gone on with.
        let is_deleted = self.previous.is_none() && self.place().is_deleted;
        Ok(match is_deleted {
            false => Fate::Stays,
            true if self.owner.workload().await?.is_some() => Fate::IsReplaced,
            true => Fate::Goes,
        })
    }

    fn may_break_off(&self) -> bool {
        true
    }

    fn may_end_early(&self) -> bool {
        // Both streams' are checked as they are read.
        self.stream.is_some()
    }

    fn silence(&self) -> Option<Duration> {
        self.previous.is_none().then_some(SILENCE)
    }

    async fn look(&self) -> Result<(State, Option<Mark>), Error> {
        let node = self.place().node.clone();
        self.owner.inner.looks.look(&node, look(self)).await
    }

    fn drops_newlines(&self) -> bool {
        false
    }
}
