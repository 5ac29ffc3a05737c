//! The last N lines: where do they begin?
//!
//! An engine's `tail` counts the records that it stored, of both streams and of any time (log-pitfalls B10). A client means lines,
//! of what it asked to see. So the end of the log is read and counted, more of it until there are enough.

use std::num::NonZeroU64;

use tokio::task::yield_now;

use super::{
    Machine, from,
    known::Known,
    locate::{Located, SMALL},
    next_records,
};
use crate::{
    error::Error,
    logs::{
        backend::Window,
        lines::{Line, Lines},
        piece::{Begin, GapReason, Piece},
        record::{Mark, Record, Records},
        select::{LineChoice, Select},
        turn::Turn,
    },
};

/// The largest number that an engine takes for `tail` (Go's `strconv.Atoi` on 64 bits).
const MAX_RECORDS: u64 = i64::MAX as u64;

/// How much longer each window is than the one before.
const GROWTH: u64 = 8;

/// How many more records a window has that is read a second time: as many as may have come since.
const SLACK: u64 = 4096;

/// How often a log is counted anew that is rotated meanwhile.
const MAX_COUNTS: u32 = 3;

/// The lines of one window.
struct Count {
    select: Select,
    choice: LineChoice,
    lines: Lines,
    known: Known,
    /// The window is the whole log.
    is_whole: bool,
    /// The first record that is known, and what was known then.
    anchor: Option<(Mark, Known)>,
    /// The last record that is known.
    end: Option<Mark>,
    records: u64,
    tally: Tally,
    /// Lines of the tally that were ended.
    complete: u64,
}

#[derive(Default)]
struct Tally {
    /// Lines that are asked for.
    wanted: u64,
    /// Those of them behind the last record that is asked for and not known.
    certain: u64,
}

impl Tally {
    fn note(&mut self, line: &Line<'_>, choice: &mut LineChoice) {
        if choice.has(line) && !line.is_part {
            self.wanted += 1;
            self.certain += 1;
        }
    }
}

impl Count {
    fn new(select: Select, drops_newlines: bool, is_whole: bool) -> Self {
        Self {
            choice: select.lines(),
            select,
            lines: Lines::new(drops_newlines),
            known: Known::new(is_whole),
            is_whole,
            anchor: None,
            end: None,
            records: 0,
            tally: Tally::default(),
            complete: 0,
        }
    }

    /// Takes the next record of the window; gives whether it is known.
    fn push(&mut self, record: &Record, bytes: &[u8]) -> bool {
        self.records += 1;
        let is_known = self.known.is_known(record);
        let is_asked_for = self.select.has_record(record);
        if !is_known {
            if is_asked_for {
                self.tally.certain = 0;
            }
            return false;
        }
        if self.anchor.is_none() {
            self.anchor = Some((Mark::of(record, bytes), self.known.clone()));
        }
        if is_asked_for {
            let (tally, choice) = (&mut self.tally, &mut self.choice);
            self.lines.push(record, bytes, |line| tally.note(&line, choice));
        }
        true
    }

    /// Takes a batch of the window. Others have their turn between lines that cost much to look into.
    async fn push_all(&mut self, records: &Records, turn: &mut Turn) {
        let mut end = None;
        let is_costly = self.select.is_costly();
        for (record, bytes) in records.iter() {
            if self.push(record, bytes) {
                end = Some((record, bytes));
            }
            if is_costly && turn.is_over() {
                yield_now().await;
                turn.begin();
            }
        }
        // What is not known may stand behind it, of a stream that is not asked for.
        self.end = end.map(|(record, bytes)| Mark::of(record, bytes)).or(self.end);
    }

    fn finish(&mut self) {
        self.complete = self.tally.wanted;
        let (tally, choice) = (&mut self.tally, &mut self.choice);
        self.lines.finish(|line| tally.note(&line, choice));
    }
}

