//! A container that ends again and again.

use serde_json::Value;

use super::stage::Real;
use crate::{
    logs::{check_order, number},
    portable::{PATIENCE, ask, stream},
    support::kube::resource::BATCH_SANDBOXES,
};

/// How often it runs: with the kubelet's pauses of 0, 10 and 20 s, some 35 s in all.
const RUNS: u64 = 4;

/// Lines of a run.
const LINES: u64 = 5;

/// A run prints its lines at once and ends; the first waits until it is followed, and the last stays.
fn script() -> String {
    format!(
        "n=$(cat /state/n 2>/dev/null || echo 0); echo $((n + 1)) >/state/n; i=$((n * {LINES}))\n\
         while [ $i -lt $((n * {LINES} + {LINES})) ]; do echo line-$i; i=$((i + 1)); done\n\
         [ $n -gt 0 ] || sleep 3\n\
         [ $n -lt {last} ] || while :; do sleep 3600; done; exit 7",
        last = RUNS - 1
    )
}

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn a_crash_loop_is_followed_from_run_to_run() {
    let stage = Real::start().await;
    let id =
        stage.create(&BATCH_SANDBOXES, stage.spec(&script(), |spec| spec["restartPolicy"] = "Always".into())).await;
    stage.started(&id).await;
    let mut followed = stream(&stage, &id, "restarts=true").await;
    let seen = followed.until(|record| number(record) == Some(RUNS * LINES - 1)).await;
    // A node keeps the dead container of one instance only. So a gap may be told before a run, where nobody can know, but of
    // what is there nothing is missing and nothing comes twice.
    let lines: Vec<Value> = seen.iter().filter(|record| record["event"] != "gap").cloned().collect();
    let (_, count) = check_order(&lines);
    assert_eq!(seen.iter().find_map(number), Some(0));
    assert_eq!(u64::try_from(count).unwrap(), RUNS * LINES);
    // Where a run ends is told each time.
    let mut restarts = 0;
    for record in &seen {
        if record["event"] == "restart" {
            restarts += 1;
        }
        if let Some(number) = number(record) {
            assert_eq!(restarts, number / LINES, "line {number}: {seen:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster: scripts/test kubernetes --kubeconfig FILE"]
async fn an_instance_whose_log_the_node_removed_is_not_there() {
    let stage = Real::start().await;
    let pod = stage.spec("echo line-0; exit 7", |spec| spec["restartPolicy"] = "Always".into());
    let id = stage.create(&BATCH_SANDBOXES, pod).await;
    // The second has ended, and waits: the node removes the first's container, whose name the pod goes on to tell.
    let start = std::time::Instant::now();
    loop {
        let status = stage.started(&id).await["status"]["containerStatuses"][0].take();
        // For a moment it is told as ended, and from then on as waiting to be started again.
        if status["restartCount"] == 1 && status["state"]["running"].is_null() {
            break;
        }
        assert!(start.elapsed() < PATIENCE && status["restartCount"] != 2, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    loop {
        let answer = ask(&stage, "GET", &format!("/sandboxes/{id}/logs?previous=true"), "").await;
        match answer.status() {
            404 => break assert_eq!(answer.code(), "LOGS::PREVIOUS_NOT_FOUND", "{answer}"),
            // For as long as it is there.
            200 => assert_eq!(&*answer.body, b"line-0\n", "{answer}"),
            _ => panic!("{answer}"),
        }
        assert!(start.elapsed() < PATIENCE, "the node keeps more than one dead container");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}
