//! Commands that print by a script, with a paused clock.

mod repeated;
mod tails;

use std::{
    future::poll_fn,
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use super::*;
use crate::logs::{
    record::{Place, Record, Stream},
    select::Filter,
};

const ID: &str = "0123456789abcdef0123456789abcdef";

/// What a command has printed, and what was asked for.
#[derive(Default)]
struct State {
    lines: Vec<&'static str>,
    exit: Option<Exit>,
    /// Each read fails so.
    error: Option<Kind>,
    reads: u32,
    exits: u32,
    dropped: bool,
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<State>>);

impl Script {
    fn with(lines: &[&'static str], exit: Option<i64>) -> Self {
        let script = Self::default();
        script.set(|state| {
            state.lines = lines.to_vec();
            state.exit = exit.map(|code| Exit { code: Some(code), ..Exit::default() });
        });
        script
    }

    fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    async fn open(&self, query: &LogQuery) -> Option<CommandSource> {
        let log = Box::new(Scripted { script: self.clone(), at: 0, has_given: false });
        CommandSource::open(log, ID, query, Duration::from_secs(30)).await.unwrap()
    }

    /// All pieces to the end, in short.
    async fn all(&self, query: &LogQuery) -> Vec<String> {
        let mut source = self.open(query).await.unwrap();
        let mut all = Vec::new();
        while let Some(piece) = next(&mut source).await {
            all.push(piece);
        }
        all
    }
}

struct Scripted {
    script: Script,
    at: usize,
    has_given: bool,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.script.set(|state| state.dropped = true);
    }
}

#[async_trait]
impl CommandLog for Scripted {
    async fn seek(&mut self, behind: Option<Mark>) -> Result<Sought, Error> {
        (self.at, self.has_given) = (0, false);
        let Some(mark) = behind else { return Ok(Sought::Beginning) };
        let at = mark.place.ordinal as usize;
        let is_there = self
            .script
            .set(|state| state.lines.get(at).is_some_and(|line| crc32fast::hash(line.as_bytes()) == mark.sum));
        if is_there {
            self.at = at + 1;
            return Ok(Sought::Found(mark.place.time));
        }
        Ok(Sought::Lost(GapReason::CursorExpired))
    }

    async fn read(&mut self) -> Result<Option<Batch>, Error> {
        let (lines, error) = self.script.set(|state| {
            state.reads += 1;
            (state.lines[self.at..].to_vec(), state.error)
        });
        if let Some(kind) = error {
            return Err(Error::new(Family::Command, kind, "no"));
        }
        if std::mem::take(&mut self.has_given) || lines.is_empty() {
            return Ok(None);
        }
        self.has_given = true;
        let mut records = Records::default();
        let mut buf = Vec::new();
        for line in lines {
            let place = Place { time: 1, ordinal: self.at as u32 };
            let start = buf.len() as u32;
            buf.extend_from_slice(line.as_bytes());
            records.index.push(Record { stream: Stream::Stdout, place, start, end: buf.len() as u32 });
            self.at += 1;
        }
        records.buf = buf.into();
        Ok(Some(Batch { records, has_gap: false }))
    }

    fn rest(&mut self) -> Option<Records> {
        None
    }

    async fn exit(&mut self) -> Result<Option<Exit>, Error> {
        Ok(self.script.set(|state| {
            state.exits += 1;
            state.exit
        }))
    }

    fn bytes_read(&self) -> u64 {
        0
    }
}

async fn next(source: &mut CommandSource) -> Option<String> {
    let piece = poll_fn(|cx| source.poll_piece(cx)).await?.unwrap();
    Some(match piece {
        Piece::Notice(notice) => format!("notice {}", notice.code),
        Piece::Begin(begin) => format!("begin {} {:?}", begin.skip, begin.in_line[0]),
        Piece::Records(records) => String::from_utf8_lossy(&records.buf).into_owned(),
        Piece::Seen { .. } => "seen".to_owned(),
        Piece::Gap(gap) => format!("gap {}", gap.reason.name()),
        Piece::Restart { .. } => "restart".to_owned(),
        Piece::End(end) => format!("end {} {:?}", end.reason.name(), end.exit.code),
    })
}

fn follow() -> LogQuery {
    LogQuery { follow: true, ..LogQuery::ALL }
}

fn mark(ordinal: u32, line: &str) -> Mark {
    Mark { stream: Stream::Stdout, place: Place { time: 1, ordinal }, sum: crc32fast::hash(line.as_bytes()) }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_followed_to_its_exit_code() {
    let script = Script::with(&["a\n"], None);
    let mut source = script.open(&follow()).await.unwrap();
    assert_eq!(next(&mut source).await.as_deref(), Some("begin 0 None"));
    assert_eq!(next(&mut source).await.as_deref(), Some("a\n"));
    let later = script.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        // What is printed just before the end belongs to it.
        later.set(|state| {
            state.lines.push("b\n");
            state.exit = Some(Exit { code: Some(3), ..Exit::default() });
        });
    });
    let begun = Instant::now();
    assert_eq!(next(&mut source).await.as_deref(), Some("b\n"));
    assert!(begun.elapsed() <= Duration::from_millis(6000), "{:?}", begun.elapsed());
    assert_eq!(next(&mut source).await.as_deref(), Some("end exited Some(3)"));
    assert_eq!(next(&mut source).await, None);
    assert!(script.set(|state| state.reads) < 20, "the pauses grow");
}

