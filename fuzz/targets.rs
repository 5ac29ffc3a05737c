//! What the fuzzer runs, as plain functions: `tests/fuzz_smoke.rs` runs them too, without a fuzzer.

#![allow(dead_code, unreachable_pub, reason = "each program that includes this file uses a part of it")]

use bytes::BytesMut;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use opensandbox_gateway::{
    api::log_query::{self, Containers, LogRequest},
    http1::{framing::BodyDecoder, head},
    logs::{
        LogError, LogQuery,
        compact::HEADROOM,
        decode::{Decoder, Mode, docker_frames::is_prefix},
    },
};

const TIME: &[u8; 31] = b"2026-11-23T02:01:21.821916123Z ";

/// The length of a record as the drivers cut it; short here, so that the fuzzer reaches it.
const RECORD: usize = 64;

/// Decodes an engine's answer (after a byte of options and a seed for where to split it) in pieces, in one piece and
/// by the plainest of decoders. All must agree: on the bytes, and on whether they are all of them.
pub fn chunk_frame(data: &[u8]) {
    let Some((&[options, seed], wire)) = data.split_first_chunk::<2>() else { return };
    let mode = Mode { tty: options & 1 != 0, timestamps: options & 2 != 0, record_limit: RECORD };
    let whole = decode(wire, usize::MAX, mode);
    let pieces = decode(wire, usize::from(seed), mode);
    agree(&whole, &pieces, wire);
    // A TTY's records can only be counted, so there is no plainer way to say what is right with timestamps.
    if !mode.tty || !mode.timestamps {
        agree(&whole, &reference(wire, mode), wire);
    }
}

/// Builds a framed log of timestamped records (the data, cut at each 0xff; an odd first byte says standard error) and
/// checks that just the timestamps in the middle of lines are gone.
pub fn timestamp(data: &[u8]) {
    let Some((&seed, rest)) = data.split_first() else { return };
    let (mut wire, mut expected, mut mid_line) = (Vec::new(), Vec::new(), [false; 2]);
    for record in rest.split(|byte| *byte == 0xff) {
        let Some((&first, text)) = record.split_first() else { continue };
        let (index, payload) = (usize::from(first & 1), [TIME, text].concat());
        let header = [&[first & 1 | if first & 1 == 0 { 2 } else { 0 }, 0, 0, 0], &length(&payload)[..]].concat();
        wire.extend_from_slice(&chunked(&[&header[..], &payload].concat()));
        expected.extend_from_slice(if mid_line[index] { text } else { &payload });
        mid_line[index] = text.last() != Some(&b'\n');
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let mode = Mode { tty: false, timestamps: true, record_limit: RECORD };
    let decoded = decode(&wire, usize::from(seed), mode);
    assert_eq!(decoded.end, End::Whole, "{wire:?}");
    assert_eq!(decoded.bytes, expected, "{wire:?}");
}

/// Reads the data as a query string, and its halves (cut at the first `&`) as `since` and `until`. What is accepted is
/// within its bounds, and the same when it is written in the other forms.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let now = Timestamp::new(1_800_000_000, 123_456_789).expect("a time");
    if let Ok(read) = log_query::parse(text, &HeaderMap::new(), now, Containers::Several) {
        keeps_the_rules(&read.query);
    }
    let (since, until) = text.split_once('&').unwrap_or((text, "0"));
    for (name, value) in [("since", since), ("until", until)] {
        let escaped: String = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        let Ok(LogRequest { query: read, .. }) =
            log_query::parse(&escaped, &HeaderMap::new(), now, Containers::Several)
        else {
            continue;
        };
        keeps_the_rules(&read);
        let time = read.since.or(read.until).expect("it was accepted, so it was read");
        assert_eq!(named(&format!("{name}={time}"), now), Some(time), "{value:?} as RFC 3339");
        if time >= Timestamp::UNIX_EPOCH {
            let seconds = format!("{name}={}.{:09}", time.as_second(), time.subsec_nanosecond());
            assert_eq!(named(&seconds, now), Some(time), "{value:?} as {seconds}");
        }
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        assert!(!digits || value.parse() == Ok(time.as_second()), "{value:?} is {time}");
    }
}

