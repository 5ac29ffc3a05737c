//! One line of the answer: a record of the log, or an event (log-api.md §2).
//!
//! Records come by the million and all look alike, so they are read from both ends without a JSON parser. What does not look
//! like that is left to one.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use memchr::{memchr2, memrchr};
use serde::Deserialize;

use crate::logs::record::Stream;

/// The length of a time as the server writes it, in bytes.
const TIME: usize = "2026-01-31T08:00:00.123456789Z".len();

/// Longest token that is taken, in bytes; the server's have at most 200.
const MAX_TOKEN: usize = 1024;

/// A part of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Log<'a> {
    pub(super) text: Text<'a>,
    /// The rest of the line is in another record.
    pub(super) partial: bool,
    pub(super) stream: Stream,
    /// As the server wrote it, which may be anything.
    pub(super) time: Cow<'a, [u8]>,
    pub(super) id: Cow<'a, [u8]>,
}

/// What was printed, in the form in which it lies in the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// The inside of a JSON string.
    Escaped(&'a [u8]),
    Base64(Cow<'a, [u8]>),
    Plain(Cow<'a, [u8]>),
}

/// A record that says something about the log.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) event: String,
    pub(super) id: Option<String>,
    pub(super) reason: String,
    pub(super) after: Option<String>,
    pub(super) before: Option<String>,
    pub(super) lines: Option<u64>,
    pub(super) message: Option<String>,
    pub(super) exit_code: Option<i64>,
    pub(super) oom: Option<bool>,
}

/// A line of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Log(Log<'a>),
    Event(Box<Event>),
}

/// What a record may have.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    log: Option<Cow<'a, str>>,
    log_base64: Option<String>,
    #[serde(default)]
    partial: bool,
    stream: Option<String>,
    time: Option<String>,
    id: Option<String>,
}

impl<'a> Record<'a> {
    /// Reads a line by the JSON parser; `None` if it is none of ours.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let members: Members<'a> = serde_json::from_slice(line).ok()?;
        let text = match (members.log, members.log_base64) {
            (Some(Cow::Borrowed(text)), None) => Text::Plain(Cow::Borrowed(text.as_bytes())),
            (Some(Cow::Owned(text)), None) => Text::Plain(Cow::Owned(text.into_bytes())),
            (None, Some(text)) => Text::Base64(Cow::Owned(text.into_bytes())),
            (None, None) => return serde_json::from_slice(line).ok().map(|event| Self::Event(Box::new(event))),
            (Some(_), Some(_)) => return None,
        };
        let is_stderr = members.stream.is_some_and(|name| name == Stream::Stderr.name());
        Some(Self::Log(Log {
            text,
            partial: members.partial,
            stream: if is_stderr { Stream::Stderr } else { Stream::Stdout },
            time: Cow::Owned(members.time.unwrap_or_default().into_bytes()),
            id: Cow::Owned(members.id.filter(|id| id.len() <= MAX_TOKEN).unwrap_or_default().into_bytes()),
        }))
    }
}

impl<'a> Log<'a> {
    /// Reads a record that looks like nearly all; `None` if it does not. Its text may still prove not to be one JSON string.
    #[inline]
    pub(super) fn usual(line: &'a [u8]) -> Option<Self> {
        let (rest, id) = split_id(line)?;
        let rest = rest.strip_suffix(b"\",\"id\":")?;
        let (rest, time) = rest.split_at_checked(rest.len().checked_sub(TIME)?)?;
        let (rest, stream) = match rest.strip_suffix(b",\"stream\":\"stdout\",\"time\":\"") {
            Some(rest) => (rest, Stream::Stdout),
            None => (rest.strip_suffix(b",\"stream\":\"stderr\",\"time\":\"")?, Stream::Stderr),
        };
        let (rest, partial) = rest.strip_suffix(b",\"partial\":true").map_or((rest, false), |rest| (rest, true));
        let rest = rest.strip_suffix(b"\"")?.strip_prefix(b"{\"log")?;
        let text = match rest.strip_prefix(b"\":\"") {
            Some(text) => Text::Escaped(text),
            None => Text::Base64(Cow::Borrowed(rest.strip_prefix(b"_base64\":\"")?)),
        };
        Some(Self { text, partial, stream, time: Cow::Borrowed(time), id: Cow::Borrowed(id) })
    }

    /// Whether the time is one, and nothing that does something to a terminal.
    pub(super) fn has_time(&self) -> bool {
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"TZ:.+-".contains(byte);
        !self.time.is_empty() && self.time.iter().all(is_part)
    }
}

