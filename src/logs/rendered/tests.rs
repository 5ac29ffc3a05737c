//! What clients get of scripted pieces.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Waker};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use super::*;
use crate::logs::{
    backend::Exit,
    cursor::{Cursor, RunId},
    lines::MAX_LINE,
    piece::{Begin, Gap, GapReason},
    record::{Ordinals, Record, Stream},
    select::Filter,
};

const SECOND: Duration = Duration::from_secs(1);

/// 2026-01-31T08:00:00Z.
const BASE: i64 = 1_769_846_400_000_000_000;

use Stream::{Stderr as E, Stdout as O};

enum Step {
    Piece(Piece),
    Wait(Duration),
    Fail,
    Hang,
}

struct Scripted {
    steps: VecDeque<Step>,
    timer: Option<Pin<Box<Sleep>>>,
    drops_newlines: bool,
    has_own_times: bool,
    read: u64,
    /// Gone with the source.
    alive: Arc<()>,
}

impl PieceSource for Scripted {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, LogError>>> {
        loop {
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Piece(piece)) => {
                    self.read += 1;
                    return Poll::Ready(Some(Ok(piece)));
                }
                Some(Step::Fail) => return Poll::Ready(Some(Err(LogError::Protocol("bad")))),
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Wait(time)) => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
                    if timer.as_mut().poll(cx).is_pending() {
                        self.steps.push_front(Step::Wait(time));
                        return Poll::Pending;
                    }
                    self.timer = None;
                }
            }
        }
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
    let steps = steps.into_iter().collect();
    Scripted { steps, timer: None, drops_newlines: false, has_own_times: true, read: 0, alive: Arc::default() }
}

