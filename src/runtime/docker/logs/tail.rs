//! The last N lines, of an engine that can only give its last N records.

use std::num::NonZeroU64;

use bytes::BytesMut;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio::io::AsyncReadExt;

use super::{Container, RECORD_LIMIT, target, wait::within};
use crate::{
    logs::{
        LogError, LogQuery,
        count::{Count, FrameCounter, Place, TtyCounter, Wanted},
        engine::{Answer, OpenError},
        skip::Skip,
    },
    runtime::docker::engine::endpoint::Socket,
};

/// The largest number that the engine takes for `tail` (Go's `strconv.Atoi` on 64 bits).
const MAX_RECORDS: u64 = i64::MAX as u64;

/// How many more records than were counted are asked for, beside as many again …
const SLACK: u64 = 2_000;

/// … and as many as the sandbox prints in this time, in milliseconds, at the rate of those that were counted: so late may the
/// second request come behind the first on a machine with much to do …
const SECOND_REQUEST_DELAY: u64 = 1_000;

/// … up to this many, of which an engine reads some 200 a millisecond.
const MAX_SLACK: u64 = 100_000;

/// How long a sandbox has printed nothing when it counts as quiet; longer than an engine takes to answer.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// How many records to ask for, and what to leave out of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) records: u64,
    /// When the first wanted line was begun and the last record was printed: there the window begins and ends, however many
    /// records were added since.
    times: Option<[Timestamp; 2]>,
    pub(super) skip: Skip,
    /// Bytes that were read to count.
    pub(super) read: u64,
}

impl Window {
    /// The window of `records` records in which `count` has counted; `skip` counts its beginning where it has no time.
    fn new(count: &Count, records: u64, skip: Skip, read: u64) -> Self {
        let times = count.times(records).and_then(|[first, last]| Some([first.parse().ok()?, last.parse().ok()?]));
        match times {
            // The engine applies `since` to the records of its tail, so that a longer tail costs little and shows no more.
            Some(_) => {
                let slack = records
                    .saturating_add(SLACK)
                    .saturating_add(printed_in(count, SECOND_REQUEST_DELAY).min(MAX_SLACK));
                Self { records: records.saturating_add(slack).min(MAX_RECORDS), times, skip: Skip::default(), read }
            }
            None => Self { records, times, skip, read },
        }
    }

    /// `query` within the window; a followed log goes on behind its end.
    pub(super) fn narrow(self, query: LogQuery) -> LogQuery {
        let Some([first, last]) = self.times else { return query };
        let until = if query.follow { query.until } else { Some(query.until.map_or(last, |until| until.min(last))) };
        LogQuery { since: query.since.max(Some(first)), until, ..query }
    }
}

/// Finds the last `lines` lines of what `query` selects, by reading the log's end once and counting; again, and more of
/// it, when it holds cut lines or records that were not asked for. Costs the engine as much as the tail itself does.
pub(super) async fn window(container: &Container, query: &LogQuery, lines: NonZeroU64) -> Result<Window, OpenError> {
    let wanted = wanted(query, lines.get());
    // One more than wanted: only the record before a line tells that the line is whole.
    let mut records = lines.get().saturating_add(1).min(MAX_RECORDS);
    let mut read = 0;
    loop {
        let answer = container.send_request(target::counting(container, records), false).await?;
        let count = count(container, answer, wanted.clone(), &mut read).await?;
        match count.place(records) {
            // A terminal's records are told apart by their lengths, which is too little to rely on their times.
            Place::Found(skip) if container.tty => return Ok(Window { records, times: None, skip, read }),
            Place::Found(skip) => return Ok(Window::new(&count, records, skip, read)),
            Place::Earlier { .. } if records == MAX_RECORDS => {
                return Ok(Window { records, times: None, skip: Skip::default(), read });
            }
            Place::Earlier { missing } => {
                records = records.saturating_mul(2).saturating_add(missing).min(MAX_RECORDS);
            }
        }
    }
}

/// How many records the sandbox prints in so many milliseconds, if it goes on as it did from the first to the last that were
/// counted. None if the last is so old that it does not.
fn printed_in(count: &Count, milliseconds: u64) -> u64 {
    let Some([first, last]) = count.span() else { return 0 };
    let (Ok(first), Ok(last)) = (first.parse::<Timestamp>(), last.parse::<Timestamp>()) else { return 0 };
    if Timestamp::now().duration_since(last) > QUIET {
        return 0;
    }
    let span = u64::try_from(last.duration_since(first).as_micros()).unwrap_or(0).max(100);
    count.records().saturating_mul(milliseconds).saturating_mul(1_000) / span
}

async fn count(
    container: &Container,
    answer: Answer<Socket>,
    wanted: Wanted,
    bytes: &mut u64,
) -> Result<Count, OpenError> {
    let count = Count::new(wanted);
    if container.tty {
        let mut counter = TtyCounter::new(count, RECORD_LIMIT);
        each_run(answer, container, bytes, |run| {
            counter.read(run);
            Ok(())
        })
        .await?;
        Ok(counter.into_count())
    } else {
        let mut counter = FrameCounter::new(count);
        each_run(answer, container, bytes, |run| counter.read(run)).await?;
        Ok(counter.into_count())
    }
}

/// Reads an answer to its end, a buffer at a time; adds what it has read to `bytes`.
async fn each_run(
    Answer { mut io, mut body, early }: Answer<Socket>,
    container: &Container,
    bytes: &mut u64,
    mut read: impl FnMut(&[u8]) -> Result<(), LogError>,
) -> Result<(), OpenError> {
    let mut buf = BytesMut::from(&early[..]);
    loop {
        *bytes += buf.len() as u64;
        let mut input = &buf[..];
        while !input.is_empty() {
            let run = body.next_run(input)?;
            read(&input[run.skip..run.skip + run.len]).map_err(broken)?;
            input = &input[run.skip + run.len..];
        }
        if body.is_ended() {
            return Ok(());
        }
        buf.clear();
        buf.reserve(container.buffer);
        if within(container.timeout, io.read_buf(&mut buf)).await? == 0 {
            let cut = || OpenError::Io(std::io::ErrorKind::UnexpectedEof.into());
            return if body.may_close() { Ok(()) } else { Err(cut()) };
        }
    }
}

fn broken(error: LogError) -> OpenError {
    match error {
        LogError::Disconnected(error) => OpenError::Io(error),
        LogError::Protocol(what) => OpenError::Protocol(what),
        LogError::Backend(message) => OpenError::Refused { status: 500, message },
    }
}

fn wanted(query: &LogQuery, lines: u64) -> Wanted {
    let LogQuery { since, until, stdout, stderr, .. } = query;
    let earliest = since.map(written).unwrap_or_default();
    let latest = until.map_or_else(|| vec![u8::MAX], written);
    // Stream 0 is the standard input, which the engine prints as the standard output.
    Wanted { lines, streams: [*stdout, *stdout, *stderr], times: earliest..latest }
}

/// A time as the engine writes it before a record, for comparing the text.
fn written(time: Timestamp) -> Vec<u8> {
    let time = time.to_zoned(TimeZone::UTC);
    format!("{}.{:09}Z", time.strftime("%Y-%m-%dT%H:%M:%S"), time.subsec_nanosecond()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_engine_does() {
        let time: Timestamp = "2026-11-23T02:01:21.5+01:00".parse().expect("a time");
        assert_eq!(written(time), b"2026-11-23T01:01:21.500000000Z");
    }
}
