//! The output of a command of this program's own execd, as a log. It is kept in memory, so asking costs little.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    command::{Command, Finished},
    error,
    output::Lines,
};
use crate::{
    error::Error,
    logs::{
        backend::Exit,
        command::{Batch, CommandLog, Sought, split::ordinal},
        piece::GapReason,
        record::{Mark, Place, Record, Records, Stream},
    },
};

/// A command's output. A long line is kept in pieces, each under a number of its own.
#[derive(Debug)]
pub struct LocalCommand {
    command: Arc<Command>,
    /// The last piece that was read.
    cursor: Option<u64>,
    /// When the line was read that has no end yet.
    open: Option<i64>,
    /// The last read gave something.
    has_given: bool,
    read: u64,
}

impl LocalCommand {
    /// The output of `command`.
    ///
    /// # Errors
    /// It does not run in the background.
    pub fn new(command: Arc<Command>) -> Result<Self, Error> {
        let streamed =
            || error::invalid("The command does not run in the background: its output went to who waits for it.");
        command.lines(Some(u64::MAX)).ok_or_else(streamed)?;
        Ok(Self { command, cursor: None, open: None, has_given: false, read: 0 })
    }

    fn lines(&self) -> Lines {
        self.command.lines(self.cursor).unwrap_or_default()
    }

    /// Whether the piece of `mark` is there, and then whether it ends its line.
    fn ends_line(&self, mark: Mark) -> Option<bool> {
        let Lines { text, ends, first, .. } = self.command.lines(before(mark)).unwrap_or_default();
        let piece = &text[..*ends.first()?];
        let is_it = first == u64::from(mark.place.ordinal) && crc32fast::hash(piece) == mark.sum;
        is_it.then(|| piece.ends_with(b"\n"))
    }
}

/// The cursor before a mark's piece.
fn before(mark: Mark) -> Option<u64> {
    u64::from(mark.place.ordinal).checked_sub(1)
}

#[async_trait]
impl CommandLog for LocalCommand {
    async fn seek(&mut self, behind: Option<Mark>) -> Result<Sought, Error> {
        (self.cursor, self.open, self.has_given) = (None, None, false);
        let Some(mark) = behind else { return Ok(Sought::Beginning) };
        if let Some(ends_line) = self.ends_line(mark) {
            self.cursor = Some(u64::from(mark.place.ordinal));
            // What goes on with it is of the same time.
            self.open = (!ends_line).then_some(mark.place.time);
            return Ok(Sought::Found(mark.place.time));
        }
        let is_older = u64::from(mark.place.ordinal) < self.lines().first;
        Ok(Sought::Lost(if is_older { GapReason::Rotated } else { GapReason::CursorExpired }))
    }

    async fn read(&mut self) -> Result<Option<Batch>, Error> {
        let Lines { text, ends, first, lost } = self.lines();
        if std::mem::take(&mut self.has_given) || ends.is_empty() {
            return Ok(None);
        }
        self.has_given = true;
        let has_gap = lost > 0 && self.cursor.is_some();
        if has_gap {
            self.open = None;
        }
        self.read += text.len() as u64;
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let (mut index, mut start) = (Vec::with_capacity(ends.len()), 0);
        for (at, end) in (first..).zip(ends) {
            let time = *self.open.get_or_insert(now);
            if text[..end].ends_with(b"\n") {
                self.open = None;
            }
            let place = Place { time, ordinal: ordinal(at) };
            // 1 MiB is kept.
            index.push(Record { stream: Stream::Stdout, place, start: start as u32, end: end as u32 });
            (self.cursor, start) = (Some(at), end);
        }
        Ok(Some(Batch { records: Records { buf: text.into(), index, run: None }, has_gap }))
    }

    fn rest(&mut self) -> Option<Records> {
        None
    }

    async fn exit(&mut self) -> Result<Option<Exit>, Error> {
        let exit = |Finished { code, at, .. }| Exit {
            code: Some(i64::from(code)),
            oom: false,
            finished_at: i64::try_from(at.as_nanosecond()).ok(),
        };
        Ok(self.command.finished().map(exit))
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}
