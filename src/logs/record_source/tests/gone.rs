//! Backends that say of a log that it is gone for good: of an evicted pod's, also while a node's runtime is started again.

use std::{num::NonZeroU64, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Client, RUNNING, ends, numbered, numbers, paused, scripted::Script};
use crate::{
    error::Kind,
    logs::{LogQuery, backend::State},
};

#[test]
fn a_log_that_is_said_to_be_gone_is_believed_to_be_if_that_is_said_again() {
    for (is_clean, comes_back) in [(false, true), (false, false), (true, false)] {
        let script = Script::new(numbered(0..10), vec![7], RUNNING);
        script.doubt_ends();
        let (seen, took) = paused(async {
            let client = Client::open(&script, &LogQuery { follow: true, ..LogQuery::ALL }).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(5)).await;
                script.remove_log(true);
                script.exit(137);
                if !is_clean {
                    script.print(&numbered(10..20));
                }
                script.cut(is_clean);
                sleep(Duration::from_secs(4)).await;
                script.remove_log(!comes_back);
            };
            let begun = Instant::now();
            (tokio::join!(client.all(), act).0, begun.elapsed())
        });
        let (last, told) = match (is_clean, comes_back) {
            (false, false) => (10, vec!["rotated", "exited"]),
            (true, _) => (10, vec!["exited"]),
            (false, true) => (20, vec!["exited"]),
        };
        assert_eq!((numbers(&seen), ends(&seen)), ((0..last).collect(), told), "{is_clean} {comes_back}");
        // Sooner than a backend that is lost.
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}

#[test]
fn who_comes_back_to_what_is_said_to_be_gone_is_told_so_if_that_is_said_again() {
    for follow in [false, true] {
        let end = if follow { "exited" } else { "complete" };
        for comes_back in [false, true] {
            let script = Script::new(numbered(0..10), vec![7], RUNNING);
            script.doubt_ends();
            script.exit(137);
            let seen = paused(async {
                let seen = Client::open(&script, &LogQuery::ALL).await.unwrap().all().await;
                let query = LogQuery { follow, after: seen[4].cursor(), ..LogQuery::ALL };
                script.remove_log(true);
                let act = async {
                    sleep(Duration::from_secs(4)).await;
                    script.remove_log(!comes_back);
                };
                let (client, ()) = tokio::join!(Client::open(&script, &query), act);
                client.unwrap().all().await
            });
            let expected =
                if comes_back { ((5..10).collect(), vec![end]) } else { (vec![], vec!["cursor_expired", end]) };
            assert_eq!((numbers(&seen), ends(&seen)), expected, "{follow}");
        }
    }
    // Others are told at once.
    let script = Script::new(numbered(0..10), vec![7], RUNNING);
    script.exit(137);
    script.remove_log(true);
    let refused = paused(async { Client::open(&script, &LogQuery::ALL).await.err() });
    assert_eq!(refused.map(|error| error.kind), Some(Kind::NotFound));
}

/// What is said once may be wrong, so that nobody gets the log without what was asked of it.
#[test]
fn who_follows_what_is_said_to_be_gone_begins_where_was_asked_for_when_it_is_not() {
    for comes_back in [false, true] {
        let script = Script::new(numbered(0..10), vec![7], RUNNING);
        script.doubt_ends();
        script.exit(137);
        script.remove_log(true);
        let tail = NonZeroU64::new(3);
        let query = LogQuery { follow: true, restarts: true, tail, ..LogQuery::ALL };
        let seen = paused(async {
            let client = Client::open(&script, &query).await.unwrap();
            let act = async {
                sleep(Duration::from_secs(4)).await;
                script.remove_log(!comes_back);
                sleep(Duration::from_secs(20)).await;
                script.set_state(State::Removed);
            };
            tokio::join!(client.all(), act).0
        });
        let expected = if comes_back { (7..10).collect() } else { vec![] };
        assert_eq!((numbers(&seen), ends(&seen)), (expected, vec!["removed"]), "{comes_back}");
    }
}

/// One stream alone of which a read may have ended before the log.
#[test]
fn an_end_that_is_looked_at_again_is_believed_to_be_whole_if_it_is_said_again_to_be_gone() {
    for comes_back in [false, true] {
        let script = Script::new(numbered(0..10), vec![7], RUNNING);
        script.exit(137);
        script.cut_short(6);
        let seen = paused(async {
            let client = Client::open(&script, &LogQuery::ALL).await.unwrap();
            script.remove_log(true);
            let act = async {
                sleep(Duration::from_secs(3)).await;
                script.remove_log(!comes_back);
            };
            tokio::join!(client.all(), act).0
        });
        let last = if comes_back { 10 } else { 6 };
        assert_eq!((numbers(&seen), ends(&seen)), ((0..last).collect(), vec!["complete"]), "{comes_back}");
    }
}
