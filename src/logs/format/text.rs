//! Text: the sandbox's bytes, with times and notes where they are asked for.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::{Event, time::TimeText};
use crate::logs::{
    lines::Line,
    piece::{End, Gap},
    record::Stream,
};

/// Writes lines, pieces of lines, and notes.
#[derive(Debug)]
pub struct Text {
    timestamps: bool,
    notes: bool,
    time: TimeText,
    /// For each stream: the next piece goes on with a line.
    in_line: [bool; 2],
    /// What was written last ends a line.
    is_at_start: bool,
}

impl Text {
    /// With a time before each logical line if `timestamps` is set, and events if `notes` is.
    pub fn new(timestamps: bool, notes: bool) -> Self {
        Self { timestamps, notes, time: TimeText::default(), in_line: [false; 2], is_at_start: true }
    }

    /// Appends a joined line, or a part of one, with its newline also where the backend left that out.
    #[inline]
    pub fn line(&mut self, line: &Line<'_>, out: &mut BytesMut) {
        self.piece(line.stream, line.time, line.bytes, out);
        if line.lacks_newline {
            out.put_u8(b'\n');
            self.is_at_start = true;
        }
        self.in_line[line.stream.index()] = line.is_part;
    }

    /// Appends what a backend stored of a line.
    #[inline]
    pub fn piece(&mut self, stream: Stream, time: i64, bytes: &[u8], out: &mut BytesMut) {
        let Some(last) = bytes.last() else { return };
        let in_line = &mut self.in_line[stream.index()];
        if self.timestamps && !*in_line {
            out.put_slice(self.time.text(time));
            out.put_u8(b' ');
        }
        out.put_slice(bytes);
        self.is_at_start = *last == b'\n';
        *in_line = !self.is_at_start;
    }

    /// Whether the stream's next piece goes on with a line, of which parts were sent before.
    pub fn set_in_line(&mut self, stream: Stream, in_line: bool) {
        self.in_line[stream.index()] = in_line;
    }

    /// Appends an event, if notes are wanted.
    pub fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if !matches!(event, Event::End(_)) {
            // What follows begins a line.
            self.in_line = [false; 2];
        }
        if !self.notes {
            return;
        }
        if !std::mem::replace(&mut self.is_at_start, true) {
            out.put_u8(b'\n');
        }
        let note = match event {
            Event::Notice(notice) => format!("notice: {}, {}", notice.code, notice.message),
            Event::Gap(gap) => self.gap(gap),
            Event::Restart(started_at) => format!("restart: {}", self.time_text(started_at)),
            Event::End(end) => self.end(end),
        };
        // Writing to memory does not fail.
        let _: Result<(), _> = writeln!(out, "-- {note} --");
    }

    fn gap(&mut self, gap: &Gap) -> String {
        let mut time = |time: Option<i64>| time.map_or_else(|| "?".to_owned(), |time| self.time_text(time));
        let lines = gap.lines.map_or_else(String::new, |lines| format!(", {lines} lines"));
        format!("gap: {}, {} to {}{lines}", gap.reason.name(), time(gap.after), time(gap.before))
    }

    fn end(&mut self, end: &End) -> String {
        let mut note = format!("end: {}", end.reason.name());
        if let Some(code) = end.exit.code {
            note += &format!(", exit code {code}");
        }
        if end.exit.oom {
            note += ", out of memory";
        }
        if let Some(finished_at) = end.exit.finished_at {
            note = format!("{note}, {}", self.time_text(finished_at));
        }
        note
    }

    fn time_text(&mut self, time: i64) -> String {
        String::from_utf8_lossy(self.time.text(time)).into_owned()
    }
}
