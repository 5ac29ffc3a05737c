//! The log of a container without a TTY: frames with eight bytes of header each, of several streams.
//!
//! An engine sends nearly every record in a frame and a chunk of its own (log-performance.md §1), so there is a fast path for
//! those. Whatever is different, such as a frame that is split by the end of a read, goes through the state machines of
//! [`DockerFrames`] and [`crate::http1::framing`].

use std::ops::Range;

use super::front::{Framed, framed};
use crate::logs::{LogError, compact::Compactor};

/// Length of a timestamp and the space after it, in bytes: `2006-01-02T15:04:05.000000000Z ` before a record (moby
/// `jsonmessage.RFC3339NanoFixed`).
pub const PREFIX: usize = 31;

/// Its shape, with `0` for a digit.
const SHAPE: &[u8; PREFIX] = b"0000-00-00T00:00:00.000000000Z ";

/// Length of a frame's header, in bytes.
pub(super) const HEADER: usize = 8;

/// Longest payload that is believed, in bytes. The engine cuts records at 16 KiB.
pub(super) const MAX_PAYLOAD: u32 = 16 * 1024 * 1024;

/// Longest report of a failure (stream 3) that is kept, in bytes.
const MAX_REPORT: usize = 1024;

/// The stream on which the engine reports a failure of its own.
pub(super) const SYSTEM_ERROR: u8 = 3;

/// The decoder's state between two reads.
#[derive(Debug)]
pub struct DockerFrames {
    state: State,
    timestamps: bool,
    /// For streams 0 to 2: the last payload did not end its line.
    mid_line: [bool; 3],
}

#[derive(Debug)]
enum State {
    /// Collecting a header.
    Header { bytes: [u8; HEADER], have: usize },
    /// Collecting what should be the timestamp of a line's continuation; `left` counts all of the payload to come.
    Prefix { stream: u8, left: u32, bytes: [u8; PREFIX], have: usize },
    /// Passing a payload on.
    Payload { stream: u8, left: u32 },
    /// Collecting the engine's report of a failure.
    Report { text: Vec<u8>, left: u32 },
}

impl DockerFrames {
    /// Frames that bear a timestamp each when `timestamps` is set.
    pub fn new(timestamps: bool) -> Self {
        Self { state: State::header(), timestamps, mid_line: [false; 3] }
    }

    /// Whether no frame is under way.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// Passes on the payloads of all records from `at` on that are whole and in chunks of their own, unless something of an
    /// earlier one is under way. Gives the place of the first that is not.
    pub fn fast_path(&mut self, buf: &mut [u8], mut at: usize, out: &mut Compactor) -> usize {
        if !self.is_between() {
            return at;
        }
        while let Some(Framed { stream, start, end }) = framed(&buf[at..]) {
            if self.timestamps {
                let mid_line = &mut self.mid_line[usize::from(stream)];
                if *mid_line {
                    break;
                }
                *mid_line = buf[at + end - 1] != b'\n';
            }
            out.push(buf, at + start, end - start);
            at += end + 2;
        }
        at
    }

    /// Passes the payload in `buf[run]` on to `out`.
    pub fn decode(&mut self, buf: &mut [u8], run: Range<usize>, out: &mut Compactor) -> Result<(), LogError> {
        let Range { start: mut at, end } = run;
        while at < end {
            at = match &mut self.state {
                State::Payload { stream, left } => {
                    let len = (*left as usize).min(end - at);
                    *left -= len as u32;
                    out.push(buf, at, len);
                    if *left == 0 {
                        let (stream, last) = (*stream, buf[at + len - 1]);
                        self.end_payload(stream, last);
                        self.state = State::header();
                    }
                    at + len
                }
                State::Header { .. } => self.header(&buf[at..end])? + at,
                State::Prefix { .. } => self.prefix(buf, at, end, out),
                State::Report { .. } => self.report(&buf[at..end])? + at,
            };
        }
        Ok(())
    }

    /// Reads on in a header and starts its frame when it is whole. Gives how many bytes it took.
    #[inline]
    fn header(&mut self, input: &[u8]) -> Result<usize, LogError> {
        let State::Header { bytes, have } = &mut self.state else { return Ok(0) };
        if *have == 0
            && let Some(whole) = input.first_chunk::<HEADER>()
        {
            let whole = *whole;
            self.start(whole)?;
            return Ok(HEADER);
        }
        let take = (HEADER - *have).min(input.len());
        bytes[*have..*have + take].copy_from_slice(&input[..take]);
        *have += take;
        if *have == HEADER {
            let whole = *bytes;
            self.start(whole)?;
        }
        Ok(take)
    }

