//! Counting the lines of a log's end, without keeping them: where do the last N begin?
//!
//! An engine's `tail` counts the records it stored, of both streams and of any time (log-pitfalls B10); a client means
//! lines, of what it asked to see. So the end of the log is read once, with timestamps, and counted.

mod frames;
mod tty;

use std::{collections::VecDeque, ops::Range};

pub use self::{frames::FrameCounter, tty::TtyCounter};
use super::{
    decode::docker_frames::{PREFIX, is_prefix},
    skip::Skip,
};

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How many lines.
    pub lines: u64,
    /// For streams 0 to 2: whether its records count.
    pub streams: [bool; 3],
    /// The earliest and the latest time of a record that counts, in the engine's form.
    pub times: Range<Vec<u8>>,
}

/// Most lines whose times are kept; 30 bytes each, only while they are counted.
const MOST_TIMES: u64 = 4096;

/// A record's time, in the engine's form.
type Time = [u8; PREFIX - 1];

/// What an engine's records tell, read from a frame each or cut out of a TTY's bytes.
#[derive(Debug)]
pub struct Count {
    wanted: Wanted,
    records: u64,
    lines: u64,
    first_is_wanted: bool,
    first_is_before: bool,
    first_time: Option<Time>,
    /// When the last wanted lines were begun, if they are few enough; the first record is not among them.
    begun: VecDeque<Time>,
    /// The latest time of any record. Those of two streams need not be in order.
    latest: Option<Time>,
    mid_line: [bool; 3],
}

/// Where the wanted lines begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a window of this many records, after what is to be left out.
    Found(Skip),
    /// Before the window that was read.
    Earlier {
        /// How many lines are still to be found.
        missing: u64,
    },
}

