//! A log as an API server sends it: each line with its time, one chunk a line or pieces of a buffer.

use std::{fmt::Write as _, ops::Range};

/// How an API server writes a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Who follows gets a chunk a line.
    Follow,
    /// Who reads what there is gets pieces of a buffer of 2,048 bytes; a line that is longer goes past it.
    Plain,
}

/// A log.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Bytes of a line, with its newline.
    pub length: usize,
    pub lines: usize,
    pub writes: Writes,
}

/// The logs that are measured, and a short one for the baseline, which takes its time.
pub const LOADS: [Load; 5] = [
    Load { length: 100, lines: 4_096_000, writes: Writes::Follow },
    Load { length: 100, lines: 4_096_000, writes: Writes::Plain },
    Load { length: 16_384, lines: 48_000, writes: Writes::Follow },
    Load { length: 16_384, lines: 48_000, writes: Writes::Plain },
    Load { length: 100, lines: 204_800, writes: Writes::Follow },
];

/// What the last line of a log ends with.
pub const LAST: &[u8] = b"the last line\n";

/// A time and the blank behind it: `2026-11-23T02:01:21.821916123Z `.
const TIME: usize = 31;

/// Where the second of the day is in it.
const CLOCK: Range<usize> = 11..19;

/// Go's buffer.
const BUFFER: usize = 2048;

/// Lines of a block. As many bytes of lines as there are lines in it, so that pieces of 2,048 bytes end with it.
const BLOCK: usize = 2048;

impl Load {
    /// The sandbox that prints it.
    pub fn id(self) -> String {
        let Self { length, lines, writes } = self;
        format!("{writes:?}-{length}-{lines}").to_lowercase()
    }

    /// Payload bytes.
    pub fn bytes(self) -> u64 {
        (self.lines * self.length) as u64
    }

    /// How many lines are made at once: each such block has the times of one second.
    fn block(self) -> usize {
        if self.length < BUFFER { BLOCK } else { 16 }
    }

    /// The body, block by block: the same bytes again and again, with another second.
    pub fn blocks(self) -> Blocks {
        let (bytes, clocks) = self.frame(self.text(0..self.block()));
        Blocks { load: self, at: 0, bytes, clocks }
    }

    /// The last `count` lines in chunks, or all that one block has.
    pub fn tail(self, count: usize) -> Vec<u8> {
        let last = self.lines - count.min(self.lines)..self.lines;
        let mut text = self.text(last.clone());
        let end = text.len();
        text[end - LAST.len()..].copy_from_slice(LAST);
        let size = TIME + self.length;
        for (at, number) in last.enumerate() {
            text[at * size..][CLOCK].copy_from_slice(&clock(number / self.block()));
        }
        self.frame(text).0
    }

    /// The lines of these numbers with the times of a first second.
    fn text(self, numbers: Range<usize>) -> Vec<u8> {
        let mut text = String::new();
        for number in numbers {
            let nanoseconds = number % self.block() * 1000 + 1;
            let _ = write!(text, "2026-11-23T00:00:00.{nanoseconds:09}Z ");
            text.extend((0..self.length - 1).map(|at| char::from(b'a' + (at % 26) as u8)));
            text.push('\n');
        }
        text.into_bytes()
    }

    /// The text in chunks, and where each line's second of the day is.
    fn frame(self, text: Vec<u8>) -> (Vec<u8>, Vec<usize>) {
        let size = TIME + self.length;
        let piece = if self.writes == Writes::Plain && self.length < BUFFER { BUFFER } else { size };
        let (mut bytes, mut places) = (Vec::new(), vec![0; text.len()]);
        for (number, chunk) in text.chunks(piece).enumerate() {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            for at in 0..chunk.len() {
                places[number * piece + at] = bytes.len() + at;
            }
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        let clocks = (0..text.len() / size).flat_map(|line| CLOCK.map(move |at| line * size + at));
        (bytes, clocks.map(|at| places[at]).collect())
    }
}

/// The second of the day with this number.
fn clock(number: usize) -> [u8; 8] {
    let text = format!("{:02}:{:02}:{:02}", number / 3600 % 24, number / 60 % 60, number % 60);
    text.into_bytes().try_into().unwrap()
}

/// The blocks of a log.
pub struct Blocks {
    load: Load,
    at: usize,
    bytes: Vec<u8>,
    /// The places of eight bytes a line.
    clocks: Vec<usize>,
}

impl Blocks {
    /// The next block. The last one ends with [`LAST`].
    pub fn next(&mut self) -> Option<&[u8]> {
        let count = self.load.lines / self.load.block();
        if self.at == count {
            return None;
        }
        let clock = clock(self.at);
        for places in self.clocks.chunks_exact(8) {
            for (place, digit) in places.iter().zip(clock) {
                self.bytes[*place] = digit;
            }
        }
        self.at += 1;
        if self.at == count {
            let end = self.bytes.len() - 2;
            self.bytes[end - LAST.len()..end].copy_from_slice(LAST);
        }
        Some(&self.bytes)
    }
}