/// The token of a log record that looks like nearly all, for who needs nothing else of it.
#[inline]
pub(super) fn id(line: &[u8]) -> Option<&[u8]> {
    let (rest, id) = split_id(line)?;
    (line.starts_with(b"{\"log") && rest.ends_with(b"\",\"id\":")).then_some(id)
}

/// The last member's text, and what stands before it.
fn split_id(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_suffix(b"\"}")?;
    let quote = memrchr(b'"', rest)?;
    let id = &rest[quote + 1..];
    (id.len() <= MAX_TOKEN).then_some((&rest[..quote], id))
}

impl Text<'_> {
    /// Appends the bytes that were printed; `None` if there are none in it.
    #[inline]
    pub(super) fn append(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Escaped(text) => unescape(text, out),
            Self::Base64(text) => BASE64_STANDARD.decode_vec(text, out).ok(),
            Self::Plain(text) => {
                out.extend_from_slice(text);
                Some(())
            }
        }
    }
}

/// Appends what the inside of a JSON string stands for; `None` if it is none.
#[inline]
fn unescape(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        // A quote is the string's end, which is not here.
        let escape = rest[at..].strip_prefix(b"\\")?;
        let (letter, behind) = escape.split_first()?;
        rest = behind;
        out.push(match letter {
            b'n' => b'\n',
            b'"' | b'\\' | b'/' => *letter,
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => {
                rest = unescape_unicode(rest, out)?;
                continue;
            }
            _ => return None,
        });
    }
    out.extend_from_slice(rest);
    Some(())
}

