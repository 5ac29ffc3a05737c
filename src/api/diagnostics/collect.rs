//! The end of a log, held in bounded memory.

use memchr::memrchr;

/// Most bytes of a log that a descriptor has, before those that are no UTF-8 are replaced.
const MAX: usize = 4 * 1024 * 1024;

/// Takes a log piece by piece and keeps its end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Something in front is gone already.
    is_cut: bool,
}

impl Tail {
    /// Takes the next piece. Holds at most twice [`MAX`] and a piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        if self.bytes.len() > 2 * MAX {
            self.cut();
        }
    }

    /// The last `lines` lines of what came, or fewer when they are long; and whether more came.
    pub(super) fn finish(mut self, lines: usize) -> (String, bool) {
        if self.bytes.len() > MAX {
            self.cut();
        }
        if self.is_cut {
            // A line that is only partly there is left out, unless there is nothing else.
            let end = self.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            if end < self.bytes.len() {
                self.bytes.drain(..end);
            }
        }
        let start = start_of_last(&self.bytes, lines);
        (String::from_utf8_lossy(&self.bytes[start..]).into_owned(), self.is_cut || start > 0)
    }

    fn cut(&mut self) {
        self.bytes.drain(..self.bytes.len() - MAX);
        self.is_cut = true;
    }
}

/// Where the last `lines` lines begin. Only a newline ends one.
fn start_of_last(bytes: &[u8], lines: usize) -> usize {
    let mut end = bytes.strip_suffix(b"\n").unwrap_or(bytes).len();
    for _ in 1..lines {
        match memrchr(b'\n', &bytes[..end]) {
            Some(newline) => end = newline,
            None => return 0,
        }
    }
    memrchr(b'\n', &bytes[..end]).map_or(0, |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&str], lines: usize) -> (String, bool) {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.push(piece.as_bytes()));
        tail.finish(lines)
    }

    #[test]
    fn the_last_lines_are_kept_whole() {
        for (text, lines, kept, truncated) in [
            ("", 2, "", false),
            ("a", 2, "a", false),
            ("a\nb\n", 2, "a\nb\n", false),
            ("a\nb", 2, "a\nb", false),
            ("a\nb\nc\n", 2, "b\nc\n", true),
            ("a\nb\nc", 1, "c", true),
            ("a\r\u{85}b\n\nc\n", 2, "\nc\n", true),
        ] {
            assert_eq!(tail(&[text], lines), (kept.to_owned(), truncated), "{text:?}");
        }
        assert_eq!(tail(&["a", "b\nc", "\nd\n"], 2), ("c\nd\n".to_owned(), true));
    }

    #[test]
    fn long_lines_do_not_fill_the_memory() {
        let piece = "x".repeat(1024 * 1024);
        let mut log = Tail::default();
        log.push(b"first\n");
        for _ in 0..20 {
            log.push(piece.as_bytes());
            assert!(log.bytes.len() <= 2 * MAX + piece.len());
        }
        log.push(b"\nlast\n");
        assert_eq!(log.finish(100), ("last\n".to_owned(), true));
        let (content, truncated) = tail(&[piece.as_str(); 9], 100);
        assert_eq!((content.len(), truncated), (MAX, true));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut tail = Tail::default();
        tail.push(b"\xff\xfebin\n");
        assert_eq!(tail.finish(1), ("\u{fffd}\u{fffd}bin\n".to_owned(), false));
    }
}
