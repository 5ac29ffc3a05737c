//! The execd of a sandbox that is a container, asked by HTTP for a command's output.
//!
//! It runs in the sandbox, so it is whatever the sandbox makes of it: nothing that it says is believed further than that, each
//! wait is bounded, and what it sends is never held but for a piece of a line.
//!
//! Its public description calls a cursor the index of a line. There are execds whose cursors count bytes. Which one this is shows
//! in its first answer; lines are counted here, so that a place is the same for both.

mod exchange;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use self::exchange::{Answer, Asked};
use crate::{
    error::{Error, Family, Kind},
    logs::{
        backend::Exit,
        command::{Batch, CommandLog, Sought, split::Splitter},
        piece::GapReason,
        record::{Mark, Records},
    },
    model::endpoint::Backend,
    secret::Secret,
};

/// Tells where a sandbox's execd is now: asked for each request, so cheap.
pub type Find = Arc<dyn Fn() -> BoxFuture<'static, Result<Backend, Error>> + Send + Sync>;

/// A command of a sandbox's execd.
pub struct RemoteCommand {
    find: Find,
    /// Checked: it is a segment of a path as it is.
    id: String,
    /// What the client presents to execd, which may ask for it.
    token: Option<Secret>,
    splitter: Splitter,
    unit: Unit,
    /// Where the next answer begins.
    cursor: Option<u64>,
    answer: Option<Reading>,
    /// What came behind a line that was looked for.
    held: Option<Records>,
    read: u64,
}

/// What execd's cursors count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// It is not known yet.
    Unknown,
    /// Lines from 0 on; a cursor is that of the last one.
    Lines,
    /// Bytes, or what else: only execd's own word says where it goes on.
    Other,
}

/// An answer that is being read.
struct Reading {
    answer: Answer,
    /// The cursor that it tells.
    told: Option<u64>,
    /// The index of its first line.
    first: u64,
    /// How many bytes of it were taken.
    taken: u64,
}

/// `GET /command/status/{id}`, as far as it is used.
#[derive(Deserialize)]
struct Status {
    running: bool,
    exit_code: Option<i64>,
    finished_at: Option<String>,
}

impl RemoteCommand {
    /// The command `id` (of letters, digits, `.`, `_` and `-`, not `.` or `..`) of the execd that `find` finds.
    pub fn new(find: Find, id: String, token: Option<Secret>) -> Self {
        let (splitter, unit) = (Splitter::default(), Unit::Unknown);
        Self { find, id, token, splitter, unit, cursor: None, answer: None, held: None, read: 0 }
    }

    async fn ask(&mut self, path: String) -> Result<Asked, Error> {
        let backend = (self.find)().await?;
        exchange::ask(&backend, &path, self.token.as_ref()).await
    }

    async fn begin(&mut self) -> Result<Reading, Error> {
        let query = self.cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
        let Asked { answer, cursor: told } = self.ask(format!("/command/{}/logs{query}", self.id)).await?;
        if self.cursor.zip(told).is_some_and(|(cursor, told)| told < cursor) {
            return Err(failed("its cursor goes back"));
        }
        if self.unit == Unit::Lines {
            // What there was of a line without its end comes again.
            self.splitter.repeat_line();
        }
        let first = self.splitter.index();
        Ok(Reading { answer, told, first, taken: 0 })
    }

    /// Goes to the line of this index without a look at those before it.
    fn go_to_line(&mut self, index: u64) {
        self.answer = None;
        self.held = None;
        self.cursor = index.checked_sub(1);
        self.splitter = Splitter::at(index);
        self.unit = Unit::Unknown;
    }

    async fn next(&mut self) -> Result<Option<Records>, Error> {
        let mut reading = match self.answer.take() {
            Some(reading) => reading,
            None => self.begin().await?,
        };
        loop {
            match reading.answer.chunk().await {
                Ok(Some(chunk)) => {
                    self.read += chunk.len() as u64;
                    reading.taken += chunk.len() as u64;
                    if self.unit == Unit::Other && reading.told <= self.cursor {
                        return Err(failed("its cursor stands still while its text goes on"));
                    }
                    let records = self.splitter.push(&chunk, now());
                    if !records.index.is_empty() {
                        self.answer = Some(reading);
                        return Ok(Some(records));
                    }
                }
                Ok(None) => return self.ended(&reading).map(|()| None),
                Err(error) => {
                    self.broken(&reading);
                    return Err(error);
                }
            }
        }
    }

    /// An answer was read to its end: finds out where the next one begins.
    fn ended(&mut self, reading: &Reading) -> Result<(), Error> {
        // The index of the last line before it, one less than where it began.
        let lines = self.splitter.index().saturating_sub(reading.first);
        let open = u64::from(self.splitter.is_open());
        let next = self.splitter.index();
        let Some(told) = reading.told else {
            if self.unit == Unit::Other && reading.taken > 0 {
                return Err(failed("it tells no cursor any more"));
            }
            self.unit = if reading.taken > 0 { Unit::Lines } else { self.unit };
            self.cursor = next.checked_sub(1);
            return Ok(());
        };
        if reading.taken == 0 {
            return Ok(());
        }
        let before = self.cursor.map_or(0, |cursor| cursor.saturating_add(1));
        let counts_lines = told.checked_add(1).is_some_and(|told| {
            let end = before.saturating_add(lines);
            told == end || told == end.saturating_add(open)
        });
        match (self.unit, counts_lines) {
            (Unit::Unknown | Unit::Lines, true) => {
                self.unit = Unit::Lines;
                self.cursor = next.checked_sub(1);
                Ok(())
            }
            (Unit::Lines, false) => Err(failed("its cursor does not fit its lines")),
            (Unit::Unknown | Unit::Other, _) if self.cursor.is_none_or(|cursor| told > cursor) => {
                self.unit = Unit::Other;
                self.cursor = Some(told);
                Ok(())
            }
            (Unit::Unknown | Unit::Other, _) => Err(failed("its cursor stands still while its text goes on")),
        }
    }