/// Appends the character whose digits `text` begins with, and gives the rest.
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (first, mut rest) = hex(text)?;
    let code = match first {
        0xD800..0xDC00 => {
            let (second, behind) = hex(rest.strip_prefix(b"\\u")?)?;
            rest = behind;
            0x1_0000 + ((first - 0xD800) << 10) + second.checked_sub(0xDC00).filter(|low| *low < 0x400)?
        }
        code => code,
    };
    out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn hex(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digit = |value: u32, digit: &u8| Some(value * 16 + char::from(*digit).to_digit(16)?);
    Some((digits.iter().try_fold(0, digit)?, rest))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::logs::{
        self,
        format::{Told, json::Json},
        lines::{Line, Lines},
        record::Place,
    };

    const REST: &str = r#","stream":"stderr","time":"2026-01-31T08:00:00.123456789Z","id":"v1.x"}"#;

    fn bytes(text: &Text<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        text.append(&mut out).map(|()| out)
    }

    fn slow(line: &str) -> (Option<Vec<u8>>, bool, Stream, Vec<u8>, Vec<u8>) {
        match Record::parse(line.as_bytes()) {
            Some(Record::Log(log)) => {
                (bytes(&log.text), log.partial, log.stream, log.time.into_owned(), log.id.into_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_ways_of_reading_give_the_same() {
        for (start, text, partial) in [
            (r#"{"log":"hello\n""#, &b"hello\n"[..], false),
            (r#"{"log":"""#, b"", false),
            (r#"{"log":"a","partial":true"#, b"a", true),
            (
                r#"{"log":"\"\\\/\t\r\b\f\u001b[1m\u00e9\ud83d\ude00,\"stream\":\"stdout\"""#,
                "\"\\/\t\r\u{8}\u{c}\u{1b}[1mé😀,\"stream\":\"stdout\"".as_bytes(),
                false,
            ),
            (r#"{"log_base64":"//4K""#, b"\xff\xfe\n", false),
            (r#"{"log_base64":"//4K","partial":true"#, b"\xff\xfe\n", true),
        ] {
            let line = format!("{start}{REST}");
            let log = Log::usual(line.as_bytes()).unwrap();
            let usual = (bytes(&log.text), log.partial, log.stream, log.time.to_vec(), log.id.to_vec());
            assert_eq!(usual, slow(&line), "{line}");
            assert_eq!((usual.0.as_deref(), usual.1, usual.2), (Some(text), partial, Stream::Stderr), "{line}");
            assert_eq!(id(line.as_bytes()), Some(&b"v1.x"[..]));
            assert!(log.has_time());
        }
    }

    #[test]
    fn what_the_gateway_writes_needs_no_parser() {
        let long = vec![b'x'; 3 << 20];
        for stream in [Stream::Stdout, Stream::Stderr] {
            for text in [&b"a \"\\\0\x1b\xc3\xa9\n"[..], b"\xff\n", b"no newline", &long] {
                let place = Place { time: 5, ordinal: 0 };
                let record = logs::record::Record { stream, place, start: 0, end: text.len() as u32 };
                let (mut lines, mut out) = (Lines::new(false), Vec::new());
                let mut give = |line: Line<'_>| {
                    let mut object = BytesMut::new();
                    Json::new(Told::ALL).line(&line, b"v1.x", &mut object);
                    out.push(object);
                };
                lines.push(&record, text, &mut give);
                lines.finish(&mut give);
                let mut joined = Vec::new();
                for object in &out {
                    let log = Log::usual(object).unwrap();
                    assert!(log.stream == stream && log.has_time() && id(object) == Some(b"v1.x"));
                    log.text.append(&mut joined).unwrap();
                }
                assert!(joined == text);
            }
        }
    }

    #[test]
    fn other_records_are_left_to_the_parser() {
        let line = r#"{ "id":"i", "stream":"stdout", "log":"a\n", "more":{"log":1} }"#;
        assert!(Log::usual(line.as_bytes()).is_none() && id(line.as_bytes()).is_none());
        assert_eq!(slow(line), (Some(b"a\n".to_vec()), false, Stream::Stdout, vec![], b"i".to_vec()));
        // A member that is not known, between those that are.
        let line = format!(r#"{{"log":"a","x":"b"{REST}"#);
        assert_eq!(bytes(&Log::usual(line.as_bytes()).unwrap().text), None);
        assert_eq!(slow(&line).0.as_deref(), Some(&b"a"[..]));
        // Of a command.
        let line = format!(r#"{{"log":"a"{}"#, REST.replace("\",\"id\"", "\",\"time_source\":\"gateway\",\"id\""));
        assert!(Log::usual(line.as_bytes()).is_none() && id(line.as_bytes()).is_some());
        assert_eq!(slow(&line).0.as_deref(), Some(&b"a"[..]));
        for line in ["", "x", "[]", "1", r#"{"log":1}"#, r#"{"log":"a","log_base64":""}"#, r#"{"log":"\ud800"}"#] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn an_event_tells_what_it_has() {
        let line = br#"{"event":"end","reason":"exited","exit_code":137,"oom":true,"lines_sent":3,"id":"v1.end.a"}"#;
        let Some(Record::Event(event)) = Record::parse(line) else { panic!() };
        assert_eq!((event.event.as_str(), event.reason.as_str(), event.exit_code), ("end", "exited", Some(137)));
        assert_eq!((event.oom, event.id.as_deref()), (Some(true), Some("v1.end.a")));
        let line = br#"{"event":"gap","reason":"rotated","after":null,"before":"b","lines":null,"id":"i"}"#;
        let Some(Record::Event(event)) = Record::parse(line) else { panic!() };
        assert_eq!((event.after.as_deref(), event.before.as_deref(), event.lines), (None, Some("b"), None));
        assert_eq!(id(line), None);
    }

    #[test]
    fn what_is_no_string_s_inside_is_none() {
        for text in
            ["a\"b", "\\", "\\x", "\\u", "\\u12", "\\u12g4", "\\ud83d", "\\ud83d\\u0041", "\\ude00", "\\ud83d\\"]
        {
            assert_eq!(bytes(&Text::Escaped(text.as_bytes())), None, "{text}");
        }
    }

    #[test]
    fn only_a_time_is_shown_as_one() {
        for time in ["", "\u{1b}[2J", "2026-01-31T08:00:00.12345678 Z"] {
            let line = json!({ "log": "a", "time": time }).to_string();
            let Some(Record::Log(log)) = Record::parse(line.as_bytes()) else { panic!() };
            assert!(!log.has_time(), "{time}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_out_as_it_was(text in any::<String>()) {
            let line = format!(r#"{{"log":{}{REST}"#, serde_json::to_string(&text).unwrap());
            let log = Log::usual(line.as_bytes()).unwrap();
            prop_assert_eq!(bytes(&log.text).unwrap(), text.as_bytes());
        }

        #[test]
        fn nothing_that_comes_does_harm(line in "(\\{\"log(_base64)?\":\")?[\\PC\"\\\\u]{0,40}(\",\"stream\":\"stdout\")?(\"\\})?") {
            if let Some(log) = Log::usual(line.as_bytes()) {
                let _ = bytes(&log.text);
            }
            let _ = (Record::parse(line.as_bytes()), id(line.as_bytes()));
        }
    }
}