/// Records at these nanoseconds behind [`BASE`].
fn records<'a, B: AsRef<[u8]> + 'a>(records: impl IntoIterator<Item = (Stream, i64, B)>) -> Step {
    let (mut buf, mut index, mut ordinals) = (Vec::new(), Vec::new(), Ordinals::default());
    for (stream, time, bytes) in records {
        let start = buf.len() as u32;
        buf.extend_from_slice(bytes.as_ref());
        index.push(Record { stream, place: ordinals.place(stream, BASE + time), start, end: buf.len() as u32 });
    }
    Step::Piece(Piece::Records(Records { buf: buf.into(), index }))
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

#[tokio::test]
async fn a_record_has_the_names_of_json_file() {
    let steps = [
        records([(O, 123_456_789, &b"hello \"\x01\"\n"[..]), (E, 123_456_790, b"\xff\xfe\n"), (O, 123_456_791, b"la")]),
        end(Reason::Complete),
    ];
    let all = text(steps, &LogQuery::ALL, of(Format::Ndjson)).await;
    let lines: Vec<_> = all.lines().collect();
    assert!(lines[0].starts_with(
        r#"{"log":"hello \"\u0001\"\n","stream":"stdout","time":"2026-01-31T08:00:00.123456789Z","id":"v1.0123456789abcdef.o"#
    ));
    assert!(
        lines[1]
            .starts_with(r#"{"log_base64":"//4K","stream":"stderr","time":"2026-01-31T08:00:00.123456790Z","id":"v1."#)
    );
    assert!(lines[2].starts_with(r#"{"log":"la","stream":"stdout","time":"2026-01-31T08:00:00.123456791Z","id":"v1."#));
    let last = cursor(&serde_json::from_str(lines[2]).unwrap());
    assert_eq!(
        lines[3],
        format!(r#"{{"event":"end","reason":"complete","lines_read":3,"lines_sent":3,"id":"{}"}}"#, last.token())
    );
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn ends_tell_what_is_known() {
    let exit = Exit { code: Some(137), oom: true, finished_at: Some(BASE) };
    let steps =
        || [records([(O, 1, "a\n"), (O, 2, "b\n")]), Step::Piece(Piece::End(End { reason: Reason::Exited, exit }))];
    let all = objects(steps(), &with_search("b")).await;
    assert_eq!(all.len(), 2);
    let token = Cursor { ended: true, ..cursor(&all[0]) }.token();
    assert!(token.starts_with("v1.end."));
    assert_eq!(
        all[1].to_string(),
        format!(
            r#"{{"event":"end","reason":"exited","exit_code":137,"oom":true,"finished_at":"2026-01-31T08:00:00.000000000Z","lines_read":2,"lines_sent":1,"id":"{token}"}}"#
        )
    );
    let rendering = Rendering { trailer: true, ..Rendering::default() };
    let mut log = Log::new(source(steps()), &LogQuery::ALL, rendering);
    assert_eq!(log.all().await, (b"a\nb\n".to_vec(), false));
    assert_eq!(log.0.ending().trailers.unwrap()[LOG_END], "exited; exit_code=137");
    let removed = objects([end(Reason::Removed)], &LogQuery::ALL).await;
    assert_eq!(removed[0]["id"], "v1.end.0123456789abcdef");
    assert!(removed[0].get("exit_code").is_none() && removed[0].get("oom").is_none());
}

#[tokio::test]
async fn events_have_tokens_and_stand_where_they_happened() {
    let steps = [
        gap(GapReason::CursorExpired, -5, Some(1)),
        records([(O, 1, "a\n"), (O, 2, "half")]),
        gap(GapReason::Rotated, 2, None),
        records([(O, 9, "b\n")]),
        Step::Piece(Piece::Restart { started_at: BASE + 10 }),
        end(Reason::Restarted),
    ];
    let after = Cursor { in_line: true, ..Cursor::parse("v1.0000456789abcdef.o000000ab.188fc1ec825ccd15.0").unwrap() };
    let query = LogQuery { after: Some(after), ..LogQuery::ALL };
    let all = objects(steps, &query).await;
    let kinds: Vec<_> = all.iter().map(|object| object["event"].as_str().or(object["log"].as_str()).unwrap()).collect();
    assert_eq!(kinds, ["gap", "a\n", "half", "gap", "b\n", "restart", "end"]);
    assert_eq!(
        all[0].to_string(),
        format!(
            r#"{{"event":"gap","reason":"cursor_expired","after":"2026-01-31T07:59:59.999999995Z","before":"2026-01-31T08:00:00.000000001Z","lines":null,"id":"{}"}}"#,
            after.token()
        )
    );
    assert_eq!((&all[3]["before"], &all[3]["id"]), (&Value::Null, &all[2]["id"]));
    assert_eq!(all[5]["started_at"], "2026-01-31T08:00:00.000000010Z");
    assert!(!cursor(&all[6]).ended);
}

#[tokio::test]
async fn text_tells_of_events_only_in_notes() {
    let exit = Exit { code: Some(1), oom: false, finished_at: Some(BASE) };
    let steps = || {
        [
            records([(O, 1, "a\n"), (O, 2, "half")]),
            gap(GapReason::Rotated, 2, Some(9)),
            records([(O, 9, "b\n")]),
            Step::Piece(Piece::Restart { started_at: BASE + 10 }),
            Step::Piece(Piece::End(End { reason: Reason::Exited, exit })),
        ]
    };
    assert_eq!(text(steps(), &LogQuery::ALL, Rendering::default()).await, "a\nhalfb\n");
    let notes = Rendering { notes: true, ..Rendering::default() };
    let expected = "a\nhalf\n-- gap: rotated, 2026-01-31T08:00:00.000000002Z to 2026-01-31T08:00:00.000000009Z --\nb\n\
                    -- restart: 2026-01-31T08:00:00.000000010Z --\n-- end: exited, exit code 1, 2026-01-31T08:00:00.000000000Z --\n";
    assert_eq!(text(steps(), &LogQuery::ALL, notes).await, expected);
}

#[tokio::test]
async fn text_without_a_filter_is_the_records_bytes() {
    let pieces = [(O, 1, "lo"), (E, 2, "e\n"), (O, 1, "ng"), (E, 3, "f"), (O, 1, "er\n"), (O, 4, "$ ")];
    let steps = || [records(pieces), end(Reason::Exited)];
    assert_eq!(text(steps(), &LogQuery::ALL, Rendering::default()).await, "loe\nngfer\n$ ");
    let stamp = |text: &str| text.replace('<', "2026-01-31T08:00:00.00000000").replace('>', "Z ");
    let times = LogQuery { timestamps: true, ..LogQuery::ALL };
    assert_eq!(text(steps(), &times, Rendering::default()).await, stamp("<1>lo<2>e\nng<3>fer\n<4>$ "));
    let stderr = LogQuery { stdout: false, ..LogQuery::ALL };
    assert_eq!(text(steps(), &stderr, Rendering::default()).await, "e\nf");
    let since = LogQuery { since: jiff::Timestamp::from_nanosecond(i128::from(BASE) + 3).ok(), ..LogQuery::ALL };
    assert_eq!(text(steps(), &since, Rendering::default()).await, "f$ ");
    let joined = LogQuery { timestamps: true, ..with_search("") };
    assert_eq!(text(steps(), &joined, Rendering::default()).await, stamp("<2>e\n<1>longer\n<3>f<4>$ "));
}

#[tokio::test]
async fn a_tail_of_text_begins_with_lines_and_goes_on_with_pieces() {
    let begin = Begin { fragment: [true, true], skip: 1, ..Begin::default() };
    let steps = || {
        [
            Step::Piece(Piece::Begin(begin)),
            records([(O, 1, "agment\n"), (O, 2, "skipped\n"), (O, 3, "op"), (O, 3, "en")]),
            records([(O, 3, " still")]),
            records([(E, 4, "fragment\n"), (E, 5, "e"), (O, 3, "\n"), (E, 5, "rr\n")]),
            end(Reason::Exited),
        ]
    };
    let mut log = Log::new(source(steps()), &LogQuery::ALL, Rendering::default());
    assert_eq!((log.text().await, log.text().await), ("open".to_owned(), " still".to_owned()));
    assert_eq!(log.all().await.0, b"e\nrr\n");
    let lines: Vec<_> = objects(steps(), &LogQuery::ALL).await.iter().filter_map(log_text).collect();
    assert_eq!(lines, ["open still\n", "err\n"]);
}

fn log_text(object: &Value) -> Option<String> {
    log(object).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_line_goes_on_that_was_begun_before() {
    let begin = Begin { in_line: [Some(BASE + 1), Some(BASE + 1)], ..Begin::default() };
    let steps =
        || [Step::Piece(Piece::Begin(begin)), records([(O, 1, "rest\n"), (E, 5, "new\n")]), end(Reason::Exited)];
    let times = LogQuery { timestamps: true, ..LogQuery::ALL };
    let all = text(steps(), &times, Rendering::default()).await;
    assert_eq!(all, "rest\n2026-01-31T08:00:00.000000005Z new\n");
    let lines: Vec<_> = objects(steps(), &times).await.iter().filter_map(log_text).collect();
    assert_eq!(lines, ["rest\n", "new\n"]);
}

#[tokio::test]
async fn filters_see_whole_lines_and_the_token_moves_on() {
    let steps =
        [records([(O, 1, "nee"), (O, 1, "dle\n"), (O, 2, "hay\n")]), records([(O, 3, "hay\n")]), end(Reason::Complete)];
    let all = objects(steps, &with_search("needle")).await;
    assert_eq!((log_text(&all[0]).unwrap(), all.len()), ("needle\n".to_owned(), 2));
    assert_eq!((&all[1]["lines_read"], &all[1]["lines_sent"]), (&3.into(), &1.into()));
    assert_eq!(cursor(&all[1]).mark.unwrap().place.time, BASE + 3);
}

#[tokio::test]
async fn the_parts_of_a_long_line_are_told_and_share_one_answer_of_a_filter() {
    let piece = "x".repeat(16 * 1024);
    let pieces = || {
        let parts = (0..MAX_LINE / piece.len() + 1)
            .map(|at| (O, 1, if at == 0 { format!("key{piece}") } else { piece.clone() }));
        [records(parts.chain([(O, 1, "\n".to_owned()), (O, 2, "next\n".to_owned())])), end(Reason::Complete)]
    };
    let all = objects(pieces(), &with_search("key")).await;
    assert_eq!(all.len(), 3);
    assert_eq!((all[0]["partial"].as_bool(), all[1].get("partial")), (Some(true), None));
    assert!(cursor(&all[0]).in_line && !cursor(&all[1]).in_line);
    assert_eq!((&all[2]["lines_read"], &all[2]["lines_sent"]), (&2.into(), &1.into()));
}

#[tokio::test]
async fn a_newline_that_the_backend_left_out_is_added_to_joined_lines() {
    let steps = || [records([(O, 1, "lo"), (O, 1, "ng"), (O, 2, "néxt\n")]), end(Reason::Exited)];
    let of = |query, rendering| {
        let source = Scripted { drops_newlines: true, ..source(steps()) };
        async move { String::from_utf8(Log::new(source, &query, rendering).all().await.0).unwrap() }
    };
    assert_eq!(of(LogQuery::ALL, Rendering::default()).await, "longnéxt\n");
    assert_eq!(of(with_search(""), Rendering::default()).await, "long\nnéxt\n");
    let objects = parsed(of(LogQuery::ALL, self::of(Format::Ndjson)).await.as_bytes());
    assert_eq!(log_text(&objects[0]).unwrap(), "long\n");
}

#[tokio::test]
async fn a_limit_ends_it_behind_the_line_that_reaches_it() {
    let steps = || [records([(O, 1, "1234\n"), (O, 2, "5678\n"), (O, 3, "9\n")]), Step::Hang];
    let limited = |format, limit| Rendering { format, limit_bytes: NonZeroU64::new(limit), ..Rendering::default() };
    for (limit, expected) in [(1, "1234\n"), (5, "1234\n"), (6, "1234\n5678\n"), (11, "1234\n5678\n9\n")] {
        assert_eq!(text(steps(), &LogQuery::ALL, limited(Format::Text, limit)).await, expected, "{limit}");
    }
    let scripted = source(steps());
    let alive = Arc::downgrade(&scripted.alive);
    let mut log = Log::new(scripted, &LogQuery::ALL, limited(Format::Ndjson, 1));
    let lines = parsed(log.text().await.as_bytes());
    let told = parsed(log.text().await.as_bytes());
    assert_eq!(alive.strong_count(), 0, "the backend is released");
    assert_eq!((lines.len(), &told[0]["reason"], &told[0]["id"]), (1, &"limit".into(), &lines[0]["id"]));
    assert!(log.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_pings() {
    let steps = || [Step::Wait(7 * SECOND), records([(O, 1, "a\n")]), Step::Wait(25 * SECOND), end(Reason::Exited)];
    let of = |format| Rendering { format, heartbeat: 10 * SECOND, ..Rendering::default() };
    let all = text(steps(), &LogQuery::ALL, of(Format::Ndjson)).await;
    let events: Vec<_> = all.lines().map(|line| &line[..12]).collect();
    assert_eq!(events, ["{\"log\":\"a\\n\"", "{\"event\":\"pi", "{\"event\":\"pi", "{\"event\":\"en"]);
    assert_eq!(all.matches("{\"event\":\"ping\"}\n").count(), 2);
    let all = text(steps(), &LogQuery::ALL, of(Format::Sse)).await;
    assert!(all.starts_with("retry: 2000\n\n") && all.matches(": ping\n\n").count() == 2, "{all}");
    assert_eq!(text(steps(), &LogQuery::ALL, of(Format::Text)).await, "a\n");
    // Lines that are left out are silence too.
    let busy = (0..30).flat_map(|at| [Step::Wait(SECOND), records([(O, at, "a\n")])]);
    let all = text(busy, &with_search("b"), of(Format::Ndjson)).await;
    assert_eq!(all.matches("ping").count(), 2, "{all}");
}

#[tokio::test]
async fn a_log_that_is_searched_in_vain_lets_others_have_their_turn() {
    let long = "x".repeat(MAX_TURN / 2) + "\n";
    let steps = (0..9).map(|at| records([(O, at, &long)]));
    let mut log = Log::new(source(steps), &with_search("y"), Rendering::default());
    assert!((0..3).all(|_| log.is_pending()));
    assert_eq!(log.all().await, (Vec::new(), false));
}

#[tokio::test]
async fn chunks_are_short_also_of_many_short_lines() {
    let steps = [records((0..20_000).map(|at| (O, at, "\n"))), end(Reason::Exited)];
    let mut log = Log::new(source(steps), &LogQuery::ALL, of(Format::Ndjson));
    let mut count = 0;
    while let Some(chunk) = log.next().await {
        let chunk = chunk.unwrap();
        assert!(chunk.len() < CHUNK + SLACK);
        count += parsed(&chunk).len();
    }
    assert_eq!(count, 20_001);
}

#[tokio::test]
async fn a_lost_backend_is_told_and_broken_off_besides() {
    for last in [|| end(Reason::BackendLost), || Step::Fail] {
        for (format, expected) in
            [(Format::Text, "ahalf"), (Format::Ndjson, "backend_lost"), (Format::Sse, "backend_lost")]
        {
            let steps = [records([(O, 1, "a"), (E, 2, "half")]), last()];
            let (all, is_broken) = Log::new(source(steps), &LogQuery::ALL, of(format)).all().await;
            let all = String::from_utf8(all).unwrap();
            assert!(is_broken && all.contains(expected) && (format == Format::Text || !all.contains("half")), "{all}");
        }
    }
}

#[tokio::test]
async fn a_farewell_tells_where_the_client_is() {
    for (how, word) in [
        (EndReason::Drained, "drain"),
        (EndReason::SlowClient, "slow_client"),
        (EndReason::EndedByAdmin, "ended_by_admin"),
    ] {
        let scripted = source([records([(O, 1, "a\n"), (E, 2, "half")]), Step::Hang]);
        let alive = Arc::downgrade(&scripted.alive);
        let mut log = Log::new(scripted, &LogQuery::ALL, of(Format::Ndjson));
        let first = parsed(log.text().await.as_bytes());
        assert!(log.is_pending());
        let Farewell { bytes, is_told } = log.0.as_mut().farewell(how);
        let told = parsed(&bytes);
        assert!(is_told && alive.strong_count() == 0);
        assert_eq!((&told[0]["reason"], &told[0]["id"]), (&word.into(), &first[0]["id"]));
    }
    let mut log = Log::new(source([Step::Hang]), &LogQuery::ALL, Rendering::default());
    let Farewell { bytes, is_told } = log.0.as_mut().farewell(EndReason::Drained);
    assert!(bytes.is_empty() && !is_told);
}

#[tokio::test]
async fn a_command_s_times_are_told_to_be_the_gateway_s() {
    let source = Scripted { has_own_times: false, ..source([records([(O, 1, "a\n")])]) };
    let (all, _) = Log::new(source, &LogQuery::ALL, of(Format::Ndjson)).all().await;
    assert_eq!(parsed(&all)[0]["time_source"], "gateway");
}

/// As many lines as do not fit into a queue, and what is printed later.
fn flood() -> Vec<Step> {
    let line = "x".repeat(999) + "\n";
    let mut steps: Vec<_> =
        (0..100).map(|batch| records((0..10).map(|at| (O, 10 * batch + at, line.clone())))).collect();
    steps.extend([Step::Wait(60 * SECOND), records([(O, 5_000, "last\n")]), end(Reason::Exited)]);
    steps
}

#[tokio::test(start_paused = true)]
async fn lines_are_left_out_for_a_slow_client_and_told_exactly() {
    for format in [Format::Ndjson, Format::Text] {
        let rendering =
            Rendering { on_slow: OnSlow::Drop, format, heartbeat: 300 * SECOND, notes: true, ..Rendering::default() };
        let mut log = Log::new(source(flood()), &LogQuery::ALL, rendering);
        sleep(SECOND).await;
        let (all, is_broken) = log.all().await;
        let all = String::from_utf8(all).unwrap();
        assert!(!is_broken);
        if format == Format::Text {
            let sent = all.lines().filter(|line| line.starts_with('x')).count();
            assert!(all.contains(&format!(", {} lines --\nlast\n", 1000 - sent)), "{sent} {}", &all[all.len() - 300..]);
            continue;
        }
        let objects = parsed(all.as_bytes());
        let sent: Vec<_> = objects.iter().filter(|object| log_text(object).is_some()).collect();
        let gaps: Vec<_> = objects.iter().filter(|object| object["event"] == "gap").collect();
        assert_eq!((gaps.len(), &gaps[0]["reason"]), (1, &"overrun".into()));
        assert_eq!(gaps[0]["lines"].as_u64().unwrap() as usize + sent.len(), 1001);
        assert_eq!(gaps[0]["after"], sent[sent.len() - 2]["time"]);
        assert_eq!(gaps[0]["before"], sent[sent.len() - 1]["time"]);
        assert!((200 * 1000..300 * 1024).contains(&all.len()), "{}", all.len());
        assert_eq!(objects.last().unwrap()["lines_read"], 1001);
    }
    let rendering = Rendering { on_slow: OnSlow::Drop, ..Rendering::default() };
    let mut log = Log::new(source(flood()), &LogQuery::ALL, rendering);
    sleep(SECOND).await;
    assert!(!String::from_utf8(log.all().await.0).unwrap().contains("--"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_up_misses_nothing() {
    for on_slow in [OnSlow::Drop, OnSlow::Cut] {
        let rendering = Rendering { on_slow, format: Format::Ndjson, heartbeat: 300 * SECOND, ..Rendering::default() };
        let mut log = Log::new(source(flood()), &LogQuery::ALL, rendering);
        let all = parsed(&log.all().await.0);
        assert_eq!((all.len(), &all[1001]["lines_sent"]), (1002, &1001.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_cut_off_where_it_is() {
    for format in [Format::Ndjson, Format::Text] {
        let rendering = Rendering { on_slow: OnSlow::Cut, format, ..Rendering::default() };
        let scripted = source(flood());
        let alive = Arc::downgrade(&scripted.alive);
        let mut log = Log::new(scripted, &LogQuery::ALL, rendering);
        let first = log.text().await;
        sleep(3 * SECOND).await;
        assert_eq!(alive.strong_count(), 0, "the backend is released");
        let (rest, is_broken) = log.all().await;
        assert_eq!((is_broken, log.0.ending().reason), (format == Format::Text, EndReason::SlowClient));
        if format == Format::Text {
            assert!(rest.is_empty());
        } else {
            let (first, told) = (parsed(first.as_bytes()), parsed(&rest));
            assert_eq!((told.len(), &told[0]["reason"]), (1, &"slow_client".into()));
            assert_eq!((&told[0]["id"], &told[0]["lines_sent"]), (&first.last().unwrap()["id"], &first.len().into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_s_task_ends_with_it() {
    let scripted = source([Step::Hang]);
    let alive = Arc::downgrade(&scripted.alive);
    let rendering = Rendering { on_slow: OnSlow::Drop, format: Format::Ndjson, ..Rendering::default() };
    let mut log = Log::new(scripted, &LogQuery::ALL, rendering);
    assert!(log.is_pending());
    sleep(SECOND).await;
    drop(log);
    sleep(SECOND).await;
    assert_eq!(alive.strong_count(), 0);
}

/// An event of an event stream.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: String,
}

/// Reads an event stream as HTML's §9.2.6 says.
fn events(text: &str) -> Vec<Event> {
    let (mut all, mut event, mut last_id) = (Vec::new(), Event::default(), String::new());
    for line in text.split('\n') {
        if line.is_empty() {
            let done = std::mem::take(&mut event);
            if !done.data.is_empty() {
                all.push(Event { id: last_id.clone(), data: done.data.trim_end_matches('\n').to_owned(), ..done });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "data" => event.data += &(value.to_owned() + "\n"),
            "id" => value.clone_into(&mut last_id),
            _ => {}
        }
    }
    all
}

/// Records of lines cut into pieces: the stream, the line, how many pieces, the newline.
fn lines() -> impl Strategy<Value = Vec<(bool, Vec<u8>, usize)>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>().prop_filter("no newline", |byte| *byte != b'\n'), 0..40),
        "[ -~é\t\"\\\\]{0,60}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec((any::<bool>(), bytes, 1_usize..4), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn any_records_are_told_exactly(lines in lines(), cuts in proptest::collection::vec(1_usize..20, 1..10), last_ends: bool) {
        let mut raw = [Vec::new(), Vec::new()];
        let (mut all, count) = (Vec::new(), lines.len());
        for (at, (is_stderr, mut line, pieces)) in lines.into_iter().enumerate() {
            let stream = if is_stderr { E } else { O };
            if last_ends || at + 1 < count || line.is_empty() {
                line.push(b'\n');
            }
            raw[stream.index()].extend_from_slice(&line);
            let size = line.len().div_ceil(pieces).max(1);
            all.extend(line.chunks(size).map(|piece| (stream, at as i64, piece.to_vec())));
        }
        let (mut index, mut ordinals, mut buf) = (Vec::new(), Ordinals::default(), Vec::new());
        for (stream, time, bytes) in &all {
            let start = buf.len() as u32;
            buf.extend_from_slice(bytes);
            index.push(Record { stream: *stream, place: ordinals.place(*stream, BASE + time), start, end: buf.len() as u32 });
        }
        let (buf, mut rest, mut batches, mut cuts) = (Bytes::from(buf), index.as_slice(), Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            batches.push(Records { buf: buf.clone(), index: batch.to_vec() });
            rest = behind;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let render = |format| runtime.block_on(async {
            let steps = batches.iter().map(|records| Step::Piece(Piece::Records(records.clone()))).chain([end(Reason::Exited)]);
            text(steps, &LogQuery::ALL, of(format)).await
        });
        let objects = parsed(render(Format::Ndjson).as_bytes());
        let mut decoded = [Vec::new(), Vec::new()];
        let mut ids: Vec<_> = objects.iter().filter(|object| object["event"].is_null()).map(|object| object["id"].to_string()).collect();
        prop_assert_eq!(ids.len(), count);
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), count);
        for object in &objects[..count] {
            let stream = if object["stream"] == "stderr" { E } else { O };
            decoded[stream.index()].extend_from_slice(&log(object).unwrap());
        }
        prop_assert_eq!(decoded, raw);
        let events = events(&render(Format::Sse));
        prop_assert_eq!(events.len(), objects.len());
        for (event, object) in events.iter().zip(&objects) {
            prop_assert_eq!(&serde_json::from_str::<Value>(&event.data).unwrap(), object);
            prop_assert_eq!(&event.id, object["id"].as_str().unwrap());
            prop_assert_eq!(&event.name, object["event"].as_str().unwrap_or_default());
        }
    }
}