    /// An answer broke off: the next one is to begin where it did not end.
    fn broken(&mut self, reading: &Reading) {
        let next = self.splitter.index();
        match self.unit {
            Unit::Lines => self.cursor = next.checked_sub(1),
            // Whether it counts bytes is not known for sure: all of it is read again.
            Unit::Unknown | Unit::Other if reading.taken > 0 => {
                self.cursor = None;
                self.unit = Unit::Unknown;
                self.splitter.repeat_all();
            }
            Unit::Unknown | Unit::Other => {}
        }
    }

    /// Whether cursors are indices of lines for sure, by the answer from this line on; if not, the next one begins at the first
    /// line. It is read to its end: an execd that counts bytes gives other lines, which may look like those that are meant.
    async fn counts_lines(&mut self, index: u64) -> Result<bool, Error> {
        self.go_to_line(index);
        let is_sure = match self.measure().await {
            Ok((lines, bytes)) => self.unit == Unit::Lines && bytes > lines,
            // What is no index need not be a cursor.
            Err(error) if matches!(error.kind, Kind::Failed | Kind::Invalid) => false,
            Err(error) => return Err(error),
        };
        self.go_to_line(0);
        Ok(is_sure)
    }

    /// Reads an answer to its end, for nothing but how many lines and bytes it has; no bytes if it tells no cursor.
    async fn measure(&mut self) -> Result<(u64, u64), Error> {
        let mut reading = self.begin().await?;
        while let Some(chunk) = reading.answer.chunk().await? {
            self.read += chunk.len() as u64;
            reading.taken += chunk.len() as u64;
            self.splitter.push(&chunk, now());
        }
        self.ended(&reading)?;
        let lines = self.splitter.index() - reading.first + u64::from(self.splitter.is_open());
        Ok((lines, reading.told.map_or(0, |_| reading.taken)))
    }

    /// Reads up to the record of `mark`. What comes with it behind it is held.
    async fn find(&mut self, mark: Mark) -> Result<Option<i64>, Error> {
        while let Some(mut records) = self.next().await? {
            let found = records.iter().position(|(record, bytes)| {
                record.place.ordinal == mark.place.ordinal && crc32fast::hash(bytes) == mark.sum
            });
            if let Some(at) = found {
                let time = records.index[at].place.time;
                records.index.drain(..=at);
                self.held = Some(records).filter(|records| !records.index.is_empty());
                return Ok(Some(time));
            }
            if records.index.first().is_some_and(|record| record.place.ordinal > mark.place.ordinal) {
                break;
            }
        }
        // The last line of a command that has ended may have no end.
        let rest = self.splitter.rest().unwrap_or_default();
        let found = rest
            .iter()
            .find(|(record, bytes)| record.place.ordinal == mark.place.ordinal && crc32fast::hash(bytes) == mark.sum);
        Ok(found.map(|(record, _)| record.place.time))
    }
}

#[async_trait]
impl CommandLog for RemoteCommand {
    async fn seek(&mut self, behind: Option<Mark>) -> Result<Sought, Error> {
        self.go_to_line(0);
        let Some(mark) = behind else { return Ok(Sought::Beginning) };
        let index = u64::from(mark.place.ordinal);
        if index > 0 && self.counts_lines(index).await? {
            self.go_to_line(index);
            self.unit = Unit::Lines;
        }
        if let Some(time) = self.find(mark).await? {
            return Ok(Sought::Found(time));
        }
        self.go_to_line(0);
        Ok(Sought::Lost(GapReason::CursorExpired))
    }

    async fn read(&mut self) -> Result<Option<Batch>, Error> {
        let records = match self.held.take() {
            Some(records) => Some(records),
            None => self.next().await?,
        };
        Ok(records.map(|records| Batch { records, has_gap: false }))
    }

    fn rest(&mut self) -> Option<Records> {
        self.splitter.rest()
    }

    async fn exit(&mut self) -> Result<Option<Exit>, Error> {
        let Asked { mut answer, .. } = self.ask(format!("/command/status/{}", self.id)).await?;
        let body = answer.whole().await?;
        let status: Status =
            serde_json::from_slice(&body).map_err(|_| failed("its status of the command is not as it must be"))?;
        let finished_at = status.finished_at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let finished_at = finished_at.and_then(|at| i64::try_from(at.as_nanosecond()).ok());
        let exit = Exit { code: status.exit_code, oom: false, finished_at };
        Ok((!status.running).then_some(exit))
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}

/// The present, in nanoseconds since 1970.
fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// execd answered, but not as it must.
fn failed(why: &str) -> Error {
    Error::new(Family::Command, Kind::Failed, format!("The sandbox's execd does not answer as it must: {why}."))
}

#[cfg(test)]
mod tests;
