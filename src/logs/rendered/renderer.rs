//! Pieces of a log to a client's bytes: what is asked for of them, line by line. No IO.

use std::num::NonZeroU64;

use bytes::BytesMut;

use super::{OnSlow, Rendering};
use crate::logs::{
    LogQuery,
    cursor::{Cursor, OpenLine, RunId},
    format::{Event, Format, Progress, Told, Writer},
    lines::{Line, Lines},
    piece::{Begin, End, Gap, GapReason, Notice, PieceSource, Reason},
    record::{Mark, Record, Records, Stream},
    select::{LineChoice, Select},
    turn::Turn,
};

/// About so many bytes are rendered at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// Renders one log.
pub(super) struct Renderer {
    select: Select,
    lines: Lines,
    /// For each stream: its records are given as they are, without being joined.
    is_raw: [bool; 2],
    /// Text of which nothing must be known but the bytes.
    can_be_raw: bool,
    /// For each stream, in raw text: when the line was begun that the first record may go on with.
    in_line: [Option<i64>; 2],
    drops_newlines: bool,
    /// For each stream, in raw text: the time of the last record.
    raw_time: [Option<i64>; 2],
    /// For lines that may cost much.
    turn: Option<Turn>,
    is_turn_over: bool,
    joined: Joined,
}

/// What happens with joined lines.
struct Joined {
    writer: Writer,
    choice: LineChoice,
    run: RunId,
    skip: u64,
    limit: Option<NonZeroU64>,
    /// The last line that was given is to be gone on with.
    in_part: bool,
    progress: Progress,
    /// For a client that is slow: lines are left out from this length of the output on.
    room: usize,
    left_out: Option<LeftOut>,
    /// For each stream: the line under way is left out, so the rest of its parts is, too.
    leaves_out: [bool; 2],
}

/// Lines that were left out for a client that is slow.
#[derive(Debug, Clone, Copy)]
struct LeftOut {
    lines: u64,
    /// The time of the line before.
    after: Option<i64>,
}

impl Renderer {
    /// Renders what `query` asks for of `source`.
    pub(super) fn new(source: &impl PieceSource, query: &LogQuery, rendering: Rendering) -> Self {
        let (run, drops_newlines) = (source.run(), source.drops_newlines());
        let Rendering { format, notes, limit_bytes, on_slow, .. } = rendering;
        let can_be_raw =
            format == Format::Text && query.filter.is_empty() && limit_bytes.is_none() && on_slow != OnSlow::Drop;
        let joined = Joined {
            writer: Writer::new(format, query.timestamps, notes, Told::by(source)),
            choice: LineChoice::new(query.filter.clone()),
            run,
            skip: 0,
            limit: limit_bytes,
            in_part: false,
            progress: Progress::new(beginning(query, run)),
            room: usize::MAX,
            left_out: None,
            leaves_out: [false; 2],
        };
        Self {
            select: Select::new(query),
            lines: Lines::new(drops_newlines),
            is_raw: [can_be_raw; 2],
            can_be_raw,
            in_line: [None; 2],
            drops_newlines,
            raw_time: [None; 2],
            turn: query.filter.is_costly().then(Turn::new),
            is_turn_over: false,
            joined,
        }
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        self.joined.progress
    }

    /// Whether as many bytes were rendered as were asked for. Nothing more is rendered then.
    pub(super) fn is_over(&self) -> bool {
        self.joined.is_over()
    }

    /// Begins another turn.
    pub(super) fn begin_turn(&mut self) {
        self.is_turn_over = false;
        if let Some(turn) = &mut self.turn {
            turn.begin();
        }
    }

    /// Whether the last call of [`Self::records`] ended because others are to have their turn.
    pub(super) fn is_turn_over(&self) -> bool {
        self.is_turn_over
    }

    /// Leaves lines out that would begin behind so many bytes of the output. Not of raw text.
    pub(super) fn set_room(&mut self, room: usize) {
        self.joined.room = room;
    }

    /// Whether the last line was left out.
    pub(super) fn is_leaving_out(&self) -> bool {
        self.joined.left_out.is_some()
    }

