//! One record of a sandbox's log file, in the form of Docker's json-file driver; no IO.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-23T02:01:21.821916007Z"}
//! ```
//!
//! One deviation, so that nothing is lost: bytes that are not valid UTF-8 stay in the JSON string as they are,
//! where the engine would put U+FFFD. A newline is always escaped, so records can be told apart by lines.

use memchr::{memchr, memrchr};

/// The longest text of one record in bytes; longer lines are cut, as the engine does.
pub(super) const PIECE: usize = 16_384;

/// The longest record: a whole piece of control characters (six bytes each), and its surroundings.
pub(super) const MAX_RECORD: usize = 6 * PIECE + 256;

const HEAD: &[u8] = b"{\"log\":\"";

/// Which of a program's two outputs a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl Stream {
    /// 0 or 1, for arrays that hold something for each stream.
    pub(super) fn index(self) -> usize {
        usize::from(self == Self::Stderr)
    }

    /// What stands between the text and the time.
    fn middle(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"\",\"stream\":\"stdout\",\"time\":\"",
            Self::Stderr => b"\",\"stream\":\"stderr\",\"time\":\"",
        }
    }
}

/// Appends a record whose text is `first` and then `second`.
pub(super) fn encode(stream: Stream, time: &str, first: &[u8], second: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    escape(first, out);
    escape(second, out);
    out.extend_from_slice(stream.middle());
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&text[..at]);
        escape_byte(text[at], out);
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// A record as it lies in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Where the text came from.
    pub(super) stream: Stream,
    /// RFC 3339, UTC, without trailing zeros.
    pub(super) time: &'a [u8],
    escaped: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads one line of the file, given without its newline; `None` if it is not a record.
    ///
    /// It is taken apart from its end, where nothing varies in form, so that the cost does not grow with the text.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let body = line.strip_prefix(HEAD)?.strip_suffix(b"\"}")?;
        let (rest, time) = body.split_at(memrchr(b'"', body)? + 1);
        let part = |stream: Stream| Some(Self { stream, time, escaped: rest.strip_suffix(stream.middle())? });
        part(Stream::Stdout).or_else(|| part(Stream::Stderr))
    }

    /// Whether the text ends its line.
    pub(super) fn ends_line(&self) -> bool {
        // The `n` is a newline only after an odd number of backslashes: `\\n` is a backslash and a letter.
        let Some(before) = self.escaped.strip_suffix(b"n") else { return false };
        before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
    }

    /// Appends the text as the program wrote it; `None` if an escape is not one of [`encode`]'s.
    pub(super) fn unescape(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut text = self.escaped;
        while let Some(at) = memchr(b'\\', text) {
            out.extend_from_slice(&text[..at]);
            text = unescape_one(&text[at + 1..], out)?;
        }
        out.extend_from_slice(text);
        Some(())
    }
}

/// Decodes what follows a backslash and gives back the rest.
fn unescape_one<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = text.split_first()?;
    let byte = match kind {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'"' | b'\\' => kind,
        b'u' => {
            let digits = rest.strip_prefix(b"00")?.get(..2)?;
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            return Some(&rest[4..]);
        }
        _ => return None,
    };
    out.push(byte);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(Stream::Stderr, "2026-11-23T02:01:21Z", text, b"", &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        out
    }

    #[test]
    fn looks_like_dockers() {
        let expected =
            "{\"log\":\"a\\t\\u001b[1m\\\"\\\\\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-23T02:01:21Z\"}";
        assert_eq!(String::from_utf8(encoded(b"a\t\x1b[1m\"\\\n")).unwrap(), expected);
    }

    #[test]
    fn every_byte_survives() {
        let text: Vec<u8> = (0..=255).chain([b'"', b'\\', b'n']).collect();
        let line = encoded(&text);
        let mut back = Vec::new();
        Record::parse(&line).unwrap().unescape(&mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn text_that_looks_like_a_record_is_text() {
        let line = encoded(b"\",\"stream\":\"stdout\",\"time\":\"x\"}");
        let record = Record::parse(&line).unwrap();
        assert_eq!((record.stream, record.time), (Stream::Stderr, &b"2026-11-23T02:01:21Z"[..]));
    }

    #[test]
    fn only_a_newline_ends_a_line() {
        for (text, ends) in [(&b"a\n"[..], true), (b"a\\n", false), (b"a\\\n", true), (b"n", false), (b"", false)] {
            assert_eq!(Record::parse(&encoded(text)).unwrap().ends_line(), ends, "{text:?}");
        }
    }

    #[test]
    fn junk_is_refused() {
        for line in ["", "{}", "{\"log\":\"\"}", "{\"log\":\"a\",\"stream\":\"stdin\",\"time\":\"x\"}"] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
        let bad = b"{\"log\":\"\\q\",\"stream\":\"stdout\",\"time\":\"x\"}";
        assert_eq!(Record::parse(bad).unwrap().unescape(&mut Vec::new()), None);
    }

    #[test]
    fn the_longest_record_fits() {
        assert!(encoded(&[0; PIECE]).len() < MAX_RECORD);
    }
}
