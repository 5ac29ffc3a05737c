//! A line over a rotation, or over the beginning of a window.
//!
//! A kubelet gives the newest file of a log alone, and that may begin in the middle of a line (kubernetes-api.md R5). What is left
//! of the line has the time of its own first record there, not that of the line's beginning. So a last record that is a later piece
//! of a long line is not found by its time again.

use std::collections::VecDeque;

use crate::logs::record::{Mark, Record, Records, Stream};

/// Most pieces of one line that are remembered: a megabyte.
const MAX_PIECES: usize = 64;

/// How much later than its line's beginning a piece may be stored, in nanoseconds. One that a program takes longer for is not
/// recognised: lines behind the last one may be alike, and would be taken for it.
const MAX_LATER: i64 = 250_000_000;

/// The pieces of the last line that were seen, if it has several.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    sums: VecDeque<u32>,
    /// There are more in front of them.
    is_cut: bool,
    /// The line has not ended.
    is_open: bool,
}

impl Pieces {
    /// Notes what was read next.
    pub(super) fn note(&mut self, records: &Records) {
        let ends = |record: &Record| records.bytes(record).ends_with(b"\n");
        let Some((last, before)) = records.index.split_last() else { return };
        let start = before.iter().rposition(ends).map_or(0, |at| at + 1);
        if start > 0 || !self.is_open {
            (self.is_cut, self.is_open) = (false, false);
            self.sums.clear();
        }
        let was_open = self.is_open;
        self.is_open = !ends(last);
        if !was_open && !self.is_open && start == before.len() {
            // It has one piece.
            return;
        }
        for record in &records.index[start..] {
            self.sums.push_back(crc32fast::hash(records.bytes(record)));
            if self.sums.len() > MAX_PIECES {
                self.sums.pop_front();
                self.is_cut = true;
            }
        }
    }

    /// Looks for `mark`, the last of these pieces, in a read of all that there is. None if it is told by its time alone: it is the
    /// first of its line, or the same as another piece.
    pub(super) fn rest(&self, mark: Mark) -> Option<Rest<'_>> {
        let (last, before) = (self.sums.back()?, self.sums.len() - 1);
        let is_rest =
            (before > 0 || self.is_cut) && *last == mark.sum && !self.sums.iter().take(before).any(|sum| sum == last);
        is_rest.then_some(Rest { pieces: self, mark, seen: Vec::new(), is_over: false })
    }

    /// Whether pieces of the line are still to come.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }
}

/// A search for the last of some pieces in the first line of a read.
pub(super) struct Rest<'a> {
    pieces: &'a Pieces,
    mark: Mark,
    /// The sums of the first line's pieces.
    seen: Vec<u32>,
    is_over: bool,
}

impl Rest<'_> {
    /// Whether this record is it: the first line is the end of the one that was seen, up to here.
    pub(super) fn is(&mut self, record: &Record, bytes: &[u8]) -> bool {
        let Mark { stream, place, sum } = self.mark;
        let is_later = record.place.time > place.time && record.place.time - place.time <= MAX_LATER;
        if self.is_over || record.stream != stream || !is_later {
            self.is_over = true;
            return false;
        }
        self.seen.push(crc32fast::hash(bytes));
        self.is_over = bytes.ends_with(b"\n") || self.seen.len() >= MAX_PIECES || self.seen.last() == Some(&sum);
        let (all, count) = (&self.pieces.sums, self.seen.len());
        // A whole line would have the line's own time.
        let is_part = count < all.len() || count == all.len() && self.pieces.is_cut;
        is_part && self.seen.last() == Some(&sum) && all.iter().skip(all.len() - count).eq(&self.seen)
    }

    /// Whether more of the read may have it.
    pub(super) fn is_sought(&self) -> bool {
        !self.is_over
    }
}

/// Gives the rest of a line the time of its beginning, by which it is one line. Whether it goes on behind these records.
pub(super) fn join(records: &mut Records, stream: Stream, time: i64) -> bool {
    for at in 0..records.index.len() {
        let record = &mut records.index[at];
        if record.stream == stream {
            record.place.time = time;
            let record = records.index[at];
            if records.bytes(&record).ends_with(b"\n") {
                return false;
            }
        }
    }
    true
}
