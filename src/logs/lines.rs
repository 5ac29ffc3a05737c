//! Logical lines: the records of a line that a backend stored in pieces are joined.

use super::{
    cursor::{Cursor, OpenLine, RunId},
    record::{Mark, Place, Record, Stream},
};

/// Most bytes of a line that are joined; a longer one is given in parts.
pub const MAX_LINE: usize = 1024 * 1024;

/// A logical line, or a part of one.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its stream.
    pub stream: Stream,
    /// When its first record was printed, in nanoseconds since 1970.
    pub time: i64,
    /// What was printed, with the newline if it has one.
    pub bytes: &'a [u8],
    /// The backend left out its newline.
    pub lacks_newline: bool,
    /// More of the line follows, in another part.
    pub is_part: bool,
    /// Parts of the line were given before.
    pub is_rest: bool,
    /// Its beginning may be missing.
    pub is_fragment: bool,
    last: Record,
    last_len: usize,
    other: Option<OpenLine>,
    /// What was given of the other stream behind the line's last record.
    later: Option<Later>,
}

/// The last record of a line, or a part of one, that was given.
#[derive(Debug, Clone, Copy)]
struct Later {
    mark: Mark,
    is_part: bool,
}

impl Line<'_> {
    /// The place behind it, and behind all that was given before it.
    pub fn cursor(&self, run: RunId) -> Cursor {
        if let Some(Later { mark, is_part }) = self.later {
            let open = OpenLine { place: self.last.place, sum: 0, in_line: true, is_seen: true };
            let other = self.is_part.then_some(open);
            return Cursor { run, mark: Some(mark), in_line: is_part, other, left_out: [false; 2], ended: false };
        }
        let Self { is_part, other, .. } = *self;
        Cursor { run, mark: Some(self.mark()), in_line: is_part, other, left_out: [false; 2], ended: false }
    }

    /// The mark of its last record.
    fn mark(&self) -> Mark {
        Mark::of(&self.last, &self.bytes[self.bytes.len() - self.last_len..])
    }
}

/// Joins records. Holds at most [`MAX_LINE`] bytes and a record of each stream.
#[derive(Debug)]
pub struct Lines {
    open: [Option<Open>; 2],
    drops_newlines: bool,
    /// How many records were pushed.
    seen: u64,
}

/// A line whose end was not seen.
#[derive(Debug)]
struct Open {
    /// The records of a line share their time. Unknown of a line whose first record is still to come.
    time: Option<i64>,
    /// The first record of `text`, and the CRC-32 of its bytes.
    first: Place,
    first_sum: u32,
    text: Vec<u8>,
    last: Option<Record>,
    last_len: usize,
    /// Parts were given before `text`.
    in_line: bool,
    is_fragment: bool,
    /// When the first record of `text` came, counted in records.
    begun: u64,
    /// When its last record came, counted in records.
    seen: u64,
    /// What was given of the other stream since.
    later: Option<Later>,
}

impl Open {
    fn new(time: Option<i64>, first: Place) -> Self {
        Self {
            time,
            first,
            first_sum: 0,
            text: Vec::new(),
            last: None,
            last_len: 0,
            in_line: false,
            is_fragment: false,
            begun: 0,
            seen: 0,
            later: None,
        }
    }

    fn line(&self, stream: Stream, is_part: bool, other: Option<OpenLine>) -> Option<Line<'_>> {
        let last = self.last?;
        Some(Line {
            stream,
            time: self.time.unwrap_or(last.place.time),
            bytes: &self.text,
            lacks_newline: false,
            is_part,
            is_rest: self.in_line,
            is_fragment: self.is_fragment,
            last,
            last_len: self.last_len,
            other,
            later: self.later,
        })
    }
}

impl Lines {
    /// Lines from the beginning of one on. `drops_newlines` as [`super::backend::Backend::drops_newlines`].
    pub fn new(drops_newlines: bool) -> Self {
        Self { open: [None, None], drops_newlines, seen: 0 }
    }

    /// The first line of this stream may be without its beginning.
    pub fn begin_in_fragment(&mut self, stream: Stream) {
        let open = Open::new(None, Place { time: 0, ordinal: 0 });
        self.open[stream.index()] = Some(Open { is_fragment: true, ..open });
    }

    /// The first line of this stream is whole after all.
    pub fn begin_whole(&mut self, stream: Stream) {
        self.open[stream.index()] = None;
    }

    /// Parts of the first line of this stream, which was begun at `time`, were given before.
    pub fn begin_in_line(&mut self, stream: Stream, time: i64) {
        let open = Open::new(Some(time), Place { time, ordinal: 0 });
        self.open[stream.index()] = Some(Open { in_line: true, ..open });
    }

    /// What comes next is behind this record of a line, or of a part of one, that was given before.
    pub fn note_seen(&mut self, mark: Mark, is_part: bool) {
        self.seen += 1;
        note_later(&mut self.open[mark.stream.other().index()], Later { mark, is_part }, self.seen);
    }

