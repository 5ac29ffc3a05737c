//! From a pipe's bytes to records: lines, and long lines in pieces; no IO.

use memchr::memchr;

use super::record::{PIECE, encode};
use crate::logs::record::Stream;

/// Cuts one stream of bytes into records, wherever the reads happened to end.
#[derive(Debug)]
pub(super) struct Cutter {
    stream: Stream,
    /// The beginning of a line whose end has not been read: less than [`PIECE`] bytes.
    pending: Vec<u8>,
    /// The time of the present line's first piece, once one was cut off: the others bear it too.
    first: Option<String>,
}

impl Cutter {
    /// A cutter at the beginning of a line.
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new(), first: None }
    }

    /// Takes what was read at `time` and appends the records that it completes.
    pub(super) fn push(&mut self, mut data: &[u8], time: &str, out: &mut Vec<u8>) {
        while !data.is_empty() {
            let room = PIECE - self.pending.len();
            let window = &data[..data.len().min(room)];
            let taken = match memchr(b'\n', window) {
                Some(at) => self.end_line(&window[..=at], time, out),
                None if window.len() == room => self.cut_piece(window, time, out),
                None => self.keep(window),
            };
            data = &data[taken..];
        }
    }

    /// At the end of the stream: appends the line that was not ended, if there is one.
    pub(super) fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.end_line(b"", time, out);
        }
    }

    fn end_line(&mut self, text: &[u8], time: &str, out: &mut Vec<u8>) -> usize {
        let first = self.first.take();
        self.emit(text, first.as_deref().unwrap_or(time), out)
    }

    fn cut_piece(&mut self, text: &[u8], time: &str, out: &mut Vec<u8>) -> usize {
        let first = self.first.take().unwrap_or_else(|| time.to_owned());
        let taken = self.emit(text, &first, out);
        self.first = Some(first);
        taken
    }

    fn keep(&mut self, text: &[u8]) -> usize {
        self.pending.extend_from_slice(text);
        text.len()
    }

    fn emit(&mut self, text: &[u8], time: &str, out: &mut Vec<u8>) -> usize {
        encode(self.stream, time, &self.pending, text, out);
        self.pending.clear();
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::decode::json_file::JsonFile;

    /// The texts and times of all records.
    fn records(file: Vec<u8>) -> Vec<(Vec<u8>, i64)> {
        let records = JsonFile::default().decode(file).unwrap();
        records.iter().map(|(record, text)| (text.to_vec(), record.place.time)).collect()
    }

    /// The records of reads, the first at the time 0, each a nanosecond after the one before.
    fn cut(reads: &[&[u8]]) -> Vec<(Vec<u8>, i64)> {
        let (mut cutter, mut out) = (Cutter::new(Stream::Stdout), Vec::new());
        let time = |at: usize| format!("1970-01-01T00:00:00.{at:09}Z");
        for (at, read) in reads.iter().enumerate() {
            cutter.push(read, &time(at), &mut out);
        }
        cutter.finish(&time(reads.len()), &mut out);
        records(out)
    }

    #[test]
    fn a_long_line_bears_its_first_pieces_time() {
        let line = [b'x'; 20_000];
        let cut = cut(&[&line, &line, b"\nnext\n"]);
        let shape: Vec<_> = cut.iter().map(|(text, time)| (text.len(), *time)).collect();
        assert_eq!(shape, [(16_384, 0), (16_384, 0), (7_233, 0), (5, 2)]);
    }

    #[test]
    fn a_line_of_one_piece_and_its_newline() {
        let cut = cut(&[&[b'x'; PIECE], b"\n"]);
        assert_eq!(cut[1], (b"\n".to_vec(), 0));
        assert_eq!(cut.len(), 2);
    }

    #[test]
    fn an_unended_line_comes_at_the_end() {
        assert_eq!(cut(&[b"a\nb", b"c"]), [(b"a\n".to_vec(), 0), (b"bc".to_vec(), 2)]);
        assert!(cut(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn bytes_survive_any_cut(
            runs in prop::collection::vec((any::<u8>(), 1_usize..40_000, prop::bool::ANY), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..2_000),
            reads in prop::collection::vec(1_usize..70_000, 1..8),
        ) {
            let mut data = noise;
            for (byte, times, newline) in runs {
                data.extend(std::iter::repeat_n(byte, times.min(if byte == b'\n' { 50 } else { times })));
                data.extend(newline.then_some(b'\n'));
            }
            let mut pieces = Vec::new();
            let mut rest = &data[..];
            for length in reads.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let records = cut(&pieces);
            prop_assert_eq!(records.iter().flat_map(|(text, _)| text.clone()).collect::<Vec<_>>(), data);
            for (text, _) in &records {
                prop_assert!(!text.is_empty() && text.len() <= PIECE);
                prop_assert!(memchr(b'\n', &text[..text.len() - 1]).is_none());
            }
        }
    }
}
