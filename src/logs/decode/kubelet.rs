//! A kubelet's answer with times, as an API server passes it on (kubernetes-api.md §4): each line begins with its time, in the zone
//! of the node, and a blank; a line that the container's runtime stored in pieces is one line here.
//!
//! Which of the two streams a line is from is not told. Text of the other stream may stand in the middle of a line (B4 there): that
//! is passed on as it is. The kubelet's own reports (E1–E5) are text at the end of the body, without a time and without a newline.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::{
    front::{self, Chunk},
    records::clock::Clock,
};
use crate::{
    http1::framing::BodyDecoder,
    logs::{
        LogError,
        record::{Ordinals, Record, Records, Stream, fitted, new_index},
    },
};

/// Where a long line is cut into records, in bytes. Counted from the line's beginning, so that every read cuts it alike.
const PIECE: usize = 16 * 1024;

/// Longest report of a kubelet, in bytes: one of them quotes a line of the log.
const MAX_REPORT: usize = 64 * 1024;

/// The kubelet's reports that it cannot watch a file that is followed, behind what the file has (E3, E4).
const CANNOT_WATCH: [&[u8]; 2] = [b"failed to create fsnotify watcher: ", b"failed to watch directory \""];

/// What is done with a last line that has no newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLine {
    /// It is a record: the program has ended.
    Kept,
    /// It is left out: its end is still to come, in another read.
    LeftOut,
}

/// The decoder of one answer. Holds nothing itself: what is not used of the input is given again with what follows it, and is
/// shorter than 64 KiB and one read.
#[derive(Debug)]
pub struct KubeletDecoder {
    body: BodyDecoder,
    stream: Stream,
    last_line: LastLine,
    clock: Clock,
    ordinals: Ordinals,
    /// The time of the line under way, of which pieces were given.
    in_line: Option<i64>,
    /// The time of the last record.
    last: Option<i64>,
    /// How many records the last read had, for the next one's index.
    capacity: usize,
}

impl KubeletDecoder {
    /// A decoder for an answer with this `body`, whose records are said to be of `stream`.
    pub fn new(body: BodyDecoder, stream: Stream, last_line: LastLine) -> Self {
        Self {
            body,
            stream,
            last_line,
            clock: Clock::default(),
            ordinals: Ordinals::default(),
            in_line: None,
            last: None,
            capacity: 0,
        }
    }

    /// Takes the records of `buf`: up to `kept` it is what was not used before, behind that what was read. What is not used stays
    /// in `buf`.
    ///
    /// # Errors
    /// The input is not what an API server sends. What came before that is in the records.
    pub fn decode(&mut self, buf: &mut BytesMut, kept: usize) -> (Option<Records>, Result<(), LogError>) {
        let unframed = self.unframe(buf, kept);
        let mut index = new_index(self.capacity);
        let cut = self.cut(buf, &mut index);
        let used = cut.as_ref().map_or(buf.len(), |used| *used);
        self.capacity = index.len() + index.len() / 8;
        let records = Records { buf: buf.split_to(used).freeze(), index: fitted(index) };
        let records = if records.index.is_empty() { None } else { Some(records) };
        // What cannot be cut came before what cannot be unframed.
        (records, cut.map(drop).and(unframed))
    }

    /// Takes the framing of chunks out of `buf[from..]`.
    fn unframe(&mut self, buf: &mut BytesMut, from: usize) -> Result<(), LogError> {
        let (mut at, mut end) = (from, from);
        let mut unframe = || {
            while at < buf.len() {
                if self.body.is_between_chunks()
                    && let Chunk::Whole { start, end: data_end } = front::chunk(&buf[at..])
                {
                    buf.copy_within(at + start..at + data_end, end);
                    end += data_end - start;
                    at += data_end + 2;
                    continue;
                }
                let run = self.body.next_run(&buf[at..])?;
                at += run.skip;
                if at != end {
                    buf.copy_within(at..at + run.len, end);
                }
                at += run.len;
                end += run.len;
            }
            Ok(())
        };
        let unframed = unframe();
        buf.truncate(end);
        unframed
    }

    /// Finds the records of `text`. Gives how many bytes they take.
    fn cut(&mut self, text: &[u8], index: &mut Vec<Record>) -> Result<usize, LogError> {
        let mut at = 0;
        while at < text.len() {
            let line = &text[at..];
            let (time, start) = match self.in_line {
                Some(time) => (time, 0),
                None => match self.clock.read(line) {
                    Some(read) => read,
                    None => {
                        let Some(end) = memchr(b'\n', &line[..line.len().min(MAX_REPORT)]) else {
                            return if line.len() >= MAX_REPORT { Err(NO_TIME) } else { Ok(at) };
                        };
                        // Without a time of its own it goes on with what came before.
                        let time = self.last.ok_or(NO_TIME)?;
                        self.push(time, at, at + end + 1, index);
                        at += end + 1;
                        continue;
                    }
                },
            };
            let payload = &line[start..];
            let (length, in_line) = match memchr(b'\n', &payload[..payload.len().min(PIECE)]) {
                Some(newline) => (newline + 1, None),
                None if payload.len() >= PIECE => (PIECE, Some(time)),
                None => break,
            };
            self.push(time, at + start, at + start + length, index);
            self.in_line = in_line;
            at += start + length;
        }
        Ok(at)
    }

    #[inline]
    fn push(&mut self, time: i64, start: usize, end: usize, index: &mut Vec<Record>) {
        self.last = Some(time);
        // Buffers are shorter than 4 GiB: reads and what is kept have bounds.
        let place = self.ordinals.place(self.stream, time);
        index.push(Record { stream: self.stream, place, start: start as u32, end: end as u32 });
    }

    /// Whether the answer's last byte was seen.
    pub fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// To be called at the end of the connection, with what was not used. Gives the last line, if it has no newline and is kept.
    ///
    /// # Errors
    /// The answer was cut; or the kubelet reports why it does not go on ([`LogError::Interrupted`]).
    pub fn finish(&mut self, rest: &[u8]) -> Result<Option<Records>, LogError> {
        if !self.body.may_close() {
            return Err(LogError::Disconnected(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let (time, start) = match self.in_line {
            Some(time) => (time, 0),
            None => match self.clock.read(rest) {
                Some(read) => read,
                // A time that is cut: what was to come behind it is lost.
                None if rest[0].is_ascii_digit() => {
                    return Err(LogError::Disconnected(std::io::ErrorKind::UnexpectedEof.into()));
                }
                // All that the sandbox has printed has a time in front.
                None => return Err(report(rest)),
            },
        };
        if self.last_line == LastLine::LeftOut {
            // Of a line that is under way nothing is left out but this.
            return cannot_watch(&rest[start..]).map_or(Ok(None), |text| Err(report(text)));
        }
        let mut index = Vec::new();
        self.push(time, start, rest.len(), &mut index);
        let records = Records { buf: Bytes::copy_from_slice(rest), index };
        Ok((start < rest.len()).then_some(records))
    }
}

const NO_TIME: LogError = LogError::Protocol("a line has no time");

/// A kubelet's report as an error.
fn report(text: &[u8]) -> LogError {
    LogError::Interrupted(String::from_utf8_lossy(text).trim().to_owned())
}

/// The report behind a line without a newline that the kubelet cannot watch the file.
fn cannot_watch(line: &[u8]) -> Option<&[u8]> {
    CANNOT_WATCH.iter().find_map(|begin| memchr::memmem::rfind(line, begin)).map(|at| &line[at..])
}

#[cfg(test)]
mod tests;
