//! Where a log begins: tails, times, and tokens.

use std::num::NonZeroU64;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    super::RecordSource,
    Client, RUNNING, Seen, ends,
    generated::{sane, wild},
    paused, reference,
    scripted::{Printed, Script},
    texts,
};
use crate::logs::{
    LogQuery,
    backend::{Backend as _, Exit, Start, State},
    cursor::{Cursor, RunId},
    record::{Mark, Place, Record, Stream},
    select::Filter,
};
use Stream::{Stderr as E, Stdout as O};

const ENDED: State = State::Ended { exit: Exit { code: Some(0), oom: false, finished_at: None }, started: None };

fn logs() -> impl Strategy<Value = Vec<Printed>> {
    prop_oneof![4 => sane(0..40), 4 => wild(0..40), 1 => sane(250..700), 1 => wild(250..300)]
}

fn batches() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1_usize..4, 1_usize..400], 1..4)
}

fn filters() -> impl Strategy<Value = Filter> {
    let search = |text: &str| Filter::new(Vec::new(), false, [text.as_bytes().to_vec()]);
    prop::sample::select(vec![Filter::ALL, Filter::ALL, search("a"), search("x"), search("1"), search("no line")])
}

fn read(script: &std::sync::Arc<Script>, query: &LogQuery) -> Vec<Seen> {
    paused(async { Client::open(script, query).await.unwrap().all().await })
}

fn lines(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.retain(|seen| matches!(seen, Seen::Line(..)));
    seen
}

/// Whether a time of a stream comes again behind another one of it.
fn has_time_again(printed: &[Printed]) -> bool {
    Stream::ALL.into_iter().any(|stream| {
        let mut times: Vec<_> = printed.iter().filter(|it| it.stream == stream).map(|it| it.time).collect();
        times.dedup();
        let runs = times.len();
        times.sort_unstable();
        times.dedup();
        times.len() < runs
    })
}

/// Whether a line without a newline is followed by another one, of its stream or of the other.
fn has_late_line(printed: &[Printed]) -> bool {
    let is_last = |it: &Printed| printed.last().is_some_and(|last| std::ptr::eq(last, it));
    Stream::ALL.into_iter().any(|stream| {
        let printed: Vec<_> = printed.iter().filter(|it| it.stream == stream).collect();
        let is_open = printed.last().is_some_and(|last| !last.bytes.ends_with(b"\n") && !is_last(last));
        is_open || printed.windows(2).any(|pair| !pair[0].bytes.ends_with(b"\n") && pair[0].time != pair[1].time)
    })
}

fn tail(lines: u64) -> LogQuery {
    LogQuery { tail: NonZeroU64::new(lines), ..LogQuery::ALL }
}

proptest! {
    #[test]
    fn a_tail_is_the_last_lines(
        printed in logs(),
        batches in batches(),
        last in prop_oneof![1_u64..8, 1_u64..400],
        streams in 1_u8..4,
        since in prop::option::of(0_usize..400),
        filter in filters(),
        most in prop_oneof![3 => Just(None), 1 => (0_usize..30).prop_map(Some)],
    ) {
        // Behind a time that comes again there is no telling from the end.
        let is_sane = printed.iter().all(|record| record.bytes.len() <= 2) && !has_time_again(&printed);
        let is_ordered = !has_late_line(&printed);
        let since = since.and_then(|at| printed.get(at)).filter(|_| is_sane || printed.len() < 250);
        let since = since.map(|record| Timestamp::from_nanosecond(i128::from(record.time)).unwrap());
        let query = LogQuery {
            stdout: streams & 1 != 0, stderr: streams & 2 != 0, since, filter, ..tail(last)
        };
        let script = Script::new(printed.clone(), batches, ENDED);
        if let Some(most) = most {
            script.damage(most);
        }
        let seen = read(&script, &query);
        prop_assert_eq!(ends(&seen), ["complete"]);
        let expected = reference(&printed, &query, script.run());
        if !is_ordered {
            // Such a line is given behind lines that were printed after it, and which of them are the last is not settled.
            prop_assert_eq!(texts(&seen).len(), texts(&expected).len());
        } else if is_sane {
            prop_assert_eq!(lines(seen), expected);
        } else {
            // A time that comes again has other numbers in a window; its records are told apart by their bytes.
            prop_assert_eq!(texts(&seen), texts(&expected));
        }
    }

    #[test]
    fn a_time_begins_with_all_of_it(printed in logs(), batches in batches(), since in 0_usize..700) {
        let since = printed.get(since).map(|record| Timestamp::from_nanosecond(i128::from(record.time)).unwrap());
        let query = LogQuery { since, ..LogQuery::ALL };
        let script = Script::new(printed.clone(), batches, ENDED);
        prop_assert_eq!(lines(read(&script, &query)), reference(&printed, &query, script.run()));
    }

    #[test]
    fn what_follows_a_token_is_the_rest(
        printed in prop_oneof![4 => sane(0..40), 4 => wild(0..40), 1 => sane(250..700)],
        batches in batches(),
        more in sane(0..4),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        first in prop::option::of(1_u64..20),
        most in prop_oneof![3 => Just(None), 1 => (0_usize..30).prop_map(Some)],
    ) {
        let script = Script::new(printed.clone(), batches, ENDED);
        let before = read(&script, &LogQuery { tail: first.and_then(NonZeroU64::new), ..LogQuery::ALL });
        let before = lines(before);
        if before.is_empty() {
            return Ok(());
        }
        let mut printed = printed;
        let latest = printed.iter().map(|record| record.time).max().unwrap();
        let more: Vec<_> = more.into_iter().map(|record| Printed { time: record.time + latest + 1, ..record }).collect();
        printed.extend_from_slice(&more);
        script.print(&more);
        if let Some(most) = most {
            script.damage(most);
        }
        let whole = reference(&printed, &LogQuery::ALL, script.run());
        for pick in picks {
            let pick = pick.get(&before);
            let after = pick.cursor().unwrap();
            let after = Cursor::parse(&after.token()).unwrap();
            let Some(at) = whole.iter().position(|seen| seen.cursor() == Some(after)) else {
                // An unfinished line that more was printed to has no place of its own, or it was not finished in its order.
                continue;
            };
            let seen = read(&script, &LogQuery { after: Some(after), ..LogQuery::ALL });
            prop_assert_eq!(ends(&seen), ["complete"], "after {:?}", &whole[at]);
            prop_assert_eq!(texts(&seen), texts(&whole[at + 1..]), "after {:?}", &whole[at]);
        }
    }
}

