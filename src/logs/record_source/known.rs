//! Which records of a window have the place there that they have in the whole log.

use crate::logs::record::Record;

/// Records as late as this may be in front of an earlier one, in nanoseconds: Docker stamps the two streams in two threads.
pub(super) const MARGIN: i64 = 1_000_000_000;

/// Follows a window record by record. All records of a line have the line's time. So where the time of a stream changes, a line
/// begins, and what is counted of a time is counted from its first record on. Of the time that a window begins with, there may be
/// more in front of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    is_whole: bool,
    /// The time that each stream begins with.
    first: [Option<i64>; 2],
    begun: [bool; 2],
    /// The time of the first record that is known.
    anchor: Option<i64>,
}

impl Known {
    /// Of a window that is the whole log, all are known.
    pub(super) fn new(is_whole: bool) -> Self {
        Self { is_whole, first: [None; 2], begun: [is_whole; 2], anchor: None }
    }

    /// Whether the next record is known.
    #[inline]
    pub(super) fn is_known(&mut self, record: &Record) -> bool {
        self.begun[record.stream.index()] || self.begins(record)
    }

    fn begins(&mut self, record: &Record) -> bool {
        let (index, time) = (record.stream.index(), record.place.time);
        let begins = match self.first[index] {
            Some(first) => first != time,
            // What is in front of the window was printed before the anchor.
            None => self.anchor.is_some_and(|anchor| time > anchor.saturating_add(MARGIN)),
        };
        self.first[index].get_or_insert(time);
        if begins {
            self.begun[index] = true;
            self.anchor.get_or_insert(time);
        }
        begins
    }

    /// Whether all that comes is known.
    pub(super) fn is_all(&self) -> bool {
        self.begun == [true; 2]
    }

    /// All that is in front of the window is earlier than `time`.
    pub(super) fn is_behind(&self, time: i64) -> bool {
        self.anchor.is_some_and(|anchor| anchor < time.saturating_sub(MARGIN))
    }

    /// A record of `time` is in front of the window, as far as a clock tells.
    pub(super) fn is_ahead_of(&self, time: i64) -> bool {
        !self.is_whole && self.anchor.is_some_and(|anchor| anchor > time.saturating_add(MARGIN))
    }
}
