//! Counting in a log of frames: a frame is a record.

use super::{
    super::{LogError, decode::docker_frames::PREFIX},
    Count,
};

/// Cuts a framed log into records and counts them.
#[derive(Debug)]
pub struct FrameCounter {
    count: Count,
    header: [u8; 8],
    start: [u8; PREFIX],
    /// Bytes of the present frame that were seen, its header included.
    seen: usize,
}

impl FrameCounter {
    /// Counts for `count`.
    pub fn new(count: Count) -> Self {
        Self { count, header: [0; 8], start: [0; PREFIX], seen: 0 }
    }

    /// Counts on in `input`.
    ///
    /// # Errors
    ///
    /// It is not framed, or carries the engine's report of a failure.
    pub fn read(&mut self, mut input: &[u8]) -> Result<(), LogError> {
        while let Some(&byte) = input.first() {
            if self.seen < 8 {
                self.header[self.seen] = byte;
                self.seen += 1;
                input = &input[1..];
                self.check_header()?;
                continue;
            }
            let at = self.seen - 8;
            let take = (self.length() - at).min(input.len());
            let known = take.min(PREFIX.saturating_sub(at));
            if known > 0 {
                self.start[at..at + known].copy_from_slice(&input[..known]);
            }
            self.seen += take;
            if at + take == self.length() {
                self.count.record(self.header[0], &self.start[..self.length().min(PREFIX)], input[take - 1]);
                self.seen = 0;
            }
            input = &input[take..];
        }
        Ok(())
    }

    /// What was counted.
    pub fn into_count(self) -> Count {
        self.count
    }

    fn length(&self) -> usize {
        let [_, _, _, _, a, b, c, d] = self.header;
        u32::from_be_bytes([a, b, c, d]) as usize
    }

    fn check_header(&mut self) -> Result<(), LogError> {
        if self.seen < 8 {
            return Ok(());
        }
        if self.header[0] > 2 || self.header[1..4] != [0; 3] {
            return Err(LogError::Protocol("a frame's header is not one, or reports a failure"));
        }
        if self.length() == 0 {
            self.seen = 0;
        }
        Ok(())
    }
}
