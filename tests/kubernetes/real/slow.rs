//! Readers that are slow, and containers that are.

use std::time::Duration;

use super::stage::Real;
use crate::{
    logs::{check_order, check_told, number},
    portable::{PATIENCE, Program, Stage, Step, reason, stream},
    support::kube::resource::BATCH_SANDBOXES,
};

/// Lines that come as fast as a shell prints: more than what is on its way to a client that reads nothing, and more than two
/// files of a node with files of 1 MiB.
const FAST: u64 = 60_000;

/// Lines that come one by one behind them, for longer than a kubelet takes to look at its files again.
const SLOW: u64 = 15;

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn a_reader_that_is_late_is_told_what_is_missing() {
    let stage = Real::start().await;
    let script = format!(
        "p=$(head -c 200 /dev/zero | tr '\\0' p); sleep 1; i=0\n\
         while [ $i -lt {FAST} ]; do echo line-$i $p; i=$((i + 1)); done\n\
         while [ $i -lt {end} ]; do sleep 1; echo line-$i; i=$((i + 1)); done; exit 0",
        end = FAST + SLOW
    );
    let id = stage.create(&BATCH_SANDBOXES, stage.spec(&script, |_| {})).await;
    stage.started(&id).await;
    let mut late = stream(&stage, &id, "").await;
    // It reads nothing until the container is done with the fast ones, which another reader sees.
    stream(&stage, &id, "tail=1").await.until(|record| number(record).is_some_and(|number| number >= FAST)).await;
    let seen = late.until(|record| record["event"] == "end").await;
    // Numbers are missing where a gap is told alone: none where the node's files are large.
    let (gaps, lines) = check_told(&seen);
    assert!(gaps > 0 || u64::try_from(lines).unwrap() == FAST + SLOW);
    let [first, last] = [seen.iter().find_map(number), seen.iter().rev().find_map(number)];
    assert_eq!((first, last, reason(&seen)), (Some(0), Some(FAST + SLOW - 1), "exited"));
}

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn a_long_silence_is_no_end() {
    let stage = Real::start().await;
    // The gateway looks at a silent log after 10 s and after 20 s more.
    let silence = Duration::from_secs(33);
    assert!(silence < PATIENCE);
    let steps = [Step::Lines(0..2), Step::Pause(silence), Step::Slowly(2..4, Duration::from_secs(1))];
    let id = stage.sandbox(Program::exits(steps, 5)).await;
    let (mut all, mut tail) = (stream(&stage, &id, "").await, stream(&stage, &id, "tail=1").await);
    let (all, tail) =
        tokio::join!(all.until(|record| record["event"] == "end"), tail.until(|record| record["event"] == "end"));
    assert_eq!((check_order(&all), reason(&all)), ((0, 4), "exited"), "{all:?}");
    assert_eq!(check_order(&tail).0, 0, "{tail:?}");
    assert_eq!((tail.iter().rev().find_map(number), reason(&tail)), (Some(3), "exited"), "{tail:?}");
}
