//! Which records a query asks for, and what they look like to the client; no IO.

use jiff::Timestamp;

use super::record::{Record, Stream};
use crate::logs::{LogError, LogQuery};

const BROKEN: LogError = LogError::Protocol("a record of the log file cannot be read");

/// The query's choice of streams and times. Both bounds are inclusive, to the nanosecond.
#[derive(Debug)]
pub(super) struct Selection {
    streams: [bool; 2],
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The last time that was parsed and whether it was chosen: neighbours often bear the same.
    last: (Vec<u8>, bool),
}

impl Selection {
    /// The choice of `query`.
    pub(super) fn new(query: &LogQuery) -> Self {
        let LogQuery { follow: _, tail: _, timestamps: _, since, until, stdout, stderr } = *query;
        Self { streams: [stdout, stderr], since, until, last: (Vec::new(), false) }
    }

    /// Whether records of `stream` are asked for.
    pub(super) fn has(&self, stream: Stream) -> bool {
        self.streams[stream.index()]
    }

    /// Whether `record` is asked for.
    pub(super) fn admits(&mut self, record: &Record<'_>) -> Result<bool, LogError> {
        if !self.has(record.stream) {
            return Ok(false);
        }
        if self.since.is_none() && self.until.is_none() {
            return Ok(true);
        }
        if self.last.0 != record.time {
            let time = parse_time(record.time)?;
            let chosen = self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until);
            self.last = (record.time.to_vec(), chosen);
        }
        Ok(self.last.1)
    }
}

fn parse_time(text: &[u8]) -> Result<Timestamp, LogError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(BROKEN)
}

/// Turns records into the client's bytes.
#[derive(Debug)]
pub(super) struct Renderer {
    selection: Selection,
    timestamps: bool,
    /// For each stream: the offset in the file of the first record to show.
    start: [u64; 2],
    /// For each stream: the next record begins a line.
    at_line_start: [bool; 2],
}

impl Renderer {
    /// Shows what `selection` admits from `start` on, where a line of each stream begins.
    pub(super) fn new(selection: Selection, timestamps: bool, start: [u64; 2]) -> Self {
        Self { selection, timestamps, start, at_line_start: [true; 2] }
    }

    /// Appends what `block`, whole records from offset `at` of the file, gives.
    pub(super) fn render(&mut self, block: &[u8], mut at: u64, out: &mut Vec<u8>) -> Result<(), LogError> {
        let mut rest = block;
        while let Some(length) = memchr::memchr(b'\n', rest) {
            let record = Record::parse(&rest[..length]).ok_or(BROKEN)?;
            if at >= self.start[record.stream.index()] && self.selection.admits(&record)? {
                self.show(&record, out)?;
            }
            at += length as u64 + 1;
            rest = &rest[length + 1..];
        }
        Ok(())
    }

    fn show(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), LogError> {
        let at_line_start = &mut self.at_line_start[record.stream.index()];
        if self.timestamps && *at_line_start {
            write_time(record.time, out).ok_or(BROKEN)?;
        }
        *at_line_start = record.ends_line();
        record.unescape(out).ok_or(BROKEN)
    }
}

/// Appends a record's time with all nine fractional digits, and a space.
fn write_time(time: &[u8], out: &mut Vec<u8>) -> Option<()> {
    const SECONDS: usize = "2026-11-23T02:01:21".len();
    let time = time.strip_suffix(b"Z")?;
    let (seconds, fraction) = time.split_at_checked(SECONDS)?;
    let digits = fraction.strip_prefix(b".").unwrap_or(fraction);
    let zeros = b"000000000".get(digits.len()..)?;
    for part in [seconds, b".", digits, zeros, b"Z "] {
        out.extend_from_slice(part);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::record::encode, *};

    const QUERY: LogQuery =
        LogQuery { follow: false, tail: None, timestamps: false, since: None, until: None, stdout: true, stderr: true };

    fn rendered(query: &LogQuery, records: &[(Stream, &str, &str)]) -> String {
        let (mut file, mut out) = (Vec::new(), Vec::new());
        for (stream, time, text) in records {
            encode(*stream, time, text.as_bytes(), b"", &mut file);
        }
        let mut renderer = Renderer::new(Selection::new(query), query.timestamps, [0; 2]);
        renderer.render(&file, 0, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_time_a_line_of_each_stream() {
        let query = LogQuery { timestamps: true, ..QUERY };
        let records = [
            (Stream::Stdout, "2026-11-23T02:01:21.5Z", "long"),
            (Stream::Stderr, "2026-11-23T02:01:22Z", "e\n"),
            (Stream::Stdout, "2026-11-23T02:01:21.5Z", "line\n"),
            (Stream::Stdout, "2026-11-23T02:01:23.123456789Z", "x"),
        ];
        let expected = "2026-11-23T02:01:21.500000000Z long2026-11-23T02:01:22.000000000Z e\nline\n\
                        2026-11-23T02:01:23.123456789Z x";
        assert_eq!(rendered(&query, &records), expected);
    }

    #[test]
    fn bounds_are_inclusive_to_the_nanosecond() {
        let records = [
            (Stream::Stdout, "2026-11-23T02:01:21.000000001Z", "a"),
            (Stream::Stdout, "2026-11-23T02:01:21.000000002Z", "b"),
            (Stream::Stdout, "2026-11-23T02:01:21.000000003Z", "c"),
            (Stream::Stdout, "2026-11-23T02:01:21.000000004Z", "d"),
        ];
        let since = "2026-11-23T02:01:21.000000002Z".parse().ok();
        let until = "2026-11-23T02:01:21.000000003Z".parse().ok();
        assert_eq!(rendered(&LogQuery { since, until, ..QUERY }, &records), "bc");
        assert_eq!(rendered(&LogQuery { since, stdout: false, ..QUERY }, &records), "");
    }
}