/// The time in a query that has one; RFC 3339 of a time before the year 0 has no form that is accepted.
fn named(query: &str, now: Timestamp) -> Option<Timestamp> {
    let time = query.split_once('=').and_then(|(_, text)| text.parse().ok());
    let read = log_query::parse(query, &HeaderMap::new(), now, Containers::Several)
        .ok()
        .and_then(|read| read.query.since.or(read.query.until));
    read.or(time.filter(|time: &Timestamp| time.to_string().starts_with('-')))
}

fn keeps_the_rules(read: &LogQuery) {
    assert!(read.stdout || read.stderr, "{read:?}");
    assert!(read.since.is_none_or(|since| since >= Timestamp::UNIX_EPOCH), "{read:?}");
    if let (Some(since), Some(until)) = (read.since, read.until) {
        assert!(since <= until || until < Timestamp::UNIX_EPOCH, "{read:?}");
    }
}

/// Parses a response's head in one piece and byte by byte: the same head must come out, and the same bytes be left.
pub fn head(data: &[u8]) {
    // A head that is longer than the bound is refused at another byte in pieces.
    if data.len() > 8 * 1024 {
        return;
    }
    let mut buf = BytesMut::from(data);
    let whole = head::take(&mut buf, 0, &Method::GET);
    let used = data.len() - buf.len();
    let (mut pieces, mut seen) = (BytesMut::new(), 0);
    for (at, byte) in data.iter().enumerate() {
        pieces.extend_from_slice(&[*byte]);
        match head::take(&mut pieces, seen, &Method::GET) {
            Ok(None) => seen = pieces.len(),
            Ok(Some(mut head)) => {
                assert!(pieces.is_empty(), "{data:?}");
                let whole = whole.as_ref().ok().and_then(Option::as_ref).expect("it is whole in pieces");
                assert_eq!((format!("{head:?}"), at + 1), (format!("{whole:?}"), used), "{data:?}");
                // Any body may be empty.
                let _ = head.body.next_run(b"");
                return;
            }
            Err(error) => return assert_eq!(whole.err(), Some(error), "{data:?}"),
        }
    }
    assert!(matches!(whole, Ok(None)), "{data:?}");
}

/// What a decoder made of an answer.
#[derive(Debug)]
struct Decoded {
    bytes: Vec<u8>,
    end: End,
}

/// How an answer ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Properly.
    Whole,
    /// Too early.
    Cut,
    /// With bytes that no engine sends, or with its report of a failure.
    Refused,
}

/// A refused answer may lack bytes: what stood in the same read as the fault is not handed on.
fn agree(whole: &Decoded, other: &Decoded, wire: &[u8]) {
    assert_eq!(whole.end, other.end, "{wire:?}");
    if whole.end == End::Refused {
        let (short, long) = if whole.bytes.len() < other.bytes.len() { (whole, other) } else { (other, whole) };
        assert!(long.bytes.starts_with(&short.bytes), "{wire:?}");
    } else {
        assert_eq!(whole.bytes, other.bytes, "{wire:?}");
    }
}

/// The decoder under test, fed pieces of `most` bytes; below 8 their lengths vary, as splits in headers are the point.
fn decode(wire: &[u8], most: usize, mode: Mode) -> Decoded {
    let mut decoder = Decoder::new(BodyDecoder::chunked(), mode);
    let (mut bytes, mut rest, mut turn) = (Vec::new(), wire, 0);
    while !rest.is_empty() && !decoder.is_ended() {
        turn += 1;
        let step = if most < 8 { 1 + (turn * 7 + most) % 9 } else { most };
        let (piece, after) = rest.split_at(step.min(rest.len()));
        rest = after;
        let mut buf = [&[0; HEADROOM], piece].concat();
        match decoder.compact(&mut buf) {
            Ok(range) => bytes.extend_from_slice(&buf[range]),
            Err(_) => return Decoded { bytes, end: End::Refused },
        }
    }
    let end = match decoder.finish() {
        Ok(()) => End::Whole,
        Err(LogError::Disconnected(_)) => End::Cut,
        Err(_) => End::Refused,
    };
    Decoded { bytes, end }
}

