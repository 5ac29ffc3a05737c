//! The output of a command that was run through execd, as pieces of a log (log-api.md §7).
//!
//! execd tells only what there is behind a line, and how the command does: so it is polled. The output stands in no log, and has
//! no times: a record's time is when it was read. Its place is told by the number of its line, [`Place::ordinal`], which is what
//! a token is found by again.
//!
//! [`Place::ordinal`]: super::record::Place::ordinal

pub mod split;
mod tail;

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::ReusableBoxFuture;

use super::{
    LogError, LogQuery,
    backend::Exit,
    cursor::{Cursor, RunId},
    held::Share,
    piece::{Begin, End, Gap, GapReason, Piece, PieceSource, Reason},
    record::{Mark, Records},
    select::Select,
};
use crate::{
    backoff::Backoff,
    error::{Error, Family, Kind},
};

/// The longest pause between two questions, when no lines have come for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The pauses between two questions; the first ones while lines come.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), LONGEST_PAUSE);

/// How long it may take to find the place where a client's lines begin: execd has to tell all of them.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long execd may take to tell how the command does, before anything else is asked.
const STATUS_TIMEOUT: Duration = Duration::from_secs(15);

/// execd gives a line without an end from its beginning on, each time. So many bytes a second may come again: what a command
/// prints costs then no more than in proportion to that, and to the time.
const MAX_REPEATED: u64 = 1024 * 1024;

/// The longest pause for that.
const MAX_REPEAT_PAUSE: Duration = Duration::from_secs(60);

/// It took longer.
const TOO_LONG: &str = "The command's output is too long for execd to find a place in it in time; ask for all of it.";

/// One command's output, and how the command does. It is asked one thing at a time; dropping it breaks that off at once.
#[async_trait]
pub trait CommandLog: Send + 'static {
    /// Goes to the place behind a line that was seen, or to the beginning without one. Reading begins there. If the line is not
    /// there any more, reading begins with what there is.
    ///
    /// # Errors
    /// As [`Self::read`].
    async fn seek(&mut self, behind: Option<Mark>) -> Result<Sought, Error>;

    /// The next lines: those that are whole, and long ones in pieces. `None` if there are no more at present; asked again it
    /// looks for new ones.
    ///
    /// # Errors
    /// The command or its sandbox is gone ([`Kind::NotFound`]), its sandbox is paused ([`Kind::Conflict`]), or execd cannot be
    /// asked (now). After an error it goes on where it was.
    async fn read(&mut self) -> Result<Option<Batch>, Error>;

    /// The last line, which has no end, of a command that has ended.
    fn rest(&mut self) -> Option<Records>;

    /// How the command does; how it ended if it has.
    ///
    /// # Errors
    /// As [`Self::read`].
    async fn exit(&mut self) -> Result<Option<Exit>, Error>;

    /// How many bytes were read so far.
    fn bytes_read(&self) -> u64;
}

/// Where [`CommandLog::seek`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// Behind the line; the time of the records that go on with it if it is not at its end.
    Found(i64),
    /// To the beginning, since no line was asked for.
    Beginning,
    /// To what there is, since the line is not there, for this reason.
    Lost(GapReason),
}

/// Lines of one read.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The lines.
    pub records: Records,
    /// There were others between the last ones and these, which are no longer there.
    pub has_gap: bool,
}

/// A command's output as pieces. Dropping it stops the polling at once.
pub struct CommandSource {
    step: ReusableBoxFuture<'static, (Box<Machine>, Step)>,
    run: RunId,
    read: u64,
}

type Step = Result<Option<Piece>, LogError>;

struct Machine {
    log: Box<dyn CommandLog>,
    follow: bool,
    /// How long execd may not be there before that is the end.
    reconnect: Duration,
    ready: VecDeque<Piece>,
    /// What `ready` may hold.
    share: Share,
    /// How many bytes were read when there was nothing more at last, and how many were given since.
    looked: u64,
    given: u64,
    /// The command has ended: what is read now is the last.
    exit: Option<Exit>,
    pauses: Backoff,
    /// Lines came since the last pause.
    has_new: bool,
    /// When execd was lost.
    lost: Option<Instant>,
    /// The time of the last record.
    last: Option<i64>,
    is_ended: bool,
}

impl CommandSource {
    /// Opens what `query` asks for of the command `id`: nothing at all behind the end of one that has ended. While it is
    /// followed, execd may be away for `reconnect`.
    ///
    /// # Errors
    /// There is no such command, or execd cannot be asked.
    pub async fn open(
        mut log: Box<dyn CommandLog>,
        id: &str,
        query: &LogQuery,
        reconnect: Duration,
    ) -> Result<Option<Self>, Error> {
        let run = RunId::of(id);
        let hangs = || {
            Error::new(
                Family::Command,
                Kind::TimedOut,
                "The sandbox's execd does not tell in time how the command does.",
            )
        };
        let exit = timeout(STATUS_TIMEOUT, log.exit()).await.map_err(|_| hangs())??;
        if exit.is_some() && query.after.is_some_and(|after| after.ended && after.run == run) {
            return Ok(None);
        }
        let mut machine = Box::new(Machine {
            log,
            follow: query.follow,
            reconnect,
            ready: VecDeque::new(),
            share: Share::default(),
            looked: 0,
            given: 0,
            exit,
            pauses: PAUSES,
            has_new: false,
            lost: None,
            last: None,
            is_ended: false,
        });
        let begun = timeout(BEGIN_TIMEOUT, machine.begin(query, run)).await;
        begun.map_err(|_| Error::new(Family::Command, Kind::TimedOut, TOO_LONG))??;
        machine.looked = machine.log.bytes_read();
        Ok(Some(Self { read: machine.log.bytes_read(), step: ReusableBoxFuture::new(machine.step()), run }))
    }
}

