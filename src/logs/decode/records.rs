//! Decoding an engine's answer into records: ranges of the read buffer, each with its stream and place.
//!
//! The engine is asked for times, which stand before each record. A record in a chunk of its own stays where it was read. Anything
//! else goes through a buffer of its own (`frames`, `tty`).

pub(super) mod clock;
mod frames;
mod tty;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use self::{clock::Clock, frames::Frames, tty::Tty};
use super::front::{self, Chunk};
use crate::{
    http1::framing::BodyDecoder,
    logs::{
        LogError,
        record::{Ordinals, Record, Records, Stream},
    },
};

/// The decoder of one answer that bears times. Keeps at most one record between two reads, of at most 16 MiB.
#[derive(Debug)]
pub struct RecordDecoder {
    body: BodyDecoder,
    layout: Layout,
    stamper: Stamper,
    /// The index of what is in the read's own buffer.
    index: Vec<Record>,
    /// How many records the last read had, for the next one's index.
    capacity: usize,
    /// Data of the present chunk was seen.
    in_chunk: bool,
}

#[derive(Debug)]
enum Layout {
    Frames(Frames),
    Tty(Tty),
}

/// Gives records their times and places.
#[derive(Debug, Default)]
struct Stamper {
    clock: Clock,
    ordinals: Ordinals,
    last: Option<i64>,
}

impl Stamper {
    /// The record whose bytes, with the time in front, are at `start` of a buffer.
    #[inline]
    fn record(&mut self, stream: Stream, bytes: &[u8], start: usize) -> Result<Record, LogError> {
        let Some((time, length)) = self.clock.read(bytes) else {
            return Err(LogError::Protocol("a record has no time"));
        };
        Ok(self.place(stream, time, start + length, start + bytes.len()))
    }

    /// The same; bytes without a time are the rest of the record before.
    fn record_or_rest(&mut self, stream: Stream, bytes: &[u8], start: usize) -> Result<Record, LogError> {
        match (self.clock.read(bytes), self.last) {
            (None, Some(time)) => Ok(self.place(stream, time, start, start + bytes.len())),
            _ => self.record(stream, bytes, start),
        }
    }

    #[inline]
    fn place(&mut self, stream: Stream, time: i64, start: usize, end: usize) -> Record {
        self.last = Some(time);
        // Buffers are shorter than 4 GiB: reads and what is held have bounds.
        Record { stream, place: self.ordinals.place(stream, time), start: start as u32, end: end as u32 }
    }
}

/// The stream with this number in a frame, 0 to 2. The standard input's is shown as the standard output.
#[inline]
fn stream(id: u8) -> Stream {
    if id == 2 { Stream::Stderr } else { Stream::Stdout }
}

impl RecordDecoder {
    /// A decoder for an answer with this `body`: a terminal's if `tty` is set, whose records are cut at `record_limit` bytes.
    pub fn new(body: BodyDecoder, tty: bool, record_limit: usize) -> Self {
        let layout = if tty { Layout::Tty(Tty::new(record_limit)) } else { Layout::Frames(Frames::default()) };
        Self { body, layout, stamper: Stamper::default(), index: Vec::new(), capacity: 0, in_chunk: false }
    }

    /// Appends the whole records of `read`, which continues the input, to `out`. Gives how many bytes it has used: the rest is the
    /// beginning of a chunk, and is to be given again with what follows it.
    ///
    /// # Errors
    /// The input is not what an engine sends, or carries the engine's own report of a failure (stream 3). What came before that
    /// is in `out`.
    pub fn decode(&mut self, read: &Bytes, out: &mut VecDeque<Records>) -> Result<usize, LogError> {
        let used = self.decode_all(read, out);
        self.give_index(read, out);
        self.give_collected(out);
        used
    }

    fn decode_all(&mut self, read: &Bytes, out: &mut VecDeque<Records>) -> Result<usize, LogError> {
        let mut at = 0;
        while at < read.len() {
            if !self.body.is_between_chunks() {
                at += self.step(read, at, out)?;
                continue;
            }
            self.in_chunk = false;
            at = self.fast_path(read, at, out)?;
            if at == read.len() {
                break;
            }
            match front::chunk(&read[at..]) {
                Chunk::Whole { start, end } => {
                    self.collect(read, at + start..at + end, true, out)?;
                    at += end + 2;
                }
                Chunk::Cut => break,
                Chunk::Other => at += self.step(read, at, out)?,
            }
        }
        Ok(at)
    }

