//! A backend in memory that does what engines do to a log.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use proptest::prelude::*;
use tokio::time::{Sleep, sleep};

use crate::{
    error::{Error, Family, Kind},
    logs::{
        LogError,
        backend::{Backend, Exit, Fate, RecordReader, State, Window},
        cursor::RunId,
        record::{Ordinals, Record, Records, Stream},
    },
};

/// A record as it was printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) stream: Stream,
    pub(super) time: i64,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Printed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{} {:?}", &self.stream.name()[3..], self.time, String::from_utf8_lossy(&self.bytes))
    }
}

impl Printed {
    pub(super) fn new(stream: Stream, time: i64, text: &str) -> Self {
        Self { stream, time, bytes: text.as_bytes().to_vec() }
    }
}

/// What happens to a log between two reads.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Nothing,
    Print(Vec<Printed>),
    /// Only so many records stay.
    Rotate(usize),
    /// Another run is in this state, and has printed.
    Restart(State, Vec<Printed>),
}

/// What happens to the reads of a log.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// They end, or break.
    Cut(bool),
    /// Nothing for so many milliseconds.
    Pause(u64),
    /// They break, and none can be begun for so many milliseconds.
    Refuse(u64),
}

pub(super) fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        2 => any::<bool>().prop_map(Trouble::Cut),
        2 => (0_u64..1_500).prop_map(Trouble::Pause),
        1 => (0_u64..5_000).prop_map(Trouble::Refuse),
    ]
}

#[derive(Debug)]
struct Inner {
    printed: Vec<Printed>,
    /// How many were rotated away.
    gone: usize,
    state: State,
    /// How often the connections were cut, and whether the last cut looked like an end.
    cuts: usize,
    is_clean: bool,
    refuses: Option<Kind>,
    /// A window has at most so many records.
    most: Option<usize>,
    /// How many records the batches have, in turns.
    batches: Vec<usize>,
    windows: Vec<Window>,
    /// What happens before the next reads begin, one after the other.
    before_reads: VecDeque<Change>,
    wakers: Vec<Waker>,
    /// The next read of all that there is ends behind so many records.
    cut_short: Option<usize>,
    /// That end is a break.
    is_broken: bool,
    /// That one has only so many bytes of its last record.
    cut_within: Option<usize>,
    /// Reads are interrupted before they begin.
    has_no_log: bool,
    /// Reads are refused: it has removed the log.
    is_removed: bool,
    /// A clean end may be a cut.
    may_end_early: bool,
    /// Live reads are interrupted as soon as they have given what there is.
    is_unfollowable: bool,
    /// Live reads that were begun before so many of them give nothing more, not even an end.
    silenced: usize,
    live: usize,
    /// With which records runs after the first begin, if they have names.
    runs: Option<Vec<usize>>,
    /// So many runs it is behind in what it takes records for.
    lag: u64,
    fate: Fate,
    /// Reads are refused, after so long.
    slow_refusal: Option<Duration>,
    /// Reads give nothing for so long.
    delay: Option<Duration>,
    /// As [`Backend::silence`].
    silence: Option<Duration>,
}

/// A log that the test changes while it is read.
#[derive(Debug)]
pub(super) struct Script(Mutex<Inner>);

