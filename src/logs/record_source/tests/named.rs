//! Runs that have names, of which a backend tells too late.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Client, Seen, ends, paused,
    scripted::{Printed, Script, named_run},
    texts,
};
use crate::logs::{
    LogQuery,
    backend::{Start, State},
    record::Stream,
};

fn numbered(numbers: std::ops::Range<i64>) -> Vec<Printed> {
    // Whatever their times say.
    numbers.map(|number| Printed::new(Stream::Stdout, 1000 - number, &format!("{number}\n"))).collect()
}

fn numbers(seen: &[Seen]) -> Vec<i64> {
    texts(seen).iter().map(|text| text["stdout:".len()..].trim_end().parse().unwrap()).collect()
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
