//! Logs whose instance, pod or owner changes while they are read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Records,
    fixture::{NAMESPACE, Sandbox, World},
    number, records,
};
use crate::support::{client, gateway::Gateway, kube::resource::BATCH_SANDBOXES};

const PATIENCE: Duration = Duration::from_secs(60);

async fn follow(sandbox: &Sandbox<'_>, gateway: &Gateway, query: &str) -> Records {
    Records::new(sandbox.follow(gateway, &format!("format=ndjson{query}")).await)
}

fn print(sandbox: &Sandbox<'_>, lines: std::ops::Range<u64>) {
    for line in lines {
        sandbox.container.out(format!("line-{line}\n"));
    }
}

/// What records are, in short: the numbers of lines, and the names of events.
fn short(records: &[Value]) -> Vec<String> {
    let of = |record: &Value| match number(record) {
        Some(number) => number.to_string(),
        None => record["event"].as_str().unwrap_or("?").to_owned(),
    };
    records.iter().map(of).collect()
}

/// What comes behind a record, in short.
async fn after(sandbox: &Sandbox<'_>, gateway: &Gateway, record: &Value) -> Vec<String> {
    let token = record["id"].as_str().unwrap();
    short(&records(&sandbox.read(gateway, &format!("format=ndjson&after={token}")).await))
}

/// Waits until the gateway knows whether the sandbox has a pool's pod.
async fn knows(gateway: &Gateway, sandbox: &Sandbox<'_>, has_pod: bool) {
    let target = format!("/v1/sandboxes/{}", sandbox.id);
    let begun = Instant::now();
    loop {
        let answer = client::get_once(gateway.address(), &target).await;
        if has_pod == (answer.status() == 200 && !answer.json()["allocation"].is_null()) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "the gateway does not know: {answer:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_pools_pod_is_read_only_while_the_sandbox_has_it() {
    let world = World::start();
    let gateway = world.gateway("");
    for is_deleted in [true, false] {
        let pod = world.pool_pod(if is_deleted { "pool-0" } else { "pool-1" });
        let sandbox = world.pooled(&pod);
        knows(&gateway, &sandbox, true).await;
        let mut stream = follow(&sandbox, &gateway, "").await;
        print(&sandbox, 0..1);
        let seen = stream.until(|record| number(record) == Some(0)).await;
        assert_eq!(short(&seen), ["notice", "0"]);
        if is_deleted {
            world.server.remove(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id);
        } else {
            let release = json!({"pods": [pod.name]}).to_string();
            let patch = json!({"metadata": {"annotations": {"sandbox.opensandbox.io/alloc-release": release}}});
            world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &patch);
        }
        knows(&gateway, &sandbox, false).await;
        // It is another's now.
        let other = world.pooled(&pod);
        knows(&gateway, &other, true).await;
        print(&other, 1..3);
        let mut theirs = follow(&other, &gateway, "").await;
        theirs.until(|record| number(record) == Some(2)).await;
        let rest = stream.until(|record| record["event"] == "end").await;
        assert_eq!((short(&rest), rest[0]["reason"].as_str()), (vec!["end".to_owned()], Some("removed")));
    }
}

#[tokio::test]
async fn a_pod_that_is_replaced_is_waited_for_and_told() {
    let world = World::start();
    let gateway = world.gateway("");
    let mut sandbox = world.sandbox();
    print(&sandbox, 0..3);
    let mut one = follow(&sandbox, &gateway, "").await;
    let mut all = follow(&sandbox, &gateway, "&restarts=true").await;
    for stream in [&mut one, &mut all] {
        stream.until(|record| number(record) == Some(2)).await;
    }
    sandbox.lose_pod();
    // The node takes its time.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    sandbox.replace_pod();
    print(&sandbox, 3..6);
    let seen = one.until(|record| record["event"] == "end").await;
    assert_eq!(
        (short(&seen), seen[1]["reason"].as_str()),
        (vec!["gap".to_owned(), "end".to_owned()], Some("restarted"))
    );
    let seen = all.until(|record| number(record) == Some(5)).await;
    assert_eq!(short(&seen), ["gap", "restart", "3", "4", "5"]);
    // Tokens are of the new pod.
    assert_eq!(after(&sandbox, &gateway, &seen[1]).await, ["3", "4", "5", "end"]);
    assert_eq!(after(&sandbox, &gateway, &seen[3]).await, ["5", "end"]);
    assert_eq!(after(&sandbox, &gateway, &seen[4]).await, ["end"]);
    sandbox.remove();
    let rest = all.until(|record| record["event"] == "end").await;
    assert_eq!((short(&rest), rest[0]["reason"].as_str()), (vec!["end".to_owned()], Some("removed")));
}

#[tokio::test]
async fn instances_are_told_apart_whatever_the_clock_says() {
    let world = World::start();
    let gateway = world.gateway("");
    let mut sandbox = world.sandbox();
    print(&sandbox, 0..3);
    let mut stream = follow(&sandbox, &gateway, "&restarts=true").await;
    stream.until(|record| number(record) == Some(2)).await;
    sandbox.restart(1);
    // The clock was set back, by more than all of the log.
    let early = "2020-01-01T00:00:00Z".parse().unwrap();
    for line in 3..6 {
        sandbox.container.print_at(early, crate::support::kube::logs::Stream::Stdout, format!("line-{line}\n"));
    }
    let seen = stream.until(|record| number(record) == Some(5)).await;
    assert_eq!(short(&seen), ["restart", "3", "4", "5"]);
    assert_eq!(after(&sandbox, &gateway, &seen[0]).await, ["3", "4", "5", "end"]);
    assert_eq!(after(&sandbox, &gateway, &seen[2]).await, ["5", "end"]);
    // It crashes at once and is begun again within the same second.
    sandbox.restart(2);
    print(&sandbox, 6..7);
    let seen = stream.until(|record| number(record) == Some(6)).await;
    assert_eq!(short(&seen), ["restart", "6"]);
    let token = seen[1]["id"].as_str().unwrap().to_owned();
    sandbox.exit(0);
    let rest = sandbox.read(&gateway, &format!("format=ndjson&follow=true&after={token}")).await;
    assert_eq!(records(&rest).last().unwrap()["reason"], "exited");
}
