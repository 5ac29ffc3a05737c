//! Where the last so many lines of a log file begin: read backwards, in blocks.

use std::{fs::File, os::unix::fs::FileExt};

use memchr::{memchr, memrchr};

use super::{
    record::{MAX_RECORD, Record, Stream},
    select::Selection,
};
use crate::logs::LogError;

/// How much is read at once, in bytes; room for at least one whole record.
pub(super) const BLOCK: usize = 128 * 1024;
const _: () = assert!(BLOCK > MAX_RECORD);

/// For each stream, the offset of the first record to show, so that the last `lines` logical lines before `end` are
/// shown. Lines that `selection` refuses do not count.
///
/// The memory is one block, whatever the number. A line's pieces may lie far from each other, among those of the
/// other stream, so the search ends only where each stream that was seen has an older line; a stream with one line
/// in a long log is searched for up to the beginning.
pub(super) fn find(file: &File, end: u64, lines: u64, selection: &mut Selection) -> Result<[u64; 2], LogError> {
    let mut scan = Scan { left: lines, start: [end; 2], state: [State::Unseen; 2], selection };
    let mut block = vec![0; BLOCK.min(usize::try_from(end).unwrap_or(BLOCK))];
    let mut end = end;
    while end > 0 && !scan.is_done() {
        let from = end.saturating_sub(BLOCK as u64);
        let bytes = &mut block[..(end - from) as usize];
        file.read_exact_at(bytes, from).map_err(LogError::Disconnected)?;
        end = scan.block(bytes, from)?;
    }
    Ok(scan.start)
}

/// How far one stream's search has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No record of it was met.
    Unseen,
    /// Records without a newline belong to the line that `start` points into.
    InLine,
    /// `start` is final.
    Found,
}

struct Scan<'a> {
    left: u64,
    start: [u64; 2],
    state: [State; 2],
    selection: &'a mut Selection,
}

impl Scan<'_> {
    /// Nothing that lies further ahead in the file can be shown.
    fn is_done(&self) -> bool {
        self.left == 0
            && [Stream::Stdout, Stream::Stderr]
                .into_iter()
                .all(|stream| !self.selection.has(stream) || self.state[stream.index()] != State::InLine)
    }

    /// Takes the whole records of a block, last first, and gives back the offset of the first of them.
    fn block(&mut self, bytes: &[u8], from: u64) -> Result<u64, LogError> {
        // Unless the file begins here, so may a record's second half.
        let first = if from == 0 { 0 } else { memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1) };
        let mut end = bytes.len();
        while end > first && !self.is_done() {
            let line = &bytes[..end - 1];
            let start = memrchr(b'\n', line).map_or(0, |at| at + 1);
            let record = Record::parse(&line[start..]).ok_or(LogError::Protocol("the log file is damaged"))?;
            self.record(&record, from + start as u64)?;
            end = start;
        }
        Ok(from + first as u64)
    }

    fn record(&mut self, record: &Record<'_>, offset: u64) -> Result<(), LogError> {
        let index = record.stream.index();
        if self.state[index] == State::Found || !self.selection.admits(record)? {
            return Ok(());
        }
        // Going backwards, a line begins where an older line ended, or with the stream's last record.
        let another = self.state[index] == State::Unseen || record.ends_line();
        if another && self.left == 0 {
            self.state[index] = State::Found;
            return Ok(());
        }
        self.left -= u64::from(another);
        self.state[index] = State::InLine;
        self.start[index] = offset;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io::Write};

    use proptest::prelude::*;

    use super::{super::record::encode, *};
    use crate::logs::LogQuery;

    const TIME: &str = "2026-11-23T02:01:21Z";
    const QUERY: LogQuery =
        LogQuery { follow: false, tail: None, timestamps: false, since: None, until: None, stdout: true, stderr: true };

    /// A file of the records, and the offset of each.
    fn file(records: &[(Stream, Vec<u8>)]) -> (File, Vec<u64>, u64) {
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        for (stream, text) in records {
            offsets.push(bytes.len() as u64);
            encode(*stream, TIME, text, b"", &mut bytes);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, offsets, bytes.len() as u64)
    }

    /// The records to show, by counting lines from the front.
    fn expected(records: &[(Stream, Vec<u8>)], lines: usize, query: &LogQuery) -> Vec<usize> {
        let mut open: [Option<usize>; 2] = [None; 2];
        let mut ends = Vec::new();
        let mut line_of = Vec::new();
        for (index, (stream, text)) in records.iter().enumerate() {
            let line = *open[stream.index()].get_or_insert_with(|| {
                ends.push((*stream, index));
                ends.len() - 1
            });
            ends[line].1 = index;
            line_of.push(line);
            if text.ends_with(b"\n") {
                open[stream.index()] = None;
            }
        }
        let wanted = |stream: Stream| if stream == Stream::Stdout { query.stdout } else { query.stderr };
        let mut order: Vec<usize> = (0..ends.len()).filter(|&line| wanted(ends[line].0)).collect();
        order.sort_by_key(|&line| ends[line].1);
        let mut last: VecDeque<usize> = order.into();
        while last.len() > lines {
            last.pop_front();
        }
        (0..records.len()).filter(|&index| last.contains(&line_of[index])).collect()
    }

    fn shown(records: &[(Stream, Vec<u8>)], lines: u64, query: &LogQuery) -> Vec<usize> {
        let (file, offsets, end) = file(records);
        let mut selection = Selection::new(query);
        let start = find(&file, end, lines, &mut selection).unwrap();
        let is_shown = |&index: &usize| {
            let stream = records[index].0;
            selection.has(stream) && offsets[index] >= start[stream.index()]
        };
        (0..records.len()).filter(is_shown).collect()
    }

    #[test]
    fn an_endless_number_shows_everything() {
        let records = [(Stream::Stdout, b"a\n".to_vec()), (Stream::Stderr, b"b".to_vec())];
        assert_eq!(shown(&records, u64::MAX, &QUERY), [0, 1]);
        assert!(shown(&[], 5, &QUERY).is_empty());
    }

    #[test]
    fn pieces_of_a_line_count_once_over_many_blocks() {
        let piece = vec![0; 16_384];
        let mut records = vec![(Stream::Stdout, b"old\n".to_vec())];
        records.extend(std::iter::repeat_n((Stream::Stdout, piece), 20));
        records.push((Stream::Stderr, b"e\n".to_vec()));
        records.push((Stream::Stdout, b"end\n".to_vec()));
        assert_eq!(shown(&records, 1, &QUERY), (1..21).chain([22]).collect::<Vec<_>>());
        assert_eq!(shown(&records, 2, &QUERY), (1..23).collect::<Vec<_>>());
        assert_eq!(shown(&records, 3, &QUERY), (0..23).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn agrees_with_counting_from_the_front(
            shape in prop::collection::vec((any::<bool>(), any::<bool>(), 0_usize..3_000), 0..200),
            lines in 1_u64..30,
            streams in 1_u8..4,
        ) {
            let record = |(err, ends, length): (bool, bool, usize)| {
                let mut text = vec![0; length + 1];
                if ends { text.push(b'\n'); }
                (if err { Stream::Stderr } else { Stream::Stdout }, text)
            };
            let records: Vec<_> = shape.into_iter().map(record).collect();
            let query = LogQuery { stdout: streams & 1 != 0, stderr: streams & 2 != 0, ..QUERY };
            let expected = expected(&records, lines as usize, &query);
            prop_assert_eq!(shown(&records, lines, &query), expected);
        }
    }
}
