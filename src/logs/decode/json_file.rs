//! Records of Docker's json-file form, from whole lines of such a file; no IO.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-11-23T02:01:21.821916007Z"}
//! ```
//!
//! `log` is absent if there is no text; `attrs` may stand behind `stream`. A text is unescaped where it lies: it only becomes
//! shorter. Bytes that are not UTF-8 pass as they are.

use memchr::{memchr, memmem, memrchr};

use crate::logs::{
    LogError,
    record::{Ordinals, Record, Records, Stream},
};

const BROKEN: LogError = LogError::Protocol("a record of the log file cannot be read");

const HEAD: &[u8] = b"{\"log\":\"";
const TIME: &[u8] = b",\"time\":\"";
const STDOUT: &[u8] = b"\"stream\":\"stdout\"";
const STDERR: &[u8] = b"\"stream\":\"stderr\"";

/// Bytes of a time up to its seconds.
const SECONDS: usize = "2026-11-23T02:01:21".len();

/// The decoder of one read of a file, from some record on.
#[derive(Debug, Default)]
pub struct JsonFile {
    ordinals: Ordinals,
    times: Times,
}

impl JsonFile {
    /// Decodes whole lines, less than 4 GiB of them, which follow those before.
    ///
    /// # Errors
    /// A line is not a record.
    pub fn decode(&mut self, mut lines: Vec<u8>) -> Result<Records, LogError> {
        let mut index = Vec::new();
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &lines[at..]) {
            let head = Head::parse(&lines[at..at + length]).ok_or(BROKEN)?;
            let time = self.times.read(&lines[at..at + length][head.time.0..head.time.1]).ok_or(BROKEN)?;
            let (start, end) = (at + head.text.0, at + head.text.1);
            let end = unescape(&mut lines, start, end).ok_or(BROKEN)?;
            let place = self.ordinals.place(head.stream, time);
            index.push(Record { stream: head.stream, place, start: start as u32, end: end as u32 });
            at += length + 1;
        }
        if at < lines.len() {
            return Err(BROKEN);
        }
        Ok(Records { buf: lines.into(), index, run: None })
    }
}

/// Where the parts of a line are, each from its beginning to its end.
struct Head {
    stream: Stream,
    text: (usize, usize),
    time: (usize, usize),
}

impl Head {
    /// Takes a line apart from its end, where nothing varies in form, so that the cost does not grow with the text.
    fn parse(line: &[u8]) -> Option<Self> {
        let body = line.strip_suffix(b"\"}")?;
        let time = memrchr(b'"', body)? + 1;
        let rest = body[..time].strip_suffix(TIME)?;
        let (stream, rest) = match stream(rest) {
            Some(found) => found,
            None => stream(without_attributes(rest)?)?,
        };
        let text = match rest {
            b"{" => (1, 1),
            _ => (HEAD.len(), rest.strip_prefix(HEAD)?.strip_suffix(b"\",")?.len() + HEAD.len()),
        };
        Some(Self { stream, text, time: (time, body.len()) })
    }
}

/// The stream that stands at the end, and what is in front. A quote of the text has a backslash, so that no text looks like this.
fn stream(rest: &[u8]) -> Option<(Stream, &[u8])> {
    let part = |stream, name| Some((stream, rest.strip_suffix(name)?));
    part(Stream::Stdout, STDOUT).or_else(|| part(Stream::Stderr, STDERR))
}

/// The line up to the stream's end, if attributes follow it. They are what the container's labels say.
fn without_attributes(rest: &[u8]) -> Option<&[u8]> {
    const ATTRIBUTES: &[u8] = b",\"attrs\":{";
    rest.strip_suffix(b"}")?;
    // The first is the line's own: neither the text nor what is in front of them has a quote without a backslash behind a comma.
    memmem::find(rest, ATTRIBUTES).map(|at| &rest[..at])
}

/// Unescapes the text between `start` and `end` and says where it ends now; `None` if an escape is not one of JSON's.
fn unescape(buf: &mut [u8], start: usize, end: usize) -> Option<usize> {
    let Some(first) = memchr(b'\\', &buf[start..end]) else { return Some(end) };
    let (mut from, mut to) = (start + first, start + first);
    while from < end {
        let (character, length) = escape(&buf[from + 1..end])?;
        to += character.encode_utf8(&mut buf[to..]).len();
        from += 1 + length;
        let next = memchr(b'\\', &buf[from..end]).map_or(end, |at| from + at);
        buf.copy_within(from..next, to);
        to += next - from;
        from = next;
    }
    Some(to)
}

/// What an escape means, given behind its backslash, and its length from there.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let character = match text.first()? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'u' => return unicode(&text[1..]).map(|(character, length)| (character, 1 + length)),
        _ => return None,
    };
    Some((character, 1))
}

/// A character of four digits, or of two times four (RFC 8259 §7).
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let high = digits(text)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, 4));
    }
    let low = text[4..].strip_prefix(b"\\u").and_then(digits).filter(|low| (0xdc00..0xe000).contains(low));
    match low.filter(|_| high < 0xdc00) {
        Some(low) => Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, 10)),
        None => Some((char::REPLACEMENT_CHARACTER, 4)),
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    let digits = text.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Reads times. Neighbours have the same second.
#[derive(Debug, Default)]
struct Times {
    text: [u8; SECONDS],
    /// That second since 1970, in nanoseconds; none before the first.
    second: Option<i64>,
}