impl Script {
    pub(super) fn new(printed: Vec<Printed>, batches: Vec<usize>, state: State) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            printed,
            gone: 0,
            state,
            cuts: 0,
            is_clean: true,
            refuses: None,
            most: None,
            batches,
            windows: Vec::new(),
            before_reads: VecDeque::new(),
            wakers: Vec::new(),
            cut_short: None,
            is_broken: false,
            cut_within: None,
            has_no_log: false,
            is_removed: false,
            may_end_early: false,
            is_unfollowable: false,
            silenced: 0,
            live: 0,
            runs: None,
            lag: 0,
            fate: Fate::Stays,
            slow_refusal: None,
            delay: None,
            silence: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner();
        change(&mut inner);
        inner.wakers.drain(..).for_each(Waker::wake);
    }

    pub(super) fn print(&self, printed: &[Printed]) {
        self.change(|inner| inner.printed.extend_from_slice(printed));
    }

    /// Only the last `left` records stay.
    pub(super) fn rotate(&self, left: usize) {
        self.change(|inner| inner.gone = inner.gone.max(inner.printed.len().saturating_sub(left)));
    }

    /// Only the last `left` records stay, and what is left of a line has another time: its own.
    pub(super) fn rotate_within_a_line(&self, left: usize, time: i64) {
        self.rotate(left);
        self.change(|inner| {
            let gone = inner.gone;
            for record in &mut inner.printed[gone..] {
                record.time = time;
                if record.bytes.ends_with(b"\n") {
                    break;
                }
            }
        });
    }

    /// A backend whose clean ends may be cuts gives the log of a new run only, of which it does not tell yet; or all of it again.
    pub(super) fn hide_old_run(&self, is_hidden: bool) {
        self.change(|inner| {
            (inner.gone, inner.may_end_early) = (if is_hidden { inner.printed.len() } else { 0 }, true);
        });
    }

    pub(super) fn before_reads(&self, changes: impl IntoIterator<Item = Change>) {
        self.inner().before_reads.extend(changes);
    }

    pub(super) fn cut(&self, is_clean: bool) {
        self.change(|inner| (inner.cuts, inner.is_clean) = (inner.cuts + 1, is_clean));
    }

    pub(super) fn set_state(&self, state: State) {
        self.change(|inner| inner.state = state);
    }

    pub(super) fn refuse(&self, kind: Option<Kind>) {
        self.change(|inner| inner.refuses = kind);
    }

    pub(super) async fn trouble(&self, trouble: Trouble) {
        match trouble {
            Trouble::Cut(is_clean) => self.cut(is_clean),
            Trouble::Pause(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            Trouble::Refuse(milliseconds) => {
                self.refuse(Some(Kind::Unavailable));
                self.cut(false);
                sleep(Duration::from_millis(milliseconds)).await;
                self.refuse(None);
            }
        }
    }

    pub(super) fn damage(&self, most: usize) {
        self.change(|inner| inner.most = Some(most));
    }

    /// The next read of all that there is seems to end behind so many records.
    pub(super) fn cut_short(&self, records: usize) {
        self.change(|inner| (inner.cut_short, inner.may_end_early) = (Some(records), true));
    }

    /// The next read of all that there is breaks off behind so many records.
    pub(super) fn break_off(&self, records: usize) {
        self.cut_short(records);
        self.inner().is_broken = true;
    }

    /// Live reads that are open give nothing more. It is looked after such from now on, when there was nothing for `silence`.
    pub(super) fn fall_silent(&self, silence: Duration) {
        self.change(|inner| (inner.silenced, inner.silence) = (inner.live, Some(silence)));
    }

    pub(super) fn watch(&self, silence: Duration) {
        self.change(|inner| inner.silence = Some(silence));
    }

    /// The next read of all that there is seems to end in the middle of a record.
    pub(super) fn cut_within(&self, records: usize, bytes: usize) {
        self.cut_short(records);
        self.change(|inner| inner.cut_within = Some(bytes));
    }

    /// A clean end may be a cut.
    pub(super) fn doubt_ends(&self) {
        self.change(|inner| inner.may_end_early = true);
    }

    pub(super) fn lose_log(&self, is_lost: bool) {
        self.change(|inner| inner.has_no_log = is_lost);
    }

    /// It says that the log is gone for good; or no more.
    pub(super) fn remove_log(&self, is_removed: bool) {
        self.change(|inner| inner.is_removed = is_removed);
    }

    /// Runs have names, and those after the first begin with these records. It takes records for those of a run so many before.
    pub(super) fn name_runs(&self, begin: &[usize], lag: u64) {
        self.change(|inner| (inner.runs, inner.lag) = (Some(begin.to_vec()), lag));
    }

    /// Reads, and nothing else, are refused after so long; or no more.
    pub(super) fn refuse_reads(&self, after: Option<Duration>) {
        self.inner().slow_refusal = after;
    }

    /// Reads that begin from now on give nothing for so long.
    pub(super) fn delay_reads(&self, delay: Duration) {
        self.inner().delay = Some(delay);
    }

    pub(super) fn set_followable(&self, is_followable: bool) {
        self.change(|inner| inner.is_unfollowable = !is_followable);
    }

    pub(super) fn exit(&self, code: i64) {
        self.set_state(State::Ended { exit: Exit { code: Some(code), ..Exit::default() }, started: None });
    }

    pub(super) fn set_fate(&self, fate: Fate) {
        self.inner().fate = fate;
    }

    /// The windows that were read so far, which are forgotten then.
    pub(super) fn windows(&self) -> Vec<Window> {
        std::mem::take(&mut self.inner().windows)
    }
}

/// The name of a run, the first being 0.
pub(super) fn named_run(number: u64) -> RunId {
    RunId::of_instance("uid", "main", number)
}

fn refusal(kind: Kind) -> Error {
    let mut error = Error::new(Family::Logs, kind, "refused");
    error.retry_after = (kind == Kind::Overloaded).then_some(Duration::from_secs(5));
    error
}

