//! Following: cuts, rotations, restarts, and ends.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::{
    Client, RUNNING, Seen, ends,
    generated::sane,
    paused, reference, runs_since,
    scripted::{Change, Printed, Script, Trouble, trouble},
    texts,
};
use crate::{
    error::Kind,
    logs::{
        LogQuery,
        backend::{Exit, State},
        piece::{End, Reason},
        record::Stream,
    },
};
use Stream::Stdout as O;

const FOLLOW: LogQuery = LogQuery { follow: true, ..LogQuery::ALL };

/// What happens to a log while it is followed.
#[derive(Debug, Clone)]
enum Act {
    Print(usize),
    Trouble(Trouble),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1_usize..12).prop_map(Act::Print),
        1 => (60_usize..300).prop_map(Act::Print),
        6 => trouble().prop_map(Act::Trouble),
    ];
    prop::collection::vec(act, 1..20)
}

/// Plays the acts over the rest of a log, and lets the process exit.
async fn play(script: Arc<Script>, mut rest: Vec<Printed>, acts: Vec<Act>) {
    for act in acts {
        match act {
            Act::Print(count) => script.print(&rest.drain(..count.min(rest.len())).collect::<Vec<_>>()),
            Act::Trouble(trouble) => script.trouble(trouble).await,
        }
    }
    script.print(&rest);
    script.exit(3);
}

fn numbered(times: impl Iterator<Item = i64>) -> Vec<Printed> {
    times.map(|time| Printed::new(O, time, &format!("{time}\n"))).collect()
}

proptest! {
    #[test]
    fn a_follower_that_is_cut_gets_each_line_once(
        printed in prop_oneof![sane(0..60), sane(300..700)],
        begun in any::<prop::sample::Index>(),
        batches in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..400], 1..4),
        acts in acts(),
        tail in prop::option::of(1_u64..30),
    ) {
        let at = begun.index(printed.len() + 1);
        let (first, rest) = printed.split_at(at);
        let (first, rest) = (first.to_vec(), rest.to_vec());
        let is_at_line_end = first.last().is_none_or(|record| record.bytes.ends_with(b"\n"));
        // A line under way counts when it is ended, so that only what is there tells which lines are the last.
        let tail = tail.filter(|_| is_at_line_end && first.iter().all(|record| record.bytes.ends_with(b"\n")));
        let query = LogQuery { tail: tail.and_then(std::num::NonZeroU64::new), ..FOLLOW };
        let script = Script::new(first.clone(), batches, RUNNING);
        let (seen, run) = paused(async {
            // Refusals may follow each other for longer than the usual limit.
            let client = Client::open_with(&script, &query, Duration::from_secs(1800)).await.unwrap();
            let run = client.source.run;
            let (seen, ()) = tokio::join!(client.all(), play(Arc::clone(&script), rest, acts.clone()));
            (seen, run)
        });
        let mut expected = reference(&printed, &LogQuery::ALL, run);
        if let Some(tail) = tail {
            let old = reference(&first, &LogQuery::ALL, run).len();
            expected.drain(..old.saturating_sub(tail as usize));
        }
        expected.push(Seen::End(End { reason: Reason::Exited, exit: Exit { code: Some(3), ..Exit::default() } }));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_rotated_away_in_a_cut_is_one_gap(
        before in 1_i64..400, during in 1_i64..400, after in 1_i64..20, left in 0_usize..500, is_clean in any::<bool>(),
    ) {
        let all = numbered(0..before + during + after);
        let (old, new) = all.split_at(before as usize);
        let (lost, new) = new.split_at(during as usize);
        let script = Script::new(old.to_vec(), vec![7], RUNNING);
        let seen = paused(async {
            let client = Client::open(&script, &FOLLOW).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(1)).await;
                script.cut(is_clean);
                script.print(lost);
                script.rotate(left);
                sleep(Duration::from_secs(20)).await;
                script.print(new);
                script.exit(0);
            };
            tokio::join!(client.all(), act).0
        });
        let numbers: Vec<i64> = texts(&seen).iter().map(|text| text[7..].trim_end().parse().unwrap()).collect();
        let is_lost = left <= during as usize;
        prop_assert_eq!(ends(&seen), if is_lost { vec!["rotated", "exited"] } else { vec!["exited"] });
        let from = if is_lost { before + during - left as i64 } else { before };
        prop_assert!(numbers.into_iter().eq((0..before).chain(from..before + during + after)));
        if is_lost {
            let Seen::Gap(gap) = &seen[before as usize] else { panic!("the gap is where numbers are missing") };
            prop_assert_eq!(gap.after, Some(before - 1));
        }
    }
}

