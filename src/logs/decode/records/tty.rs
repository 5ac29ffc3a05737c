//! Records of a terminal, which have nothing between them but their times.

use memchr::memchr;

use super::Stamper;
use crate::logs::{
    LogError,
    decode::docker_frames::{MAX_PAYLOAD, PREFIX, is_prefix},
    record::{Record, Records, Stream},
};

/// Cuts a terminal's bytes into records. Holds at most one that is not whole, which is shorter than 16 MiB.
///
/// A record ends with its newline. One without ends where the driver cuts it, which is told by the time that follows there; or
/// where a chunk ends, if the next one begins with a time: an engine sends each record in a chunk of its own, and what json-file
/// has put in for bytes that are not UTF-8 makes a record longer than the driver's limit.
#[derive(Debug)]
pub(super) struct Tty {
    record_limit: usize,
    bytes: Vec<u8>,
    index: Vec<Record>,
    /// Where the record begins that is not whole.
    at: usize,
    /// Up to where it has no newline.
    searched: usize,
    /// Where a chunk begins within that record, until it is known whether a time stands there.
    chunk_at: Option<usize>,
}

impl Tty {
    /// Records that are cut at `record_limit` bytes.
    pub(super) fn new(record_limit: usize) -> Self {
        Self { record_limit, bytes: Vec::new(), index: Vec::new(), at: 0, searched: 0, chunk_at: None }
    }

    /// Whether no record is under way.
    pub(super) fn is_between(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Whether there are whole records.
    pub(super) fn has_records(&self) -> bool {
        !self.index.is_empty()
    }

    /// Whether a chunk's data is a record, to its last byte, if none is under way.
    pub(super) fn is_record(&self, data: &[u8]) -> bool {
        data.len() > PREFIX
            && data.len() <= PREFIX + self.record_limit
            && is_prefix(&data[..PREFIX])
            && memchr(b'\n', &data[PREFIX..]) == Some(data.len() - PREFIX - 1)
    }

    /// Takes the next bytes of the body; `is_chunk` if they are a chunk's data from its first byte on.
    pub(super) fn push(&mut self, run: &[u8], is_chunk: bool, stamper: &mut Stamper) -> Result<(), LogError> {
        if is_chunk && !self.is_between() {
            if self.chunk_at.is_some() {
                // A chunk that is shorter than a time.
                self.cut(stamper)?;
            }
            self.chunk_at = Some(self.bytes.len());
        }
        self.bytes.extend_from_slice(run);
        if let Some(at) = self.chunk_at {
            let begin = &self.bytes[at..];
            match begin.get(..PREFIX) {
                Some(prefix) if is_prefix(prefix) => self.end(at, stamper)?,
                None if memchr(b'\n', begin).is_none() => return Ok(()),
                Some(_) | None => {}
            }
        }
        self.cut(stamper)?;
        if self.bytes.len() - self.at > MAX_PAYLOAD as usize {
            return Err(LogError::Protocol("a record is absurdly long"));
        }
        Ok(())
    }

    /// Takes the records that are whole.
    fn cut(&mut self, stamper: &mut Stamper) -> Result<(), LogError> {
        self.chunk_at = None;
        loop {
            let newline = memchr(b'\n', &self.bytes[self.searched..]);
            let end = newline.map_or(self.bytes.len(), |newline| self.searched + newline + 1);
            if let Some(limit) = self.cut_before(end) {
                self.end(limit, stamper)?;
            } else if newline.is_some() {
                self.end(end, stamper)?;
            } else {
                self.searched = end;
                return Ok(());
            }
        }
    }

    /// Where the record is cut before `end`, if it is.
    fn cut_before(&self, end: usize) -> Option<usize> {
        let limit = self.at + PREFIX + self.record_limit;
        let is_cut = limit < end && self.bytes.get(limit..limit + PREFIX).is_some_and(is_prefix);
        is_cut.then_some(limit)
    }

    fn end(&mut self, end: usize, stamper: &mut Stamper) -> Result<(), LogError> {
        let bytes = &self.bytes[self.at..end];
        // A newline within a record is not its end: the rest has no time of its own.
        let record = stamper.record_or_rest(Stream::Stdout, bytes, self.at)?;
        self.index.push(record);
        (self.at, self.searched) = (end, end);
        Ok(())
    }

    /// At the body's end: what is under way is the last record.
    pub(super) fn finish(&mut self, stamper: &mut Stamper) -> Result<(), LogError> {
        if self.chunk_at.is_some() {
            self.cut(stamper)?;
        }
        if self.is_between() { Ok(()) } else { self.end(self.bytes.len(), stamper) }
    }

    /// The records that are whole.
    pub(super) fn take(&mut self) -> Option<Records> {
        let rest = self.bytes.split_off(self.at);
        let buf = std::mem::replace(&mut self.bytes, rest).into();
        self.searched -= self.at;
        self.chunk_at = self.chunk_at.map(|at| at - self.at);
        self.at = 0;
        let index = std::mem::take(&mut self.index);
        (!index.is_empty()).then_some(Records { buf, index, run: None })
    }
}