impl Times {
    /// A time in UTC, with up to nine digits behind the second, in nanoseconds since 1970.
    fn read(&mut self, time: &[u8]) -> Option<i64> {
        let (seconds, fraction) = time.strip_suffix(b"Z")?.split_first_chunk::<SECONDS>()?;
        let second = match self.second.filter(|_| self.text == *seconds) {
            Some(second) => second,
            None => self.read_second(seconds)?,
        };
        let Some((b'.', digits)) = fraction.split_first() else {
            return fraction.is_empty().then_some(second);
        };
        if !(1..=9).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let value = digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit & 15));
        second.checked_add(value * 10_i64.pow(9 - digits.len() as u32))
    }

    fn read_second(&mut self, seconds: &[u8; SECONDS]) -> Option<i64> {
        let text = std::str::from_utf8(seconds).ok()?;
        let time: jiff::Timestamp = format!("{text}Z").parse().ok()?;
        let second = time.as_second().checked_mul(1_000_000_000)?;
        (self.text, self.second) = (*seconds, Some(second));
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_795_399_281_000_000_000;

    fn line(log: &str, time: &str) -> String {
        format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n")
    }

    /// Each record's stream, time, ordinal and text.
    fn decode(lines: &str) -> Option<Vec<(Stream, i64, u32, String)>> {
        let records = JsonFile::default().decode(lines.as_bytes().to_vec()).ok()?;
        let read = |(record, bytes): (&Record, &[u8])| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            (record.stream, record.place.time, record.place.ordinal, text)
        };
        Some(records.iter().map(read).collect())
    }

    fn text(log: &str) -> Option<String> {
        decode(&line(log, "2026-11-23T02:01:21Z")).map(|mut records| records.remove(0).3)
    }

    fn time(time: &str) -> Option<i64> {
        decode(&line("", time)).map(|records| records[0].1)
    }

    #[test]
    fn lines_become_records() {
        let lines = "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-23T02:01:21.000000007Z\"}\n\
                     {\"log\":\"b\",\"stream\":\"stderr\",\"time\":\"2026-11-23T02:01:21.000000007Z\"}\n\
                     {\"stream\":\"stderr\",\"time\":\"2026-11-23T02:01:22Z\"}\n\
                     {\"log\":\"c,\\\"attrs\\\":{\",\"stream\":\"stdout\",\"attrs\":{\"k\":\"\\\",\\\"time\\\":\"},\
                     \"time\":\"2026-11-23T02:01:22Z\"}\n";
        let expected = [
            (Stream::Stdout, NOON + 7, 0, "a\n"),
            (Stream::Stderr, NOON + 7, 0, "b"),
            (Stream::Stderr, NOON + 1_000_000_000, 0, ""),
            (Stream::Stdout, NOON + 1_000_000_000, 0, "c,\"attrs\":{"),
        ];
        let expected = expected.map(|(stream, time, ordinal, text)| (stream, time, ordinal, text.to_owned()));
        assert_eq!(decode(lines).unwrap(), expected);
        assert_eq!(decode("").unwrap(), []);
    }

    #[test]
    fn texts_are_unescaped_in_place() {
        for (log, expected) in [
            ("plain", "plain"),
            ("\\n", "\n"),
            ("a\\tb\\rc\\\\n\\\"\\/\\b\\f", "a\tb\rc\\n\"/\u{8}\u{c}"),
            ("\\u0000\\u001b[1m\\u003c\\u2028\\ufffdé", "\0\x1b[1m<\u{2028}\u{fffd}é"),
            ("\\ud83d\\ude00!\\ud83d!\\ude00\\ud83d\\u0041", "😀!\u{fffd}!\u{fffd}\u{fffd}A"),
            ("\\\",\\\"stream\\\":\\\"stderr\\\",\\\"time\\\":\\\"x\\\"}", "\",\"stream\":\"stderr\",\"time\":\"x\"}"),
        ] {
            assert_eq!(text(log).as_deref(), Some(expected), "{log}");
        }
    }

    #[test]
    fn times_are_read_to_the_nanosecond() {
        for (text, expected) in [
            ("2026-11-23T02:01:21Z", NOON),
            ("2026-11-23T02:01:21.5Z", NOON + 500_000_000),
            ("2026-11-23T02:01:21.123456789Z", NOON + 123_456_789),
            ("1969-12-31T23:59:59.999999999Z", -1),
        ] {
            assert_eq!(time(text), Some(expected), "{text}");
        }
        for bad in ["", "Z", "2026-11-23T02:01:21", "2026-11-23T02:01:21.Z", "2026-11-23T02:01:21.1234567890Z"] {
            assert_eq!(time(bad), None, "{bad}");
        }
        let long = format!("2026-11-23T02:01:21.{}Z", "9".repeat(40));
        for bad in [
            "2026-11-23T02:01:21.12x4Z",
            "2026-11-23T02:01:21x1Z",
            "2026-13-23T02:01:21Z",
            "9999-01-01T00:00:00Z",
            long.as_str(),
        ] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn junk_is_refused() {
        let good = line("a", "2026-11-23T02:01:21Z");
        assert!(decode(&good).is_some());
        for bad in ["\n", "{}\n", "x\n", "{\"log\":\"\"}\n", good.trim_end(), &good.replace("stdout", "stdin")] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        for bad in ["\\", "\\q", "\\u12", "\\u12x4", "\\u+123"] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            text in prop::collection::vec(prop::sample::select(&b"\\u00d8nqx\"\n{},:\xff"[..]), 0..80),
            is_whole in any::<bool>(),
        ) {
            let mut lines = text.clone();
            if is_whole {
                lines = [&b"{\"log\":\""[..], &text, b"\",\"stream\":\"stderr\",\"time\":\"2026-11-23T02:01:21Z\"}\n"].concat();
            }
            if let Ok(records) = JsonFile::default().decode(lines) {
                for (record, bytes) in records.iter() {
                    prop_assert!(record.start <= record.end && bytes.len() <= text.len());
                }
            }
        }
    }
}