fn follow(script: &Arc<Script>, query: &LogQuery, act: impl Future<Output = ()>) -> Vec<Seen> {
    paused(async { tokio::join!(Client::open(script, query).await.unwrap().all(), act).0 })
}

const RESTARTS: LogQuery = LogQuery { restarts: true, ..FOLLOW };

/// The process of a script ends, and is started again; `gap` later, or at once.
async fn restart(script: &Arc<Script>, gap: Duration) {
    sleep(Duration::from_secs(1)).await;
    if !gap.is_zero() {
        script.exit(1);
        sleep(gap).await;
    }
    script.set_state(runs_since(100));
    script.cut(true);
    script.print(&numbered(100..103));
    sleep(Duration::from_secs(10)).await;
    script.print(&numbered(103..105));
    sleep(Duration::from_secs(10)).await;
    // Who waits for the next run waits until there can be none.
    script.exit(0);
    sleep(Duration::from_secs(10)).await;
    script.set_state(State::Removed);
}

#[test]
fn a_restart_is_followed_or_ends_it() {
    for gap in [0, 100, 950, 1_000, 5_000, 100_000] {
        for print_last in [false, true] {
            let script = Script::new(numbered(1..4), vec![2], RUNNING);
            let act = async {
                if print_last {
                    script.print(&numbered(4..5));
                }
                restart(&script, Duration::from_millis(gap)).await;
            };
            let seen = follow(&script, &RESTARTS, act);
            let old = 3 + usize::from(print_last);
            assert_eq!(texts(&seen).len(), old + 5, "{gap} {seen:?}");
            let at = seen.iter().position(|seen| matches!(seen, Seen::Restart(100)));
            assert_eq!(at, Some(old), "{gap} {seen:?}");
        }
    }
    let script = Script::new(numbered(1..4), vec![2], RUNNING);
    let seen = follow(&script, &FOLLOW, restart(&script, Duration::ZERO));
    assert_eq!((texts(&seen).len(), ends(&seen)), (3, vec!["restarted"]));
    let script = Script::new(numbered(1..4), vec![2], RUNNING);
    let seen = follow(&script, &FOLLOW, restart(&script, Duration::from_secs(1)));
    assert_eq!((texts(&seen).len(), ends(&seen)), (3, vec!["exited"]));
}

#[test]
fn a_run_that_begins_before_the_rest_of_the_last_one_is_read_is_another_one() {
    for (query, lines, told) in [(&FOLLOW, 4, &["restarted"][..]), (&RESTARTS, 9, &["restart", "removed"])] {
        for has_ended in [false, true] {
            let script = Script::new(numbered(1..4), vec![2], RUNNING);
            let act = async {
                sleep(Duration::from_secs(1)).await;
                let State::Running { started } = runs_since(100) else { unreachable!() };
                let ended = State::Ended { exit: Exit::default(), started };
                let state = if has_ended { ended } else { runs_since(100) };
                // The engine has started it again before it answers.
                script.before_reads([Change::Restart(state, numbered(100..103))]);
                script.print(&numbered(4..5));
                script.exit(137);
                sleep(Duration::from_secs(10)).await;
                script.print(&numbered(103..105));
                sleep(Duration::from_secs(10)).await;
                script.set_state(State::Removed);
            };
            let seen = follow(&script, query, act);
            // What it prints behind its end is not waited for.
            let lines = if has_ended { lines.min(7) } else { lines };
            assert_eq!((texts(&seen).len(), ends(&seen)), (lines, told.to_vec()), "{has_ended} {seen:?}");
            assert!(seen[4].text().is_none(), "{seen:?}");
        }
    }
}

