//! Decoding an engine's answer: from chunks and frames to the sandbox's bytes, in one pass and in place.
//!
//! A container without a TTY is sent as frames: one byte for the stream, three zero bytes, a big-endian length, the
//! payload (Engine API, `ContainerAttach`, "Stream format"). Frames and chunks may be split anywhere. With a TTY there
//! are no frames at all, so which of the two it is must be known beforehand ([`Mode`]), never guessed (log-pitfalls B4).

pub mod docker_frames;
mod front;
pub mod json_file;
pub mod kubelet;
pub mod records;
pub mod tty;

use std::ops::Range;

use self::{docker_frames::DockerFrames, tty::Tty};
use super::{
    LogError,
    compact::{Compactor, HEADROOM},
};
use crate::http1::framing::BodyDecoder;

/// How the sandbox's bytes are laid out in the answer, and what to do with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// The container has a TTY: bytes come without frames.
    pub tty: bool,
    /// Timestamps were asked for: each record starts with one, which is kept once a logical line.
    pub timestamps: bool,
    /// Length, in bytes, at which the engine cuts a record; at least 1.
    pub record_limit: usize,
}

/// The decoder of one answer. Keeps at most a header and a timestamp between two reads.
#[derive(Debug)]
pub struct Decoder {
    body: BodyDecoder,
    layout: Layout,
}

#[derive(Debug)]
enum Layout {
    Frames(DockerFrames),
    Tty(Tty),
}

impl Decoder {
    /// A decoder for an answer with this `body` and `mode`.
    pub fn new(body: BodyDecoder, mode: Mode) -> Self {
        let layout = if mode.tty {
            Layout::Tty(Tty::new(mode.timestamps, mode.record_limit))
        } else {
            Layout::Frames(DockerFrames::new(mode.timestamps))
        };
        Self { body, layout }
    }

    /// Compacts the payload of `buf[HEADROOM..]`, which continues the input, and says where it stands.
    ///
    /// All of the input is used. The range is empty when it held only framing.
    ///
    /// # Errors
    ///
    /// The input is not what an engine sends, or carries the engine's own report of a failure (stream 3).
    pub fn compact(&mut self, buf: &mut [u8]) -> Result<Range<usize>, LogError> {
        let mut out = Compactor::default();
        let mut at = HEADROOM;
        while at < buf.len() {
            if self.body.is_between_chunks()
                && let Layout::Frames(frames) = &mut self.layout
            {
                at = frames.fast_path(buf, at, &mut out);
            }
            let run = self.body.next_run(&buf[at..])?;
            at += run.skip;
            match &mut self.layout {
                Layout::Frames(frames) => frames.decode(buf, at..at + run.len, &mut out)?,
                Layout::Tty(tty) => tty.decode(buf, at..at + run.len, &mut out),
            }
            at += run.len;
        }
        Ok(out.range())
    }

