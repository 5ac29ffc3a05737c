//! A container's log as a backend for records.
//!
//! A kubelet gives the log of one instance of a container. When that was restarted while it was followed, the log of the instance
//! before is put in front of the present one's, so that what it has printed last is not lost.

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
use tokio::{sync::Semaphore, time::timeout};

use super::{
    lease::Lease,
    reader::{Chained, LogEnd, LogReader},
    refused,
    target::Target,
};
use crate::{
    error::Error,
    logs::{
        LogError,
        backend::{Backend, RecordReader, Start, State, Window, look},
        cursor::RunId,
        decode::kubelet::LastLine,
        record::{Mark, Stream},
    },
    runtime::kubernetes::{
        client::Cluster,
        objects::Pod,
        pods::{self, Instance},
        workload::failed,
    },
};

/// How long the API server may take to refuse one stream of a followed log before the answer begins without it.
const GRACE: Duration = Duration::from_millis(50);

/// Most records of the present instance that are counted to see whether the one before is needed too.
const MAX_COUNTED: u64 = 4096;

/// How far before the newest record one stream is read again, which has no tail.
const OVERLAP: Duration = Duration::from_secs(2);

/// How far before a time the log is read again that has it: a line is found by its first record.
const LINE: Duration = Duration::from_secs(1);

/// Most starts of instances that are remembered.
const MAX_STARTS: usize = 16;

/// How long a live read is silent before the log is looked at for the first time.
const SILENCE: Duration = Duration::from_secs(10);

/// How many silent logs are looked at in the same moment: thousands may fall silent together.
static LOOKS: Semaphore = Semaphore::const_new(4);

/// The log of one container of a sandbox.
pub(super) struct PodLog {
    pub(super) cluster: Cluster,
    pub(super) namespace: Arc<str>,
    /// The sandbox, if its pods bear its id: one that is replaced is looked for by it.
    pub(super) labelled: Option<String>,
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
    /// The number of the instance with which it began.
    pub(super) number: u64,
    /// The present instance has ended.
    pub(super) is_over: bool,
    /// The pod is being deleted.
    pub(super) is_deleted: bool,
    /// There was a restart since: the log of the instance before is needed too.
    pub(super) is_chained: bool,
    /// When instances were started, by pod and number: the same each time it is asked for.
    pub(super) starts: Vec<((String, u64), Start)>,
}

impl PodLog {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the container does by its pod, which is the one that is read.
    pub(super) async fn state_of(&self, pod: &Pod) -> Result<State, Error> {
        let Some(instance) = Instance::present(pod, &self.container) else { return Ok(State::Created) };
        let is_chained = {
            let mut place = self.place();
            place.is_over = instance.ended.is_some();
            place.is_deleted = pod.metadata.deletion_timestamp.is_some();
            place.is_chained |= instance.number > place.number;
            place.is_chained
        };
        let start = self.start_of(&instance, is_chained).await?;
        Ok(instance.state(start))
    }

    /// When an instance was started. The cluster tells whole seconds: what the one before has printed last tells more.
    async fn start_of(&self, instance: &Instance, is_chained: bool) -> Result<Option<Start>, Error> {
        let Some(at) = instance.started_at else { return Ok(None) };
        let key = {
            let place = self.place();
            let key = (place.uid.clone(), instance.number);
            if let Some((_, start)) = place.starts.iter().find(|(other, _)| *other == key) {
                return Ok(Some(*start));
            }
            key
        };
        let start = if instance.number == 0 {
            Start { at, previous_end: None }
        } else {
            match if is_chained { self.last_of_previous().await? } else { None } {
                Some(last) => Start { at: at.max(last.saturating_add(2)), previous_end: Some(last) },
                // Nothing in front of it is this instance's.
                None => Start { at, previous_end: Some(at) },
            }
        };
        let mut place = self.place();
        if place.starts.len() == MAX_STARTS {
            place.starts.remove(0);
        }
        place.starts.push((key, start));
        Ok(Some(start))
    }

    /// The time of the last record of the instance before, if it has one.
    async fn last_of_previous(&self) -> Result<Option<i64>, Error> {
        let window = Window { last: NonZeroU64::new(1), follow: false };
        let Some(mut reader) = self.open_previous(window).await? else { return Ok(None) };
        let mut last = None;
        while let Some(records) = next(reader.as_mut()).await? {
            last = records.index.last().map(|record| record.place.time).or(last);
        }
        Ok(last)
    }