#[async_trait]
impl Backend for Arc<Script> {
    async fn read(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        let refusal_after = self.inner().slow_refusal;
        if let Some(after) = refusal_after {
            sleep(after).await;
            return Err(refusal(Kind::Unavailable));
        }
        let mut inner = self.inner();
        inner.windows.push(window);
        if let Some(kind) = inner.refuses {
            return Err(refusal(kind));
        }
        if inner.is_removed {
            return Err(refusal(Kind::NotFound));
        }
        if inner.has_no_log {
            return Err(LogError::Interrupted("it has no log".to_owned()).into_error());
        }
        match inner.before_reads.pop_front() {
            None | Some(Change::Nothing) => {}
            Some(Change::Print(printed)) => inner.printed.extend(printed),
            Some(Change::Restart(state, printed)) => {
                inner.state = state;
                inner.printed.extend(printed);
            }
            Some(Change::Rotate(left)) => inner.gone = inner.gone.max(inner.printed.len().saturating_sub(left)),
        }
        let len = inner.printed.len();
        let last = window.last.map(|last| usize::try_from(last.get()).unwrap_or(usize::MAX));
        let last = last.map(|last| last.min(inner.most.unwrap_or(usize::MAX)));
        let at = len.saturating_sub(last.unwrap_or(usize::MAX)).max(inner.gone);
        let mut within = None;
        let mut end = (!window.follow).then_some(len);
        let mut breaks = false;
        if window == (Window { last: None, follow: false })
            && let Some(most) = inner.cut_short.take()
        {
            end = Some(len.min(at + most));
            breaks = std::mem::take(&mut inner.is_broken);
            within = inner.cut_within.take();
        }
        let cuts = inner.cuts;
        inner.live += usize::from(window.follow);
        let live = if window.follow { inner.live } else { usize::MAX };
        let ordinals = Ordinals::default();
        Ok(Box::new(Reader {
            script: Arc::clone(self),
            at,
            end,
            cuts,
            live,
            breaks,
            ordinals,
            batch: at,
            read: 0,
            within,
            delay: inner.delay.map(|delay| Box::pin(sleep(delay))),
        }))
    }

    async fn state(&self) -> Result<State, Error> {
        let inner = self.inner();
        match inner.refuses {
            None => Ok(inner.state),
            Some(Kind::NotFound) => Ok(State::Removed),
            Some(kind) => Err(refusal(kind)),
        }
    }

    async fn fate(&self) -> Result<Fate, Error> {
        Ok(self.inner().fate)
    }

    fn run(&self) -> RunId {
        if self.inner().runs.is_some() { named_run(0) } else { RunId::of("0123456789abcdef") }
    }

    fn may_end_early(&self) -> bool {
        self.inner().may_end_early
    }

    fn silence(&self) -> Option<Duration> {
        self.inner().silence
    }

    fn drops_newlines(&self) -> bool {
        false
    }
}

struct Reader {
    script: Arc<Script>,
    at: usize,
    end: Option<usize>,
    cuts: usize,
    /// Its end is none.
    breaks: bool,
    /// Which of the live reads it is.
    live: usize,
    ordinals: Ordinals,
    batch: usize,
    read: u64,
    within: Option<usize>,
    delay: Option<Pin<Box<Sleep>>>,
}

impl RecordReader for Reader {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Records, LogError>>> {
        if let Some(delay) = &mut self.delay {
            ready!(delay.as_mut().poll(cx));
            self.delay = None;
        }
        let script = Arc::clone(&self.script);
        let mut inner = script.inner();
        if self.live <= inner.silenced {
            inner.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        if self.end.is_none() && self.cuts != inner.cuts {
            let broken = || LogError::Disconnected(io::ErrorKind::ConnectionReset.into());
            return Poll::Ready((!inner.is_clean).then(|| Err(broken())));
        }
        // An engine goes on behind what was rotated, and tells nothing.
        self.at = self.at.max(inner.gone);
        let end = self.end.unwrap_or(inner.printed.len());
        if self.at < end {
            self.batch += 1;
            let size = inner.batches[self.batch % inner.batches.len()].max(1);
            let starts = inner.runs.as_deref();
            let next = starts.and_then(|starts| starts.iter().copied().find(|start| *start > self.at));
            let to = end.min(self.at + size).min(next.unwrap_or(usize::MAX));
            let number = |starts: &[usize]| starts.iter().filter(|start| **start <= self.at).count() as u64;
            let run = starts.map(|starts| named_run(number(starts).wrapping_sub(inner.lag)));
            let (mut buf, mut index) = (BytesMut::new(), Vec::new());
            for (at, Printed { stream, time, bytes }) in inner.printed[self.at..to].iter().enumerate() {
                let start = buf.len() as u32;
                let is_last = self.end == Some(self.at + at + 1);
                let most = self.within.filter(|_| is_last).unwrap_or(usize::MAX);
                buf.extend_from_slice(&bytes[..bytes.len().min(most)]);
                let place = self.ordinals.place(*stream, *time);
                index.push(Record { stream: *stream, place, start, end: buf.len() as u32 });
            }
            self.at = to;
            self.read += buf.len() as u64;
            return Poll::Ready(Some(Ok(Records { buf: buf.freeze(), index, run })));
        }
        if self.breaks {
            let broken = LogError::Disconnected(io::ErrorKind::ConnectionReset.into());
            return Poll::Ready(Some(Err(broken)));
        }
        if self.end.is_some() || !matches!(inner.state, State::Running { .. }) {
            return Poll::Ready(None);
        }
        if inner.is_unfollowable {
            return Poll::Ready(Some(Err(LogError::Interrupted("it cannot be watched".to_owned()))));
        }
        inner.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}