    /// Whether the answer's last byte was seen.
    pub fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// To be called at the end of the connection.
    ///
    /// # Errors
    ///
    /// The answer was cut: no last chunk, or a frame that is not whole.
    pub fn finish(&self) -> Result<(), LogError> {
        if !self.body.may_close() {
            return Err(LogError::Disconnected(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match &self.layout {
            Layout::Frames(frames) if !frames.is_between() => Err(LogError::Protocol("the last frame is not whole")),
            Layout::Frames(_) | Layout::Tty(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &str = "2026-11-23T02:01:21.821916123Z ";

    fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short");
        [&[stream, 0, 0, 0][..], &length.to_be_bytes(), payload].concat()
    }

    fn chunked(pieces: &[Vec<u8>]) -> Vec<u8> {
        let chunks = pieces.iter().map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        chunks.chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
    }

    fn run(mode: Mode, input: &[u8], cuts: impl Fn(usize) -> usize) -> Result<Vec<u8>, LogError> {
        let (mut decoder, mut out, mut at, mut turn) = (Decoder::new(BodyDecoder::chunked(), mode), Vec::new(), 0, 0);
        while at < input.len() {
            let len = cuts(turn).clamp(1, input.len() - at);
            let mut buf = [vec![0xAA; HEADROOM], input[at..at + len].to_vec()].concat();
            let range = decoder.compact(&mut buf)?;
            out.extend_from_slice(&buf[range]);
            at += len;
            turn += 1;
        }
        decoder.finish().map(|()| out)
    }

    fn every_cut(mode: Mode, input: &[u8], expected: &[u8]) {
        for at in 1..=input.len() {
            let out = run(mode, input, |turn| if turn == 0 { at } else { input.len() }).expect("valid");
            assert_eq!(out, expected, "cut at {at}");
        }
        for step in 1..=40 {
            assert_eq!(run(mode, input, |_| step).expect("valid"), expected, "steps of {step}");
        }
    }

    const FRAMED: Mode = Mode { tty: false, timestamps: false, record_limit: 16_384 };
    const STAMPED: Mode = Mode { timestamps: true, ..FRAMED };

    #[test]
    fn payloads_come_out_whole_wherever_the_input_is_cut() {
        let pieces = [
            frame(1, b"out\n"),
            [frame(2, b"err"), frame(0, b"in\n")].concat(),
            frame(1, b""),
            frame(1, b"\0\xff\r\n"),
        ];
        every_cut(FRAMED, &chunked(&pieces), b"out\nerrin\n\0\xff\r\n");
        // A frame in many chunks and a chunk with many frames are the same stream.
        let bytes: Vec<u8> = pieces.concat();
        let split: Vec<Vec<u8>> = bytes.chunks(5).map(<[u8]>::to_vec).collect();
        every_cut(FRAMED, &chunked(&split), b"out\nerrin\n\0\xff\r\n");
    }

    #[test]
    fn a_logical_line_has_one_timestamp_also_when_the_engine_cut_it() {
        let stamped = |stream, text: &[u8]| frame(stream, &[TIME.as_bytes(), text].concat());
        let pieces = [
            stamped(1, b"long "),
            stamped(2, b"other\n"),
            stamped(1, b"line "),
            stamped(1, b"\n"),
            stamped(1, b"next\n"),
        ];
        let expected = format!("{TIME}long {TIME}other\nline \n{TIME}next\n");
        every_cut(STAMPED, &chunked(&pieces), expected.as_bytes());
    }

    #[test]
    fn what_only_resembles_a_timestamp_is_kept() {
        let pieces = [frame(1, b"a"), frame(1, b"2026-11-23T02:01:21.821916123z and more\n"), frame(1, b"b\n")];
        let expected = b"a2026-11-23T02:01:21.821916123z and more\nb\n";
        every_cut(STAMPED, &chunked(&pieces), expected);
    }

    #[test]
    fn a_tty_is_passed_on_untouched() {
        let bytes = b"\x01\0\0\0\0\0\0\x05hello\r\n\x02".to_vec();
        every_cut(Mode { tty: true, ..FRAMED }, &chunked(std::slice::from_ref(&bytes)), &bytes);
    }

    #[test]
    fn a_cut_tty_line_has_one_timestamp() {
        let mode = Mode { tty: true, timestamps: true, record_limit: 8 };
        let input = format!("{TIME}short\r\n{TIME}12345678{TIME}90\r\n{TIME}abcdefgh{TIME}\n{TIME}end");
        let expected = format!("{TIME}short\r\n{TIME}1234567890\r\n{TIME}abcdefgh\n{TIME}end");
        every_cut(mode, &chunked(&[input.into_bytes()]), expected.as_bytes());
    }

    #[test]
    fn the_engines_own_report_ends_the_stream_as_an_error() {
        let input = chunked(&[frame(1, b"a\n"), frame(3, b"disk full\n")]);
        for step in 1..input.len() {
            let error = run(FRAMED, &input, |_| step).expect_err("a report");
            assert!(matches!(error, LogError::Backend(text) if text == "disk full"));
        }
    }

    #[test]
    fn absurd_and_truncated_frames_are_errors() {
        for bytes in [&[4, 0, 0, 0, 0, 0, 0, 1, 9][..], &[1, 0, 1, 0, 0, 0, 0, 1, 9], &[1, 0, 0, 0, 255, 255, 255, 255]]
        {
            let error = run(FRAMED, &chunked(&[bytes.to_vec()]), |_| 3).expect_err("not a frame");
            assert!(matches!(error, LogError::Protocol(_)), "{error:?}");
        }
        let cut = chunked(&[frame(1, b"whole\n")[..10].to_vec()]);
        assert!(run(FRAMED, &cut, |_| 4).is_err());
        let unfinished = &chunked(&[frame(1, b"whole\n")])[..17];
        assert!(matches!(run(FRAMED, unfinished, |_| 4), Err(LogError::Disconnected(_))));
    }

    proptest! {
        #[test]
        fn any_frames_in_any_chunks_read_in_any_pieces_are_the_payload(
            frames in proptest::collection::vec((0u8..3, proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            chunk in 1usize..400,
            cuts in proptest::collection::vec(1usize..200, 1..20),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(stream, payload)| frame(*stream, payload)).collect();
            let pieces: Vec<Vec<u8>> = bytes.chunks(chunk).map(<[u8]>::to_vec).collect();
            let expected: Vec<u8> = frames.iter().flat_map(|(_, payload)| payload.clone()).collect();
            let out = run(FRAMED, &chunked(&pieces), |turn| cuts[turn % cuts.len()]).expect("valid");
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn garbage_never_panics(
            input in proptest::collection::vec(any::<u8>(), 0..600),
            step in 1usize..50, tty: bool, timestamps: bool, limit in 1usize..64,
        ) {
            let mode = Mode { tty, timestamps, record_limit: limit };
            for body in [BodyDecoder::chunked(), BodyDecoder::until_close(), BodyDecoder::with_length(77)] {
                let mut decoder = Decoder::new(body, mode);
                for piece in input.chunks(step) {
                    let mut buf = [vec![0; HEADROOM], piece.to_vec()].concat();
                    if decoder.compact(&mut buf).is_err() { break; }
                }
                let _ = decoder.finish();
            }
        }
    }
}
