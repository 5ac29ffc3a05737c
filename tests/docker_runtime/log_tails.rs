//! The last N lines, and what comes from a time on, are exact: of whatever order, times, driver and streams.
//!
//! The containers have exited, so that the whole log as the engine gives it says what is right.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{num::NonZeroU64, time::Duration};

use jiff::Timestamp;
use opensandbox_gateway::logs::LogQuery;

use crate::logged::{E, Logged, Make, O, file};

impl Logged {
    /// Every tail of these lengths is the end of what there is without.
    async fn tails_are_exact(&self, query: &LogQuery, lengths: impl IntoIterator<Item = usize>) -> usize {
        let all = self.text(query).await;
        let lines: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').collect();
        for length in lengths.into_iter().chain([lines.len().max(1), lines.len() + 1, 10 * lines.len() + 10]) {
            let tail = NonZeroU64::new(length as u64);
            let text = self.text(&LogQuery { tail, ..query.clone() }).await;
            let expected = lines[lines.len().saturating_sub(length)..].concat();
            self.same(&text, &expected, &format!("tail={length} of {}", lines.len()));
        }
        lines.len()
    }

    /// Tails of long lines, which an engine keeps in pieces.
    async fn long_tails_are_exact(&self, driver: &str, lines: &[&[u8]], lengths: &[usize]) {
        // Before 23, an engine's `local` drops the newline of a line that it cut.
        let keeps_newlines = self.text(&LogQuery::ALL).await == lines.concat();
        assert!(keeps_newlines || driver == "local", "{driver}");
        let kept = |line: &&[u8]| {
            let is_cut = !keeps_newlines && line.len() > 16 * 1024;
            line.strip_suffix(b"\n").filter(|_| is_cut).unwrap_or(line).to_vec()
        };
        for &length in lengths {
            let what = format!("{driver}: tail={length}");
            let query = LogQuery { tail: NonZeroU64::new(length as u64), ..LogQuery::ALL };
            let expected = lines[lines.len().saturating_sub(length)..].concat();
            let text = self.text(&query).await;
            self.same(&self.lines(query).await, &expected, &what);
            let expected: Vec<_> = lines[lines.len().saturating_sub(length)..].iter().flat_map(kept).collect();
            self.same(&text, &expected, &what);
        }
    }

    fn same(&self, text: &[u8], expected: &[u8], what: &str) {
        let count = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        let show = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned();
        assert!(
            text == expected,
            "{what}: {} lines instead of {}, sandbox {}:\n{}\ninstead of\n{}",
            count(text),
            count(expected),
            self.id,
            show(text),
            show(expected)
        );
    }

    /// `since` at the times of these lines gives what has that time or a later one.
    async fn sinces_are_exact(&self, at: impl IntoIterator<Item = usize>) {
        let all = self.text(&LogQuery { timestamps: true, ..LogQuery::ALL }).await;
        let lines: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').map(|line| (time(line), &line[31..])).collect();
        for at in at {
            let since = lines[at.min(lines.len() - 1)].0;
            let text = self.text(&LogQuery { since: Some(since), ..LogQuery::ALL }).await;
            let later = lines.iter().filter(|line| line.0 >= since).map(|line| line.1);
            self.same(&text, &later.collect::<Vec<_>>().concat(), &format!("since {since}"));
            let tail = NonZeroU64::new(3);
            let text = self.text(&LogQuery { since: Some(since), tail, ..LogQuery::ALL }).await;
            let later: Vec<_> = lines.iter().filter(|line| line.0 >= since).map(|line| line.1).collect();
            self.same(&text, &later[later.len().saturating_sub(3)..].concat(), &format!("tail=3 since {since}"));
        }
    }
}

