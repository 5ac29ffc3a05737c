//! Reads that end where the log does not, and logs that end where a read does not.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    Client, RUNNING, Seen, ends, numbered, paused,
    scripted::{Printed, Script},
    texts,
};
use crate::{
    error::Kind,
    logs::{
        LogQuery,
        backend::{Exit, Fate, Start, State},
        cursor::RunId,
        record::Stream,
    },
};

fn follow() -> LogQuery {
    LogQuery { follow: true, ..LogQuery::ALL }
}

/// What a client sees of `query` while this happens.
fn play(script: &Arc<Script>, query: &LogQuery, act: impl Future<Output = ()>) -> Vec<Seen> {
    paused(async {
        let client = Client::open(script, query).await.unwrap();
        tokio::join!(client.all(), act).0
    })
}

fn lines(seen: &[Seen]) -> Vec<&str> {
    texts(seen).iter().map(|text| &text["stdout:".len()..]).collect()
}

fn numbers(seen: &[Seen]) -> Vec<i64> {
    lines(seen).iter().map(|line| line.trim_end().parse().unwrap()).collect()
}

/// The sandbox has another pod, which prints the lines 3 to 5 and is removed.
async fn another_pod_prints_and_is_removed(script: &Script) {
    script.rotate(0);
    script.print(&numbered(3..6));
    let run = Some(RunId::of("another"));
    let started = Start { run, begins_log: true, ..Start::new(50, None) };
    script.set_state(State::Running { started: Some(started) });
    sleep(Duration::from_secs(10)).await;
    script.set_state(State::Removed);
    script.cut(true);
}

#[test]
fn an_answer_that_is_cut_before_its_first_record_is_no_empty_log() {
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    script.cut_short(0);
    let seen = paused(async { Client::open(&script, &LogQuery::ALL).await.unwrap().all().await });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..10).collect(), vec!["complete"]));
}

#[test]
fn half_a_last_line_is_not_taken_for_all_of_it() {
    for cut in [1, 3, 10] {
        let mut printed = numbered(0..9);
        printed.push(Printed::new(Stream::Stdout, 9, "the last line"));
        let script = Script::new(printed, vec![3], RUNNING);
        script.exit(0);
        script.cut_within(cut, 1);
        let seen = paused(async { Client::open(&script, &LogQuery::ALL).await.unwrap().all().await });
        assert_eq!((lines(&seen).len(), ends(&seen)), (10, vec!["complete"]), "{cut}");
        assert_eq!(lines(&seen)[9], "the last line");
    }
}

#[test]
fn an_ended_log_that_was_taken_away_is_at_its_end() {
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    script.doubt_ends();
    let seen = play(&script, &follow(), async {
        sleep(Duration::from_secs(5)).await;
        script.lose_log(true);
        script.exit(137);
        script.cut(true);
    });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..10).collect(), vec!["exited"]));
}

#[test]
fn what_was_printed_while_the_backend_was_away_is_read_once_it_can_be_or_is_a_gap() {
    for comes_back in [false, true] {
        let script = Script::new(numbered(0..10), vec![7], RUNNING);
        script.doubt_ends();
        let seen = play(&script, &follow(), async {
            sleep(Duration::from_secs(5)).await;
            script.refuse_reads(Some(Duration::ZERO));
            script.cut(true);
            sleep(Duration::from_secs(15)).await;
            script.print(&numbered(10..20));
            script.refuse_reads(None);
            script.lose_log(true);
            script.exit(137);
            if comes_back {
                sleep(Duration::from_secs(3)).await;
                script.lose_log(false);
            }
        });
        let expected = if comes_back { (20, vec!["exited"]) } else { (10, vec!["rotated", "exited"]) };
        assert_eq!((numbers(&seen), ends(&seen)), ((0..expected.0).collect(), expected.1));
    }
}

#[test]
fn what_is_deleted_ends_when_its_sandbox_goes_or_its_time_is_over() {
    for (until, told) in [(None, "removed"), (Some(Timestamp::UNIX_EPOCH), "until")] {
        let script = Script::new(numbered(0..3), vec![7], RUNNING);
        script.doubt_ends();
        script.exit(0);
        script.set_fate(Fate::IsReplaced);
        let seen = play(&script, &LogQuery { until, ..follow() }, async {
            sleep(Duration::from_secs(50)).await;
            script.set_fate(Fate::Goes);
        });
        assert_eq!(ends(&seen), [told]);
    }
}

