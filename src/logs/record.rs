//! Records: what a backend stored of a sandbox's output, one piece of a line each, with its stream, time and place.

use std::cell::RefCell;

use bytes::Bytes;

use super::run::RunId;

/// Which of a program's two outputs a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The standard output; all of a terminal's.
    Stdout,
    /// The standard error.
    Stderr,
}

impl Stream {
    /// Both, in the order of [`Self::index`].
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// 0 or 1, for arrays that hold something for each stream.
    pub fn index(self) -> usize {
        usize::from(self == Self::Stderr)
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Stdout => Self::Stderr,
            Self::Stderr => Self::Stdout,
        }
    }

    /// `stdout` or `stderr`, as json-file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Where a record stands in the log of one run, as far as a backend tells it.
///
/// Not an order: clocks are set back, and Docker stamps the two streams in two threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// When it was printed, in nanoseconds since 1970.
    pub time: i64,
    /// How many records of its stream with the same time came before it.
    pub ordinal: u32,
}

/// One record, in the buffer of its [`Records`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The stream.
    pub stream: Stream,
    /// The place.
    pub place: Place,
    /// Where its bytes begin in the buffer: the sandbox's own, without a time, with the newline if it has one.
    pub start: u32,
    /// Where they end.
    pub end: u32,
}

/// The whole records of one read, in the log's order. The buffer is the read's own: nothing is copied.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// What was read.
    pub buf: Bytes,
    /// Where the records are in it; shorter than 4 GiB.
    pub index: Vec<Record>,
    /// The run that printed them, if the backend tells: one read may be of two, one behind the other.
    pub run: Option<RunId>,
}

/// Most indexes that a thread keeps, and the longest, in records.
const KEPT_INDEXES: usize = 4;
const MAX_KEPT_INDEX: usize = 4096;

thread_local! {
    /// Indexes that are to be used again. From the allocator each would be new pages, which took a fifth of the time on a busy log.
    static INDEXES: RefCell<Vec<Vec<Record>>> = const { RefCell::new(Vec::new()) };
}

/// An empty index with room for so many records.
pub(super) fn new_index(capacity: usize) -> Vec<Record> {
    let mut index = INDEXES.with_borrow_mut(Vec::pop).unwrap_or_default();
    index.reserve(capacity);
    index
}

/// The same index, in a shorter one if few of its room is used: records may be held for long.
pub(super) fn fitted(index: Vec<Record>) -> Vec<Record> {
    if index.capacity() <= 64 + 4 * index.len() {
        return index;
    }
    let fitted = index.as_slice().to_vec();
    recycle(index);
    fitted
}

fn recycle(mut index: Vec<Record>) {
    if (1..=MAX_KEPT_INDEX).contains(&index.capacity()) {
        index.clear();
        INDEXES.with_borrow_mut(|indexes| {
            if indexes.len() < KEPT_INDEXES {
                indexes.push(index);
            }
        });
    }
}

impl Records {
    /// Gives up what nobody reads any more.
    pub fn recycle(self) {
        recycle(self.index);
    }

    /// A record's bytes.
    pub fn bytes(&self, record: &Record) -> &[u8] {
        &self.buf[record.start as usize..record.end as usize]
    }

    /// Each record and its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&Record, &[u8])> {
        self.index.iter().map(|record| (record, self.bytes(record)))
    }

    /// The last record as a mark to find it by.
    pub fn last_mark(&self) -> Option<Mark> {
        self.index.last().map(|record| Mark::of(record, self.bytes(record)))
    }
}

/// A record that can be found again in another read of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its stream.
    pub stream: Stream,
    /// Its place.
    pub place: Place,
    /// The CRC-32 of its bytes.
    pub sum: u32,
}

impl Mark {
    /// The mark of a record with these bytes.
    pub fn of(record: &Record, bytes: &[u8]) -> Self {
        Self { stream: record.stream, place: record.place, sum: crc32fast::hash(bytes) }
    }

