//! Cutting a command's output into records: lines, and long ones in pieces that are the same however the bytes came.

use memchr::memchr;

use crate::logs::record::{Place, Record, Records, Stream};

/// Longest record, in bytes.
const MAX_PIECE: usize = 16 * 1024;

/// How long a line's piece of this number is. One is shorter than the one before it: the same bytes over and over give records
/// that can be told apart by their sums.
fn piece_len(number: usize) -> usize {
    MAX_PIECE - number % (MAX_PIECE / 2)
}

/// Counts and cuts lines. Holds at most `MAX_PIECE` bytes.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The index of the line that is under way, from 0 on.
    index: u64,
    /// What of it is to be given.
    open: Vec<u8>,
    /// How many of its bytes were given.
    given: usize,
    /// In how many pieces, also before it came again.
    pieces: usize,
    /// When its first byte came.
    time: Option<i64>,
    /// Lines before this one were given.
    first: u64,
    /// So many bytes of that one were given, and come again.
    skip: usize,
}

impl Splitter {
    /// The next byte begins the line of this index.
    pub fn at(index: u64) -> Self {
        Self { index, first: index, ..Self::default() }
    }

    /// The index of the line that is under way.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Whether a line has begun.
    pub fn is_open(&self) -> bool {
        self.given > 0 || !self.open.is_empty()
    }

    /// The line that is under way comes again, from its first byte on. What was given of it is not given again.
    pub fn repeat_line(&mut self) {
        self.skip = self.given + if self.index == self.first { self.skip } else { 0 };
        (self.first, self.given) = (self.index, 0);
        self.open.clear();
    }

    /// Everything comes again, from the first line on. What was given is not given again.
    pub fn repeat_all(&mut self) {
        if self.index >= self.first {
            self.repeat_line();
        }
        (self.index, self.given) = (0, 0);
        self.open.clear();
    }

    /// Takes bytes that came at the time `now`, in nanoseconds since 1970.
    pub fn push(&mut self, mut bytes: &[u8], now: i64) -> Records {
        let mut buf = Vec::new();
        let mut index = Vec::new();
        while !bytes.is_empty() {
            let skip = if self.index == self.first { self.skip } else { 0 };
            let room = if skip > 0 { skip } else { piece_len(self.pieces) - self.open.len() };
            let window = &bytes[..bytes.len().min(room)];
            let (piece, ends) = match memchr(b'\n', window) {
                Some(at) => (&window[..=at], true),
                None => (window, false),
            };
            bytes = &bytes[piece.len()..];
            let is_given = self.index < self.first || skip > 0;
            if is_given {
                let seen = piece.len().min(skip);
                self.skip -= seen;
                self.given += seen;
            } else {
                let time = *self.time.get_or_insert(now);
                self.open.extend_from_slice(piece);
                if ends || self.open.len() == piece_len(self.pieces) {
                    self.give(time, &mut buf, &mut index);
                }
            }
            if ends {
                self.end_line();
            }
        }
        Records { buf: buf.into(), index, run: None }
    }

    /// What is left, a line without its end.
    pub fn rest(&mut self) -> Option<Records> {
        let time = self.time.filter(|_| !self.open.is_empty())?;
        let (mut buf, mut index) = (Vec::new(), Vec::new());
        self.give(time, &mut buf, &mut index);
        Some(Records { buf: buf.into(), index, run: None })
    }

    fn give(&mut self, time: i64, buf: &mut Vec<u8>, index: &mut Vec<Record>) {
        let start = buf.len();
        buf.append(&mut self.open);
        self.given += buf.len() - start;
        self.pieces += 1;
        let place = Place { time, ordinal: ordinal(self.index) };
        index.push(Record { stream: Stream::Stdout, place, start: start as u32, end: buf.len() as u32 });
    }

    fn end_line(&mut self) {
        // A line that came again may be shorter than it was.
        if self.index >= self.first {
            self.skip = 0;
            self.pieces = 0;
            self.time = None;
        }
        self.index += 1;
        self.given = 0;
    }
}

/// The number of a line in its record's place. Lines beyond 2³² are not told apart.
pub fn ordinal(index: u64) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(records: &Records) -> Vec<(u32, Vec<u8>)> {
        records.iter().map(|(record, bytes)| (record.place.ordinal, bytes.to_vec())).collect()
    }

    #[test]
    fn lines_are_given_when_they_are_whole() {
        let mut splitter = Splitter::default();
        let records = splitter.push(b"a\nb\npar", 1);
        assert_eq!(given(&records), [(0, b"a\n".to_vec()), (1, b"b\n".to_vec())]);
        let records = splitter.push(b"t\n", 2);
        assert_eq!(given(&records), [(2, b"part\n".to_vec())]);
        assert_eq!(records.index[0].place.time, 1, "it began then");
        assert_eq!(splitter.rest().map(|records| given(&records)), None);
        splitter.push(b"last", 3);
        assert_eq!(splitter.rest().map(|records| given(&records)), Some(vec![(3, b"last".to_vec())]));
    }

    #[test]
    fn what_comes_again_is_not_given_again() {
        let long = [vec![b'x'; MAX_PIECE + 10], b"\nnext\n".to_vec()].concat();
        let mut splitter = Splitter::at(5);
        let first = splitter.push(&long[..MAX_PIECE + 5], 1);
        assert_eq!(given(&first), [(5, vec![b'x'; MAX_PIECE])]);
        splitter.repeat_line();
        let rest = given(&splitter.push(&long, 2));
        assert_eq!(rest, [(5, [vec![b'x'; 10], b"\n".to_vec()].concat()), (6, b"next\n".to_vec())]);
        let mut splitter = Splitter::default();
        splitter.push(b"a\nb\nc", 1);
        splitter.repeat_all();
        assert!(given(&splitter.push(b"a\n", 2)).is_empty());
        splitter.repeat_all();
        assert_eq!(given(&splitter.push(b"a\nb\ncd\n", 2)), [(2, b"cd\n".to_vec())]);
    }

    proptest! {
        #[test]
        fn records_are_the_same_however_the_bytes_come(
            lines in prop::collection::vec(0_usize..40_000, 0..6),
            cuts in prop::collection::vec(1_usize..20_000, 1..20),
            again in any::<bool>(),
        ) {
            let text: Vec<u8> = lines.iter().flat_map(|len| [vec![b'y'; *len], b"\n".to_vec()].concat()).collect();
            let mut whole = Splitter::default();
            let expected = given(&whole.push(&text, 1));
            let mut splitter = Splitter::default();
            let (mut found, mut rest) = (Vec::new(), &text[..]);
            for cut in cuts.iter().cycle().take(40) {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                found.extend(given(&splitter.push(now, 1)));
                if again {
                    splitter.repeat_all();
                    rest = &text;
                }
            }
            found.extend(given(&splitter.push(rest, 1)));
            prop_assert_eq!(found, expected);
        }
    }
}