#[test]
fn what_is_deleted_and_comes_again_in_another_place_has_not_ended() {
    for restarts in [false, true] {
        let script = Script::new(numbered(0..3), vec![7], RUNNING);
        script.doubt_ends();
        let seen = play(&script, &LogQuery { restarts, ..follow() }, async {
            sleep(Duration::from_secs(5)).await;
            script.set_fate(Fate::IsReplaced);
            script.set_state(State::Ended { exit: Exit::default(), started: None });
            script.cut(true);
            sleep(Duration::from_secs(5)).await;
            script.set_state(State::Replacing);
            sleep(Duration::from_secs(5)).await;
            another_pod_prints_and_is_removed(&script).await;
        });
        let expected = if restarts { (6, vec!["restart", "removed"]) } else { (3, vec!["restarted"]) };
        assert_eq!((numbers(&seen), ends(&seen)), ((0..expected.0).collect(), expected.1));
    }
}

#[test]
fn a_backend_of_which_too_much_is_asked_is_waited_for_and_not_for_ever() {
    for (has_begun, minutes, told) in
        [(true, 5, "exited"), (true, 60, "backend_lost"), (false, 5, "exited"), (false, 60, "backend_lost")]
    {
        let script = Script::new(numbered(0..10), vec![7], RUNNING);
        script.doubt_ends();
        let seen = paused(async {
            if !has_begun {
                // Its beginning takes longer than the head.
                script.refuse_reads(Some(Duration::from_millis(200)));
            }
            let tail = NonZeroU64::new(10).filter(|_| !has_begun);
            let client = Client::open(&script, &LogQuery { tail, ..follow() }).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(if has_begun { 5 } else { 0 })).await;
                script.refuse(Some(Kind::Overloaded));
                script.refuse_reads(None);
                script.cut(true);
                sleep(Duration::from_secs(60 * minutes)).await;
                script.refuse(None);
                sleep(Duration::from_secs(10)).await;
                script.print(&numbered(10..12));
                script.exit(0);
                script.cut(true);
            };
            tokio::join!(client.all(), act).0
        });
        let last = match told {
            "exited" => 12,
            _ if has_begun => 10,
            _ => 0,
        };
        assert_eq!((numbers(&seen), ends(&seen)), ((0..last).collect(), vec![told]), "{has_begun}");
    }
}

#[test]
fn a_client_that_is_slow_from_the_beginning_is_told_what_it_missed() {
    let script = Script::new(numbered(0..100), vec![1], RUNNING);
    script.doubt_ends();
    let seen = paused(async {
        let mut client = Client::open(&script, &follow()).await.unwrap();
        for turn in 0..20 {
            assert!(client.step().await);
            if turn == 4 {
                // The reader would go on at what is left, without a word.
                script.print(&numbered(100..200));
                script.rotate(50);
                sleep(Duration::from_secs(3)).await;
            }
        }
        client.seen
    });
    assert_eq!(ends(&seen), ["rotated"]);
    let at = seen.iter().position(|seen| seen.text().is_none()).unwrap();
    assert_eq!(numbers(&seen[..at]), (0..5).collect::<Vec<_>>());
    assert_eq!(numbers(&seen[at..])[0], 150);
}

#[test]
fn what_comes_in_the_place_of_what_is_gone_is_waited_for() {
    for restarts in [false, true] {
        let script = Script::new(numbered(0..3), vec![7], RUNNING);
        let seen = play(&script, &LogQuery { restarts, ..follow() }, async {
            sleep(Duration::from_secs(5)).await;
            script.set_state(State::Replacing);
            script.cut(true);
            // Longer than a backend that is lost is tried.
            sleep(Duration::from_secs(100)).await;
            another_pod_prints_and_is_removed(&script).await;
        });
        if restarts {
            assert_eq!((numbers(&seen), ends(&seen)), ((0..6).collect(), vec!["rotated", "restart", "removed"]));
        } else {
            assert_eq!((numbers(&seen), ends(&seen)), ((0..3).collect(), vec!["rotated", "restarted"]));
        }
    }
}