    /// Takes all records from `at` on that are whole and in chunks of their own, unless one is under way. Gives the place of the
    /// first that is not.
    fn fast_path(&mut self, read: &Bytes, mut at: usize, out: &mut VecDeque<Records>) -> Result<usize, LogError> {
        match &self.layout {
            Layout::Frames(frames) if frames.is_between() => {
                let has_collected = frames.has_records();
                let mut is_first = true;
                while let Some(record) = front::framed(&read[at..]) {
                    if std::mem::take(&mut is_first) {
                        if has_collected {
                            self.give_collected(out);
                        }
                        self.index.reserve(self.capacity.saturating_sub(self.index.len()));
                    }
                    let payload = at + record.start..at + record.end;
                    let record_start = payload.start;
                    self.index.push(self.stamper.record(stream(record.stream), &read[payload], record_start)?);
                    at += record.end + 2;
                }
            }
            Layout::Tty(tty) if tty.is_between() => {
                while at < read.len()
                    && let Layout::Tty(tty) = &self.layout
                    && let Chunk::Whole { start, end } = front::chunk(&read[at..])
                    && tty.is_record(&read[at + start..at + end])
                {
                    if tty.has_records() {
                        self.give_collected(out);
                    }
                    let record = self.stamper.record(Stream::Stdout, &read[at + start..at + end], at + start)?;
                    self.index.push(record);
                    at += end + 2;
                }
            }
            Layout::Frames(_) | Layout::Tty(_) => {}
        }
        Ok(at)
    }

    /// Takes the next run of the body, in a chunk that is not plain or in none. Gives how many bytes it used.
    fn step(&mut self, read: &Bytes, at: usize, out: &mut VecDeque<Records>) -> Result<usize, LogError> {
        let run = self.body.next_run(&read[at..])?;
        let used = run.skip + run.len;
        if run.len > 0 {
            let is_chunk = !std::mem::replace(&mut self.in_chunk, true);
            self.collect(read, at + run.skip..at + used, is_chunk, out)?;
        }
        Ok(used)
    }

    /// Collects a part of the body that is not just a record.
    fn collect(
        &mut self,
        read: &Bytes,
        run: std::ops::Range<usize>,
        is_chunk: bool,
        out: &mut VecDeque<Records>,
    ) -> Result<(), LogError> {
        self.give_index(read, out);
        match &mut self.layout {
            Layout::Frames(frames) => frames.push(&read[run], &mut self.stamper),
            Layout::Tty(tty) => tty.push(&read[run], is_chunk, &mut self.stamper),
        }
    }

    fn give_index(&mut self, read: &Bytes, out: &mut VecDeque<Records>) {
        if !self.index.is_empty() {
            let index = std::mem::take(&mut self.index);
            self.capacity = index.len() + index.len() / 8;
            out.push_back(Records { buf: read.clone(), index, run: None });
        }
    }

    fn give_collected(&mut self, out: &mut VecDeque<Records>) {
        out.extend(match &mut self.layout {
            Layout::Frames(frames) => frames.take(),
            Layout::Tty(tty) => tty.take(),
        });
    }

    /// Whether the answer's last byte was seen.
    pub fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// To be called at the end of the connection, with how many bytes were not used. A last record may come to `out`.
    ///
    /// # Errors
    /// The answer was cut: no last chunk, or a frame that is not whole.
    pub fn finish(&mut self, unused: usize, out: &mut VecDeque<Records>) -> Result<(), LogError> {
        if !self.body.may_close() || unused > 0 {
            return Err(LogError::Disconnected(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match &mut self.layout {
            Layout::Frames(frames) if !frames.is_between() => {
                return Err(LogError::Protocol("the last frame is not whole"));
            }
            Layout::Frames(_) => {}
            Layout::Tty(tty) => tty.finish(&mut self.stamper)?,
        }
        self.give_collected(out);
        Ok(())
    }
}
