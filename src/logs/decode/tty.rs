//! The log of a container with a TTY: its bytes, with nothing between them but timestamps.

use std::ops::Range;

use memchr::memchr;

use super::docker_frames::{PREFIX, is_prefix};
use crate::logs::compact::Compactor;

/// The decoder's state between two reads.
///
/// There are no frames, so a record's start is found by counting: a record ends with its line or at the driver's limit.
#[derive(Debug)]
pub struct Tty {
    timestamps: bool,
    record_limit: usize,
    at: Place,
}

#[derive(Debug)]
enum Place {
    /// At or in the timestamp of a new line, which is kept: so many bytes of it remain.
    LinePrefix { left: usize },
    /// At or in what should be the timestamp of a cut line's next record, which is dropped.
    CutPrefix { bytes: [u8; PREFIX], have: usize },
    /// In a record's content: so many bytes of it were seen.
    Content { seen: usize },
}

impl Tty {
    /// A TTY's bytes; with a timestamp before each record of at most `record_limit` (≥ 1) bytes when `timestamps` is set.
    pub fn new(timestamps: bool, record_limit: usize) -> Self {
        let at = if timestamps { Place::LinePrefix { left: PREFIX } } else { Place::Content { seen: 0 } };
        Self { timestamps, record_limit, at }
    }

    /// Passes the payload in `buf[run]` on to `out`.
    pub fn decode(&mut self, buf: &mut [u8], run: Range<usize>, out: &mut Compactor) {
        let Range { start: mut at, end } = run;
        if !self.timestamps {
            if at < end {
                out.push(buf, at, end - at);
            }
            return;
        }
        while at < end {
            at = self.step(buf, at, end, out);
        }
    }

    /// Handles one stretch of a record from `at` on. Answers where to go on.
    fn step(&mut self, buf: &mut [u8], at: usize, end: usize, out: &mut Compactor) -> usize {
        match &mut self.at {
            Place::LinePrefix { left } => {
                let len = (*left).min(end - at);
                out.push(buf, at, len);
                *left -= len;
                if *left == 0 {
                    self.at = Place::Content { seen: 0 };
                }
                at + len
            }
            Place::CutPrefix { bytes, have } => {
                let len = (PREFIX - *have).min(end - at);
                bytes[*have..*have + len].copy_from_slice(&buf[at..at + len]);
                *have += len;
                // A line that is exactly as long as the limit ends here, with its newline in a record of its own.
                if *have == PREFIX || !could_be_prefix(&bytes[..*have]) {
                    self.cut_prefix_read(buf, at + len, out)
                } else {
                    at + len
                }
            }
            Place::Content { seen } => {
                let room = (self.record_limit - *seen).min(end - at);
                let newline = memchr(b'\n', &buf[at..at + room]);
                let len = newline.map_or(room, |newline| newline + 1);
                out.push(buf, at, len);
                *seen += len;
                if newline.is_some() {
                    self.at = Place::LinePrefix { left: PREFIX };
                } else if *seen == self.record_limit {
                    self.at = Place::CutPrefix { bytes: [0; PREFIX], have: 0 };
                }
                at + len
            }
        }
    }

    /// Drops what was collected when it is a timestamp; else gives it back and reads it as content.
    fn cut_prefix_read(&mut self, buf: &mut [u8], at: usize, out: &mut Compactor) -> usize {
        let Place::CutPrefix { bytes, have } = self.at else { return at };
        self.at = Place::Content { seen: 0 };
        if is_prefix(&bytes[..have]) {
            return at;
        }
        let held = &bytes[..have];
        // The first one: what follows it is the next line's timestamp, whatever bytes it has.
        self.at = match memchr(b'\n', held) {
            Some(newline) => Place::LinePrefix { left: PREFIX - (have - newline - 1) },
            None => Place::Content { seen: have.min(self.record_limit - 1) },
        };
        out.push_held(buf, at, held);
        at
    }
}

/// Whether `bytes`, a shape's beginning, may still become a timestamp.
fn could_be_prefix(bytes: &[u8]) -> bool {
    const EXAMPLE: &[u8; PREFIX] = b"2006-01-02T15:04:05.000000000Z ";
    let mut whole = *EXAMPLE;
    whole[..bytes.len()].copy_from_slice(bytes);
    is_prefix(&whole)
}
