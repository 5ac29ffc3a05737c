//! Compacting a read buffer: payload moves left over the framing between it, within the buffer.

use std::ops::Range;

/// Room, in bytes, that a caller leaves before what it reads, so that held-back bytes of the read before fit in.
pub const HEADROOM: usize = 32;

/// Where the payload that was compacted so far stands in the buffer. Its end never passes the decoder's place.
#[derive(Debug, Default)]
pub struct Compactor {
    start: usize,
    end: usize,
}

impl Compactor {
    /// Appends the `len` bytes at `at`. The first run stays where it is; later ones move left to close the gap.
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

    /// Appends `bytes`, at most [`HEADROOM`], that stood before `at` or in the read before. There is room for them: the framing
    /// or the headroom before `at` is as long.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_stays_and_later_ones_close_the_gap() {
        let mut buf = *b"..ab..cd.ef";
        let mut out = Compactor::default();
        for (at, len) in [(2, 2), (6, 2), (9, 2)] {
            out.push(&mut buf, at, len);
        }
        assert_eq!((out.range(), &buf[out.range()]), (2..8, &b"abcdef"[..]));
    }

    #[test]
    fn what_was_held_back_comes_before_what_follows() {
        let mut buf = *b"......cd..ef";
        let mut out = Compactor::default();
        out.push_held(&mut buf, 6, b"ab");
        out.push(&mut buf, 6, 2);
        out.push_held(&mut buf, 10, b"+");
        out.push(&mut buf, 10, 2);
        assert_eq!(&buf[out.range()], b"abcd+ef");
    }
}