    #[inline]
    fn start(&mut self, header: [u8; HEADER]) -> Result<(), LogError> {
        let (stream, left) = check(header)?;
        self.state = match (stream, left) {
            (SYSTEM_ERROR, _) => State::Report { text: Vec::new(), left },
            (_, 0) => State::header(),
            _ => self.payload(stream, left),
        };
        if matches!(self.state, State::Report { left: 0, .. }) {
            return Err(report(&[]));
        }
        Ok(())
    }

    /// Decides what becomes of a payload: whether it begins with a timestamp that is left out.
    #[inline]
    fn payload(&mut self, stream: u8, left: u32) -> State {
        if self.timestamps && self.mid_line[usize::from(stream)] && left as usize >= PREFIX {
            return State::Prefix { stream, left, bytes: [0; PREFIX], have: 0 };
        }
        State::Payload { stream, left }
    }

    /// Notes that a payload ends with the byte `last`, and its line too if that is a newline.
    #[inline]
    fn end_payload(&mut self, stream: u8, last: u8) {
        self.mid_line[usize::from(stream)] = last != b'\n';
    }

    /// Reads on in a continuation's timestamp, and drops it if it is one. Gives the place to go on from.
    fn prefix(&mut self, buf: &mut [u8], at: usize, end: usize, out: &mut Compactor) -> usize {
        let State::Prefix { stream, left, bytes, have } = &mut self.state else { return at };
        let take = (PREFIX - *have).min(end - at);
        bytes[*have..*have + take].copy_from_slice(&buf[at..at + take]);
        *have += take;
        *left -= take as u32;
        if *have == PREFIX {
            let (stream, left, held) = (*stream, *left, *bytes);
            if !is_prefix(&held) {
                out.push_held(buf, at + take, &held);
            }
            self.state = State::Payload { stream, left };
            if left == 0 {
                self.end_payload(stream, held[PREFIX - 1]);
                self.state = State::header();
            }
        }
        at + take
    }

    /// Collects the engine's report; the stream ends with it.
    fn report(&mut self, input: &[u8]) -> Result<usize, LogError> {
        let State::Report { text, left } = &mut self.state else { return Ok(0) };
        let len = (*left as usize).min(input.len());
        *left -= len as u32;
        text.extend_from_slice(&input[..len.min(MAX_REPORT - text.len())]);
        if *left == 0 { Err(report(text)) } else { Ok(len) }
    }
}

impl State {
    fn header() -> Self {
        Self::Header { bytes: [0; HEADER], have: 0 }
    }
}

/// The stream and the payload's length in a frame's header.
#[inline]
pub(super) fn check([stream, zero @ .., a, b, c, d]: [u8; HEADER]) -> Result<(u8, u32), LogError> {
    let length = u32::from_be_bytes([a, b, c, d]);
    if zero != [0; 3] || stream > SYSTEM_ERROR {
        return Err(LogError::Protocol("a frame's header is not one"));
    }
    if length > MAX_PAYLOAD {
        return Err(LogError::Protocol("a frame is absurdly long"));
    }
    Ok((stream, length))
}

/// The error for the engine's report of a failure, of which [`MAX_REPORT`] bytes are kept.
pub(super) fn report(text: &[u8]) -> LogError {
    let text = &text[..text.len().min(MAX_REPORT)];
    LogError::Backend(String::from_utf8_lossy(text).trim().to_owned())
}

/// Whether `bytes` is exactly a timestamp and a space. Tells by shape alone: the engine writes no other form.
pub fn is_prefix(bytes: &[u8]) -> bool {
    bytes.len() == PREFIX
        && bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_shape_is_a_prefix() {
        assert!(is_prefix(b"2026-11-23T02:01:21.821916123Z "));
        for other in [
            &b"2026-11-23T02:01:21.821916123Z"[..],
            b"2026-11-23T02:01:21.821916123Zx",
            b"2026-11-23 02:01:21.821916123Z ",
            b"2026-11-23T02:01:21.82191612 Z ",
            b"",
        ] {
            assert!(!is_prefix(other));
        }
    }
}
