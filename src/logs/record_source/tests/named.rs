//! Runs that have names, of which a backend tells too late.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Client, Seen, ends, numbers, paused,
    scripted::{Printed, Script, named_run},
};
use crate::logs::{
    LogQuery,
    backend::{Exit, Start, State},
    record::Stream,
};

fn numbered(numbers: std::ops::Range<i64>) -> Vec<Printed> {
    // Whatever their times say.
    numbers.map(|number| Printed::new(Stream::Stdout, 1000 - number, &format!("{number}\n"))).collect()
}

fn runs(number: u64) -> State {
    let start = Start { run: Some(named_run(number)), ..Start::new(5, (number > 0).then_some(5)) };
    State::Running { started: Some(start) }
}

/// Follows ten lines of the first run, and what happens then. Ends with `removed`, if nothing else did.
fn follow(restarts: bool, act: impl AsyncFnOnce(&Script)) -> Vec<Seen> {
    let script = Script::new(numbered(0..10), vec![7], runs(0));
    script.doubt_ends();
    script.name_runs(&[], 0);
    paused(async {
        let query = LogQuery { follow: true, restarts, ..LogQuery::ALL };
        let client = Client::open(&script, &query).await.unwrap();
        let act = async {
            sleep(Duration::from_secs(1)).await;
            act(&script).await;
            sleep(Duration::from_secs(20)).await;
            script.set_state(State::Removed);
            script.cut(true);
        };
        tokio::join!(client.all(), act).0
    })
}

fn ended(number: u64) -> State {
    let (State::Running { started } | State::Ended { started, .. }) = runs(number) else { unreachable!() };
    State::Ended { exit: Exit { code: Some(1), ..Exit::default() }, started }
}

fn check(seen: &[Seen], restarts: bool, times: usize) {
    let told: Vec<_> = std::iter::repeat_n("restart", times).chain(["removed"]).collect();
    let (last, told) = if restarts { (10 + 5 * times as i64, told) } else { (10, vec!["restarted"]) };
    assert_eq!((numbers(seen), ends(seen)), ((0..last).collect(), told));
}

#[test]
fn records_of_a_run_of_which_nobody_told_begin_it() {
    for restarts in [false, true] {
        let seen = follow(restarts, async |script| {
            script.name_runs(&[10, 15], 0);
            script.print(&numbered(10..20));
            sleep(Duration::from_secs(1)).await;
            script.set_state(runs(2));
            script.cut(true);
        });
        check(&seen, restarts, 2);
    }
}

#[test]
fn what_is_taken_for_an_older_run_is_read_again_once_the_next_is_told() {
    for restarts in [false, true] {
        let seen = follow(restarts, async |script| {
            // The kubelet has the next run, and the API server does not tell: what is read is taken for the runs before.
            script.cut(true);
            script.name_runs(&[10], 1);
            script.print(&numbered(10..15));
            sleep(Duration::from_millis(900)).await;
            script.name_runs(&[10], 0);
            script.set_state(runs(1));
        });
        check(&seen, restarts, 1);
    }
}

#[test]
fn who_comes_back_behind_a_run_that_is_long_over_is_given_what_there_is() {
    for follow in [false, true] {
        let script = Script::new(numbered(0..10), vec![7], runs(0));
        script.doubt_ends();
        script.name_runs(&[], 0);
        let seen = paused(async {
            let seen = Client::open(&script, &LogQuery::ALL).await.unwrap().all().await;
            let after = seen[9].cursor();
            // Of the three runs the first is gone.
            script.name_runs(&[10, 15], 0);
            script.print(&numbered(10..20));
            script.rotate(10);
            script.set_state(runs(2));
            let client = Client::open(&script, &LogQuery { follow, after, ..LogQuery::ALL }).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(20)).await;
                script.set_state(State::Removed);
                script.cut(true);
            };
            tokio::join!(client.all(), act).0
        });
        let end = if follow { "removed" } else { "complete" };
        assert_eq!(
            (numbers(&seen), &ends(&seen)[1..]),
            ((10..20).collect(), &["restart", "restart", end][..]),
            "{follow}"
        );
        assert!(matches!(seen[0], Seen::Gap(_)), "{seen:?}");
    }
}

#[test]
fn a_read_that_fails_at_a_restart_costs_nothing_of_the_run_before() {
    let seen = follow(true, async |script| {
        script.refuse_reads(Some(Duration::from_millis(10)));
        script.cut(true);
        script.name_runs(&[12], 0);
        script.print(&numbered(10..15));
        script.set_state(runs(1));
        sleep(Duration::from_secs(1)).await;
        script.refuse_reads(None);
    });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..15).collect(), vec!["restart", "removed"]));
}

#[test]
fn a_run_that_was_read_to_its_end_may_be_gone_when_the_next_is_there() {
    let seen = follow(true, async |script| {
        script.set_state(ended(0));
        script.cut(true);
        sleep(Duration::from_secs(5)).await;
        script.name_runs(&[10], 0);
        script.print(&numbered(10..15));
        script.rotate(5);
        script.set_state(runs(1));
    });
    check(&seen, true, 1);
    // Of one more that came between something may be missing.
    let seen = follow(true, async |script| {
        script.set_state(ended(0));
        script.cut(true);
        sleep(Duration::from_secs(5)).await;
        script.name_runs(&[10, 12], 0);
        script.print(&numbered(10..15));
        script.rotate(3);
        script.set_state(runs(2));
    });
    assert_eq!(numbers(&seen), (0..10).chain(12..15).collect::<Vec<_>>());
    assert_eq!(ends(&seen).iter().filter(|end| **end == "rotated").count(), 1, "{:?}", ends(&seen));
}

#[test]
fn a_run_of_which_nothing_came_is_not_begun_behind_a_later_one() {
    let seen = follow(true, async |script| {
        // The first restart is told, and its run prints nothing before the second.
        script.cut(true);
        script.set_state(runs(1));
        sleep(Duration::from_secs(3)).await;
        script.name_runs(&[10, 10], 0);
        script.print(&numbered(10..15));
        sleep(Duration::from_secs(3)).await;
        script.set_state(runs(2));
        script.cut(true);
    });
    assert_eq!(numbers(&seen), (0..15).collect::<Vec<_>>());
    assert_eq!(ends(&seen).last(), Some(&"removed"));
}

#[test]
fn a_run_that_was_missed_and_is_gone_with_its_log_is_waited_behind() {
    for restarts in [false, true] {
        let seen = follow(restarts, async |script| {
            script.name_runs(&[10], 0);
            script.print(&numbered(10..15));
            script.set_state(ended(1));
            script.remove_log(true);
            script.cut(false);
            // Longer than a backend that is lost is tried.
            sleep(Duration::from_secs(100)).await;
            script.name_runs(&[10, 15], 0);
            script.print(&numbered(15..20));
            script.rotate(5);
            script.remove_log(false);
            let start = Start { run: Some(named_run(2)), begins_log: true, ..Start::new(9, None) };
            script.set_state(State::Running { started: Some(start) });
        });
        let (expected, told) = if restarts {
            ((0..10).chain(15..20).collect(), vec!["rotated", "restart", "rotated", "restart", "removed"])
        } else {
            ((0..10).collect::<Vec<_>>(), vec!["rotated", "restarted"])
        };
        assert_eq!((numbers(&seen), ends(&seen)), (expected, told));
    }
}
