//! Long lines and long logs: parts, what is not held, windows that are looked through.

use std::{num::NonZeroU64, time::Duration};

use serde_json::Value;
use tokio::time::sleep;

use super::{
    RUNNING, paused,
    scripted::{Change, Printed, Script},
    whole::{ENDED, after, assert_resumable, log, objects, of_stream},
};
use crate::logs::{
    LogQuery,
    cursor::Cursor,
    record::{Mark, Place, Stream},
    select::Filter,
};
use Stream::{Stderr as E, Stdout as O};

/// What an engine stores as one record.
const PIECE: usize = 16 * 1024;

/// A line of so many whole pieces, and a last short one.
fn line(stream: Stream, time: i64, letter: u8, pieces: usize) -> Vec<Printed> {
    let mut line = vec![Printed { stream, time, bytes: vec![letter; PIECE] }; pieces];
    line.push(Printed::new(stream, time, "end\n"));
    line
}

/// Two long lines at once, and short ones before, between and behind.
fn long_lines() -> Vec<Printed> {
    let mut printed = vec![Printed::new(O, 1, "first\n"), Printed::new(E, 1, "first\n")];
    let (mut out, mut err) = (line(O, 2, b'o', 150).into_iter(), line(E, 3, b'e', 100).into_iter());
    printed.extend(out.by_ref().take(70));
    printed.push(Printed::new(E, 2, "between\n"));
    loop {
        let before = printed.len();
        printed.extend(out.by_ref().take(3));
        printed.extend(err.by_ref().take(2));
        if printed.len() == before {
            break;
        }
    }
    printed.extend([Printed::new(O, 4, "last\n"), Printed::new(E, 4, "last")]);
    printed
}

fn search(text: &str) -> Filter {
    Filter::new(Vec::new(), false, [text.as_bytes().to_vec()])
}

fn logs(objects: &[Value]) -> Vec<(bool, usize, bool)> {
    let lines = objects.iter().filter_map(|object| Some((object, log(object)?)));
    lines.map(|(object, log)| (of_stream(object, E), log.len(), object["partial"] == true)).collect()
}

#[test]
fn a_line_in_parts_is_gone_on_with_behind_each() {
    let printed = long_lines();
    let script = Script::new(printed.clone(), vec![1, 7, 3], ENDED);
    paused(async {
        let all = objects(&script, &LogQuery::ALL).await;
        for stream in Stream::ALL {
            let raw: usize =
                printed.iter().filter(|record| record.stream == stream).map(|record| record.bytes.len()).sum();
            let sent: usize = logs(&all).iter().filter(|line| line.0 == (stream == E)).map(|line| line.1).sum();
            assert_eq!(sent, raw);
        }
        assert_eq!(logs(&all).iter().filter(|line| line.2).count(), 2 + 1);
        assert_resumable(&script, &all, &LogQuery::ALL, true).await;
    });
}

#[test]
fn the_parts_of_a_line_share_the_answer_of_the_first_also_for_who_comes_back() {
    let mut printed = long_lines();
    // In the first part of one long line, and in the last part of the other.
    let needle = |record: &&mut Printed| record.time == 2 && record.stream == O;
    printed.iter_mut().find(needle).unwrap().bytes[..6].copy_from_slice(b"needle");
    let late = |record: &&mut Printed| record.time == 3 && record.bytes.ends_with(b"\n");
    printed.iter_mut().find(late).unwrap().bytes = b"needle\n".to_vec();
    printed.push(Printed::new(O, 9, "a needle\n"));
    let script = Script::new(printed, vec![1, 7, 3], ENDED);
    paused(async {
        let query = LogQuery { filter: search("needle"), ..LogQuery::ALL };
        let all = objects(&script, &query).await;
        assert_eq!(
            logs(&all).iter().map(|line| (line.0, line.2)).collect::<Vec<_>>(),
            [(false, true), (false, true), (false, false), (false, false),]
        );
        assert_resumable(&script, &all, &query, true).await;
        for (tail, expected) in [(1, 1), (2, 4), (3, 4)] {
            let query = LogQuery { tail: NonZeroU64::new(tail), ..query.clone() };
            assert_eq!(logs(&objects(&script, &query).await), logs(&all[all.len() - 1 - expected..]), "{tail}");
        }
        // Who saw all without a filter comes back with one, and the other way round.
        let whole = objects(&script, &LogQuery::ALL).await;
        let end = objects(&script, &query).await.pop().unwrap();
        assert_eq!(logs(&objects(&script, &LogQuery { after: after(&end), ..LogQuery::ALL }).await), []);
        let last = after(&whole[whole.len() - 2]);
        assert_eq!(logs(&objects(&script, &LogQuery { after: last, ..query }).await), []);
    });
}

/// More than is held of one window.
fn heavy(lines: std::ops::Range<i64>) -> Vec<Printed> {
    let text = |at: i64| format!("{at}{}\n", "x".repeat(PIECE - 10));
    lines.map(|at| Printed::new(O, at, &text(at))).collect()
}