impl PieceSource for CommandSource {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, LogError>>> {
        let (machine, step) = ready!(self.step.poll(cx));
        self.read = machine.log.bytes_read();
        self.step.set(machine.step());
        Poll::Ready(step.transpose())
    }

    /// The command.
    fn run(&self) -> RunId {
        self.run
    }

    fn drops_newlines(&self) -> bool {
        false
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }

    fn has_own_times(&self) -> bool {
        false
    }
}

impl Machine {
    /// Goes to where `query` begins.
    async fn begin(&mut self, query: &LogQuery, run: RunId) -> Result<(), Error> {
        if let Some(after) = query.after {
            return self.resume(after, run).await;
        }
        if let Some(lines) = query.tail {
            return self.begin_tail(lines, &Select::new(query)).await;
        }
        self.ready.push_back(Piece::Begin(Begin::default()));
        self.log.seek(None).await.map(drop)
    }

    /// Goes on behind a client's last line.
    async fn resume(&mut self, after: Cursor, run: RunId) -> Result<(), Error> {
        let is_same = after.run == run;
        let sought = match self.log.seek(after.mark.filter(|_| is_same)).await? {
            Sought::Beginning if !is_same => Sought::Lost(GapReason::CursorExpired),
            sought => sought,
        };
        let mut begin = Begin::default();
        match sought {
            Sought::Found(time) => begin.in_line[0] = after.in_line.then_some(time),
            Sought::Lost(reason) => {
                let before = after.mark.map(|mark| mark.place.time);
                self.ready.push_back(Piece::Gap(Gap { reason, after: before, before: None, lines: None }));
            }
            Sought::Beginning => {}
        }
        self.ready.push_back(Piece::Begin(begin));
        Ok(())
    }

    async fn step(mut self: Box<Self>) -> (Box<Self>, Step) {
        let step = self.next().await;
        (self, step)
    }

    async fn next(&mut self) -> Step {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            self.share.clear();
            if self.is_ended {
                return Ok(None);
            }
            let done = match self.log.read().await {
                Ok(Some(batch)) => {
                    self.take(batch);
                    Ok(())
                }
                Ok(None) => self.at_end().await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {}
                Err(error) if self.follow => self.failed(&error).await,
                Err(error) => return Err(LogError::Backend(error.message)),
            }
        }
    }

    fn take(&mut self, Batch { records, has_gap }: Batch) {
        self.has_new = true;
        let first = records.index.first().map(|record| record.place.time);
        if has_gap {
            let gap = Gap { reason: GapReason::Rotated, after: self.last, before: first, lines: None };
            self.ready.push_back(Piece::Gap(gap));
        }
        self.give(records);
    }

    fn give(&mut self, records: Records) {
        self.given += records.buf.len() as u64;
        if let Some(last) = records.index.last() {
            self.last = Some(last.place.time);
            self.ready.push_back(Piece::Records(records));
        }
    }

    /// What there is has been read: waits for more, or ends.
    async fn at_end(&mut self) -> Result<(), Error> {
        if let Some(exit) = self.exit {
            if let Some(rest) = self.log.rest() {
                self.give(rest);
            }
            self.end(End { reason: Reason::Exited, exit });
        } else if !self.follow {
            self.end(End::of(Reason::Complete));
        } else if std::mem::take(&mut self.has_new) {
            // Not when they come: those of answers that never end well could come for ever.
            self.lost = None;
            self.pauses.reset();
            self.wait(self.pauses.peek()).await?;
        } else {
            // What it printed before it ended is read once more behind this answer.
            self.exit = self.log.exit().await?;
            self.lost = None;
            if self.exit.is_none() {
                let pause = self.pauses.pause();
                self.wait(pause).await?;
            }
        }
        Ok(())
    }

    /// Waits so long before what comes is asked for: longer if the last answers gave again what had been read.
    async fn wait(&mut self, pause: Duration) -> Result<(), Error> {
        let read = self.log.bytes_read();
        let repeated = read.saturating_sub(self.looked).saturating_sub(self.given);
        (self.looked, self.given) = (read, 0);
        let for_repeated = Duration::from_millis(repeated.saturating_mul(1000) / MAX_REPEATED).min(MAX_REPEAT_PAUSE);
        let mut left = pause.max(for_repeated);
        while left > LONGEST_PAUSE {
            sleep(LONGEST_PAUSE).await;
            left -= LONGEST_PAUSE;
            self.exit = self.log.exit().await?;
            if self.exit.is_some() {
                return Ok(());
            }
        }
        sleep(left).await;
        Ok(())
    }

    fn end(&mut self, end: End) {
        self.ready.push_back(Piece::End(end));
        self.is_ended = true;
    }

    /// execd did not answer well: it is asked again, unless it never will.
    async fn failed(&mut self, error: &Error) {
        match error.kind {
            Kind::NotFound => return self.end(End::of(Reason::Removed)),
            Kind::Conflict => {
                self.lost = None;
                return sleep(LONGEST_PAUSE).await;
            }
            _ => {}
        }
        tracing::debug!(%error, "a command's execd cannot be asked; it is tried again");
        // What an answer that broke off makes come again comes once.
        (self.looked, self.given) = (self.log.bytes_read(), 0);
        let lost = *self.lost.get_or_insert_with(|| {
            self.pauses.reset();
            Instant::now()
        });
        let pause = self.pauses.pause();
        if lost.elapsed() + pause > self.reconnect {
            return self.end(End::of(Reason::BackendLost));
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