    /// Takes how the records begin.
    pub(super) fn begin(&mut self, begin: &Begin) {
        self.lines = Lines::new(self.drops_newlines);
        self.raw_time = [None; 2];
        self.joined.skip = begin.skip;
        for stream in Stream::ALL {
            let index = stream.index();
            self.is_raw[index] = self.can_be_raw && begin.skip == 0 && !begin.fragment[index];
            self.in_line[index] = begin.in_line[index];
            if begin.in_line[index].is_some() {
                self.joined.choice.begin_in_line(stream, begin.left_out[index]);
            }
            if begin.fragment[index] {
                self.lines.begin_in_fragment(stream);
            } else if let Some(time) = begin.in_line[index]
                && !self.is_raw[index]
            {
                self.lines.begin_in_line(stream, time);
            }
            if let Writer::Text(text) = &mut self.joined.writer {
                text.set_in_line(stream, begin.in_line[index].is_some());
            }
        }
    }

    /// Notes what the client has seen behind the records that came.
    pub(super) fn seen(&mut self, mark: Mark, is_part: bool) {
        self.lines.note_seen(mark, is_part);
    }

    /// Renders records from the `at`-th on, about as many as make a chunk or can be looked into in one turn. Gives the place of the
    /// first that was not rendered.
    pub(super) fn records(&mut self, records: &Records, mut at: usize, out: &mut BytesMut) -> usize {
        let last = records.index.len().saturating_sub(1);
        while let Some(record) = records.index.get(at)
            && (out.len() < CHUNK || self.joined.room != usize::MAX)
            && !self.is_over()
        {
            if self.select.has_record(record) {
                let bytes = records.bytes(record);
                if self.is_raw[record.stream.index()] {
                    self.raw(record, bytes, out);
                } else {
                    let Self { lines, joined, .. } = self;
                    lines.push(record, bytes, |line| joined.line(&line, at == last, out));
                    if self.can_be_raw {
                        self.become_raw(out);
                    }
                }
            }
            at += 1;
            if self.turn.as_mut().is_some_and(Turn::is_over) {
                self.is_turn_over = true;
                break;
            }
        }
        at
    }

    fn raw(&mut self, record: &Record, bytes: &[u8], out: &mut BytesMut) {
        let Writer::Text(text) = &mut self.joined.writer else { return };
        let (stream, time) = (record.stream, record.place.time);
        if let Some(begun) = self.in_line[stream.index()].take() {
            // Otherwise that line ended where it was cut.
            text.set_in_line(stream, begun == time);
        }
        if self.drops_newlines && self.raw_time[stream.index()].replace(time).is_some_and(|before| before != time) {
            // The line before had a newline, which the backend did not keep.
            text.set_in_line(stream, false);
        }
        text.piece(stream, time, bytes, out);
    }

    /// What is joined only to be left out has passed: what was collected of lines that are under way is given first.
    fn become_raw(&mut self, out: &mut BytesMut) {
        if self.joined.skip > 0 {
            return;
        }
        let Writer::Text(text) = &mut self.joined.writer else { return };
        for stream in Stream::ALL {
            let index = stream.index();
            if self.is_raw[index] || self.lines.is_in_fragment(stream) {
                continue;
            }
            if let Some((time, bytes)) = self.lines.open_text(stream) {
                text.piece(stream, time, bytes, out);
            }
            self.lines.begin_whole(stream);
            self.is_raw[index] = true;
        }
    }

    /// Renders a notice, which comes before all else.
    pub(super) fn notice(&mut self, notice: Notice, out: &mut BytesMut) {
        self.joined.event(Event::Notice(notice), out);
    }

    /// Renders a gap, and before it what was not ended of lines.
    pub(super) fn gap(&mut self, gap: &Gap, out: &mut BytesMut) {
        self.finish(out);
        self.joined.tell_left_out(None, out);
        self.joined.event(Event::Gap(gap), out);
    }