impl Count {
    /// Nothing is counted yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            records: 0,
            lines: 0,
            first_is_wanted: false,
            first_is_before: false,
            first_time: None,
            begun: VecDeque::new(),
            latest: None,
            mid_line: [false; 3],
        }
    }

    /// Counts a record of `stream` (0 to 2) that begins with `start` (a timestamp, if it is whole) and ends with `last`.
    pub fn record(&mut self, stream: u8, start: &[u8], last: u8) {
        let stream = usize::from(stream);
        let time = start.get(..PREFIX).filter(|start| is_prefix(start)).map(|start| &start[..PREFIX - 1]);
        let times = &self.wanted.times;
        let in_time = time.is_none_or(|time| *times.start <= *time && *time <= *times.end);
        let wanted = self.wanted.streams[stream] && in_time;
        if self.records == 0 {
            self.first_is_wanted = wanted;
            self.first_is_before = time.is_some_and(|time| time < times.start.as_slice());
        }
        let time = time.and_then(|time| Time::try_from(time).ok());
        self.latest = self.latest.max(time);
        // The first record may be the middle of a line, so it is not counted before that is known.
        if self.records == 0 {
            self.first_time = time;
        } else if wanted && !self.mid_line[stream] {
            self.lines += 1;
            self.note_begun(time);
        }
        self.records += 1;
        self.mid_line[stream] = last != b'\n';
    }

    fn note_begun(&mut self, time: Option<Time>) {
        if self.wanted.lines > MOST_TIMES {
            return;
        }
        if self.begun.len() as u64 == self.wanted.lines {
            self.begun.pop_front();
        }
        self.begun.extend(time);
    }

    /// How many records were counted, wanted or not.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// When the first of them and the latest were printed, in the engine's form.
    pub fn span(&self) -> Option<[&str; 2]> {
        Some([std::str::from_utf8(self.first_time.as_ref()?).ok()?, std::str::from_utf8(self.latest.as_ref()?).ok()?])
    }

    /// When the first of the wanted lines was begun and when the last record of all was printed, in the engine's form, after
    /// all records of a window of at most `window` were counted. `None` for more lines than have their times kept.
    pub fn times(&self, window: u64) -> Option<[&str; 2]> {
        let Wanted { lines, .. } = self.wanted;
        let is_whole = self.lines >= lines || !(self.is_all(window) && self.first_is_wanted);
        let first = if is_whole { self.begun.front() } else { self.first_time.as_ref() };
        let first = first.filter(|_| self.begun.len() as u64 == self.lines.min(lines))?;
        Some([std::str::from_utf8(first).ok()?, std::str::from_utf8(self.latest.as_ref()?).ok()?])
    }

    /// Whether nothing that is wanted comes before the window.
    fn is_all(&self, window: u64) -> bool {
        self.records < window || self.first_is_before
    }

    /// Says where the wanted lines begin, after all records of a window of at most `window` were counted.
    pub fn place(&self, window: u64) -> Place {
        let Wanted { lines, .. } = self.wanted;
        let is_all = self.is_all(window);
        let found = self.lines + u64::from(is_all && self.first_is_wanted);
        match lines.checked_sub(found) {
            Some(missing) if missing > 0 && !is_all => Place::Earlier { missing },
            _ => Place::Found(Skip { fragment: !is_all && self.first_is_wanted, lines: found.saturating_sub(lines) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(lines: u64) -> Wanted {
        Wanted { lines, streams: [true; 3], times: vec![]..vec![0xFF] }
    }

    fn time(second: u8) -> String {
        format!("2026-11-23T02:01:{second:02}.000000000Z ")
    }

    fn counted(wanted: Wanted, records: &[(u8, &str, u8)], window: u64) -> Place {
        let mut bytes = Vec::new();
        for (stream, text, second) in records {
            let payload = time(*second) + text;
            bytes.extend([*stream, 0, 0, 0]);
            bytes.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
            bytes.extend(payload.as_bytes());
        }
        for step in 1..bytes.len() {
            let mut counter = FrameCounter::new(Count::new(wanted.clone()));
            for piece in bytes.chunks(step) {
                counter.read(piece).expect("frames");
            }
            let place = counter.into_count().place(window);
            if step + 1 == bytes.len() {
                return place;
            }
        }
        unreachable!("there are bytes")
    }

    #[test]
    fn the_window_has_times_to_begin_and_to_end() {
        let times = |lines, window, records: &[(u8, &str, u8)]| {
            let mut count = Count::new(wanted(lines));
            for (stream, text, second) in records {
                let payload = time(*second) + text;
                count.record(*stream, &payload.as_bytes()[..PREFIX], *payload.as_bytes().last().expect("text"));
            }
            count.times(window).map(|times| times.map(|time| time[17..19].to_owned()))
        };
        let of = |first: &str, last: &str| Some([first.to_owned(), last.to_owned()]);
        assert_eq!(times(2, 5, &LOG), of("03", "04"));
        assert_eq!(times(3, 5, &LOG), of("02", "04"));
        assert_eq!(times(9, 6, &LOG), of("01", "04"), "all of the log");
        assert_eq!(times(1, 3, &[(1, "a\n", 1), (2, "b\n", 9), (1, "c\n", 8)]), of("08", "09"));
        assert_eq!(times(MOST_TIMES + 1, 6, &LOG), None);
    }

    const LOG: [(u8, &str, u8); 5] = [(1, "a\n", 1), (1, "long ", 2), (1, "line\n", 2), (2, "e\n", 3), (1, "end", 4)];

    #[test]
    fn lines_are_counted_not_records() {
        let skip = |fragment, lines| Place::Found(Skip { fragment, lines });
        assert_eq!(counted(wanted(9), &LOG, 6), skip(false, 0));
        assert_eq!(counted(wanted(3), &LOG, 6), skip(false, 1));
        assert_eq!(counted(wanted(3), &LOG, 5), skip(true, 0));
        assert_eq!(counted(wanted(1), &LOG, 5), skip(true, 2));
        assert_eq!(counted(wanted(4), &LOG, 5), Place::Earlier { missing: 1 });
        assert_eq!(counted(wanted(3), &LOG[2..], 3), Place::Earlier { missing: 1 });
    }

    #[test]
    fn what_is_not_asked_for_does_not_count() {
        let errors = Wanted { streams: [false, false, true], ..wanted(1) };
        assert_eq!(counted(errors.clone(), &LOG, 5), Place::Found(Skip::default()));
        assert_eq!(counted(errors, &LOG[4..], 1), Place::Earlier { missing: 1 });
        let late = time(2).trim_end().as_bytes().to_vec()..time(3).trim_end().as_bytes().to_vec();
        assert_eq!(
            counted(Wanted { times: late.clone(), ..wanted(1) }, &LOG, 5),
            Place::Found(Skip { fragment: false, lines: 1 })
        );
        // The window begins before `since`: nothing wanted is earlier.
        assert_eq!(counted(Wanted { times: late, ..wanted(9) }, &LOG, 5), Place::Found(Skip::default()));
    }

    #[test]
    fn a_ttys_records_are_cut_at_the_limit() {
        let input =
            [time(1), "ab\r\n".into(), time(2), "12345678".into(), time(2), "9\r\n".into(), time(3), "x".into()];
        let input = input.concat();
        for step in 1..input.len() {
            let mut counter = TtyCounter::new(Count::new(wanted(2)), 8);
            input.as_bytes().chunks(step).for_each(|piece| counter.read(piece));
            let count = counter.into_count();
            assert_eq!((count.records, count.lines), (4, 2), "step {step}");
            assert_eq!(count.place(9), Place::Found(Skip { fragment: false, lines: 1 }));
        }
    }
}
