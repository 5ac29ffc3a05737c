//! Backends whose ends prove nothing, and those that cannot go on with a read: an API server's.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Client, RUNNING, Seen, ends, paused,
    scripted::{Printed, Script},
    texts,
};
use crate::logs::{LogQuery, record::Stream};

fn numbered(numbers: std::ops::Range<i64>) -> Vec<Printed> {
    numbers.map(|number| Printed::new(Stream::Stdout, number, &format!("{number}\n"))).collect()
}

fn numbers(seen: &[Seen]) -> Vec<i64> {
    texts(seen).iter().map(|text| text["stdout:".len()..].trim_end().parse().unwrap()).collect()
}

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