#[test]
fn clocks_that_are_set_back_move_no_tail() {
    const SECOND: i64 = 1_000_000_000;
    for times in [[10, 11, 12, 13, 19, 18], [100, 101, 50, 51, 52, 53]] {
        let printed: Vec<_> =
            times.iter().enumerate().map(|(at, time)| Printed::new(O, time * SECOND, &format!("{at}\n"))).collect();
        for last in 1..8 {
            let script = Script::new(printed.clone(), vec![1], ENDED);
            let seen = read(&script, &tail(last));
            assert_eq!(lines(seen), reference(&printed, &tail(last), script.run()), "{times:?} {last}");
        }
    }
}

#[test]
fn a_token_near_the_end_of_a_busy_log_reads_little() {
    let printed: Vec<_> = (0..20_000).map(|at| Printed::new(O, at, &format!("{at}\n"))).collect();
    let script = Script::new(printed.clone(), vec![500], ENDED);
    let whole = reference(&printed, &LogQuery::ALL, script.run());
    let after = whole[19_900].cursor();
    let seen = read(&script, &LogQuery { after, ..LogQuery::ALL });
    assert_eq!(lines(seen), &whole[19_901..]);
    let windows = script.windows();
    assert!(windows.iter().all(|window| window.last.is_some_and(|last| last.get() < 5_000)), "{windows:?}");
}

#[test]
fn what_a_token_cannot_find_is_told() {
    let printed: Vec<_> = (10..20).map(|at| Printed::new(O, at, &format!("{at}\n"))).collect();
    let script = Script::new(printed.clone(), vec![3], ENDED);
    let whole = reference(&printed, &LogQuery::ALL, script.run());
    script.rotate(4);
    let rotated = read(&script, &LogQuery { after: whole[2].cursor(), ..LogQuery::ALL });
    assert_eq!((ends(&rotated), lines(rotated)), (vec!["rotated", "complete"], whole[6..].to_vec()));
    let exact = read(&script, &LogQuery { after: whole[6].cursor(), ..LogQuery::ALL });
    assert_eq!((ends(&exact), lines(exact)), (vec!["complete"], whole[7..].to_vec()));
    let record = Record { stream: E, place: Place { time: 17, ordinal: 0 }, start: 0, end: 0 };
    let strange = Cursor::after(script.run(), Mark::of(&record, b"?"));
    let seen = read(&script, &LogQuery { after: Some(strange), ..LogQuery::ALL });
    assert_eq!((ends(&seen), lines(seen)), (vec!["cursor_expired", "complete"], whole[8..].to_vec()));
    let other = Cursor { run: RunId::of("ffff"), ..whole[6].cursor().unwrap() };
    let seen = read(&script, &LogQuery { after: Some(other), ..LogQuery::ALL });
    assert_eq!((ends(&seen), lines(seen)), (vec!["cursor_expired", "complete"], whole[6..].to_vec()));
    script.rotate(0);
    let seen = read(&script, &LogQuery { after: whole[6].cursor(), ..LogQuery::ALL });
    assert_eq!((ends(&seen), texts(&seen)), (vec!["rotated", "complete"], vec![]));
}

#[test]
fn an_end_is_over_only_while_it_lasts() {
    let run = RunId::of("0123456789abcdef");
    let end = Cursor { run, mark: None, in_line: false, other: None, left_out: [false; 2], ended: true };
    for (state, run, expected) in [
        (ENDED, run, true),
        (State::Removed, run, true),
        (RUNNING, run, false),
        (State::Created, run, false),
        (ENDED, RunId::of("other"), false),
    ] {
        assert_eq!(RecordSource::is_over(&end, run, state), expected, "{state:?}");
    }
    assert!(!RecordSource::is_over(&Cursor { ended: false, ..end }, run, ENDED));
    // Runs that have names are told apart by them, also without a record.
    for (number, expected) in [(0, true), (1, false)] {
        let [ended, now] = [0, number].map(|number| RunId::of_instance("uid", "main", number));
        let started = Some(Start { run: Some(now), ..Start::new(1, None) });
        let state = State::Ended { exit: Exit::default(), started };
        assert_eq!(RecordSource::is_over(&Cursor { run: ended, ..end }, ended, state), expected, "{number}");
    }
    // It was started again, and has ended again.
    let mark = Mark { stream: Stream::Stdout, place: Place { time: 1, ordinal: 0 }, sum: 0 };
    for (at, expected) in [(2, true), (1_000_000_000, false)] {
        let started = Some(Start::new(at, Some(i64::MIN)));
        let state = State::Ended { exit: Exit::default(), started };
        assert_eq!(RecordSource::is_over(&Cursor { mark: Some(mark), ..end }, run, state), expected, "{at}");
    }
}
