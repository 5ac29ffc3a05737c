//! A log as an exact stream of records: begun at the right one, and gone on with behind the last one whatever is cut between.
//!
//! Places are found by records, never by times alone (log-api.md §8). An engine reads the end of a log at once, but scans all of
//! it for a time. So a place is looked for in the last 256 records, then in more, and in the whole log only if it must be. An
//! engine is never asked for a time; a cluster is, which cannot be asked for a place.

mod attach;
mod begin;
mod count;
mod flow;
mod known;
mod late;
mod live;
mod locate;
mod pieces;
mod removed;
mod restarts;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tokio_util::sync::ReusableBoxFuture;

use self::{known::Known, pieces::Pieces, removed::Removed};
use super::{
    LogError, LogQuery,
    backend::{Backend, Exit, RecordReader, Start, State},
    cursor::{Cursor, RunId},
    held::Share,
    piece::{End, Gap, GapReason, Notice, Piece, PieceSource, Reason},
    record::{Mark, Place, Records},
};
use crate::{
    backoff::Backoff,
    error::{Error, Family, Kind},
};

/// How many records a live read begins with at first, among which the last known one is found.
const FIRST_ATTACH: u64 = 64;

/// How often a log is asked for what is new that cannot be followed.
const LIVE_POLL: Duration = Duration::from_secs(1);

/// How long the beginning of a followed log may be looked for before the answer begins without it.
const BEGIN_GRACE: Duration = Duration::from_millis(50);

/// How long a log is said to be gone for good before that is taken for true. A node whose containers' runtime is being started
/// again says of an evicted pod's log, which is still there, what it says of one that it has removed.
const GONE_GRACE: Duration = Duration::from_secs(5);

/// How long after its `until` a followed log is ended: records of that time may still be under way.
const UNTIL_GRACE: Duration = Duration::from_millis(250);

/// A log as records. Dropping it releases the backend at once.
pub struct RecordSource {
    step: ReusableBoxFuture<'static, (Box<Machine>, Step)>,
    run: RunId,
    drops_newlines: bool,
    tells_streams: bool,
    /// Comes first.
    notice: Option<Notice>,
    read: u64,
}

type Step = Result<Option<Piece>, LogError>;

struct Machine {
    backend: Arc<dyn Backend>,
    follow: bool,
    restarts: bool,
    /// It was to be followed up to a time that is over.
    is_over: bool,
    /// That time is over, whether it was to be followed or had ended.
    is_past: bool,
    /// How long a broken read is tried to be gone on with.
    reconnect: Duration,
    /// What was read and not handed out.
    ready: VecDeque<Piece>,
    /// What `ready` may hold.
    share: Share,
    reader: Option<Box<dyn RecordReader>>,
    /// The reader follows.
    is_live: bool,
    /// As [`Backend::repeats`].
    repeats: bool,
    /// The last record of the log that was seen.
    last: Option<Mark>,
    /// The pieces of the last line, of a backend whose reads may begin within one.
    pieces: Pieces,
    /// The next records are the rest of the line that was begun at this time.
    joined: Option<i64>,
    /// The place of each stream's last record that was seen.
    places: [Option<Place>; 2],
    /// For each stream: the time that goes on behind the last record, and the next number in it. A window does not know it.
    numbers: [Option<Place>; 2],
    /// Records of the present read that are not known are left out.
    known: Option<Known>,
    /// Of which run the backend said that the record was which was looked for last.
    found_run: Option<RunId>,
    /// What was counted ends with this record: the rest was printed since.
    stop_at: Option<Mark>,
    /// The whole log was short when a place was looked for in it.
    is_small: bool,
    /// Until this record has come, only those of the other stream are asked for.
    until_mark: Option<(Mark, bool)>,
    /// The present run.
    run: RunId,
    /// When it began.
    started: Option<Start>,
    /// Another run, whose records come behind the present one's.
    next_run: Option<Start>,
    /// Not started yet when it was opened.
    was_created: bool,
    /// The live read was lost: the process may be another one.
    may_be_restarted: bool,
    /// The process has ended, and its log is through: the next run is waited for.
    waits: bool,
    /// The process is gone, and its log was not read to the end.
    is_rest_lost: bool,
    /// The process is gone, and its log was read to the end.
    is_whole: bool,
    /// The next run has begun.
    is_run_over: bool,
    /// The process has ended: what is read now is the rest.
    exit: Option<Exit>,
    /// The last record of the log when a live read was found to have fallen silent.
    looked: Option<Mark>,
    /// When a followed log with an `until` ends.
    deadline: Option<Instant>,
    attach_records: u64,
    /// How long those may take.
    attach_time: Duration,
    attached_at: Instant,
    /// The live read has given all that was there when it was begun.
    is_caught_up: bool,
    /// How long nobody took what was read, since the reader had nothing more to give.
    stalled: Duration,
    /// When the backend was lost.
    lost: Option<Instant>,
    /// How long after that it was told for the first time that the process has ended.
    end_told: Option<Duration>,
    /// When it was said for the first time after that that the log is gone for good.
    gone: Option<Instant>,
    /// How long it was waited for since, because too much was asked of it. That is not counted as lost.
    waited: Duration,
    pauses: Backoff,
    /// It told an end, though the sandbox runs.
    was_clean: bool,
    /// It cannot go on with live reads: what comes is asked for again and again.
    polls: bool,
    /// As [`Backend::may_end_early`]; until an end was looked at again.
    may_end_early: bool,
    /// The last record of a read that may not have ended where the log does, without a newline.
    held_back: Option<Records>,
    /// The read that was not live has ended, and that is to be looked at again.
    is_to_be_checked: bool,
    handed_at: Instant,
    is_ended: bool,
    /// Bytes of the readers before.
    read: u64,
}

