//! What a runtime gives of one sandbox's log: reads of it, and how the sandbox does.
//!
//! [`super::record_source::RecordSource`] makes a stream of it that is exact.

use std::{
    future::poll_fn,
    num::NonZeroU64,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    LogError,
    cursor::RunId,
    record::{Mark, Records},
};
use crate::error::Error;

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The last so many records, of both streams and whatever their times; all that there are if absent. A backend whose log is
    /// damaged may give fewer.
    pub last: Option<NonZeroU64>,
    /// Go on with what is printed, until the sandbox ends.
    pub follow: bool,
}

/// One sandbox's log.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Begins to read.
    ///
    /// Of a log that is followed it answers soon, also when there is nothing to read for hours. One that is not followed may
    /// take as long as its backend does.
    ///
    /// # Errors
    /// There is no such log any more ([`crate::error::Kind::NotFound`], of [`crate::error::Family::Logs`] if that is for good and
    /// its sandbox is there), or it cannot be read (now).
    async fn read(&self, window: Window) -> Result<Box<dyn RecordReader>, Error>;

    /// All records of `time` (in nanoseconds since 1970) and later, and perhaps some before, up to the log's present end. None if
    /// that is no cheaper than more of the last records.
    ///
    /// # Errors
    /// As those of [`Self::read`].
    async fn read_since(&self, _time: i64) -> Result<Option<Box<dyn RecordReader>>, Error> {
        Ok(None)
    }

    /// How the sandbox's main process does.
    ///
    /// # Errors
    /// The backend cannot be asked. A sandbox that is gone is no error.
    async fn state(&self) -> Result<State, Error>;

    /// The same as it is in this moment: [`Self::state`] may answer what was true a moment ago.
    ///
    /// # Errors
    /// As those of [`Self::state`].
    async fn state_now(&self) -> Result<State, Error> {
        self.state().await
    }

    /// The run whose log this is.
    fn run(&self) -> RunId;

    /// Records of this run came: those of runs before it are not asked for any more.
    fn has_begun(&self, _run: RunId) {}

    /// Whether a live read may give records again that came before, while the log is rotated. Each line of such a log has a time of
    /// its own.
    fn repeats(&self) -> bool {
        false
    }

    /// Whether records tell their streams. If not, all are said to be of the standard output, and clients are told of no stream.
    fn tells_streams(&self) -> bool {
        true
    }

    /// What becomes of what has ended, as [`Self::state`] told last.
    ///
    /// # Errors
    /// The backend cannot be asked.
    async fn fate(&self) -> Result<Fate, Error> {
        Ok(Fate::Stays)
    }

    /// Whether a read that is not live may break off, and another one is to go on with it: what is between the backend and here
    /// comes and goes.
    fn may_break_off(&self) -> bool {
        self.may_end_early()
    }

    /// Whether a read that is not live may end properly before the log does, and that must be looked after.
    fn may_end_early(&self) -> bool {
        false
    }

    /// How long a live read may be silent before it is looked whether it has fallen silent though the log goes on, or though the
    /// sandbox has ended. None if that does not happen.
    fn silence(&self) -> Option<Duration> {
        None
    }

    /// How the sandbox does, and the last record of its log, with the number that it has in a read of its own. May wait until
    /// others have looked.
    ///
    /// # Errors
    /// As those of [`Self::read`] and [`Self::state`].
    async fn look(&self) -> Result<(State, Option<Mark>), Error> {
        look(self).await
    }

    /// Whether the log driver leaves out the newline of a line that it stored in pieces (Docker's `local`).
    fn drops_newlines(&self) -> bool;
}