#[tokio::test(start_paused = true)]
async fn lines_that_come_are_there_soon_and_silence_costs_little() {
    let script = Script::default();
    let mut source = script.open(&follow()).await.unwrap();
    assert!(next(&mut source).await.is_some());
    let _ = timeout(Duration::from_secs(100), next(&mut source)).await.unwrap_err();
    let reads = script.set(|state| state.reads);
    assert!((95..110).contains(&reads), "{reads}");
    script.set(|state| state.lines.push("a\n"));
    assert_eq!(next(&mut source).await.as_deref(), Some("a\n"));
    script.set(|state| state.lines.push("b\n"));
    let begun = Instant::now();
    assert_eq!(next(&mut source).await.as_deref(), Some("b\n"));
    assert_eq!(begun.elapsed(), PAUSES.peek());
    drop(source);
    let reads = script.set(|state| state.reads);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(script.set(|state| (state.dropped, state.reads)), (true, reads));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_followed_ends_with_what_there_is() {
    assert_eq!(Script::with(&["a\n"], None).all(&LogQuery::ALL).await, ["begin 0 None", "a\n", "end complete None"]);
    let ended = Script::with(&["a\n"], Some(0));
    assert_eq!(ended.all(&LogQuery::ALL).await, ["begin 0 None", "a\n", "end exited Some(0)"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_are_counted_among_those_that_are_asked_for() {
    let script = Script::with(&["a\n", "xa\n", "b\n", "xb\n", "c\n", "xc"], Some(0));
    let begin = async |tail: u64, search: &str| {
        let filter = Filter::new(Vec::new(), false, [search.as_bytes().to_vec()].into_iter().filter(|s| !s.is_empty()));
        let query = LogQuery { tail: NonZeroU64::new(tail), filter, ..LogQuery::ALL };
        script.all(&query).await.swap_remove(0)
    };
    assert_eq!(begin(2, "").await, "begin 4 None");
    assert_eq!(begin(2, "x").await, "begin 1 None");
    assert_eq!(begin(9, "x").await, "begin 0 None");
}

#[tokio::test(start_paused = true)]
async fn a_token_has_four_answers() {
    let script = Script::with(&["a\n", "b\n", "c\n"], Some(0));
    let run = RunId::of(ID);
    let after = |cursor: Cursor| LogQuery { after: Some(cursor), ..LogQuery::ALL };
    let seen = Cursor::after(run, mark(1, "b\n"));
    assert_eq!(script.all(&after(seen)).await, ["begin 0 None", "c\n", "end exited Some(0)"]);
    let in_line = Cursor { in_line: true, ..seen };
    assert_eq!(script.all(&after(in_line)).await[0], "begin 0 Some(1)");
    let all = ["gap cursor_expired", "begin 0 None", "a\nb\nc\n", "end exited Some(0)"];
    assert_eq!(script.all(&after(Cursor::after(run, mark(1, "B\n")))).await, all);
    assert_eq!(script.all(&after(Cursor::after(run, mark(7, "b\n")))).await, all);
    let other = Cursor { run: RunId::of("fedcba9876543210"), ..seen };
    assert_eq!(script.all(&after(other)).await, all);
    assert_eq!(script.all(&after(Cursor { mark: None, ..seen })).await[..2], ["begin 0 None", "a\nb\nc\n"]);
    let end = Cursor { ended: true, ..seen };
    assert!(script.open(&after(end)).await.is_none());
    assert!(script.open(&after(Cursor { ended: true, ..other })).await.is_some());
    script.set(|state| state.exit = None);
    assert!(script.open(&after(end)).await.is_some(), "it has not ended after all");
}

#[tokio::test(start_paused = true)]
async fn an_execd_that_is_away_is_waited_for() {
    for (kind, end, least, most) in [
        (Kind::NotFound, "end removed None", 0, 1),
        (Kind::Unavailable, "end backend_lost None", 27, 31),
        (Kind::Failed, "end backend_lost None", 27, 31),
    ] {
        let script = Script::with(&["a\n"], None);
        let mut source = script.open(&follow()).await.unwrap();
        assert!(next(&mut source).await.is_some() && next(&mut source).await.is_some());
        script.set(|state| state.error = Some(kind));
        let begun = Instant::now();
        assert_eq!(next(&mut source).await.as_deref(), Some(end), "{kind:?}");
        assert!((least..=most).contains(&begun.elapsed().as_secs()), "{kind:?}: {:?}", begun.elapsed());
        assert!(script.set(|state| state.reads) < 50, "{kind:?}");
    }
    // A sandbox may be paused for long.
    let script = Script::with(&["a\n"], None);
    let mut source = script.open(&follow()).await.unwrap();
    assert!(next(&mut source).await.is_some() && next(&mut source).await.is_some());
    script.set(|state| state.error = Some(Kind::Conflict));
    let _ = timeout(Duration::from_secs(1000), next(&mut source)).await.unwrap_err();
    script.set(|state| (state.error, state.lines) = (None, vec!["a\n", "b\n"]));
    assert_eq!(next(&mut source).await.as_deref(), Some("b\n"));
}
