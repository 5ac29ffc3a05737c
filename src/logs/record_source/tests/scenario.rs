//! Everything that happens to a log that is followed for long: a numbered stream comes whole, or a gap stands exactly where
//! numbers are missing.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    RUNNING, paused, runs_since,
    scripted::{Printed, Script, Trouble, trouble},
    whole::{Response, after, log, objects, parsed},
};
use crate::{
    error::Kind,
    logs::{
        LogQuery,
        backend::State,
        format::Format,
        record::Stream::{Stderr, Stdout},
    },
};

const RESTARTS: LogQuery = LogQuery { follow: true, restarts: true, ..LogQuery::ALL };

#[derive(Debug, Clone)]
enum Act {
    Print(u64),
    Trouble(Trouble),
    /// The connection breaks, so much is printed, and so much stays.
    Rotate(u64, usize),
    /// The process ends, and is started again after so long.
    Restart(u64),
    /// The client comes back with its last token.
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1_u64..12).prop_map(Act::Print),
        1 => (60_u64..400).prop_map(Act::Print),
        5 => trouble().prop_map(Act::Trouble),
        2 => (0_u64..40, 0_usize..60).prop_map(|(printed, left)| Act::Rotate(printed, left)),
        2 => (0_u64..3_000).prop_map(Act::Restart),
        2 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..40)
}

/// Prints numbers, each at the time that it is.
struct Printer {
    script: Arc<Script>,
    next: i64,
    /// What was the oldest number behind each rotation.
    oldest: Vec<i64>,
}

impl Printer {
    fn print(&mut self, count: u64) {
        let numbers = self.next..self.next + i64::try_from(count).unwrap();
        self.next = numbers.end;
        let stream = |number: i64| if number * 7 % 5 < 2 { Stderr } else { Stdout };
        let printed = numbers.map(|number| Printed::new(stream(number), number, &format!("{number}\n")));
        self.script.print(&printed.collect::<Vec<_>>());
    }

