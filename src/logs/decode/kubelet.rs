//! A kubelet's answer with times, as an API server passes it on (kubernetes-api.md §4): each line begins with its time, in the zone
//! of the node, and a blank; a line that the container's runtime stored in pieces is one line here.
//!
//! Which of the two streams a line is from is not told. Text of the other stream may stand in the middle of a line (B4 there): that
//! is passed on as it is. A kubelet has one flag for both streams, whether a line begins, and minds records too that it does not
//! show: of one stream alone, or from a time on, a line may lack its time. The kubelet's own reports (E1–E5) are text at the end of
//! the body, without a time and without a newline.

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

/// Longest report that it cannot watch a file, in bytes: it names a directory.
const MAX_WATCH_REPORT: usize = 4096;

/// So much of a line without a blank is no time, in bytes.
const MAX_TIME: usize = 64;

/// How long a time with its blank is, in UTC and in another zone, and where its nine decimals end.
const TIMES: [usize; 2] = [31, 36];
const FRACTION_END: usize = 29;

/// The time of lines in front of which and behind which none is told.
const UNKNOWN: i64 = 0;

/// The kubelet's reports that it cannot watch a file that is followed, behind what the file has (E3, E4).
const CANNOT_WATCH: [&[u8]; 2] = [b"failed to create fsnotify watcher: ", b"failed to watch directory \""];