    /// The same of a new start of the process.
    pub(super) fn restart(&mut self, started_at: i64, run: RunId, out: &mut BytesMut) {
        self.finish(out);
        self.joined.tell_left_out(Some(started_at), out);
        if run != self.joined.run {
            // Who comes back is to have all of it.
            self.joined.run = run;
            self.joined.progress.cursor = nothing(run);
        }
        self.joined.event(Event::Restart(started_at), out);
    }

    /// Renders what comes before the end, and gives the end that the client is to be told.
    pub(super) fn end(&mut self, end: End, out: &mut BytesMut) -> End {
        let is_at_the_logs_end = match end.reason {
            Reason::Exited | Reason::Removed | Reason::Complete | Reason::Until | Reason::Restarted => true,
            // A line that is under way comes whole when the client comes back.
            Reason::Limit | Reason::Drain | Reason::SlowClient | Reason::BackendLost | Reason::EndedByAdmin => false,
        };
        if is_at_the_logs_end && !self.is_over() {
            self.finish(out);
        }
        self.joined.tell_left_out(None, out);
        end
    }

    /// Gives the lines that were not ended.
    fn finish(&mut self, out: &mut BytesMut) {
        let Self { lines, joined, .. } = self;
        lines.finish(|line| joined.line(&line, true, out));
    }
}

impl Joined {
    fn is_over(&self) -> bool {
        !self.in_part && self.progress.reaches(self.limit)
    }

    #[inline]
    fn line(&mut self, line: &Line<'_>, is_last: bool, out: &mut BytesMut) {
        if line.is_fragment || self.is_over() {
            return;
        }
        let has = self.choice.has(line);
        if self.skip > 0 {
            self.skip -= u64::from(has && !line.is_part);
            return;
        }
        self.progress.lines_read += u64::from(!line.is_part);
        if !has {
            // To read a few lines anew does no harm. A place for each would cost more than to look into them.
            if is_last {
                self.progress.cursor = self.cursor(line);
            }
            return;
        }
        let index = line.stream.index();
        if out.len() >= self.room || self.leaves_out[index] {
            self.leaves_out[index] = line.is_part;
            let left_out = self.left_out.get_or_insert(LeftOut { lines: 0, after: self.progress.time });
            left_out.lines += u64::from(!line.is_part);
            return;
        }
        if self.left_out.is_some() {
            self.tell_left_out(Some(line.time), out);
        }
        self.in_part = line.is_part;
        let cursor = self.cursor(line);
        let before = out.len();
        self.writer.line(line, &cursor, out);
        let progress = &mut self.progress;
        progress.cursor = cursor;
        progress.time = Some(line.time);
        progress.bytes += (out.len() - before) as u64;
        progress.lines_sent += u64::from(!line.is_part);
    }

    /// The place behind a line. Who comes back there within a long line is to get the rest of it, or is not.
    #[inline]
    fn cursor(&self, line: &Line<'_>) -> Cursor {
        let mut cursor = line.cursor(self.run);
        if cursor.in_line {
            let stream = cursor.mark.map_or(line.stream, |mark| mark.stream);
            cursor.left_out[stream.index()] = self.choice.leaves_out(stream);
        }
        if let (Some(mark), Some(OpenLine { in_line: true, .. })) = (cursor.mark, cursor.other) {
            let stream = mark.stream.other();
            cursor.left_out[stream.index()] = self.choice.leaves_out(stream);
        }
        cursor
    }

    /// Tells of lines that were left out before one of the time `before`.
    fn tell_left_out(&mut self, before: Option<i64>, out: &mut BytesMut) {
        if let Some(LeftOut { lines, after }) = self.left_out.take() {
            let gap = Gap { reason: GapReason::Overrun, after, before, lines: Some(lines) };
            self.event(Event::Gap(&gap), out);
        }
    }

    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        self.writer.event(event, &self.progress, out);
    }
}

/// The place that nothing was seen behind yet.
pub(super) fn beginning(query: &LogQuery, run: RunId) -> Cursor {
    query.after.map_or(nothing(run), |after| Cursor { ended: false, ..after })
}

/// The place in front of a run's first record.
fn nothing(run: RunId) -> Cursor {
    Cursor { run, mark: None, in_line: false, other: None, left_out: [false; 2], ended: false }
}