    /// Whether it is this record's.
    pub fn is(&self, record: &Record, bytes: &[u8]) -> bool {
        self.place.ordinal == record.place.ordinal && self.is_like(record, bytes)
    }

    /// Whether it is this record's but for the number of its time's records before it.
    pub fn is_like(&self, record: &Record, bytes: &[u8]) -> bool {
        self.place.time == record.place.time && self.stream == record.stream && self.sum == crc32fast::hash(bytes)
    }
}

/// Most times whose number of records is remembered.
const RECENT: usize = 32;

/// Counts the records of each time in each stream, in one read of a log from its beginning or from an older record on.
///
/// A time that comes back after 32 others counts anew: [`Mark`] then tells records apart by their bytes.
#[derive(Debug, Default)]
pub struct Ordinals([Times; 2]);

#[derive(Debug, Default)]
struct Times {
    latest: Option<i64>,
    /// Times and how many records they had, each once, in a ring.
    recent: Vec<(i64, u32)>,
    /// The oldest of them, once there are [`RECENT`].
    oldest: usize,
}

impl Ordinals {
    /// The place of the next record, which is of this stream and has this time.
    #[inline]
    pub fn place(&mut self, stream: Stream, time: i64) -> Place {
        self.0[stream.index()].place(time)
    }
}

impl Times {
    #[inline]
    fn place(&mut self, time: i64) -> Place {
        if self.latest.is_none_or(|latest| time > latest) {
            self.latest = Some(time);
            self.note(time);
            return Place { time, ordinal: 0 };
        }
        self.repeated(time)
    }

    fn repeated(&mut self, time: i64) -> Place {
        let Some((_, count)) = self.recent.iter_mut().find(|(other, _)| *other == time) else {
            self.note(time);
            return Place { time, ordinal: 0 };
        };
        let ordinal = *count;
        *count = count.saturating_add(1);
        Place { time, ordinal }
    }

    #[inline]
    fn note(&mut self, time: i64) {
        if self.recent.len() < RECENT {
            return self.recent.push((time, 1));
        }
        self.recent[self.oldest] = (time, 1);
        self.oldest = (self.oldest + 1) % RECENT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_same_time_are_counted_also_apart() {
        let mut ordinals = Ordinals::default();
        let times = [10, 10, 12, 11, 10, 12, 13, 11];
        for stream in Stream::ALL {
            let counted: Vec<_> = times.iter().map(|time| ordinals.place(stream, *time).ordinal).collect();
            assert_eq!(counted, [0, 1, 0, 0, 2, 1, 0, 1]);
        }
    }

    #[test]
    fn few_times_are_remembered() {
        let mut ordinals = Ordinals::default();
        for time in 0..1000 {
            assert_eq!(ordinals.place(Stream::Stdout, time).ordinal, 0);
        }
        assert_eq!(ordinals.0[0].recent.len(), RECENT);
        assert_eq!((ordinals.place(Stream::Stdout, 999).ordinal, ordinals.place(Stream::Stdout, 0).ordinal), (1, 0));
    }

    #[test]
    fn an_index_comes_back_empty() {
        let record = Record { stream: Stream::Stdout, place: Place { time: 1, ordinal: 0 }, start: 0, end: 2 };
        let mut index = new_index(100);
        index.push(record);
        let address = index.as_ptr();
        Records { buf: Bytes::new(), index, run: None }.recycle();
        let again = new_index(10);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        Records { buf: Bytes::new(), index: Vec::with_capacity(MAX_KEPT_INDEX + 1), run: None }.recycle();
        assert_eq!(new_index(0).capacity(), 0, "a long one is not kept");
    }

    #[test]
    fn a_mark_is_one_record_s() {
        let record = Record { stream: Stream::Stdout, place: Place { time: 1, ordinal: 0 }, start: 0, end: 2 };
        let mark = Mark::of(&record, b"a\n");
        assert!(mark.is(&record, b"a\n") && !mark.is(&record, b"b\n"));
        assert!(!mark.is(&Record { stream: Stream::Stderr, ..record }, b"a\n"));
    }
}
