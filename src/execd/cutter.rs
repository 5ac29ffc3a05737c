//! From the bytes of a pipe to pieces: lines, each with its end.

use memchr::memchr2;

/// The longest piece in bytes; a longer line is several.
pub const MAX_PIECE: usize = 16 * 1024;

/// Cuts what comes into lines. A line ends with a line feed, with a carriage return, as progress bars write it, or with both.
#[derive(Debug, Default)]
pub struct Cutter {
    rest: Vec<u8>,
}

impl Cutter {
    /// Takes bytes, and hands over the lines that are whole.
    pub fn push(&mut self, mut bytes: &[u8], mut piece: impl FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            let room = MAX_PIECE - self.rest.len();
            let (next, is_whole) = match self.end_of_line(bytes) {
                Some(end) if end <= room => (end, true),
                None if bytes.len() < room => (bytes.len(), false),
                Some(_) | None => (room, true),
            };
            self.rest.extend_from_slice(&bytes[..next]);
            bytes = &bytes[next..];
            if is_whole {
                self.hand(&mut piece);
            }
        }
    }

    /// Hands over what has no end yet.
    pub fn finish(&mut self, piece: impl FnOnce(Vec<u8>)) {
        if !self.rest.is_empty() {
            piece(std::mem::take(&mut self.rest));
        }
    }

    /// How many of the bytes belong to the line that was begun, if it ends in them. A carriage return at the end may yet be
    /// followed by a line feed.
    fn end_of_line(&self, bytes: &[u8]) -> Option<usize> {
        if self.rest.last() == Some(&b'\r') {
            return Some(usize::from(bytes[0] == b'\n'));
        }
        let at = memchr2(b'\n', b'\r', bytes)?;
        match (bytes[at], bytes.get(at + 1)) {
            (b'\n', _) => Some(at + 1),
            (_, None) => None,
            (_, Some(b'\n')) => Some(at + 2),
            (_, Some(_)) => Some(at + 1),
        }
    }

    /// Hands over what was gathered; of a line that is too long, without the character that it was cut in.
    fn hand(&mut self, piece: impl FnOnce(Vec<u8>)) {
        let is_cut = self.rest.len() == MAX_PIECE && !matches!(self.rest.last(), Some(b'\n' | b'\r'));
        let kept = if is_cut { unfinished(&self.rest) } else { 0 };
        let rest = self.rest.split_off(self.rest.len() - kept);
        piece(std::mem::replace(&mut self.rest, rest));
    }
}

/// How many bytes at the end begin a character of UTF-8 that has not come whole.
fn unfinished(bytes: &[u8]) -> usize {
    // A character has at most four bytes; the last that is no continuation begins one.
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(begin) = tail.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return 0 };
    match std::str::from_utf8(&tail[begin..]) {
        Err(error) if error.error_len().is_none() => tail.len() - begin,
        Ok(_) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut cutter, mut pieces) = (Cutter::default(), Vec::new());
        parts.iter().for_each(|part| cutter.push(part, |piece| pieces.push(piece)));
        cutter.finish(|piece| pieces.push(piece));
        pieces
    }

    #[test]
    fn lines_keep_their_ends() {
        for (text, lines) in [
            ("", &[][..]),
            ("a\n\nb", &["a\n", "\n", "b"]),
            ("a\r\nb\r\n", &["a\r\n", "b\r\n"]),
            ("10%\r20%\r\r\n", &["10%\r", "20%\r", "\r\n"]),
            ("\r", &["\r"]),
        ] {
            assert_eq!(cut(&[text.as_bytes()]), lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = "é".repeat(MAX_PIECE) + "\n";
        let pieces = cut(&[b"x", text.as_bytes()]);
        assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE && std::str::from_utf8(piece).is_ok()));
        assert_eq!(pieces.len(), 3);
        let pieces = cut(&[&vec![0xff; 3 * MAX_PIECE]]);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_PIECE; 3]);
    }

    proptest! {
        #[test]
        fn however_it_comes_it_is_cut_the_same(text in "[ab\r\né]{0,40}", at in 0_usize..40) {
            let bytes = text.as_bytes();
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let pieces = cut(&[head, tail]);
            prop_assert_eq!(pieces.concat(), bytes);
            prop_assert_eq!(&pieces, &cut(&[bytes]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(pieces, cut(&single));
        }
    }
}