fn numbers(objects: &[Value]) -> Vec<i64> {
    let number = |log: Vec<u8>| String::from_utf8(log).unwrap().trim_end().trim_end_matches('x').parse().unwrap();
    objects.iter().filter_map(log).map(number).collect()
}

fn names(objects: &[Value]) -> Vec<&str> {
    let name = |object: &Value| object["event"].as_str().map(|event| if event == "end" { "end" } else { "gap" });
    objects.iter().filter_map(name).collect()
}

#[test]
fn a_tail_that_is_not_held_ends_where_it_was_counted() {
    for (changes, expected) in [
        (vec![], 200..500),
        (vec![Change::Nothing, Change::Print(heavy(500..503))], 200..500),
        // More than the second window has in reserve.
        (
            vec![
                Change::Nothing,
                Change::Print((500..9_500).map(|at| Printed::new(O, at, &format!("{at}\n"))).collect()),
            ],
            200..500,
        ),
        // What was counted is gone, and then what is there is counted.
        (vec![Change::Nothing, Change::Rotate(290)], 210..500),
        (vec![Change::Nothing, Change::Rotate(290), Change::Nothing, Change::Rotate(280)], 220..500),
    ] {
        let script = Script::new(heavy(0..500), vec![5], ENDED);
        script.before_reads(changes.clone());
        let query = LogQuery { tail: NonZeroU64::new(300), ..LogQuery::ALL };
        let all = paused(objects(&script, &query));
        let numbers = numbers(&all);
        let changes = changes.len();
        assert!(
            numbers.iter().copied().eq(expected.clone()),
            "{changes}: {:?} {:?} {}",
            expected,
            numbers.first(),
            numbers.len()
        );
    }
}

#[test]
fn a_tail_that_is_not_held_is_followed_without_a_gap() {
    let script = Script::new(heavy(0..500), vec![5], RUNNING);
    script.before_reads([Change::Nothing, Change::Print(heavy(500..503))]);
    let query = LogQuery { tail: NonZeroU64::new(300), follow: true, ..LogQuery::ALL };
    let act = async {
        sleep(Duration::from_secs(1)).await;
        script.print(&heavy(503..510));
        sleep(Duration::from_secs(1)).await;
        script.exit(0);
    };
    let all = paused(async { tokio::join!(objects(&script, &query), act).0 });
    assert!(numbers(&all).into_iter().eq(200..510));
    assert_eq!(names(&all), ["end"]);
}

fn many(lines: i64) -> Vec<Printed> {
    (0..lines).map(|at| Printed::new(if at % 3 == 0 { E } else { O }, at, &format!("{at}\n"))).collect()
}

#[test]
fn windows_are_looked_through_up_to_the_whole_log() {
    let lines = 70_000;
    let script = Script::new(many(lines), vec![2000], ENDED);
    paused(async {
        let all = objects(&script, &LogQuery::ALL).await;
        for at in [lines - 300, lines - 5_000, 10] {
            script.windows();
            let rest = objects(&script, &LogQuery { after: after(&all[at as usize]), ..LogQuery::ALL }).await;
            assert!(rest[..rest.len() - 1] == all[at as usize + 1..all.len() - 1], "{at}");
            let since = jiff::Timestamp::from_nanosecond(i128::from(at)).ok();
            let rest = objects(&script, &LogQuery { since, ..LogQuery::ALL }).await;
            assert!(rest[..rest.len() - 1] == all[at as usize..all.len() - 1], "since {at}");
        }
    });
}

fn with_ordinal(cursor: Cursor, ordinal: u32) -> Cursor {
    let mark = cursor.mark.unwrap();
    Cursor { mark: Some(Mark { place: Place { ordinal, ..mark.place }, ..mark }), ..cursor }
}

#[test]
fn the_only_record_like_the_mark_is_the_one() {
    for lines in [100, 6_000] {
        let mut printed = many(lines);
        // Twice the same record, and no telling which.
        printed[40] = printed[41].clone();
        let script = Script::new(printed, vec![500], ENDED);
        paused(async {
            let all = objects(&script, &LogQuery::ALL).await;
            let strange = Some(with_ordinal(after(&all[20]).unwrap(), 7));
            let rest = objects(&script, &LogQuery { after: strange, ..LogQuery::ALL }).await;
            assert_eq!((numbers(&rest), names(&rest)), (numbers(&all[21..]), vec!["end"]), "{lines}");
            let twice = Some(with_ordinal(after(&all[41]).unwrap(), 7));
            let rest = objects(&script, &LogQuery { after: twice, ..LogQuery::ALL }).await;
            assert_eq!(names(&rest), ["gap", "end"], "{lines}");
            assert_eq!(rest[0]["reason"], "cursor_expired");
            assert_eq!(numbers(&rest), numbers(&all[42..]));
        });
    }
}
