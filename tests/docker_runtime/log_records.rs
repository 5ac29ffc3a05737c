//! Records of a real engine's logs: all bytes, each line once, and a place to come back to behind each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::HashSet, future::poll_fn, pin::Pin, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::query_parameters::{KillContainerOptions, RestartContainerOptions};
use opensandbox_gateway::{
    logs::{
        LogQuery, LogSource, OpenedLog,
        cursor::Cursor,
        rendered::{Format, Rendered, Rendering},
    },
    runtime::{Runtime, docker::Docker},
};
use serde_json::Value;

use crate::{
    by_hand::remove,
    fixture::options,
    logged::{E, Logged, Make, O},
};

/// Records as they come.
struct Reading {
    source: Pin<Box<Rendered>>,
    text: Vec<u8>,
}

impl Reading {
    async fn open(docker: &Docker, id: &str, query: LogQuery) -> Self {
        let query = LogQuery { as_records: true, ..query };
        let OpenedLog::Records(records) = docker.open_logs(id, &query).await.unwrap() else { panic!("no records") };
        let rendering = Rendering { format: Format::Ndjson, ..Rendering::default() };
        Self { source: Box::pin(Rendered::new(records, &query, rendering)), text: Vec::new() }
    }

    /// The next record; none at the end.
    async fn next(&mut self) -> Option<Value> {
        // Pings come all the time.
        tokio::time::timeout(Duration::from_mins(1), self.unbounded()).await.expect("it comes within a minute")
    }

    async fn unbounded(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.text.drain(..=end).collect();
                let record: Value = serde_json::from_slice(&line).unwrap();
                if record["event"] != "ping" {
                    return Some(record);
                }
                continue;
            }
            let chunk = poll_fn(|cx| self.source.as_mut().poll_chunk(cx));
            match chunk.await {
                Some(chunk) => self.text.extend_from_slice(&chunk.unwrap()),
                None => return None,
            }
        }
    }

    async fn rest(mut self) -> Vec<Value> {
        let mut records = Vec::new();
        while let Some(record) = self.next().await {
            records.push(record);
        }
        records
    }
}

impl Logged {
    async fn reading(&self, query: LogQuery) -> Reading {
        Reading::open(&self.fixture.docker, &self.id, query).await
    }

    async fn records(&self) -> Vec<Value> {
        self.reading(LogQuery::ALL).await.rest().await
    }

    /// Lines as they were printed.
    pub(crate) async fn lines(&self, query: LogQuery) -> Vec<u8> {
        self.reading(query)
            .await
            .rest()
            .await
            .iter()
            .filter(|record| record.get("event").is_none())
            .flat_map(bytes)
            .collect()
    }

    /// What comes behind `record`.
    async fn behind(&self, record: &Value) -> Vec<Value> {
        self.reading(LogQuery { after: Some(cursor(record)), ..LogQuery::ALL }).await.rest().await
    }

    /// Each line is a record with an id of its own, and who comes back with it gets the rest. Gives what each stream printed.
    async fn is_exact(&self, what: &str) -> [Vec<u8>; 2] {
        let mut records = self.records().await;
        let end = records.pop().unwrap();
        assert_eq!((&end["event"], &end["reason"]), (&"end".into(), &"complete".into()), "{what}");
        assert_eq!(end["lines_sent"], records.len(), "{what}: {end}");
        let ids: HashSet<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), records.len(), "{what}: ids are of one record each");
        for (at, record) in records.iter().enumerate() {
            let mut rest = self.behind(record).await;
            assert_eq!(rest.pop().unwrap()["reason"], "complete", "{what}");
            let (found, expected) = (shown(&rest), shown(&records[at + 1..]));
            assert!(found == expected, "{what}: behind record {at}, {record}:\n{found:#?}\ninstead of\n{expected:#?}");
        }
        let rest = self.behind(&end).await;
        assert_eq!(names(&rest), ["complete"], "{what}: nothing is behind the end");
        for (at, record) in records.iter().enumerate() {
            let bytes = bytes(record);
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let is_last = !records[at + 1..].iter().any(|other| other["stream"] == record["stream"]);
            assert!(newline == Some(bytes.len() - 1) || newline.is_none() && is_last, "{what}: one line: {record}");
            assert!(record.get("partial").is_none(), "{what}: {record}");
        }
        [O, E].map(|stream| records.iter().filter(|record| record["stream"] == stream).flat_map(bytes).collect())
    }
}

fn bytes(record: &Value) -> Vec<u8> {
    match record["log"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(record["log_base64"].as_str().unwrap()).unwrap(),
    }
}