/// The same, by taking the answer apart layer by layer with all of it at hand.
fn reference(wire: &[u8], mode: Mode) -> Decoded {
    let (body, end) = dechunked(wire);
    if mode.tty {
        return Decoded { bytes: body, end };
    }
    let (bytes, between) = deframed(&body, mode.timestamps);
    let end = match (between, end) {
        (None, _) | (Some(false), End::Whole) => End::Refused,
        (Some(_), end) => end,
    };
    Decoded { bytes, end }
}

fn dechunked(mut wire: &[u8]) -> (Vec<u8>, End) {
    let mut body = Vec::new();
    loop {
        let digits = wire.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return (body, End::Refused);
        }
        let Some(&after) = wire.get(digits) else { return (body, End::Cut) };
        let line = match (digits, after) {
            (1.., b'\r') if wire.get(digits + 1).is_none() => return (body, End::Cut),
            (1.., b'\r') if wire[digits + 1] == b'\n' => digits + 2,
            (1.., b';' | b' ' | b'\t') => match wire.iter().position(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None => return (body, if wire.len() > 4000 { End::Refused } else { End::Cut }),
            },
            _ => return (body, End::Refused),
        };
        let size = std::str::from_utf8(&wire[..digits]).expect("digits are ASCII");
        let size = u64::from_str_radix(size, 16).expect("at most 16 digits");
        wire = &wire[line..];
        if size == 0 {
            return (body, trailers(wire));
        }
        let present = usize::try_from(size).unwrap_or(usize::MAX).min(wire.len());
        body.extend_from_slice(&wire[..present]);
        wire = &wire[present..];
        match wire {
            [b'\r', b'\n', rest @ ..] => wire = rest,
            [] | [b'\r'] => return (body, End::Cut),
            _ => return (body, End::Refused),
        }
    }
}

fn trailers(mut wire: &[u8]) -> End {
    loop {
        match wire {
            [b'\r', b'\n', ..] | [b'\n', ..] => return End::Whole,
            [] | [b'\r'] => return End::Cut,
            [b'\r', ..] => return End::Refused,
            _ => match wire.iter().position(|byte| *byte == b'\n') {
                Some(at) => wire = &wire[at + 1..],
                None => return End::Cut,
            },
        }
    }
}

/// The payloads, and whether the last frame is whole; `None` for a header that is not one or a report of a failure.
fn deframed(mut body: &[u8], timestamps: bool) -> (Vec<u8>, Option<bool>) {
    let (mut bytes, mut mid_line) = (Vec::new(), [false; 3]);
    while let Some((&[stream, a, b, c, length @ ..], rest)) = body.split_first_chunk::<8>() {
        let (index, length) = (usize::from(stream), u32::from_be_bytes(length) as usize);
        if stream > 3 || [a, b, c] != [0; 3] || length > 16 << 20 {
            return (bytes, None);
        }
        let whole = length <= rest.len();
        if stream == 3 {
            return (bytes, (!whole).then_some(false));
        }
        let payload = &rest[..length.min(rest.len())];
        body = &rest[payload.len()..];
        if !(timestamps && mid_line[index] && length >= TIME.len()) {
            bytes.extend_from_slice(payload);
        } else if let Some((prefix, text)) = payload.split_first_chunk::<31>() {
            bytes.extend_from_slice(if is_prefix(prefix) { text } else { payload });
        }
        if !whole {
            return (bytes, Some(false));
        }
        if let Some(last) = payload.last() {
            mid_line[index] = *last != b'\n';
        }
    }
    (bytes, Some(body.is_empty()))
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn length(payload: &[u8]) -> [u8; 4] {
    u32::try_from(payload.len()).expect("the fuzzer's inputs are short").to_be_bytes()
}
