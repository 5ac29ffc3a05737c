//! Backends whose ends prove nothing, and those that cannot go on with a read: an API server's.

use std::time::Duration;

use tokio::time::sleep;

use super::{Client, RUNNING, Seen, ends, numbered, numbers, paused, scripted::Script};
use crate::logs::{
    LogQuery,
    backend::{Start, State},
};

#[test]
fn what_was_cut_off_behind_a_clean_end_is_read_again() {
    for cut in [1, 3, 700, 1000] {
        let script = Script::new(numbered(0..1000), vec![7], RUNNING);
        script.cut_short(cut);
        let seen = paused(async { Client::open(&script, &LogQuery::ALL).await.unwrap().all().await });
        assert_eq!((numbers(&seen), ends(&seen)), ((0..1000).collect(), vec!["complete"]), "{cut}");
    }
}

#[test]
fn a_log_that_cannot_be_followed_is_asked_for_again_and_again() {
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    script.set_followable(false);
    let follow = LogQuery { follow: true, ..LogQuery::ALL };
    let seen = paused(async {
        let client = Client::open(&script, &follow).await.unwrap();
        let act = async {
            for turn in 1..=200 {
                sleep(Duration::from_millis(900)).await;
                script.print(&numbered(10 * turn..10 * (turn + 1)));
            }
            // Each second or so, for longer than a backend that is lost is tried.
            let reads = script.windows().iter().filter(|window| window.follow).count();
            assert!((120..300).contains(&reads), "{reads}");
            script.set_followable(true);
            sleep(Duration::from_secs(10)).await;
            script.exit(0);
            script.cut(true);
        };
        tokio::join!(client.all(), act).0
    });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..2010).collect(), vec!["exited"]));
}

const SILENCE: Duration = Duration::from_secs(10);

/// How often it was looked at since the last time that this was asked for.
fn looks(script: &Script) -> usize {
    script.windows().iter().filter(|window| window.last.is_some_and(|last| last.get() == 1)).count()
}

/// Follows a log that this happens to.
fn follow_through(script: &std::sync::Arc<Script>, act: impl Future<Output = ()>) -> Vec<Seen> {
    script.watch(SILENCE);
    let follow = LogQuery { follow: true, ..LogQuery::ALL };
    paused(async {
        let client = Client::open(script, &follow).await.unwrap();
        tokio::join!(client.all(), act).0
    })
}

#[test]
fn a_live_read_that_falls_silent_is_found() {
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    let seen = follow_through(&script, async {
        for turn in 1..=5 {
            sleep(Duration::from_secs(5)).await;
            script.fall_silent(SILENCE);
            script.print(&numbered(10 * turn..10 * (turn + 1)));
            // Longer than the longest pause between two looks.
            sleep(Duration::from_secs(200)).await;
            let looks = looks(&script);
            assert!((1..=14).contains(&looks), "{looks} in turn {turn}");
        }
        // An end that a silent read does not tell is found as well.
        script.fall_silent(SILENCE);
        script.exit(3);
    });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..60).collect(), vec!["exited"]));
}

#[test]
fn a_silence_of_the_sandboxs_own_costs_few_looks() {
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    let seen = follow_through(&script, async {
        let hour = Duration::from_secs(3300);
        sleep(hour).await;
        let windows = script.windows();
        let looks = windows.iter().filter(|window| window.last.is_some_and(|last| last.get() == 1)).count();
        assert!((15..50).contains(&looks), "{looks}");
        // The same live read is still there.
        assert_eq!(windows.iter().filter(|window| window.follow).count(), 1);
        script.print(&numbered(10..12));
        script.exit(0);
        sleep(Duration::from_secs(1)).await;
        script.cut(true);
    });
    assert_eq!((numbers(&seen), ends(&seen)), ((0..12).collect(), vec!["exited"]));
}

#[test]
fn a_plain_read_that_broke_off_is_gone_on_with() {
    for broken in [0, 1, 3, 700, 999] {
        let script = Script::new(numbered(0..1000), vec![7], RUNNING);
        script.break_off(broken);
        let seen = paused(async { Client::open(&script, &LogQuery::ALL).await.unwrap().all().await });
        assert_eq!((numbers(&seen), ends(&seen)), ((0..1000).collect(), vec!["complete"]), "{broken}");
    }
}

#[test]
fn a_restart_that_is_told_late_is_no_gap() {
    // A kubelet gives the new run's log before the API server tells of the restart, seen on Kubernetes 1.36.
    for (restarts, printed) in [(false, 10), (true, 10), (false, 0), (true, 0)] {
        let script = Script::new(numbered(0..printed), vec![7], RUNNING);
        script.doubt_ends();
        let query = LogQuery { follow: true, restarts, ..LogQuery::ALL };
        let seen = paused(async {
            let client = Client::open(&script, &query).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(1)).await;
                script.cut(true);
                // The reader hears of it, and pauses.
                sleep(Duration::from_millis(10)).await;
                script.hide_old_run(true);
                script.print(&numbered(20..25));
                sleep(Duration::from_millis(900)).await;
                script.hide_old_run(false);
                script.set_state(State::Running { started: Some(Start::new(15, Some(9))) });
                sleep(Duration::from_secs(5)).await;
                script.set_state(State::Removed);
                script.cut(true);
            };
            tokio::join!(client.all(), act).0
        });
        let told: &[_] = if restarts { &["restart", "removed"] } else { &["restarted"] };
        assert_eq!(ends(&seen), told, "{printed}");
        assert_eq!(numbers(&seen), (0..printed).chain(20..if restarts { 25 } else { 20 }).collect::<Vec<_>>());
    }
}

#[test]
fn a_rotation_is_still_told() {
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    script.doubt_ends();
    let seen = paused(async {
        let client = Client::open(&script, &LogQuery { follow: true, ..LogQuery::ALL }).await.unwrap();
        let act = async {
            sleep(Duration::from_secs(1)).await;
            script.print(&numbered(10..20));
            script.rotate(5);
            script.cut(false);
            sleep(Duration::from_secs(10)).await;
            script.set_state(State::Removed);
            script.cut(true);
        };
        tokio::join!(client.all(), act).0
    });
    assert_eq!(ends(&seen), ["rotated", "removed"]);
    assert_eq!(numbers(&seen), (0..10).chain(15..20).collect::<Vec<_>>());
}