#[test]
fn a_beginning_that_takes_long_is_tried_again_as_a_lost_backend_is() {
    for (outage, told) in [(5, "exited"), (60, "backend_lost")] {
        let script = Script::new(numbered(0..10), vec![7], RUNNING);
        script.doubt_ends();
        script.refuse_reads(Some(Duration::from_millis(200)));
        let seen = paused(async {
            let query = LogQuery { tail: NonZeroU64::new(4), ..follow() };
            let client = Client::open(&script, &query).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(outage)).await;
                script.refuse_reads(None);
                sleep(Duration::from_secs(10)).await;
                script.print(&numbered(10..12));
                script.exit(0);
                script.cut(true);
            };
            tokio::join!(client.all(), act).0
        });
        let expected = if told == "exited" { (6..12).collect() } else { Vec::new() };
        assert_eq!((numbers(&seen), ends(&seen)), (expected, vec![told]));
    }
}

#[test]
fn a_live_read_that_is_slow_to_begin_is_given_more_time() {
    let script = Script::new(numbered(0..100), vec![7], RUNNING);
    script.doubt_ends();
    let seen = play(&script, &follow(), async {
        sleep(Duration::from_secs(1)).await;
        script.delay_reads(Duration::from_secs(7));
        script.cut(true);
        sleep(Duration::from_secs(300)).await;
        // It is attached: what is printed comes at once, and by no other read.
        script.windows();
        script.print(&numbered(100..110));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(script.windows(), []);
        script.exit(0);
        script.cut(true);
    });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..110).collect(), vec!["exited"]));
}

/// Follows three lines and `first` of a long one at 10, of which `left` pieces are in the newest file, at `time`; and what comes then.
fn follow_over_a_line(first: &[&str], left: usize, time: i64, then: &[(i64, &str)]) -> Vec<Seen> {
    let mut printed = numbered(0..3);
    printed.extend(first.iter().map(|text| Printed::new(Stream::Stdout, 10, text)));
    let script = Script::new(printed, vec![7], RUNNING);
    script.doubt_ends();
    play(&script, &follow(), async {
        sleep(Duration::from_secs(1)).await;
        script.rotate_within_a_line(left, time);
        for _ in 0..3 {
            script.cut(false);
            sleep(Duration::from_secs(20)).await;
        }
        for (time, text) in then {
            script.print(&[Printed::new(Stream::Stdout, *time, text)]);
            sleep(Duration::from_secs(1)).await;
            script.cut(false);
            sleep(Duration::from_secs(20)).await;
        }
        script.exit(0);
        script.cut(true);
    })
}

#[test]
fn a_line_over_a_rotation_is_found_again() {
    for (first, left, then) in [
        // It has ended.
        (&["A", "B", "C\n"][..], 1, &[(20, "next\n")][..]),
        (&["A", "B", "C\n"], 2, &[(20, "next\n")]),
        // It goes on, and has the time of what is left of it.
        (&["A", "B"], 1, &[(12, "C\n"), (20, "next\n")]),
        (&["A", "B"], 1, &[(12, "B"), (12, "C\n"), (20, "next\n")]),
    ] {
        let seen = follow_over_a_line(first, left, 12, then);
        let line = if then.len() == 3 { "ABBC\n" } else { "ABC\n" };
        assert_eq!((lines(&seen), ends(&seen)), (vec!["0\n", "1\n", "2\n", line, "next\n"], vec!["exited"]));
    }
}

#[test]
fn what_is_only_like_a_line_over_a_rotation_is_behind_a_gap() {
    for (first, left, time) in [
        // A whole line, which may be another one.
        (&["A\n"][..], 1, 12),
        // Long after it.
        (&["A", "B\n"], 1, 1_000_000_000),
        // Which of its pieces is it?
        (&["A", "A", "A"], 1, 12),
    ] {
        let seen = follow_over_a_line(first, left, time, &[(2_000_000_000, "next\n")]);
        assert_eq!(ends(&seen)[0], "rotated", "{first:?}");
    }
}