/// As [`Backend::look`], at once.
///
/// # Errors
/// As those of [`Backend::read`] and [`Backend::state`].
pub async fn look<B: Backend + ?Sized>(backend: &B) -> Result<(State, Option<Mark>), Error> {
    let state = backend.state().await?;
    if !matches!(state, State::Running { .. }) {
        // That is news enough; its log may be gone.
        return Ok((state, None));
    }
    let mut reader = backend.read(Window { last: NonZeroU64::new(1), follow: false }).await?;
    let mut last = None;
    while let Some(records) = poll_fn(|cx| reader.poll_records(cx)).await {
        last = records.map_err(LogError::into_error)?.last_mark().or(last);
    }
    Ok((state, last))
}

/// Records as they are read, both streams', each with the ordinal that it has in this read. Dropping it releases everything behind
/// it at once.
pub trait RecordReader: Send {
    /// Polls for the whole records of one read; never none of them.
    ///
    /// `None` is the end that the backend told; everything else is an error. It is not polled again after either.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Records, LogError>>>;

    /// How many bytes were read from the backend so far, with framing and times.
    fn bytes_read(&self) -> u64;
}

/// How a sandbox's main process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, or is paused.
    Running {
        /// When it was started, if that is known.
        started: Option<Start>,
    },
    /// It was not started yet.
    Created,
    /// It ended.
    Ended {
        /// How.
        exit: Exit,
        /// When it had been started, if that is known.
        started: Option<Start>,
    },
    /// What ran is gone, and its log with it. Another process is to come in its place.
    Replacing,
    /// The sandbox is gone.
    Removed,
}

/// What becomes of a main process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is, or is started again where it was.
    Stays,
    /// It is deleted with its sandbox.
    Goes,
    /// It is deleted, and its sandbox is not: another one comes in its place.
    IsReplaced,
}

/// When a main process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// As the backend notes it, in nanoseconds since 1970. That may be a little later than what the process printed first.
    pub at: i64,
    /// When the process before it ended, in nanoseconds since 1970; `i64::MIN` if that is not known, none if this is the first.
    pub previous_end: Option<i64>,
    /// The run, if the backend tells runs apart: then records tell theirs ([`Records::run`]), and times are not looked at.
    pub run: Option<RunId>,
    /// The log begins with it: what was printed before is in no read any more.
    pub begins_log: bool,
}

impl Start {
    /// When a process was started whose backend does not tell runs apart.
    pub fn new(at: i64, previous_end: Option<i64>) -> Self {
        Self { at, previous_end, run: None, begins_log: false }
    }

    /// Whether both are the start of one process.
    pub fn is_same(self, other: Self) -> bool {
        match (self.run, other.run) {
            (Some(run), Some(other)) => run == other,
            _ => self.at == other.at,
        }
    }

    /// Records of this time and later are of this process, as well as times can tell.
    ///
    /// What the process before it printed is stored soon after that one's end, and the new one prints nothing until most of the
    /// time between the two is over.
    pub fn first_time(self) -> i64 {
        let earliest = self.at.saturating_sub(MAX_NOTE);
        match self.previous_end {
            Some(end) if end < self.at => end.midpoint(self.at).max(earliest),
            Some(_) | None => self.at,
        }
    }
}

/// How long a backend may take to note that it has started a process, in nanoseconds.
const MAX_NOTE: i64 = 500_000_000;

/// How a main process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, 128 and the number of a signal that ended it.
    pub code: Option<i64>,
    /// The kernel ended it for want of memory.
    pub oom: bool,
    /// When it ended, in nanoseconds since 1970.
    pub finished_at: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_print_before_its_start_is_noted() {
        const MS: i64 = 1_000_000;
        let first_time = |at, previous_end| Start::new(at, previous_end).first_time();
        assert_eq!(first_time(1000 * MS, Some(900 * MS)), 950 * MS);
        assert_eq!(first_time(60_000 * MS, Some(0)), 59_500 * MS);
        // A clock that was set back says nothing, nor does a first run.
        assert_eq!(first_time(1000 * MS, Some(2000 * MS)), 1000 * MS);
        assert_eq!(first_time(1000 * MS, None), 1000 * MS);
        assert_eq!(first_time(i64::MIN, None), i64::MIN);
    }
}