#[test]
fn a_restart_in_a_pause_is_seen() {
    let script = Script::new(numbered(1..4), vec![2], RUNNING);
    let act = async {
        sleep(Duration::from_secs(1)).await;
        script.cut(false);
        sleep(Duration::from_millis(10)).await;
        script.set_state(runs_since(100));
        sleep(Duration::from_secs(10)).await;
        script.print(&numbered(100..103));
        sleep(Duration::from_secs(10)).await;
        script.set_state(State::Removed);
    };
    let seen = follow(&script, &RESTARTS, act);
    assert_eq!((texts(&seen).len(), ends(&seen)), (6, vec!["restart", "removed"]));
}

#[test]
fn the_rest_behind_a_cut_comes_before_the_end() {
    for is_clean in [true, false] {
        let script = Script::new(numbered(1..4), vec![2], RUNNING);
        let act = async {
            sleep(Duration::from_secs(1)).await;
            script.cut(is_clean);
            script.print(&numbered(4..300));
            script.exit(7);
        };
        let seen = follow(&script, &FOLLOW, act);
        assert_eq!((texts(&seen).len(), ends(&seen)), (299, vec!["exited"]));
        assert!(matches!(seen.last(), Some(Seen::End(End { exit: Exit { code: Some(7), .. }, .. }))));
    }
}

#[test]
fn a_log_that_begins_empty_is_followed() {
    let script = Script::new(Vec::new(), vec![2], RUNNING);
    let act = async {
        sleep(Duration::from_secs(1)).await;
        script.cut(false);
        sleep(Duration::from_secs(1)).await;
        script.print(&numbered(1..3));
        sleep(Duration::from_secs(1)).await;
        script.cut(true);
        sleep(Duration::from_secs(1)).await;
        script.exit(0);
    };
    let seen = follow(&script, &FOLLOW, act);
    assert_eq!((texts(&seen).len(), ends(&seen)), (2, vec!["exited"]));
}

#[test]
fn a_removed_sandbox_ends_it() {
    let script = Script::new(numbered(1..4), vec![2], RUNNING);
    let act = async {
        sleep(Duration::from_secs(1)).await;
        script.set_state(State::Removed);
    };
    assert_eq!(ends(&follow(&script, &FOLLOW, act)), ["removed"]);
    let script = Script::new(numbered(1..4), vec![2], RUNNING);
    let act = async {
        sleep(Duration::from_secs(1)).await;
        script.refuse(Some(Kind::NotFound));
        script.cut(false);
    };
    assert_eq!(ends(&follow(&script, &FOLLOW, act)), ["removed"]);
}

#[test]
fn a_lost_backend_is_tried_for_so_long() {
    for (limit, least, most) in [(0, 0, 0), (30, 20, 30)] {
        paused(async {
            let script = Script::new(numbered(1..4), vec![2], RUNNING);
            let client = Client::open_with(&script, &FOLLOW, Duration::from_secs(limit)).await.unwrap();
            let begun = Instant::now();
            script.refuse(Some(Kind::Unavailable));
            script.cut(false);
            assert_eq!(ends(&client.all().await), ["backend_lost"]);
            let lasted = begun.elapsed().as_secs();
            assert!((least..=most).contains(&lasted), "{lasted}");
        });
    }
}

#[test]
fn a_client_that_reads_late_is_told_what_it_missed() {
    paused(async {
        let script = Script::new(numbered(1..4), vec![100], RUNNING);
        let mut client = Client::open(&script, &FOLLOW).await.unwrap();
        client.step().await;
        // It waits for more, so that all that was there is read.
        assert!(tokio::time::timeout(Duration::from_millis(1), client.step()).await.is_err());
        script.print(&numbered(4..6));
        client.step().await;
        script.print(&numbered(6..20));
        script.rotate(5);
        sleep(Duration::from_secs(3)).await;
        script.print(&numbered(20..22));
        script.exit(0);
        let seen = client.all().await;
        let numbers: Vec<_> = texts(&seen).iter().map(|text| text[7..].trim_end().parse::<i64>().unwrap()).collect();
        assert_eq!(ends(&seen), ["rotated", "exited"]);
        assert!(numbers.into_iter().eq((1..6).chain(15..22)));
    });
}
