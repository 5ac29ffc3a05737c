//! The stretch of one buffer that is already payload; it grows to the right while the reader runs ahead of it.

use std::ops::Range;

/// Room, in bytes, that a caller leaves before what it reads, so that held-back bytes of the read before fit in.
pub const HEADROOM: usize = 32;

/// The payload squeezed together so far. Its end never passes the reader.
#[derive(Debug, Default)]
pub struct Window {
    start: usize,
    end: usize,
}

impl Window {
    /// Appends `len` bytes that stand at `at`; the first run stays where it is, later ones move left to close the gap.
    #[inline]
    pub fn push(&mut self, buf: &mut [u8], at: usize, len: usize) {
        if self.start == self.end {
            self.start = at;
            self.end = at;
        } else if self.end != at {
            buf.copy_within(at..at + len, self.end);
        }
        self.end += len;
    }

    /// Appends `bytes` that were held back from before `at`: at most [`HEADROOM`] of them, which is why they fit.
    pub fn push_held(&mut self, buf: &mut [u8], at: usize, bytes: &[u8]) {
        if self.start == self.end {
            self.start = at - bytes.len();
            self.end = self.start;
        }
        buf[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Where the payload stands in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}
