use proptest::{collection::vec, prelude::*};

use super::*;
use crate::logs::{
    compact::HEADROOM,
    decode::{Decoder, Mode},
    record::Place,
};

const LIMIT: usize = 16;

/// A record as it is read: its stream, place and bytes.
type Read = (Stream, i64, u32, Vec<u8>);

/// The engine's bytes of a record with times. The times are few, so that some are equal.
fn stamped(time: u8, text: &[u8]) -> Vec<u8> {
    [format!("2026-11-23T02:01:{:02}.{:09}Z ", 20 + time % 3, time).as_bytes(), text].concat()
}

/// What [`stamped`] writes, in nanoseconds.
fn nanoseconds(time: u8) -> i64 {
    (1_795_399_280 + i64::from(time % 3)) * 1_000_000_000 + i64::from(time)
}

fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    [&[stream, 0, 0, 0][..], &length.to_be_bytes(), payload].concat()
}

fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    pieces.into_iter().map(chunk).chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
}

/// Decodes in reads of the lengths that `cuts` gives for each turn.
fn decoded(
    (body, tty): (BodyDecoder, bool),
    input: &[u8],
    cuts: impl Fn(usize) -> usize,
) -> (Vec<Read>, Result<(), LogError>) {
    let (mut decoder, mut out) = (RecordDecoder::new(body, tty, LIMIT), VecDeque::new());
    let (mut rest, mut at) = (Bytes::new(), 0);
    let mut result = Ok(());
    for turn in 0.. {
        if at == input.len() || decoder.is_ended() {
            break;
        }
        let length = cuts(turn).clamp(1, input.len() - at);
        let read = Bytes::from([&rest[..], &input[at..at + length]].concat());
        at += length;
        match decoder.decode(&read, &mut out) {
            Ok(used) => rest = read.slice(used..),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    let result = result.and_then(|()| decoder.finish(rest.len(), &mut out));
    assert!(out.iter().all(|records| !records.index.is_empty()));
    let reads = out.iter().flat_map(Records::iter).map(|(record, bytes)| {
        let Place { time, ordinal } = record.place;
        (record.stream, time, ordinal, bytes.to_vec())
    });
    (reads.collect(), result)
}

/// Records with their ordinals, of (stream's number, time, text).
fn expected(records: &[(u8, u8, Vec<u8>)]) -> Vec<Read> {
    let mut ordinals = Ordinals::default();
    let read = |(id, time, text): &(u8, u8, Vec<u8>)| {
        let place = ordinals.place(stream(*id), nanoseconds(*time));
        (stream(*id), place.time, place.ordinal, text.clone())
    };
    records.iter().map(read).collect()
}

fn every_cut(tty: bool, input: &[u8], expected: &[Read]) {
    let read = |cuts: &dyn Fn(usize) -> usize, name: &str| {
        let (records, result) = decoded((BodyDecoder::chunked(), tty), input, cuts);
        assert!(result.is_ok() && records == expected, "{name}: {result:?} {records:?}");
    };
    for at in 1..=input.len() {
        read(&|turn| if turn == 0 { at } else { input.len() }, &format!("cut at {at}"));
    }
    for step in 1..=40 {
        read(&|_| step, &format!("steps of {step}"));
    }
}

#[test]
fn records_in_chunks_of_their_own_stay_where_they_were_read() {
    let wire = chunked([frame(1, &stamped(1, b"a\n")), frame(2, &stamped(1, b"b\n"))].iter().map(Vec::as_slice));
    let mut decoder = RecordDecoder::new(BodyDecoder::chunked(), false, LIMIT);
    let (read, mut out) = (Bytes::from(wire), VecDeque::new());
    assert_eq!(decoder.decode(&read, &mut out).expect("valid"), read.len());
    assert_eq!((out.len(), out[0].buf.as_ptr()), (1, read.as_ptr()));
    assert_eq!((out[0].index.len(), out[0].index[1].place.ordinal), (2, 0));
    assert!(decoder.is_ended());
}

#[test]
fn the_beginning_of_a_chunk_is_given_back_and_not_copied() {
    let wire = chunked([frame(1, &stamped(1, b"a\n")), frame(1, &stamped(2, b"b\n"))].iter().map(Vec::as_slice));
    let (first, cut) = (wire.len() / 2 - 3, wire.len() / 2 + 9);
    let mut decoder = RecordDecoder::new(BodyDecoder::chunked(), false, LIMIT);
    let mut out = VecDeque::new();
    let used = decoder.decode(&Bytes::from(wire[..cut].to_vec()), &mut out).expect("valid");
    assert_eq!((used, out.len()), (first + 1, 1));
}

#[test]
fn frames_of_all_kinds_are_records() {
    let records =
        vec![(1, 1, b"a\n".to_vec()), (0, 1, b"".to_vec()), (2, 5, b"b".to_vec()), (1, 1, b"\0\xff\n".to_vec())];
    let frames: Vec<_> = records.iter().map(|(id, time, text)| frame(*id, &stamped(*time, text))).collect();
    every_cut(false, &chunked(frames.iter().map(Vec::as_slice)), &expected(&records));
    let joined = frames.concat();
    every_cut(false, &chunked([&joined[..]]), &expected(&records));
    every_cut(false, &chunked(joined.chunks(7)), &expected(&records));
    let with_extension = [b"29;x=y\r\n", &frames[0][..], b"\r\n", &chunked([&frames[1..].concat()[..]])].concat();
    every_cut(false, &with_extension, &expected(&records));
    let empty = [frame(1, b""), frames[0].clone()].concat();
    every_cut(false, &chunked([&empty[..]]), &expected(&records[..1]));
}

#[test]
fn a_terminal_s_records_end_with_a_newline_at_the_limit_or_with_their_chunk() {
    let long = [b'x'; LIMIT];
    let records = vec![
        (1, 1, b"ab\r\n".to_vec()),
        (1, 2, long.to_vec()),
        (1, 2, b"\n".to_vec()),
        (1, 3, long.to_vec()),
        (1, 3, b"end\r\n".to_vec()),
        (1, 4, b"\r\n".to_vec()),
    ];
    let pieces: Vec<_> = records.iter().map(|(_, time, text)| stamped(*time, text)).collect();
    every_cut(true, &chunked(pieces.iter().map(Vec::as_slice)), &expected(&records));
    let joined = pieces.concat();
    every_cut(true, &chunked([&joined[..]]), &expected(&records));
    every_cut(true, &chunked(joined.chunks(5)), &expected(&records));
    let (read, result) = decoded((BodyDecoder::until_close(), true), &joined, |_| 9);
    assert!(result.is_ok() && read == expected(&records), "{read:?}");
    // What only the chunks tell: a record without a newline, and one that U+FFFD has made longer than the limit.
    let odd = vec![
        (1, 1, b"no newline".to_vec()),
        (1, 2, [b'y'; LIMIT + 5].to_vec()),
        (1, 2, b"y\n".to_vec()),
        (1, 3, b"$ ".to_vec()),
    ];
    let pieces: Vec<_> = odd.iter().map(|(_, time, text)| stamped(*time, text)).collect();
    every_cut(true, &chunked(pieces.iter().map(Vec::as_slice)), &expected(&odd));
}

#[test]
fn a_newline_within_a_terminal_s_record_makes_two_of_its_time() {
    let records = vec![(1, 1, b"a\n".to_vec()), (1, 1, b"b\n".to_vec()), (1, 2, b"c\n".to_vec())];
    let pieces = [stamped(1, b"a\nb\n"), stamped(2, b"c\n")];
    every_cut(true, &chunked(pieces.iter().map(Vec::as_slice)), &expected(&records));
}

#[test]
fn other_times_are_read_and_none_is_an_error() {
    let time = |text: &str| {
        let wire = chunked([&frame(1, text.as_bytes())[..]]);
        decoded((BodyDecoder::chunked(), false), &wire, |_| 1000)
    };
    let whole = time("2026-11-23T03:01:20+01:00 podman\n").0;
    assert_eq!(whole, [(Stream::Stdout, nanoseconds(0), 0, b"podman\n".to_vec())]);
    for none in ["no time\n", "2026-11-23T02:01:20.000000000Z", "x"] {
        assert!(matches!(time(none).1, Err(LogError::Protocol("a record has no time"))), "{none}");
    }
    let (read, result) = decoded((BodyDecoder::chunked(), true), &chunked([&b"no time\n"[..]]), |_| 1000);
    assert!(read.is_empty() && matches!(result, Err(LogError::Protocol(_))));
}

#[test]
fn the_engine_s_own_report_comes_after_what_was_before_it() {
    let record = (1, 1, b"a\n".to_vec());
    let frames = [frame(1, &stamped(1, b"a\n")), frame(3, b"disk full\n")];
    for input in [chunked(frames.iter().map(Vec::as_slice)), chunked([&frames.concat()[..]])] {
        for step in 1..input.len() {
            let (read, result) = decoded((BodyDecoder::chunked(), false), &input, |_| step);
            assert!(matches!(result, Err(LogError::Backend(text)) if text == "disk full"));
            assert_eq!(read, expected(std::slice::from_ref(&record)));
        }
    }
}

#[test]
fn absurd_and_cut_frames_are_errors() {
    for bytes in [&[4, 0, 0, 0, 0, 0, 0, 1, 9][..], &[1, 0, 1, 0, 0, 0, 0, 1, 9], &[1, 0, 0, 0, 255, 255, 255, 255]] {
        let (_, result) = decoded((BodyDecoder::chunked(), false), &chunked([bytes]), |_| 3);
        assert!(matches!(result, Err(LogError::Protocol(_))), "{result:?}");
    }
    let whole = frame(1, &stamped(1, b"whole\n"));
    let (_, result) = decoded((BodyDecoder::chunked(), false), &chunked([&whole[..20]]), |_| 4);
    assert!(matches!(result, Err(LogError::Protocol(_))));
    let wire = chunked([&whole[..]]);
    for end in 0..wire.len() {
        let (_, result) = decoded((BodyDecoder::chunked(), false), &wire[..end], |_| 400);
        assert!(matches!(result, Err(LogError::Disconnected(_))), "{end}: {result:?}");
    }
}

/// A sequence of chunk lengths over `bytes`.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

proptest! {
    #[test]
    fn any_frames_in_any_chunks_cut_anywhere_are_the_same_records_and_the_text(
        records in vec((0u8..3, any::<u8>(), vec(any::<u8>(), 0..60)), 0..20),
        alone in vec(any::<bool>(), 20),
        lengths in vec(1usize..200, 1..10),
        cuts in vec(1usize..200, 1..10),
    ) {
        let expected = expected(&records);
        let frames: Vec<_> = records.iter().map(|(id, time, text)| frame(*id, &stamped(*time, text))).collect();
        // Each frame in a chunk of its own, or with the next ones in chunks of any lengths.
        let mut wire = Vec::new();
        let mut together = Vec::new();
        for (frame, alone) in frames.iter().zip(&alone) {
            together.extend_from_slice(frame);
            if *alone {
                let chunks = pieces(&together, if together.len() == frame.len() { &[usize::MAX] } else { &lengths });
                let end = chunked(chunks);
                wire.extend_from_slice(&end[..end.len() - 5]);
                together.clear();
            }
        }
        wire.extend_from_slice(&chunked(pieces(&together, &lengths)));
        let (read, result) = decoded((BodyDecoder::chunked(), false), &wire, |turn| cuts[turn % cuts.len()]);
        prop_assert!(result.is_ok(), "{:?}", result);
        prop_assert_eq!(&read, &expected);

        let texts: Vec<_> = records.iter().map(|(id, _, text)| frame(*id, text)).collect();
        let mut buf = [vec![0; HEADROOM], chunked(texts.iter().map(Vec::as_slice))].concat();
        let mode = Mode { tty: false, timestamps: false, record_limit: LIMIT };
        let text = Decoder::new(BodyDecoder::chunked(), mode).compact(&mut buf).expect("valid");
        let joined: Vec<u8> = read.into_iter().flat_map(|(.., bytes)| bytes).collect();
        prop_assert_eq!(&buf[text], &joined[..]);
    }

    #[test]
    fn a_terminal_s_records_in_any_chunks_cut_anywhere_are_the_same(
        lines in vec((any::<u8>(), vec(any::<u8>().prop_filter("no newline", |byte| *byte != b'\n'), 0..60)), 0..20),
        alone: bool,
        lengths in vec(1usize..200, 1..10),
        cuts in vec(1usize..200, 1..10),
    ) {
        // As the engine's copier cuts them.
        let mut records = Vec::new();
        for (time, text) in &lines {
            let mut rest = &text[..];
            while let Some((piece, after)) = rest.split_at_checked(LIMIT) {
                records.push((1, *time, piece.to_vec()));
                rest = after;
            }
            records.push((1, *time, [rest, b"\n"].concat()));
        }
        let stamps: Vec<_> = records.iter().map(|(_, time, text)| stamped(*time, text)).collect();
        let joined = stamps.concat();
        let wire = chunked(if alone { stamps.iter().map(Vec::as_slice).collect() } else { pieces(&joined, &lengths) });
        let (read, result) = decoded((BodyDecoder::chunked(), true), &wire, |turn| cuts[turn % cuts.len()]);
        prop_assert!(result.is_ok(), "{:?}", result);
        prop_assert_eq!(read, expected(&records));
    }

    #[test]
    fn garbage_never_panics_and_is_the_same_however_it_is_cut(
        input in vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'1'), Just(b'\r'), Just(0)], 0..600),
        step in 1usize..50, tty: bool,
    ) {
        for body in [BodyDecoder::chunked, BodyDecoder::until_close, || BodyDecoder::with_length(77)] {
            let (whole, _) = decoded((body(), tty), &input, |_| input.len());
            let (pieces, _) = decoded((body(), tty), &input, |_| step);
            let (short, long) = if whole.len() < pieces.len() { (whole, pieces) } else { (pieces, whole) };
            prop_assert!(long.starts_with(&short));
        }
    }
}