    /// The pod is gone: another one may be the sandbox's now.
    async fn replaced(&self) -> Result<State, Error> {
        let Some(id) = &self.labelled else { return Ok(State::Removed) };
        let found = pods::labelled(&self.cluster, &self.namespace, id).await;
        let found = found.map_err(|failure| failed(failure, "Failed to read the sandbox's pod"))?;
        let Some(pod) = pods::present(found) else { return Ok(State::Removed) };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let Some(instance) = Instance::present(&pod, &self.container) else { return Ok(State::Removed) };
        {
            let mut place = self.place();
            *place = Place {
                pod: pod.name().to_owned(),
                uid,
                number: instance.number,
                is_over: instance.ended.is_some(),
                is_deleted: pod.metadata.deletion_timestamp.is_some(),
                is_chained: false,
                starts: Vec::new(),
            };
        }
        let start = self.start_of(&instance, false).await?;
        // All that is there is of another run.
        let start = start.map(|start| Start { previous_end: Some(start.at), ..start });
        Ok(instance.state(start))
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
            let mut reader = self.open_window(last_alone, previous, None).await?;
            let mut end = None;
            while let Some(records) = next(reader.as_mut()).await? {
                end = LogEnd::of(&records).or(end);
            }
            end
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
        let Place { pod, is_over, .. } = self.place().clone();
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
        let mut reader = Box::new(LogReader::open(answer, stream, last_line, follow, self.buffer, newest));
        if let Some(lease) = self.lease.as_ref().filter(|_| follow) {
            reader.ends_with(lease.clone());
        }
        let opened =
            if may_wait { timeout(GRACE, reader.opened()).await.unwrap_or(Ok(())) } else { reader.opened().await };
        opened.map_err(|failure| refused(failure, &pod, previous))?;
        if !follow && let Some(error) = reader.peek().await {
            return Err(error.into_error());
        }
        Ok(reader)
    }

    /// The log of the instance before the present one, if there is one.
    async fn open_previous(&self, window: Window) -> Result<Option<Box<LogReader>>, Error> {
        match self.open(window, true).await {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.family == crate::error::Family::PreviousLog => Ok(None),
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

async fn next(reader: &mut dyn RecordReader) -> Result<Option<crate::logs::record::Records>, Error> {
    poll_fn(|cx| reader.poll_records(cx)).await.transpose().map_err(LogError::into_error)
}

#[async_trait]
impl Backend for PodLog {
    async fn read(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        if self.previous.is_some() {
            return Ok(self.open(Window { follow: false, ..window }, true).await?);
        }
        let is_chained = self.place().is_chained;
        if is_chained { self.open_chained(window).await } else { Ok(self.open(window, false).await?) }
    }

    async fn read_since(&self, time: i64) -> Result<Option<Box<dyn RecordReader>>, Error> {
        let is_chained = self.place().is_chained;
        let Some(since) = before(time, LINE).filter(|_| !is_chained) else { return Ok(None) };
        let all = Window { last: None, follow: false };
        Ok(Some(self.open_since(all, self.previous.is_some(), Some(since)).await?))
    }

    async fn state(&self) -> Result<State, Error> {
        if let Some(state) = self.previous {
            return Ok(state);
        }
        if let Some(lease) = &self.lease
            && !lease.holds().await?
        {
            return Ok(State::Removed);
        }
        let Place { pod, uid, .. } = self.place().clone();
        let found = pods::named(&self.cluster, &self.namespace, &pod).await;
        match found.map_err(|failure| failed(failure, "Failed to read the sandbox's pod"))? {
            Some(pod) if pod.metadata.uid.as_deref() == Some(uid.as_str()) => self.state_of(&pod).await,
            Some(_) | None => self.replaced().await,
        }
    }

    fn run(&self) -> RunId {
        self.run
    }

    fn tells_streams(&self) -> bool {
        self.stream.is_some()
    }

    fn is_being_removed(&self) -> bool {
        self.place().is_deleted
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
        // It is never closed.
        let _looks = LOOKS.acquire().await;
        look(self).await
    }

    fn drops_newlines(&self) -> bool {
        false
    }
}