impl RecordSource {
    /// Opens what `query` asks for of a log whose sandbox is in this `state`. A broken read is tried to be gone on with for
    /// `reconnect`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn open(
        backend: Arc<dyn Backend>,
        query: &LogQuery,
        state: State,
        reconnect: Duration,
    ) -> Result<Self, Error> {
        let (run, drops_newlines) = (backend.run(), backend.drops_newlines());
        let tells_streams = backend.tells_streams();
        let machine = Box::new(Machine::new(backend, query, state, reconnect));
        if !machine.follow {
            let (machine, begun) = machine.begun(query, state).await;
            begun?;
            return Ok(Self {
                read: machine.bytes_read(),
                step: ReusableBoxFuture::new(machine.step()),
                run,
                drops_newlines,
                tells_streams,
                notice: None,
            });
        }
        // Who follows is answered at once, though a place is looked for in a large log for longer.
        let (query, again) = (query.clone(), query.clone());
        let mut begun = Box::pin(async move { machine.begun(&query, state).await });
        let step = match timeout(BEGIN_GRACE, &mut begun).await {
            Ok((machine, Ok(()))) => ReusableBoxFuture::new(machine.step()),
            Ok((_, Err(error))) => return Err(error),
            Err(_) => ReusableBoxFuture::new(async move {
                let (machine, begun) = begun.await;
                match Box::pin(machine.begun_at_last(&again, state, begun)).await {
                    (machine, Ok(())) => machine.step().await,
                    (machine, Err(error)) => (machine, Err(error)),
                }
            }),
        };
        Ok(Self { read: 0, step, run, drops_newlines, tells_streams, notice: None })
    }

    /// The same, which begins with `notice`.
    #[must_use]
    pub fn with_notice(self, notice: Notice) -> Self {
        Self { notice: Some(notice), ..self }
    }

    /// What is left for who comes back with `after` when the sandbox is gone: a gap, since what it printed behind that is not known,
    /// and the end.
    pub fn removed(after: &Cursor) -> Self {
        let backend = Arc::new(Removed(after.run));
        let mut machine = Box::new(Machine::new(backend, &LogQuery::ALL, State::Removed, Duration::ZERO));
        machine.gap(GapReason::CursorExpired, after.mark.map(|mark| mark.place.time), None);
        machine.end(End::of(Reason::Removed));
        Self {
            read: 0,
            step: ReusableBoxFuture::new(machine.step()),
            run: after.run,
            drops_newlines: false,
            tells_streams: true,
            notice: None,
        }
    }

    /// Whether nothing will come behind `after`: it is the token of an end, and the sandbox is still as it was then.
    pub fn is_over(after: &Cursor, run: RunId, state: State) -> bool {
        let is_same_end = match state {
            State::Ended { started, .. } => match started.and_then(|started| started.run) {
                Some(run) => run == after.run,
                None => {
                    let begins = started.map(Start::first_time);
                    begins.zip(after.mark).is_none_or(|(begins, mark)| mark.place.time >= begins)
                }
            },
            State::Removed => true,
            State::Running { .. } | State::Created | State::Replacing => false,
        };
        after.ended && after.run == run && is_same_end
    }
}