impl Machine {
    /// Begins with the last `lines` lines that `select` asks for.
    pub(super) async fn begin_tail(&mut self, lines: NonZeroU64, select: &Select) -> Result<(), Error> {
        let lines = lines.get();
        // As many as are looked at for the time alone, so that a clock that was set back leaves out nothing that is as near.
        let least = if select.since().is_some() { SMALL[0] } else { 0 };
        // One more than wanted: only the record before a line tells that the line is whole.
        let mut last = Some(lines.saturating_add(1).max(least)).filter(|last| *last < MAX_RECORDS);
        let mut counts = 0;
        loop {
            let (count, held) = self.count(last, select).await?;
            let begins_before = select.since().is_some_and(|since| count.known.is_behind(since));
            if count.tally.certain >= lines || count.is_whole || begins_before {
                counts += 1;
                if self.begin_counted(&count, lines, last, held, counts == MAX_COUNTS).await? {
                    return Ok(());
                }
                continue;
            }
            // There are no more, or the log is damaged and an engine that reads it from its end does not get further.
            let is_short = last.is_some_and(|last| count.records < last);
            last = last.map(|last| last.saturating_mul(GROWTH)).filter(|last| !is_short && *last < MAX_RECORDS);
        }
    }

    /// Begins with the last `lines` of what was counted in the `last` records, unless they were rotated away since.
    async fn begin_counted(
        &mut self,
        count: &Count,
        lines: u64,
        last: Option<u64>,
        held: Option<Vec<Records>>,
        must_begin: bool,
    ) -> Result<bool, Error> {
        let skip = count.tally.wanted.saturating_sub(lines);
        // Who follows gets a line that is under way when it is ended: it is among the new ones then.
        let skip = if self.follow { skip.min(count.complete) } else { skip };
        let begin = Begin { skip, ..Begin::default() };
        let Some((anchor, known)) = &count.anchor else { return Ok(true) };
        if let Some(mut held) = held {
            self.ready.push_back(Piece::Begin(begin));
            self.known = Some(known.clone());
            cut_before(&mut held, *anchor);
            held.into_iter().for_each(|records| self.take(records));
            self.known = None;
            return Ok(true);
        }
        let mut last = last.map(|last| last.saturating_add(SLACK));
        loop {
            let window = Window { last: last.and_then(NonZeroU64::new), follow: false };
            let mut reader = self.backend.read(window).await?;
            let mut seen = 0;
            while let Some(records) = next_records(reader.as_mut()).await? {
                seen += records.index.len() as u64;
                let at = records.iter().position(|(record, bytes)| anchor.is(record, bytes));
                if let Some(at) = at {
                    self.ready.push_back(Piece::Begin(begin));
                    self.known = Some(known.clone());
                    self.stop_at = count.end.filter(|_| !self.follow);
                    self.go_on_with(Located::Reading { first: from(records, at), reader });
                    return Ok(true);
                }
            }
            self.read += reader.bytes_read();
            let Some(more) = last.filter(|last| seen >= *last) else { break };
            last = Some(more.saturating_mul(GROWTH)).filter(|last| *last < MAX_RECORDS);
        }
        if must_begin {
            // What there is is less than was counted.
            self.gap(GapReason::Rotated, None, None);
            self.reader = Some(self.backend.read(Window { last: None, follow: false }).await?);
        }
        Ok(must_begin)
    }

    /// Reads the `last` records, or all, and counts; gives them too, if they are not too much to hold.
    async fn count(&mut self, last: Option<u64>, select: &Select) -> Result<(Count, Option<Vec<Records>>), Error> {
        let window = Window { last: last.and_then(NonZeroU64::new), follow: false };
        let mut reader = self.backend.read(window).await?;
        let mut count = Count::new(select.clone(), self.backend.drops_newlines(), last.is_none());
        let (mut held, mut turn) = (Some(Vec::new()), Turn::new());
        self.share.clear();
        while let Some(records) = next_records(reader.as_mut()).await? {
            count.push_all(&records, &mut turn).await;
            held = held.filter(|_| self.share.grow(&records));
            match &mut held {
                Some(held) => held.push(records),
                None => self.share.clear(),
            }
        }
        count.finish();
        self.read += reader.bytes_read();
        Ok((count, held))
    }
}

/// Leaves out what comes before `anchor`.
fn cut_before(held: &mut Vec<Records>, anchor: Mark) {
    let at = held.iter().enumerate().find_map(|(batch, records)| {
        let at = records.iter().position(|(record, bytes)| anchor.is(record, bytes))?;
        Some((batch, at))
    });
    let Some((batch, at)) = at else { return };
    held.drain(..batch);
    if let Some(first) = held.first_mut() {
        *first = from(std::mem::take(first), at);
    }
}
