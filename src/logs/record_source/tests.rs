//! The core against a backend that is played from a script.

mod counted;
mod ends;
mod follow;
mod generated;
mod gone;
mod interrupted;
mod long;
mod named;
mod places;
mod scenario;
mod scripted;
mod whole;

use std::{future::poll_fn, sync::Arc, time::Duration};

use self::scripted::{Printed, Script};
use super::RecordSource;
use crate::{
    error::Error,
    logs::{
        LogQuery,
        backend::{Backend as _, Start, State},
        cursor::{Cursor, RunId},
        lines::{Line, Lines},
        piece::{End, Gap, Piece, PieceSource as _},
        record::{Ordinals, Place, Record, Stream},
        select::Select,
    },
};

const RECONNECT: Duration = Duration::from_secs(30);
const FIRST_START: Start = Start { at: 0, previous_end: None, run: None, begins_log: false };
const RUNNING: State = State::Running { started: Some(FIRST_START) };

/// Running again: what has this time or a later one is the new run's.
fn runs_since(at: i64) -> State {
    State::Running { started: Some(Start::new(at, Some(at))) }
}

/// Lines that are numbers, printed at these times.
fn numbered(numbers: std::ops::Range<i64>) -> Vec<Printed> {
    numbers.map(|number| Printed::new(Stream::Stdout, number, &format!("{number}\n"))).collect()
}

/// The numbers that a client sees.
fn numbers(seen: &[Seen]) -> Vec<i64> {
    texts(seen).iter().map(|text| text["stdout:".len()..].trim_end().parse().unwrap()).collect()
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// A line, and the place behind it.
    Line(String, Cursor),
    Gap(Gap),
    Restart(i64),
    End(End),
}

impl Seen {
    fn of(line: &Line<'_>, run: RunId) -> Self {
        let text = format!("{}:{}", line.stream.name(), String::from_utf8_lossy(line.bytes));
        Self::Line(text, line.cursor(run))
    }

    fn text(&self) -> Option<&str> {
        let Self::Line(text, _) = self else { return None };
        Some(text)
    }

    fn cursor(&self) -> Option<Cursor> {
        let Self::Line(_, cursor) = self else { return None };
        Some(*cursor)
    }
}

fn texts(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter_map(Seen::text).collect()
}

fn ends(seen: &[Seen]) -> Vec<&'static str> {
    let name = |seen: &Seen| match seen {
        Seen::Line(..) => None,
        Seen::Gap(gap) => Some(gap.reason.name()),
        Seen::Restart(_) => Some("restart"),
        Seen::End(end) => Some(end.reason.name()),
    };
    seen.iter().filter_map(name).collect()
}

/// Takes pieces as a rendered response does.
struct Client {
    source: RecordSource,
    select: Select,
    lines: Lines,
    skip: u64,
    seen: Vec<Seen>,
}

impl Client {
    async fn open(script: &Arc<Script>, query: &LogQuery) -> Result<Self, Error> {
        Self::open_with(script, query, RECONNECT).await
    }

    async fn open_with(script: &Arc<Script>, query: &LogQuery, reconnect: Duration) -> Result<Self, Error> {
        let backend = Arc::new(Arc::clone(script));
        let state = backend.state().await?;
        let source = RecordSource::open(backend, query, state, reconnect).await?;
        let lines = Lines::new(source.drops_newlines());
        Ok(Self { source, select: Select::new(query), lines, skip: 0, seen: Vec::new() })
    }

    /// Takes one piece; false at the end.
    async fn step(&mut self) -> bool {
        let piece = poll_fn(|cx| self.source.poll_piece(cx)).await.expect("not polled after the end");
        let (select, skip, seen, run) = (&self.select, &mut self.skip, &mut self.seen, self.source.run());
        let mut give = |line: Line<'_>| {
            if line.is_fragment || !select.has_line(line.bytes) {
                return;
            }
            if *skip > 0 {
                *skip -= 1;
                return;
            }
            seen.push(Seen::of(&line, run));
        };
        match piece.unwrap() {
            Piece::Notice(notice) => panic!("{notice:?}"),
            Piece::Begin(begin) => {
                for stream in Stream::ALL {
                    if begin.fragment[stream.index()] {
                        self.lines.begin_in_fragment(stream);
                    }
                    if let Some(time) = begin.in_line[stream.index()] {
                        self.lines.begin_in_line(stream, time);
                    }
                }
                *skip = begin.skip;
            }
            Piece::Records(records) => {
                assert!(!records.index.is_empty());
                for (record, bytes) in records.iter().filter(|(record, _)| select.has_record(record)) {
                    self.lines.push(record, bytes, &mut give);
                }
            }
            Piece::Seen { mark, is_part } => self.lines.note_seen(mark, is_part),
            Piece::Gap(gap) => {
                self.lines.finish(give);
                seen.push(Seen::Gap(gap));
            }
            Piece::Restart { started_at, .. } => {
                self.lines.finish(give);
                seen.push(Seen::Restart(started_at));
            }
            Piece::End(end) => {
                self.lines.finish(give);
                seen.push(Seen::End(end));
                return false;
            }
        }
        true
    }

    async fn all(mut self) -> Vec<Seen> {
        let all = async { while self.step().await {} };
        tokio::time::timeout(Duration::from_secs(3600), all).await.expect("it ends");
        self.seen
    }
}

/// All that `query` asks for of a log and no more, without an end, counted from the front.
fn reference(printed: &[Printed], query: &LogQuery, run: RunId) -> Vec<Seen> {
    let (mut ordinals, select, mut lines) = (Ordinals::default(), Select::new(query), Lines::new(false));
    let mut seen = Vec::new();
    let mut give = |line: Line<'_>| {
        if select.has_line(line.bytes) {
            seen.push(Seen::of(&line, run));
        }
    };
    for Printed { stream, time, bytes } in printed {
        let place: Place = ordinals.place(*stream, *time);
        let record = Record { stream: *stream, place, start: 0, end: 0 };
        if select.has_record(&record) {
            lines.push(&record, bytes, &mut give);
        }
    }
    lines.finish(give);
    if let Some(tail) = query.tail {
        let tail = usize::try_from(tail.get()).unwrap();
        seen.drain(..seen.len().saturating_sub(tail));
    }
    seen
}

/// Runs with a clock that stands still while somebody works, and jumps when all wait.
fn paused<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(future)
}