fn cursor(record: &Value) -> Cursor {
    let token = record["id"].as_str().unwrap();
    assert!(token.len() <= 200);
    Cursor::parse(token).unwrap()
}

/// Each line's length and beginning.
fn summary(text: &[u8]) -> Vec<String> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| format!("{} {}", line.len(), line[..line.len().min(40)].escape_ascii())).collect()
}

/// Stream, time, and the beginning and length of the text.
fn shown(records: &[Value]) -> Vec<String> {
    let show = |record: &Value| {
        let bytes = bytes(record);
        let text = bytes[..bytes.len().min(40)].escape_ascii();
        format!("{} {} {} {text}", record["stream"], record["time"], bytes.len())
    };
    records.iter().map(show).collect()
}

/// Of lines their texts, of events their names, of ends their reasons.
fn names(records: &[Value]) -> Vec<String> {
    let name = |record: &Value| {
        let texts = [&record["log"], &record["reason"], &record["event"]];
        texts.into_iter().find_map(Value::as_str).unwrap().trim_end().to_owned()
    };
    records.iter().map(name).collect()
}

/// A script and what it prints.
struct Case {
    name: &'static str,
    script: &'static str,
    printed: [Vec<u8>; 2],
}

fn cases() -> Vec<Case> {
    let long = |byte: u8, end: &str| [vec![byte; 40_000], end.as_bytes().to_vec()].concat();
    let numbered = |name: &str| (1..=10).map(|number| format!("{name} {number}\n")).collect::<String>().into_bytes();
    vec![
        Case { name: "nothing", script: "true", printed: [vec![], vec![]] },
        Case {
            name: "mixed",
            script: "i=0; while [ $i -lt 10 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done",
            printed: [numbered("out"), numbered("err")],
        },
        Case {
            name: "long",
            script: "long() { head -c 40000 /dev/zero | tr '\\0' $1; }
                     long a; echo 1; long b >&2; echo 2 >&2; echo short; echo short >&2; long c; echo 3; echo end",
            printed: [
                [long(b'a', "1\n"), b"short\n".to_vec(), long(b'c', "3\n"), b"end\n".to_vec()].concat(),
                [long(b'b', "2\n"), b"short\n".to_vec()].concat(),
            ],
        },
        // Lines of both streams are under way at once.
        Case {
            name: "long together",
            script: "long() { head -c 20000 /dev/zero | tr '\\0' $1; }
                     (long a; sleep 0.3; long a; echo; echo end) & (sleep 0.1; long b; sleep 0.4; long b; echo; echo end) >&2 & wait",
            printed: [long(b'a', "\nend\n"), long(b'b', "\nend\n")],
        },
        Case {
            name: "bytes",
            script: r"printf 'a\0b\n'; printf '\0\n\0\0\n\n'; printf '\377\376\n' >&2; printf 'ok \303\244 \303\n'",
            printed: [b"a\0b\n\0\n\0\0\n\nok \xc3\xa4 \xc3\n".to_vec(), b"\xff\xfe\n".to_vec()],
        },
        Case {
            name: "no last newline",
            script: "echo one; printf two; printf 'three' >&2",
            printed: [b"one\ntwo".to_vec(), b"three".to_vec()],
        },
        Case {
            name: "a long line without a newline",
            script: "echo one >&2; head -c 40000 /dev/zero | tr '\\0' x",
            printed: [long(b'x', ""), b"one\n".to_vec()],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_printed_is_there_once_and_can_be_come_back_to() {
    for driver in ["json-file", "local"] {
        for Case { name, script, printed } in cases() {
            let what = format!("{driver}, {name}");
            let logged = Logged::ended(&Make { driver: Some((driver, &[])), tty: false }, script).await;
            let found = logged.is_exact(&what).await;
            // json-file keeps no bytes that are not UTF-8: what it kept is right then.
            let expected = match driver {
                "json-file" => [logged.kept([true, false]).await, logged.kept([false, true]).await],
                _ => printed.clone(),
            };
            assert!(
                found == expected,
                "{what}: {:?} instead of {:?}",
                found.each_ref().map(|text| summary(text)),
                expected.each_ref().map(|text| summary(text))
            );
            assert!(found == printed || name == "bytes", "{what}: the engine kept something else");
            logged.remove().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_s_lines_are_there_once_and_can_be_come_back_to() {
    for driver in ["json-file", "local"] {
        for Case { name, script, printed } in cases() {
            let what = format!("{driver}, {name}, terminal");
            let logged = Logged::ended(&Make { driver: Some((driver, &[])), tty: true }, script).await;
            let [found, none] = logged.is_exact(&what).await;
            assert!(none.is_empty(), "{what}");
            if name != "bytes" && name != "long together" {
                // A terminal has one stream, and ends lines with two bytes.
                let count = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
                let lines = printed.each_ref().map(|text| count(text));
                assert_eq!(count(&found), lines[0] + lines[1], "{what}: {:?}", summary(&found));
                assert_eq!(found.len(), printed.concat().len() + lines[0] + lines[1], "{what}");
            }
            if driver == "local" && name == "bytes" {
                assert!(found.windows(5).any(|bytes| bytes == b"a\0b\r\n"), "{what}: {}", found.escape_ascii());
                assert!(found.windows(4).any(|bytes| bytes == b"\xff\xfe\r\n"), "{what}: {}", found.escape_ascii());
            }
            logged.remove().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_and_backward_times_can_be_come_back_to() {
    for (records, [stdout, stderr]) in [
        (&[(10, 0, O, "a\n"), (11, 0, O, "b\n"), (19, 0, O, "c\n"), (18, 0, E, "d\n")][..], ["a\nb\nc\n", "d\n"]),
        (&[(100, 0, O, "a\n"), (101, 0, O, "b\n"), (50, 0, O, "c\n"), (51, 0, O, "d")], ["a\nb\nc\nd", ""]),
        (
            &[(1, 5, O, "same\n"), (1, 5, E, "same\n"), (1, 5, O, "same\n"), (1, 5, O, "x\n"), (1, 5, E, "same\n")],
            ["same\nsame\nx\n", "same\nsame\n"],
        ),
        (
            &[(1, 5, O, "x\n"), (9, 0, O, "x\n"), (1, 5, O, "x\n"), (9, 0, O, "x\n"), (1, 5, O, "x\n")],
            ["x\nx\nx\nx\nx\n", ""],
        ),
    ] {
        let logged = Logged::stamped(records).await;
        let found = logged.is_exact(&format!("{records:?}")).await;
        assert_eq!(found.map(|text| String::from_utf8(text).unwrap()), [stdout, stderr]);
        logged.remove().await;
    }
}

/// Prints which run it is of its container.
const RUNS: &str = "n=$(cat /count 2>/dev/null); n=$((n+1)); echo $n >/count; echo run $n; exec sleep 1000";

async fn restart(logged: &Logged) {
    let options = RestartContainerOptions { t: Some(0), ..Default::default() };
    logged.fixture.engine.restart_container(&logged.name(), Some(options)).await.unwrap();
}

const FOLLOW: LogQuery = LogQuery { follow: true, ..LogQuery::ALL };

#[tokio::test(flavor = "multi_thread")]
async fn an_end_tells_how_the_process_ended() {
    let logged = Logged::start(&Make::default(), "echo one; sleep 1; printf two >&2; exit 3").await;
    let records = logged.reading(FOLLOW).await.rest().await;
    assert_eq!(names(&records), ["one", "two", "exited"]);
    let end = &records[2];
    assert_eq!((&end["exit_code"], &end["oom"]), (&3.into(), &false.into()), "{end}");
    assert!(end["finished_at"].as_str().unwrap() > records[0]["time"].as_str().unwrap(), "{end}");
    let again = LogQuery { after: Some(cursor(end)), as_records: true, ..FOLLOW };
    assert!(matches!(logged.fixture.docker.open_logs(&logged.id, &again).await.unwrap(), OpenedLog::Ended));
    let after = Some(cursor(&records[0]));
    assert_eq!(names(&logged.reading(LogQuery { after, ..FOLLOW }).await.rest().await), ["two", "exited"]);
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_ends_the_log_or_is_told_and_gone_on_behind() {
    let logged = Logged::start(&Make::default(), RUNS).await;
    let (mut one, mut all) =
        (logged.reading(FOLLOW).await, logged.reading(LogQuery { restarts: true, ..FOLLOW }).await);
    let first = one.next().await.unwrap();
    assert_eq!(all.next().await.unwrap(), first);
    restart(&logged).await;
    let end = one.rest().await;
    assert_eq!(names(&end), ["restarted"]);
    let told = [all.next().await.unwrap(), all.next().await.unwrap()];
    assert_eq!(names(&told), ["restart", "run 2"]);
    // Who comes back, with any place of the run before, gets the new run from its beginning, at any gateway.
    let (other, _state) = logged.fixture.newcomer(options()).await;
    for seen in [&first, &end[0], &told[0]] {
        for docker in [&logged.fixture.docker, &other] {
            let mut reading = Reading::open(docker, &logged.id, LogQuery { after: Some(cursor(seen)), ..FOLLOW }).await;
            let rest = [reading.next().await.unwrap(), reading.next().await.unwrap()];
            assert_eq!(names(&rest), ["restart", "run 2"], "behind {seen}");
            assert_eq!(rest[1], told[1]);
        }
    }
    restart(&logged).await;
    assert_eq!(names(&[all.next().await.unwrap(), all.next().await.unwrap()]), ["restart", "run 3"]);
    // Two restarts while somebody was away are told as one: the last.
    assert_eq!(names(&logged.behind(&first).await), ["run 2", "restart", "run 3", "complete"]);
    assert_eq!(names(&logged.behind(&told[1]).await), ["restart", "run 3", "complete"]);
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_ended_too_is_told() {
    let script = "n=$(cat /count 2>/dev/null); n=$((n+1)); echo $n >/count; echo run $n; sleep 1; exit $n";
    let logged = Logged::ended(&Make::default(), script).await;
    let first = logged.reading(FOLLOW).await.rest().await;
    assert_eq!((names(&first), &first[1]["exit_code"]), (vec!["run 1".to_owned(), "exited".to_owned()], &1.into()));
    logged.fixture.engine.start_container(&logged.name(), None).await.unwrap();
    logged.has_ended().await;
    for seen in &first {
        for (follow, end) in [(false, "complete"), (true, "exited")] {
            let query = LogQuery { follow, after: Some(cursor(seen)), ..LogQuery::ALL };
            let rest = logged.reading(query).await.rest().await;
            assert_eq!(names(&rest), ["restart", "run 2", end], "behind {seen}");
            assert!(!follow || rest[2]["exit_code"] == 2, "{rest:?}");
        }
    }
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_older_than_its_start_is_of_the_new_run() {
    // The engine notes when a process was started after it was: its first lines may be older.
    let logged = Logged::start(&Make::default(), RUNS).await;
    for run in 1..=4 {
        let mut reading = logged.reading(LogQuery { follow: true, ..LogQuery::ALL }).await;
        let mut last = reading.next().await.unwrap();
        while last["log"] != format!("run {run}\n") {
            last = reading.next().await.unwrap();
        }
        assert_eq!(names(&logged.behind(&last).await), ["complete"], "run {run}: {last}");
        restart(&logged).await;
    }
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_told() {
    let logged = Logged::start(&Make::default(), RUNS).await;
    let mut reading = logged.reading(FOLLOW).await;
    assert_eq!(reading.next().await.unwrap()["log"], "run 1\n");
    remove(&logged.fixture, &logged.name()).await;
    assert_eq!(names(&reading.rest().await), ["removed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rotated_away_meanwhile_is_a_gap() {
    let script = "go=; trap 'go=1' USR1; i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done
                  while [ -z $go ]; do sleep 0.05; done; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done";
    for driver in ["json-file", "local"] {
        let driver = Some((driver, &[("max-size", "20k"), ("max-file", "2")][..]));
        let logged = Logged::start(&Make { driver, tty: false }, script).await;
        let mut reading = logged.reading(FOLLOW).await;
        let mut last = reading.next().await.unwrap();
        while last["log"] != "line 100\n" {
            last = reading.next().await.unwrap();
        }
        drop(reading);
        let signal = KillContainerOptions { signal: "USR1".to_owned() };
        logged.fixture.engine.kill_container(&logged.name(), Some(signal)).await.unwrap();
        logged.has_ended().await;
        let (rest, there) = (logged.behind(&last).await, logged.records().await);
        let gap = &rest[0];
        assert_eq!((&gap["event"], &gap["reason"]), (&"gap".into(), &"rotated".into()), "{gap}");
        assert_eq!((&gap["after"], &gap["before"]), (&last["time"], &there[0]["time"]), "{gap}");
        assert!(gap["lines"].is_null() && there.len() > 100 && there[0]["log"] != "line 1\n", "{gap}");
        assert_eq!(names(&rest[1..]), names(&there));
        assert_eq!(there[there.len() - 2]["log"], "line 3000\n");
        // The gap has a place, too, and nothing is missing behind it.
        assert_eq!(
            names(&logged.behind(gap).await),
            names(&rest),
            "the gap is told until something behind it was seen"
        );
        assert_eq!(names(&logged.behind(&rest[1]).await), names(&rest[2..]));
        logged.remove().await;
    }
}
