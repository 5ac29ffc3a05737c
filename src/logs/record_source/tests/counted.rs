//! Tails that are counted in one read and given by another.

use std::num::NonZeroU64;

use super::{
    Client, paused, reference,
    scripted::{Printed, Script},
    texts,
    whole::ENDED,
};
use crate::logs::{
    LogQuery,
    held::{IS_USED_UP, MAX_HELD},
    record::Stream::{Stderr, Stdout},
};

#[test]
fn what_is_not_known_at_the_end_of_a_window_cuts_nothing_off() {
    // Too much to be held, and stderr begins so late that its records' numbers in the whole log are not known.
    let line = |number: i64| Printed::new(Stdout, number, &format!("{number:0>511}\n"));
    let mut printed: Vec<_> = (0..6_000).map(line).collect();
    printed.extend((0..50).map(|number| Printed::new(Stderr, 6_000, &format!("{number}\n"))));
    let tail = 600;
    assert!(8 * 512 * (tail as usize) > MAX_HELD);
    let query = LogQuery { tail: NonZeroU64::new(tail), stderr: false, ..LogQuery::ALL };
    for batch in [1, 7, 40, 100, 350, 1_000] {
        let script = Script::new(printed.clone(), vec![batch], ENDED);
        let seen = paused(async { Client::open(&script, &query).await.unwrap().all().await });
        let expected = reference(&printed, &query, crate::logs::backend::Backend::run(&script));
        assert_eq!(texts(&seen).len(), 600, "{batch}");
        assert!(texts(&seen) == texts(&expected), "{batch}");
    }
}

#[test]
fn who_finds_no_room_reads_again_and_gets_the_same() {
    let lines =
        (0..700).map(|number| Printed::new([Stdout, Stderr][number as usize % 2], number, &format!("{number}\n")));
    let printed: Vec<_> = lines.collect();
    let read = |is_used_up| {
        IS_USED_UP.set(is_used_up);
        let script = Script::new(printed.clone(), vec![9], ENDED);
        let seen = paused(async {
            let tail = LogQuery { tail: NonZeroU64::new(300), ..LogQuery::ALL };
            let tail = Client::open(&script, &tail).await.unwrap().all().await;
            let after = tail.iter().find_map(super::Seen::cursor);
            let since = jiff::Timestamp::from_nanosecond(650).ok();
            let rest = Client::open(&script, &LogQuery { after, ..LogQuery::ALL }).await.unwrap().all().await;
            let late = Client::open(&script, &LogQuery { since, ..LogQuery::ALL }).await.unwrap().all().await;
            (tail, rest, late)
        });
        IS_USED_UP.set(false);
        (seen, script.windows().len())
    };
    let ((held, reads), (read_again, more_reads)) = (read(false), read(true));
    assert_eq!((texts(&held.0).len(), texts(&held.1).len()), (300, 299));
    assert!(held == read_again);
    assert!(more_reads > reads, "{more_reads} {reads}");
}