/// How its other reports begin (E1, E2, E5).
const CANNOT_READ: [&[u8]; 6] = [
    b"failed to try resolving symlinks in path \"",
    b"unable to retrieve container logs for ",
    b"failed to get parse function: unsupported log format: ",
    b"failed to open log file \"",
    b"failed to read log file \"",
    b"context cancelled",
];

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
    /// The first lines may lack their time.
    may_begin_in_line: bool,
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
            may_begin_in_line: false,
            clock: Clock::default(),
            ordinals: Ordinals::default(),
            in_line: None,
            last: None,
            capacity: 0,
        }
    }

    /// The same for an answer that leaves out records in front of others, whose first lines may lack their time: they have that of
    /// the next line that has one.
    #[must_use]
    pub fn may_begin_in_line(self) -> Self {
        Self { may_begin_in_line: true, ..self }
    }

    /// Takes the records of `buf`: up to `kept` it is what was not used before, behind that what was read. What is not used stays
    /// in `buf`.
    ///
    /// # Errors
    /// The input is not what an API server sends. What came before that is in the records.
    pub fn decode(&mut self, buf: &mut BytesMut, kept: usize) -> (Option<Records>, Result<(), LogError>) {
        let mut index = new_index(self.capacity);
        let in_place = if kept == 0 { self.cut_chunks(buf, &mut index) } else { Ok((0, kept, kept)) };
        let (used, decoded) = match in_place {
            Ok((text, end, framed)) => {
                let unframed = self.unframe(buf, framed, end);
                let cut = self.cut(buf, text, &mut index);
                // What cannot be cut came before what cannot be unframed.
                (cut.as_ref().map_or(buf.len(), |used| *used), cut.map(drop).and(unframed))
            }
            Err(error) => (buf.len(), Err(error)),
        };
        self.capacity = index.len() + index.len() / 8;
        let records = Records { buf: buf.split_to(used).freeze(), index: fitted(index), run: None };
        let records = if records.index.is_empty() { None } else { Some(records) };
        (records, decoded)
    }

    /// Finds the records of chunks of whole lines where they are: who follows has a chunk a line, and nothing needs to be moved.
    /// Gives where the text begins and ends that is left of the last of them, and where the framing goes on.
    fn cut_chunks(&mut self, buf: &[u8], index: &mut Vec<Record>) -> Result<(usize, usize, usize), LogError> {
        let mut framed = 0;
        while self.in_line.is_none()
            && self.body.is_between_chunks()
            && let Chunk::Whole { start, end } = front::chunk(&buf[framed..])
            && buf[framed + end - 1] == b'\n'
        {
            let text = &buf[..framed + end];
            let used = self.cut(text, framed + start, index)?;
            framed += end + 2;
            if used < text.len() {
                return Ok((used, text.len(), framed));
            }
        }
        Ok((framed, framed, framed))
    }

    /// Takes the framing of chunks out of `buf[at..]`: what is in it comes to stand behind `buf[..end]`.
    fn unframe(&mut self, buf: &mut BytesMut, mut at: usize, mut end: usize) -> Result<(), LogError> {
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

    /// Finds the records of `text[at..]`. Gives where they end.
    fn cut(&mut self, text: &[u8], mut at: usize, index: &mut Vec<Record>) -> Result<usize, LogError> {
        while at < text.len() {
            let line = &text[at..];
            let (time, start) = match self.in_line {
                Some(time) => (time, 0),
                None => match self.time(line) {
                    Some(read) => read,
                    None => match self.timeless(line)? {
                        Some(time) => (time, 0),
                        None => return Ok(at),
                    },
                },
            };
            let payload = &line[start..];
            let (length, in_line) = match memchr(b'\n', &payload[..payload.len().min(PIECE)]) {
                Some(newline) => (newline + 1, None),
                // A report may be on its way behind what was not ended.
                None if payload.len() >= PIECE + MAX_WATCH_REPORT
                    || payload.len() >= PIECE && !may_end_in_report(payload) =>
                {
                    (PIECE, Some(time))
                }
                None => break,
            };
            self.push(time, at + start, at + start + length, index);
            self.in_line = in_line;
            at += start + length;
        }
        Ok(at)
    }

    /// The time with which a line begins, and its length. It has exactly nine decimals: text of the sandbox's may look like others.
    #[inline]
    fn time(&mut self, line: &[u8]) -> Option<(i64, usize)> {
        let (time, length) = self.clock.read(line)?;
        let zone = line[FRACTION_END.min(line.len() - 1)];
        let is_exact = length == TIMES[0] && zone == b'Z' || length == TIMES[1] && matches!(zone, b'+' | b'-');
        is_exact.then_some((time, length))
    }

    /// The time of a line that has none in front: that of what came before, or of the first line behind that has one. None if more
    /// of it must come before that can be told.
    ///
    /// # Errors
    /// There is no time, and has to be one.
    #[cold]
    fn timeless(&mut self, line: &[u8]) -> Result<Option<i64>, LogError> {
        let is_ended = memchr(b'\n', &line[..line.len().min(MAX_REPORT)]).is_some();
        if !is_ended && line.len() < MAX_REPORT && (line.len() < MAX_TIME || is_report(line)) {
            return Ok(None);
        }
        if self.last.is_some() {
            return Ok(self.last);
        }
        if !self.may_begin_in_line {
            return if is_ended || line.len() >= MAX_REPORT { Err(NO_TIME) } else { Ok(None) };
        }
        let mut lines = line[..line.len().min(MAX_REPORT)].split_inclusive(|byte| *byte == b'\n');
        match lines.find_map(|line| self.time(line)) {
            Some((time, _)) => Ok(Some(time)),
            None if line.len() >= MAX_REPORT => Ok(Some(UNKNOWN)),
            None => Ok(None),
        }
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
        let mut index = Vec::new();
        let mut at = 0;
        // Only lines that lack their time can be several.
        for line in rest.split_inclusive(|byte| *byte == b'\n') {
            let is_ended = line.ends_with(b"\n");
            let (time, start) = match self.in_line {
                Some(time) => (time, 0),
                None => match self.time(line) {
                    Some(read) => read,
                    // A time that is cut: what was to come behind it is lost.
                    None if is_cut_time(line) => {
                        return Err(LogError::Disconnected(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    // Of both streams each line has a time.
                    None if !is_ended
                        && (!self.may_begin_in_line || is_report(line) || self.last.is_none() && at == 0) =>
                    {
                        return Err(report(line));
                    }
                    None => (self.last.unwrap_or(UNKNOWN), 0),
                },
            };
            if !is_ended && self.last_line == LastLine::LeftOut {
                // Of a line that is under way nothing is left out but this.
                if let Some(text) = cannot_watch(&line[start..]) {
                    return Err(report(text));
                }
                break;
            }
            let (mut from, end) = (at + start, at + line.len());
            while end - from > PIECE {
                self.push(time, from, from + PIECE, &mut index);
                from += PIECE;
            }
            if from < end {
                self.push(time, from, end, &mut index);
            }
            self.in_line = None;
            at = end;
        }
        Ok((!index.is_empty()).then(|| Records { buf: Bytes::copy_from_slice(rest), index, run: None }))
    }
}

const NO_TIME: LogError = LogError::Protocol("a line has no time");

/// Most bytes of a report that are told.
const MAX_TOLD: usize = 512;

/// A kubelet's report as an error.
fn report(text: &[u8]) -> LogError {
    LogError::Interrupted(String::from_utf8_lossy(&text[..text.len().min(MAX_TOLD)]).trim().to_owned())
}

/// Whether a line without a newline is a report.
fn is_report(line: &[u8]) -> bool {
    CANNOT_WATCH.iter().chain(&CANNOT_READ).any(|begin| line.starts_with(begin))
}

/// Whether a line without a newline is the beginning of a time.
fn is_cut_time(line: &[u8]) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000000000";
    let is_alike = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    line.len() < TIMES[1] && line.iter().zip(SHAPE).all(is_alike)
}

/// Whether a report that the kubelet cannot watch the file begins, or may begin, in the first piece of a line.
fn may_end_in_report(payload: &[u8]) -> bool {
    CANNOT_WATCH.iter().any(|begin| {
        let head = &payload[..payload.len().min(PIECE - 1 + begin.len())];
        let whole = memchr::memmem::rfind(head, begin);
        let is_whole = whole.is_some_and(|at| memchr(b'\n', &payload[at..]).is_none());
        let is_part = |length: usize| payload.len() - length < PIECE && payload.ends_with(&begin[..length]);
        is_whole || (1..begin.len()).any(is_part)
    })
}

/// The report behind a line without a newline that the kubelet cannot watch the file.
fn cannot_watch(line: &[u8]) -> Option<&[u8]> {
    CANNOT_WATCH.iter().find_map(|begin| memchr::memmem::rfind(line, begin)).map(|at| &line[at..])
}

#[cfg(test)]
mod tests;