    async fn play(&mut self, acts: Vec<Act>, reopen: &Notify) {
        let script = Arc::clone(&self.script);
        // Of what went before the first record that a client saw, nothing is known.
        self.print(1);
        sleep(Duration::from_millis(1)).await;
        for act in acts {
            match act {
                Act::Print(count) => self.print(count),
                Act::Trouble(trouble) => script.trouble(trouble).await,
                Act::Rotate(printed, left) => {
                    // What was there was read, or will not be.
                    sleep(Duration::from_millis(1)).await;
                    script.cut(false);
                    self.print(printed);
                    script.rotate(left);
                    self.oldest.push(self.next - i64::try_from(left).unwrap());
                }
                Act::Restart(milliseconds) => {
                    script.exit(1);
                    script.cut(true);
                    sleep(Duration::from_millis(milliseconds)).await;
                    script.set_state(runs_since(self.next));
                    script.cut(true);
                }
                Act::Reopen => {
                    reopen.notify_one();
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
        self.print(1);
        // Longer than every pause.
        sleep(Duration::from_secs(60)).await;
        script.set_state(State::Removed);
        script.cut(true);
    }
}

/// Reads to the end, and comes back whenever it is told to.
async fn follow(script: &Arc<Script>, reopen: &Notify) -> Vec<Value> {
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let query =
            LogQuery { after: seen.iter().rev().find(|object| object["id"].is_string()).and_then(after), ..RESTARTS };
        let Ok(mut response) = Response::open(script, &query, Format::Ndjson).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        loop {
            let chunk = tokio::select! {
                biased;
                chunk = response.next() => chunk,
                () = reopen.notified() => {
                    seen.push(json!({ "event": "reopen" }));
                    break;
                }
            };
            let Some(chunk) = chunk else { return seen };
            if chunk != b"{\"event\":\"ping\"}\n" {
                seen.extend(parsed(&chunk).into_iter().filter(|object| object["event"] != "ping"));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn a_numbered_stream_comes_whole_or_with_a_gap_where_numbers_are_missing(
        acts in acts(), batches in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..400], 1..4),
    ) {
        let script = Script::new(Vec::new(), batches, RUNNING);
        let mut printer = Printer { script: Arc::clone(&script), next: 1, oldest: Vec::new() };
        let reopen = Notify::new();
        let seen = paused(async {
            let all = async { tokio::join!(follow(&script, &reopen), printer.play(acts, &reopen)).0 };
            timeout(Duration::from_secs(3600), all).await.expect("it ends")
        });
        let (mut next, mut has_gap, mut restarted, mut is_told_anew) = (1, false, 0, false);
        for object in &seen {
            if let Some(log) = log(object) {
                let number: i64 = String::from_utf8(log).unwrap().trim_end().parse().unwrap();
                // Nothing may be missing behind a record that is itself gone, but nobody can know.
                let is_right = if has_gap { printer.oldest.contains(&number) } else { number == next };
                assert!(is_right, "{object} behind {}, {has_gap}: {seen:#?}", next - 1);
                assert!(number >= next && number >= restarted, "{object}");
                (next, has_gap) = (number + 1, false);
                continue;
            }
            match object["event"].as_str().unwrap() {
                "gap" => {
                    // Who comes back with a gap's token is told of it again.
                    assert!(!has_gap || is_told_anew, "{seen:#?}");
                    (has_gap, is_told_anew) = (true, false);
                }
                "restart" => restarted = next,
                "reopen" => is_told_anew = true,
                _ => assert_eq!(object["reason"], "removed", "{seen:#?}"),
            }
        }
        prop_assert!(!has_gap || next < printer.next);
        prop_assert!(has_gap || next == printer.next, "{} of {}", next, printer.next);
    }
}

fn last_reason(seen: &[Value]) -> &str {
    seen.last().and_then(|object| object["reason"].as_str()).unwrap_or_default()
}

#[test]
fn who_waits_for_a_run_outlives_a_backend_that_cannot_be_asked_for_so_long() {
    for (seconds, reason, lines) in [(5, "removed", 2), (25, "removed", 2), (60, "backend_lost", 1)] {
        let script = Script::new(vec![Printed::new(Stdout, 1, "1\n")], vec![3], RUNNING);
        let act = async {
            sleep(Duration::from_secs(1)).await;
            script.exit(1);
            script.cut(true);
            sleep(Duration::from_secs(100)).await;
            script.refuse(Some(Kind::Unavailable));
            sleep(Duration::from_secs(seconds)).await;
            script.refuse(None);
            script.set_state(runs_since(2));
            sleep(Duration::from_secs(10)).await;
            script.print(&[Printed::new(Stdout, 2, "2\n")]);
            sleep(Duration::from_secs(10)).await;
            script.set_state(State::Removed);
            script.cut(true);
        };
        let response = async {
            let mut response = Response::open(&script, &RESTARTS, Format::Ndjson).await.unwrap();
            let mut all = Vec::new();
            // A lost backend breaks the response off besides.
            while let Some(Ok(chunk)) = response.try_next().await {
                all.extend(parsed(&chunk));
            }
            all
        };
        let seen = paused(async { tokio::join!(response, act).0 });
        assert_eq!((last_reason(&seen), seen.iter().filter_map(log).count()), (reason, lines), "{seconds}");
    }
}

#[test]
fn the_time_that_was_asked_for_ends_also_who_waits_for_a_run() {
    for (exits_after, runs_after) in [(Some(1), None), (Some(1), Some(5)), (None, None), (Some(59), Some(61))] {
        let script = Script::new(vec![Printed::new(Stdout, 1, "1\n")], vec![3], RUNNING);
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let query = LogQuery { until: Some(until), ..RESTARTS };
        let act = async {
            if let Some(seconds) = exits_after {
                sleep(Duration::from_secs(seconds)).await;
                script.exit(1);
                script.cut(true);
            }
            if let Some(seconds) = runs_after {
                sleep(Duration::from_secs(seconds)).await;
                script.set_state(runs_since(2));
                script.print(&[Printed::new(Stdout, 2, "2\n")]);
            }
        };
        let seen = paused(async {
            let begun = tokio::time::Instant::now();
            let (seen, ()) = tokio::join!(timeout(Duration::from_secs(100), objects(&script, &query)), act);
            (seen.expect("it ends"), begun.elapsed())
        });
        assert_eq!(last_reason(&seen.0), "until", "{exits_after:?} {runs_after:?}");
    }
}
