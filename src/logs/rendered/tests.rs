//! What clients get of scripted pieces.

mod events;
mod exact;
mod lines;
mod slow;
mod stops;
mod turns;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Waker, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::*;
use crate::logs::{
    backend::Exit,
    cursor::{Cursor, RunId},
    lines::MAX_LINE,
    piece::{Begin, Gap, GapReason},
    record::{Ordinals, Record, Stream},
    scripted::{self, Steps},
    select::Filter,
};

const SECOND: Duration = Duration::from_secs(1);

/// 2026-01-31T08:00:00Z.
const BASE: i64 = 1_769_846_400_000_000_000;

use Stream::{Stderr as E, Stdout as O};

type Step = scripted::Step<Piece>;

struct Scripted {
    steps: Steps<Piece>,
    drops_newlines: bool,
    has_own_times: bool,
    read: u64,
    /// Gone with the source.
    alive: Arc<()>,
}

impl PieceSource for Scripted {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, LogError>>> {
        let piece = ready!(self.steps.poll(cx));
        self.read += u64::from(matches!(piece, Some(Ok(_))));
        Poll::Ready(piece)
    }

    fn run(&self) -> RunId {
        run()
    }

    fn drops_newlines(&self) -> bool {
        self.drops_newlines
    }

    fn has_own_times(&self) -> bool {
        self.has_own_times
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}

fn run() -> RunId {
    RunId::of("0123456789abcdef")
}

fn source(steps: impl IntoIterator<Item = Step>) -> Scripted {
    Scripted { steps: Steps::new(steps), drops_newlines: false, has_own_times: true, read: 0, alive: Arc::default() }
}

/// Records at these nanoseconds behind [`BASE`].
fn records<'a, B: AsRef<[u8]> + 'a>(records: impl IntoIterator<Item = (Stream, i64, B)>) -> Step {
    let (mut buf, mut index, mut ordinals) = (Vec::new(), Vec::new(), Ordinals::default());
    for (stream, time, bytes) in records {
        let start = buf.len() as u32;
        buf.extend_from_slice(bytes.as_ref());
        index.push(Record { stream, place: ordinals.place(stream, BASE + time), start, end: buf.len() as u32 });
    }
    Step::Piece(Piece::Records(Records { buf: buf.into(), index, run: None }))
}

fn end(reason: Reason) -> Step {
    Step::Piece(Piece::End(End::of(reason)))
}

fn gap(reason: GapReason, after: i64, before: Option<i64>) -> Step {
    let before = before.map(|before| BASE + before);
    Step::Piece(Piece::Gap(Gap { reason, after: Some(BASE + after), before, lines: None }))
}

fn of(format: Format) -> Rendering {
    Rendering { format, ..Rendering::default() }
}

fn with_search(search: &str) -> LogQuery {
    LogQuery { filter: Filter::new(Vec::new(), false, [search.as_bytes().to_vec()]), ..LogQuery::ALL }
}

struct Log(Pin<Box<Rendered<Scripted>>>);

impl Log {
    fn new(source: Scripted, query: &LogQuery, rendering: Rendering) -> Self {
        Self(Box::pin(Rendered::new(source, query, rendering)))
    }

    async fn next(&mut self) -> Option<Result<Bytes, LogError>> {
        poll_fn(|cx| self.0.as_mut().poll_chunk(cx)).await
    }

    async fn text(&mut self) -> String {
        String::from_utf8(self.next().await.unwrap().unwrap().into()).unwrap()
    }

    fn is_pending(&mut self) -> bool {
        self.0.as_mut().poll_chunk(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// All of it, and whether it broke off.
    async fn all(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(chunk)) => {
                    assert!(!chunk.is_empty());
                    all.extend_from_slice(&chunk);
                }
                Some(Err(_)) => return (all, true),
                None => return (all, self.0.ending().is_broken),
            }
        }
    }
}

async fn text(steps: impl IntoIterator<Item = Step>, query: &LogQuery, rendering: Rendering) -> String {
    String::from_utf8(Log::new(source(steps), query, rendering).all().await.0).unwrap()
}

async fn objects(steps: impl IntoIterator<Item = Step>, query: &LogQuery) -> Vec<Value> {
    parsed(text(steps, query, of(Format::Ndjson)).await.as_bytes())
}

fn parsed(ndjson: &[u8]) -> Vec<Value> {
    assert!(ndjson.is_empty() || ndjson.ends_with(b"\n"));
    ndjson.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn cursor(object: &Value) -> Cursor {
    Cursor::parse(object["id"].as_str().unwrap()).unwrap()
}

/// The bytes of a record's line.
fn log(object: &Value) -> Option<Vec<u8>> {
    let text = object["log"].as_str().map(|text| text.as_bytes().to_vec());
    text.or_else(|| Some(STANDARD.decode(object["log_base64"].as_str()?).unwrap()))
}

fn log_text(object: &Value) -> Option<String> {
    log(object).map(|bytes| String::from_utf8(bytes).unwrap())
}