impl PieceSource for RecordSource {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, LogError>>> {
        if let Some(notice) = self.notice.take() {
            return Poll::Ready(Some(Ok(Piece::Notice(notice))));
        }
        let (machine, step) = ready!(self.step.poll(cx));
        self.read = machine.bytes_read();
        self.step.set(machine.step());
        Poll::Ready(step.transpose())
    }

    fn run(&self) -> RunId {
        self.run
    }

    fn drops_newlines(&self) -> bool {
        self.drops_newlines
    }

    fn tells_streams(&self) -> bool {
        self.tells_streams
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}

impl Machine {
    fn new(backend: Arc<dyn Backend>, query: &LogQuery, state: State, reconnect: Duration) -> Self {
        let left = query.until.map(|until| until.duration_since(Timestamp::now()));
        let mut follow = query.follow && left.is_none_or(|left| left.is_positive());
        let exit = match state {
            State::Ended { exit, .. } if query.follow && !query.restarts => Some(exit),
            State::Running { .. } | State::Created | State::Ended { .. } | State::Replacing | State::Removed => None,
        };
        follow &= exit.is_none();
        // What has ended is followed if another one comes in its place.
        let left =
            left.filter(|left| query.follow && left.is_positive()).and_then(|left| Duration::try_from(left).ok());
        let now = Instant::now();
        let may_end_early = backend.may_end_early();
        Self {
            repeats: backend.repeats(),
            run: backend.run(),
            backend,
            follow,
            restarts: query.restarts,
            is_over: query.follow && !follow && exit.is_none(),
            is_past: query.until.is_some_and(|until| until <= Timestamp::now()),
            reconnect,
            ready: VecDeque::new(),
            share: Share::default(),
            reader: None,
            is_live: false,
            last: None,
            pieces: Pieces::default(),
            joined: None,
            places: [None; 2],
            numbers: [None; 2],
            known: None,
            found_run: None,
            stop_at: None,
            is_small: false,
            until_mark: None,
            started: match state {
                State::Running { started } | State::Ended { started, .. } => started,
                State::Created | State::Replacing | State::Removed => None,
            },
            next_run: None,
            was_created: state == State::Created,
            may_be_restarted: false,
            waits: false,
            is_rest_lost: false,
            is_whole: false,
            is_run_over: false,
            exit,
            looked: None,
            // A time too far away to be told is never reached.
            deadline: left.and_then(|left| now.checked_add(left.saturating_add(UNTIL_GRACE))),
            attach_records: FIRST_ATTACH,
            attach_time: attach::ATTACH_TIMEOUT,
            attached_at: now,
            is_caught_up: false,
            stalled: Duration::ZERO,
            lost: None,
            waited: Duration::ZERO,
            end_told: None,
            gone: None,
            pauses: live::PAUSES,
            was_clean: false,
            polls: false,
            may_end_early,
            held_back: None,
            is_to_be_checked: false,
            handed_at: now,
            is_ended: false,
            read: 0,
        }
    }

    fn bytes_read(&self) -> u64 {
        self.read + self.reader.as_ref().map_or(0, |reader| reader.bytes_read())
    }

    fn drop_reader(&mut self) {
        self.read = self.bytes_read();
        self.reader = None;
        self.is_live = false;
        self.known = None;
    }

    fn gap(&mut self, reason: GapReason, after: Option<i64>, before: Option<i64>) {
        self.ready.push_back(Piece::Gap(Gap { reason, after, before, lines: None }));
    }

    fn end(&mut self, end: End) {
        self.drop_reader();
        self.ready.push_back(Piece::End(end));
        self.is_ended = true;
    }
}

/// Whether it says that the log is gone for good, though its sandbox is there. What says so once may be wrong: [`GONE_GRACE`].
fn is_gone(error: &Error) -> bool {
    error.key() == (Family::Logs, Kind::NotFound)
}

/// The records from the `at`-th on.
fn from(mut records: Records, at: usize) -> Records {
    records.index.drain(..at);
    records
}

/// The next records of a read while a place is looked for.
async fn next_records(reader: &mut dyn RecordReader) -> Result<Option<Records>, Error> {
    poll_fn(|cx| reader.poll_records(cx)).await.transpose().map_err(LogError::into_error)
}
