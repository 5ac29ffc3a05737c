//! Lines in what arrives piece by piece.

use memchr::memchr;

/// Longest line, in bytes. A record of the server's has at most 1 MiB of a log, which is 6 MiB where each byte is escaped.
const MAX_LINE: usize = 8 * 1024 * 1024;

/// A line that lay in pieces and was longer than this, in bytes, does not keep its memory.
const KEPT: usize = 256 * 1024;

/// A line longer than 8 MiB.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The beginning of a line whose end is still to come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Hands each line to `take` that ends in `piece`, without its newline, until that fails.
    ///
    /// # Errors
    ///
    /// That of `take`, or a line that is too long.
    pub(super) fn feed<E: From<TooLong>>(
        &mut self,
        piece: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = piece;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            rest = behind;
            if self.begun.is_empty() {
                take(line)?;
                continue;
            }
            self.begin(line)?;
            take(&self.begun)?;
            self.begun.clear();
            if self.begun.capacity() > KEPT {
                self.begun = Vec::new();
            }
        }
        Ok(self.begin(rest)?)
    }

    fn begin(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if part.len() > MAX_LINE - self.begun.len() {
            return Err(TooLong);
        }
        self.begun.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Result<Vec<String>, TooLong> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
                Ok::<_, TooLong>(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"a\n\nbcd\nef\ng";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(lines(&pieces).unwrap(), ["a", "", "bcd", "ef"]);
            }
        }
    }

    #[test]
    fn a_line_has_a_bound() {
        let half = vec![b'x'; MAX_LINE / 2];
        assert_eq!(lines(&[&half, &half, b"\n"]).unwrap()[0].len(), MAX_LINE);
        assert_eq!(lines(&[&half, &half, b"x"]), Err(TooLong));
        let mut lines = Lines::default();
        for piece in [&half[..], b"\n"] {
            lines.feed(piece, |_| Ok::<_, TooLong>(())).unwrap();
        }
        assert_eq!(lines.begun.capacity(), 0);
    }
}
