//! Counting in a TTY's log, where a record ends with its line or at the driver's limit.

use super::{super::decode::docker_frames::PREFIX, Count};

/// Cuts a TTY's log, read with timestamps, into records and counts them.
#[derive(Debug)]
pub struct TtyCounter {
    count: Count,
    record_limit: usize,
    start: [u8; PREFIX],
    /// Bytes of the present record that were seen, its timestamp included.
    seen: usize,
    last: u8,
}

impl TtyCounter {
    /// Counts for `count` the records of a log whose driver cuts them at `record_limit` bytes.
    pub fn new(count: Count, record_limit: usize) -> Self {
        Self { count, record_limit, start: [0; PREFIX], seen: 0, last: b'\n' }
    }

    /// Counts on in `input`.
    pub fn read(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            let room = PREFIX + self.record_limit - self.seen;
            let newline = memchr::memchr(b'\n', input).map_or(input.len(), |newline| newline + 1);
            let take = room.min(newline);
            if self.seen < PREFIX {
                let known = take.min(PREFIX - self.seen);
                self.start[self.seen..self.seen + known].copy_from_slice(&input[..known]);
            }
            self.seen += take;
            self.last = input[take - 1];
            if self.last == b'\n' || take == room {
                self.end_record();
            }
            input = &input[take..];
        }
    }

    /// What was counted, the last record included.
    pub fn into_count(mut self) -> Count {
        if self.seen > 0 {
            self.end_record();
        }
        self.count
    }

    fn end_record(&mut self) {
        self.count.record(1, &self.start[..self.seen.min(PREFIX)], self.last);
        self.seen = 0;
    }
}