fn time(line: &[u8]) -> Timestamp {
    std::str::from_utf8(&line[..30]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_out_of_order_are_counted_as_they_stand() {
    for records in [
        &[
            (10, 0, O, "a\n"),
            (11, 0, O, "b\n"),
            (12, 0, O, "c\n"),
            (13, 0, O, "d\n"),
            (19, 0, O, "e\n"),
            (18, 0, E, "f\n"),
        ][..],
        // A clock that was set back.
        &[(100, 0, O, "a\n"), (101, 0, O, "b\n"), (50, 0, O, "c\n"), (51, 0, O, "d\n")],
        // The two streams are stamped in two threads.
        &[(1, 100, O, "a\n"), (1, 300, O, "b\n"), (1, 200, E, "c\n")],
        &[(1, 5, O, "same\n"), (1, 5, E, "same\n"), (1, 5, O, "same\n"), (1, 5, O, "other\n"), (1, 5, E, "same\n")],
        &[(1, 0, O, "a\n"), (9, 0, O, "b\n"), (2, 0, O, "c\n"), (9, 0, E, "d\n"), (1, 0, O, "e\n"), (5, 0, O, "f")],
    ] {
        let logged = Logged::stamped(records).await;
        logged.tails_are_exact(&LogQuery::ALL, 1..=records.len()).await;
        logged.sinces_are_exact(0..records.len()).await;
        for tail in 1..=records.len() {
            let query = LogQuery { tail: NonZeroU64::new(tail as u64), ..LogQuery::ALL };
            logged.same(&logged.text(&query).await, &logged.engine_s(tail).await, &format!("the engine's {tail}"));
        }
        for query in [LogQuery { stdout: false, ..LogQuery::ALL }, LogQuery { stderr: false, ..LogQuery::ALL }] {
            logged.tails_are_exact(&query, 1..=records.len()).await;
        }
        logged.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_equal_times_are_counted_apart() {
    let texts: Vec<_> = (0..3000).map(|line| format!("line {}\n", line % 7)).collect();
    let records =
        texts.iter().enumerate().map(|(at, text)| (at as u64 / 900, 7, if at % 3 == 0 { E } else { O }, text.as_str()));
    let logged = Logged::stamped(&records.collect::<Vec<_>>()).await;
    logged.tails_are_exact(&LogQuery::ALL, [1, 2, 255, 256, 299, 300, 301, 900, 1200, 2999]).await;
    logged.tails_are_exact(&LogQuery { stdout: false, ..LogQuery::ALL }, [1, 2, 300, 999]).await;
    logged.sinces_are_exact([0, 899, 900, 2999]).await;
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_and_compressed_files_are_read_to_their_beginning() {
    let opts = [("max-size", "40k"), ("max-file", "5"), ("compress", "true")];
    let make = Make { driver: Some(("json-file", &opts)), ..Make::default() };
    let script = "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); echo line $i; done";
    let logged = Logged::ended(&make, script).await;
    // The engine compresses in the background.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lengths = [1, 2, 10, 100, 300, 500, 600, 700, 1000];
    let count = logged.tails_are_exact(&LogQuery::ALL, lengths).await;
    assert!(count > 1000, "{count} lines");
    for tail in lengths {
        let query = LogQuery { tail: NonZeroU64::new(tail as u64), ..LogQuery::ALL };
        logged.same(&logged.text(&query).await, &logged.engine_s(tail).await, &format!("the engine's {tail}"));
    }
    logged.sinces_are_exact([0, 1, 500, 1000, count - 2, count - 1]).await;
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loops_to_two_streams_are_counted() {
    let script = "(i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo out $i; done) &
                  (i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo err $i >&2; done) & wait";
    for driver in ["json-file", "local"] {
        let logged = Logged::ended(&Make { driver: Some((driver, &[])), ..Make::default() }, script).await;
        let lengths = [1, 2, 3, 100, 1000, 4075, 7000, 7999];
        assert_eq!(logged.tails_are_exact(&LogQuery::ALL, lengths).await, 8000);
        logged.tails_are_exact(&LogQuery { stderr: false, ..LogQuery::ALL }, [1, 10, 2000, 3999]).await;
        logged.sinces_are_exact([0, 1, 4000, 7000, 7998, 7999]).await;
        logged.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_below_a_flood_of_the_other_is_found() {
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo err $i >&2; done
                  i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo $i; done";
    let logged = Logged::ended(&Make::default(), script).await;
    let query = LogQuery { stdout: false, ..LogQuery::ALL };
    assert_eq!(logged.tails_are_exact(&query, [1, 10, 2000]).await, 3000);
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_s_long_lines_are_counted_as_lines() {
    let script =
        "i=0; while [ $i -lt 30 ]; do i=$((i+1)); head -c 40000 /dev/zero | tr '\\0' x; echo $i; done; echo end";
    for driver in ["json-file", "local"] {
        let logged = Logged::ended(&Make { driver: Some((driver, &[])), tty: true }, script).await;
        let all = logged.lines(LogQuery::ALL).await;
        let lines: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!((lines.len(), lines[0].len()), (31, 40_003), "{driver}");
        logged.long_tails_are_exact(driver, &lines, &[1, 2, 3, 10, 30, 31, 32, 100]).await;
        logged.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_of_any_driver_are_whole_and_counted() {
    let script =
        "i=0; while [ $i -lt 20 ]; do i=$((i+1)); head -c 40000 /dev/zero | tr '\\0' x; echo $i; echo short $i; done
                  head -c 16384 /dev/zero | tr '\\0' y; echo; echo end";
    for driver in ["json-file", "local"] {
        let logged = Logged::ended(&Make { driver: Some((driver, &[])), ..Make::default() }, script).await;
        let all = logged.lines(LogQuery::ALL).await;
        let lines: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!((lines.len(), lines[0].len(), lines[40].len()), (42, 40_002, 16_385), "{driver}");
        logged.long_tails_are_exact(driver, &lines, &[1, 2, 3, 4, 10, 39, 40, 41, 42, 43, 100]).await;
        logged.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_power_loss_has_cut_still_has_its_tail() {
    let texts: Vec<_> = (0..100).map(|line| format!("line {line}\n")).collect();
    let records: Vec<_> = texts.iter().enumerate().map(|(at, text)| (at as u64, 0, O, text.as_str())).collect();
    let logged = Logged::ended(&Make::default(), "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo again $i; done").await;
    let before = file(&records);
    let path = logged.file().await;
    std::fs::write(&path, [&before.as_bytes()[..before.len() - 30], &[0; 512]].concat()).unwrap();
    logged.fixture.engine.start_container(&logged.name(), None).await.unwrap();
    logged.has_ended().await;
    // The engine's own tail is right up to 49, and gives nothing for the record of the cut: one more than is wanted is read.
    for tail in [1, 2, 20, 48] {
        let expected: String = (51 - tail..=50).map(|line| format!("again {line}\n")).collect();
        let query = LogQuery { tail: NonZeroU64::new(tail as u64), ..LogQuery::ALL };
        logged.same(&logged.text(&query).await, expected.as_bytes(), &format!("tail={tail}"));
    }
    logged.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_goes_on_is_complete_and_has_nothing_twice() {
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; [ $((i % 500)) = 0 ] && sleep 0.05; done";
    for tty in [false, true] {
        let logged = Logged::start(&Make { tty, ..Make::default() }, script).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for tail in [1, 10, 3000] {
            let query = LogQuery { tail: NonZeroU64::new(tail), follow: true, ..LogQuery::ALL };
            let text = logged.text(&query).await;
            let numbers: Vec<u32> =
                String::from_utf8(text).unwrap().lines().map(|line| line.trim_end().parse().unwrap()).collect();
            assert!(!numbers.is_empty() && *numbers.last().unwrap() == 20_000, "{numbers:?}");
            let first = numbers[0];
            assert!(numbers.iter().copied().eq(first..=20_000), "from {first}, {} numbers", numbers.len());
        }
        logged.remove().await;
    }
}
