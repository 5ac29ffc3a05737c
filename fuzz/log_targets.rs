//! What the fuzzer runs on what a client sends to choose of a log, as plain functions; `tests/fuzz_smoke.rs` runs them too.

#![allow(dead_code, unreachable_pub, reason = "each program that includes this file uses a part of it")]

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use opensandbox_gateway::{
    http1::framing::BodyDecoder,
    logs::{
        cursor::Cursor,
        decode::{
            json_file::JsonFile,
            kubelet::{KubeletDecoder, LastLine},
            records::RecordDecoder,
        },
        record::{Place, Records, Stream},
        select::Filter,
    },
};

/// The length at which a terminal's records are cut; short here, so that the fuzzer reaches it.
const RECORD: usize = 64;

/// Reads the data as a resume token. One that is read is written and read again as the same, and is short.
pub fn cursor(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(cursor) = Cursor::parse(&text) else { return };
    let token = cursor.token();
    assert!(token.len() <= 200 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{token}");
    assert_eq!(Cursor::parse(&token), Some(cursor), "{text}");
}

/// Reads the data as a regular expression, a text to search for and a line, apart at line feeds. A filter and its inverse
/// disagree on every line, and a newline behind the line changes nothing.
pub fn filter(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (Some(pattern), Some(search), Some(line)) = (parts.next(), parts.next(), parts.next()) else { return };
    // A line has a newline at most at its end.
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    let Ok(regex) = Filter::compile(&[pattern]) else { return };
    let grep = Filter::new(regex.clone(), false, []);
    let inverse = Filter::new(regex.clone(), true, []);
    assert_ne!(grep.passes(line), inverse.passes(line), "{pattern}");
    let both = Filter::new(regex, false, [search.to_vec()]);
    let found = search.is_empty() || line.windows(search.len()).any(|window| window == search);
    assert_eq!(both.passes(line), grep.passes(line) && found, "{pattern}");
    assert_eq!(both.passes(line), both.passes(&[line, b"\n"].concat()), "{pattern}");
}

/// Decodes an engine's answer, or a log file (after a byte of options and a seed for where to cut it), in one piece and in pieces.
/// The same records must come out, and the same end.
pub fn records(data: &[u8]) {
    let Some((&[options, seed], wire)) = data.split_first_chunk::<2>() else { return };
    if options & 4 != 0 {
        return file(wire);
    }
    let decode = |most| {
        let body = if options & 2 == 0 { BodyDecoder::chunked() } else { BodyDecoder::until_close() };
        decoded(RecordDecoder::new(body, options & 1 != 0, RECORD), wire, most)
    };
    let (whole, pieces) = (decode(usize::MAX), decode(usize::from(seed)));
    assert_eq!(whole.1, pieces.1, "{wire:?}");
    // Of an answer that breaks its protocol, what was read together with the fault may be missing.
    let most = if whole.1 { usize::MAX } else { whole.0.len().min(pieces.0.len()) };
    assert_eq!(
        whole.0.iter().take(most).collect::<Vec<_>>(),
        pieces.0.iter().take(most).collect::<Vec<_>>(),
        "{wire:?}"
    );
}

/// Decodes a kubelet's answer (after a byte of options and a seed for where to cut it) in one piece and in pieces. The same records
/// must come out, and the same end.
pub fn kubelet(data: &[u8]) {
    let Some((&[options, seed], wire)) = data.split_first_chunk::<2>() else { return };
    let decode = |most: usize| {
        let body = if options & 1 == 0 { BodyDecoder::chunked() } else { BodyDecoder::until_close() };
        let last_line = if options & 2 == 0 { LastLine::Kept } else { LastLine::LeftOut };
        let mut decoder = KubeletDecoder::new(body, Stream::Stdout, last_line);
        let (mut out, mut buf, mut rest, mut turn) = (Vec::new(), BytesMut::new(), wire, 0);
        while !rest.is_empty() && !decoder.is_ended() {
            turn += 1;
            let step = if most < 8 { 1 + (turn * 7 + most) % 9 } else { most };
            let (piece, after) = rest.split_at(step.min(rest.len()));
            rest = after;
            let kept = buf.len();
            buf.extend_from_slice(piece);
            let (records, decoded) = decoder.decode(&mut buf, kept);
            out.extend(records);
            if let Err(error) = decoded {
                return (read_of(&out), Some(error.to_string()));
            }
            assert!(buf.len() < 64 << 10, "more than the beginning of a line is kept");
        }
        match decoder.finish(&buf) {
            Ok(records) => out.extend(records),
            Err(error) => return (read_of(&out), Some(error.to_string())),
        }
        (read_of(&out), None)
    };
    let (whole, pieces) = (decode(usize::MAX), decode(usize::from(seed)));
    assert_eq!(whole, pieces, "{wire:?}");
}

/// A record's stream, place and bytes.
type Read = (Stream, Place, Vec<u8>);

/// The records, fed pieces of `most` bytes (below 8 their lengths vary), and whether the answer was whole.
fn decoded(mut decoder: RecordDecoder, wire: &[u8], most: usize) -> (Vec<Read>, bool) {
    let (mut out, mut kept, mut rest, mut turn) = (VecDeque::new(), Bytes::new(), wire, 0);
    while !rest.is_empty() && !decoder.is_ended() {
        turn += 1;
        let step = if most < 8 { 1 + (turn * 7 + most) % 9 } else { most };
        let (piece, after) = rest.split_at(step.min(rest.len()));
        rest = after;
        let read = Bytes::from([&kept[..], piece].concat());
        match decoder.decode(&read, &mut out) {
            Ok(used) => kept = read.slice(used..),
            Err(_) => return (read_of(&out), false),
        }
        assert!(kept.len() < (64 << 10) + 16, "more than the beginning of a chunk is kept");
    }
    let is_whole = decoder.finish(kept.len(), &mut out).is_ok();
    (read_of(&out), is_whole)
}

fn read_of<'a>(all: impl IntoIterator<Item = &'a Records>) -> Vec<Read> {
    let read = |records: &'a Records| {
        assert!(!records.index.is_empty(), "a batch of none");
        records.iter().map(|(record, bytes)| (record.stream, record.place, bytes.to_vec()))
    };
    all.into_iter().flat_map(read).collect()
}

/// A file's lines, in one piece and each by itself.
fn file(lines: &[u8]) {
    let whole = JsonFile::default().decode(lines.to_vec());
    let mut decoder = JsonFile::default();
    let each: Result<Vec<_>, _> =
        lines.split_inclusive(|byte| *byte == b'\n').map(|line| decoder.decode(line.to_vec())).collect();
    match (whole, each) {
        (Ok(whole), Ok(each)) => {
            let whole = (!whole.index.is_empty()).then_some(whole);
            assert_eq!(read_of(&whole), read_of(&each), "{lines:?}");
        }
        (whole, each) => assert!(whole.is_err() && each.is_err(), "{lines:?}"),
    }
}