    /// Takes the next record and gives the lines that end with it or before it: none, one or two.
    #[inline]
    pub fn push(&mut self, record: &Record, bytes: &[u8], mut give: impl FnMut(Line<'_>)) {
        self.seen += 1;
        let index = record.stream.index();
        if self.open[index].is_none() && bytes.last() == Some(&b'\n') {
            return self.give_whole(record, bytes, &mut give);
        }
        self.push_piece(record, bytes, &mut give);
    }

    fn push_piece(&mut self, record: &Record, bytes: &[u8], give: &mut impl FnMut(Line<'_>)) {
        let (stream, index) = (record.stream, record.stream.index());
        let other = self.open_line(stream.other());
        let time = record.place.time;
        if let Some(open) = self.open[index].take_if(|open| open.time.is_some_and(|begun| begun != time)) {
            // The line before ended without a newline, or the backend did not keep it.
            self.give_open(&open, stream, self.drops_newlines, other, give);
        }
        let ends = bytes.last() == Some(&b'\n');
        let open = match &mut self.open[index] {
            None if ends => return self.give_whole(record, bytes, give),
            open => open.get_or_insert_with(|| Open::new(Some(time), record.place)),
        };
        open.time = Some(time);
        if !open.text.is_empty() && open.text.len() + bytes.len() > MAX_LINE {
            let part = open.line(stream, true, other);
            let later = part.as_ref().map(|part| (part.mark(), open.seen));
            part.into_iter().for_each(&mut *give);
            open.text.clear();
            open.in_line = true;
            if let Some((mark, seen)) = later {
                note_later(&mut self.open[stream.other().index()], Later { mark, is_part: true }, seen);
            }
        }
        let Some(open) = &mut self.open[index] else { return };
        if open.text.is_empty() {
            (open.first, open.first_sum, open.begun) = (record.place, crc32fast::hash(bytes), self.seen);
        }
        open.text.extend_from_slice(bytes);
        (open.last, open.last_len, open.seen, open.later) = (Some(*record), bytes.len(), self.seen, None);
        if ends && let Some(open) = self.open[index].take() {
            self.give_open(&open, stream, false, other, give);
        }
    }

    fn give_whole(&mut self, record: &Record, bytes: &[u8], give: &mut impl FnMut(Line<'_>)) {
        let other = record.stream.other();
        give(whole(record, bytes, self.open_line(other)));
        let open = &mut self.open[other.index()];
        if open.is_some() {
            note_later(open, Later { mark: Mark::of(record, bytes), is_part: false }, self.seen);
        }
    }

    fn give_open(
        &mut self,
        open: &Open,
        stream: Stream,
        lacks_newline: bool,
        other: Option<OpenLine>,
        give: &mut impl FnMut(Line<'_>),
    ) {
        // What began behind the line's last record is not under way there.
        let began = |other: &Open| other.begun < open.seen;
        let other = other.filter(|_| self.open[stream.other().index()].as_ref().is_none_or(began));
        let Some(line) = open.line(stream, false, other) else { return };
        let later = Later { mark: line.mark(), is_part: false };
        give(Line { lacks_newline, ..line });
        note_later(&mut self.open[stream.other().index()], later, open.seen);
    }

    /// At the end of the log: gives the lines that were not ended, in the order of their last records.
    pub fn finish(&mut self, mut give: impl FnMut(Line<'_>)) {
        let mut order = Stream::ALL;
        order.sort_by_key(|stream| self.open[stream.index()].as_ref().map_or(0, |open| open.seen));
        for stream in order {
            let other = self.open_line(stream.other());
            if let Some(open) = self.open[stream.index()].take() {
                self.give_open(&open, stream, false, other, &mut give);
            }
        }
    }

    /// What was collected of the stream's line that is under way, if it is to be shown: when it was begun, and the bytes.
    pub fn open_text(&self, stream: Stream) -> Option<(i64, &[u8])> {
        let open = self.open[stream.index()].as_ref().filter(|open| !open.is_fragment)?;
        Some((open.time?, &open.text))
    }

    /// Whether the stream's line that is under way may lack its beginning.
    pub fn is_in_fragment(&self, stream: Stream) -> bool {
        self.open[stream.index()].as_ref().is_some_and(|open| open.is_fragment)
    }

    /// Whether a line of this stream is under way.
    pub fn is_open(&self, stream: Stream) -> bool {
        self.open[stream.index()].is_some()
    }

    fn open_line(&self, stream: Stream) -> Option<OpenLine> {
        let open = self.open[stream.index()].as_ref().filter(|open| !open.text.is_empty())?;
        Some(OpenLine { place: open.first, sum: open.first_sum, in_line: open.in_line, is_seen: false })
    }
}

/// Notes that something was given, the record `seen` of all, while a line of the other stream is under way.
fn note_later(open: &mut Option<Open>, later: Later, seen: u64) {
    if let Some(open) = open.as_mut().filter(|open| open.seen < seen && open.last.is_some()) {
        open.later = Some(later);
    }
}

fn whole<'a>(record: &Record, bytes: &'a [u8], other: Option<OpenLine>) -> Line<'a> {
    Line {
        stream: record.stream,
        time: record.place.time,
        bytes,
        lacks_newline: false,
        is_part: false,
        is_rest: false,
        is_fragment: false,
        last: *record,
        last_len: bytes.len(),
        other,
        later: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stream: Stream, time: i64) -> Record {
        Record { stream, place: Place { time, ordinal: 0 }, start: 0, end: 0 }
    }

    /// Each line as its stream's letter, its text, and `+` for a part, `?` for a fragment, `!` for one without its newline.
    fn lines(lines: &mut Lines, records: &[(Stream, i64, &str)]) -> Vec<String> {
        let mut given = Vec::new();
        let mut give = |line: Line<'_>| {
            let marks = [(line.is_part, "+"), (line.is_fragment, "?"), (line.lacks_newline, "!")];
            let marks: String = marks.iter().filter(|mark| mark.0).map(|mark| mark.1).collect();
            given.push(format!("{}{}{marks}", &line.stream.name()[3..], String::from_utf8_lossy(line.bytes)));
        };
        for (stream, time, text) in records {
            lines.push(&record(*stream, *time), text.as_bytes(), &mut give);
        }
        lines.finish(&mut give);
        given
    }

    use Stream::{Stderr as E, Stdout as O};

    #[test]
    fn pieces_are_joined_among_those_of_the_other_stream() {
        let records =
            [(O, 1, "a\n"), (O, 2, "lo"), (E, 3, "e\n"), (O, 2, "ng"), (E, 4, "f"), (O, 2, "\n"), (E, 4, "g")];
        assert_eq!(lines(&mut Lines::new(false), &records), ["outa\n", "erre\n", "outlong\n", "errfg"]);
    }

    #[test]
    fn a_piece_of_another_time_is_another_line_s() {
        let records = [(O, 1, "lo"), (O, 1, "ng"), (O, 2, "next\n"), (O, 3, "la"), (O, 3, "st")];
        assert_eq!(lines(&mut Lines::new(false), &records), ["outlong", "outnext\n", "outlast"]);
        assert_eq!(lines(&mut Lines::new(true), &records), ["outlong!", "outnext\n", "outlast"]);
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_parts() {
        let piece = "x".repeat(16 * 1024);
        let mut records = vec![(O, 1, piece.as_str()); 65];
        records.push((O, 1, "\n"));
        let given = lines(&mut Lines::new(false), &records);
        assert_eq!(given.iter().map(String::len).collect::<Vec<_>>(), [3 + MAX_LINE + 1, 3 + piece.len() + 1]);
        assert!(given[0].ends_with('+') && given[1].ends_with('\n'));
    }

    #[test]
    fn fragments_and_lines_that_were_begun_before_are_told() {
        let mut fragments = Lines::new(false);
        fragments.begin_in_fragment(O);
        let records = [(O, 1, "rest\n"), (E, 2, "e\n"), (O, 3, "a\n")];
        assert_eq!(lines(&mut fragments, &records), ["outrest\n?", "erre\n", "outa\n"]);
        let mut fragments = Lines::new(false);
        fragments.begin_in_fragment(O);
        assert_eq!(lines(&mut fragments, &[(O, 1, "rest"), (O, 2, "a\n")]), ["outrest?", "outa\n"]);
        let mut begun = Lines::new(false);
        begun.begin_in_line(O, 7);
        assert_eq!(lines(&mut begun, &[(O, 7, "more\n"), (O, 8, "a\n")]), ["outmore\n", "outa\n"]);
        let mut begun = Lines::new(false);
        begun.begin_in_line(O, 7);
        assert_eq!(lines(&mut begun, &[(O, 8, "a\n")]), ["outa\n"]);
    }

    #[test]
    fn a_cursor_tells_the_other_stream_s_open_line() {
        let mut joined = Lines::new(false);
        let run = RunId::of("0123456789abcdef");
        let mut cursors = Vec::new();
        for (stream, time, text) in [(O, 1, "lo"), (E, 2, "e\n"), (O, 1, "ng\n"), (E, 3, "f\n")] {
            joined.push(&record(stream, time), text.as_bytes(), |line| cursors.push(line.cursor(run)));
        }
        let open = OpenLine {
            place: Place { time: 1, ordinal: 0 },
            sum: crc32fast::hash(b"lo"),
            in_line: false,
            is_seen: false,
        };
        assert_eq!(cursors.iter().map(|cursor| cursor.other).collect::<Vec<_>>(), [Some(open), None, None]);
        assert_eq!(cursors[1].mark, Some(Mark::of(&record(O, 1), b"ng\n")));
    }
}
