//! Tails that are counted in one read and given by another.

use std::num::NonZeroU64;

use super::{
    super::locate::MAX_HELD,
    Client, paused, reference,
    scripted::{Printed, Script},
    texts,
    whole::ENDED,
};
use crate::logs::{
    LogQuery,
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
