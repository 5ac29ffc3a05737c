//! Pods that are lost, replaced or given to others, and what the cluster cannot give.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    Records, check_order,
    fixture::{MAIN, NAMESPACE, Sandbox, World},
    number, records,
};
use crate::support::{
    LONGEST, bounded,
    client::Client,
    eventually,
    gateway::Gateway,
    kube::{
        logs::{Ending, Fault, PodObject, Reach, Runtime, Status, StreamGate},
        resource::{BATCH_SANDBOXES, PODS},
    },
};

#[tokio::test]
async fn a_pod_that_is_evicted_has_ended() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    stream.until(|record| number(record) == Some(0)).await;
    let status = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
    world.server.patch(&PODS, NAMESPACE, &sandbox.pod(), &status);
    sandbox.container.out("line-1\n");
    sandbox.exit(137);
    let seen = stream.until(|record| record["event"] == "end").await;
    let end = seen.last().unwrap();
    assert_eq!((end["reason"].as_str(), end["exit_code"].as_i64()), (Some("exited"), Some(137)), "{seen:?}");
    assert_eq!(check_order(&seen), (0, 1));
}

/// The kubelet removes what an evicted pod has left, and says so in its answer (E2), which is what it says too while its runtime is
/// down.
#[tokio::test]
async fn the_log_of_an_evicted_pod_is_gone_for_good() {
    let world = World::start();
    let gateway = world.gateway("");
    let mut sandbox = world.sandbox();
    let first = sandbox.container.clone();
    sandbox.restart(1);
    sandbox.container.out("line-0\n");
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    let seen = stream.until(|record| number(record) == Some(0)).await;
    let token = seen.last().unwrap()["id"].as_str().unwrap().to_owned();
    sandbox.exit(137);
    let node = sandbox.container.node().clone();
    node.set_runtime(Runtime::Down);
    let answer = sandbox.read(&gateway, "").await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "LOGS::ENGINE_UNAVAILABLE"), "{answer}");
    node.set_runtime(Runtime::Up);
    world.logs.forget(&first);
    world.logs.forget(&sandbox.container);
    world.server.patch(&PODS, NAMESPACE, &sandbox.pod(), &json!({"status": {"phase": "Failed", "reason": "Evicted"}}));
    let begun = Instant::now();
    let seen = stream.until(|record| record["event"] == "end").await;
    let end = seen.last().unwrap();
    assert_eq!((end["reason"].as_str(), end["exit_code"].as_i64()), (Some("exited"), Some(137)), "{seen:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    is_gone(&sandbox, &gateway).await;
    let answer = sandbox.read(&gateway, "previous=true").await;
    assert_eq!((answer.status(), answer.code().as_str()), (404, "LOGS::PREVIOUS_NOT_FOUND"), "{answer}");
    // Who comes back is told that the rest is not to be had.
    for (query, reason) in [("", "complete"), ("&follow=true", "exited")] {
        let seen = records(&sandbox.read(&gateway, &format!("format=ndjson&after={token}{query}")).await);
        let told: Vec<_> = seen.iter().map(|record| record["event"].as_str().unwrap_or_default()).collect();
        assert_eq!((told, seen[1]["reason"].as_str()), (vec!["gap", "end"], Some(reason)), "{seen:?}");
    }
    let answer = sandbox.read(&gateway, &format!("format=ndjson&after={}", end["id"].as_str().unwrap())).await;
    assert_eq!(answer.status(), 204, "{answer}");
    // Another pod may come in its place.
    let mut waiting = Records::new(sandbox.follow(&gateway, "format=ndjson&restarts=true").await);
    world.server.remove(&PODS, NAMESPACE, &sandbox.pod());
    sandbox.replace_pod();
    sandbox.container.out("line-1\n");
    waiting.until(|record| number(record) == Some(1)).await;
}

/// Its node's runtime is started again meanwhile.
#[tokio::test]
async fn the_log_of_an_evicted_pod_that_is_still_there_is_read_to_its_end() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    let mut seen = stream.until(|record| number(record) == Some(0)).await;
    let node = sandbox.container.node();
    node.set_runtime(Runtime::Down);
    node.kill();
    sandbox.container.out("line-1\n");
    sandbox.exit(137);
    world.server.patch(&PODS, NAMESPACE, &sandbox.pod(), &json!({"status": {"phase": "Failed", "reason": "Evicted"}}));
    node.set_reach(Reach::Up);
    let begun = Instant::now();
    while sandbox.read(&gateway, "").await.code() != "LOGS::LOG_NOT_FOUND" {
        assert!(begun.elapsed() < LONGEST);
    }
    // Not for long: a log that is refused is believed to be lost after 5 s.
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.set_runtime(Runtime::Up);
    seen.extend(stream.until(|record| record["event"] == "end").await);
    assert_eq!(seen.last().unwrap()["reason"], "exited", "{seen:?}");
    assert_eq!(check_order(&seen), (0, 2));
}

/// A container that the kubelet did not find any more when its pod ended, and one of which it never told.
#[tokio::test]
async fn the_log_of_a_container_that_nobody_knows_is_gone_for_good() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let unknown = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}});
    let status = json!([{"name": MAIN, "restartCount": 0, "state": unknown, "lastState": {}}]);
    let status = json!({"status": {"phase": "Failed", "containerStatuses": status}});
    world.server.patch(&PODS, NAMESPACE, &sandbox.pod(), &status);
    is_gone(&sandbox, &gateway).await;
    let untold = world.sandbox_of(world.logs.container(), |pod| pod.unreported(MAIN).phase("Failed"));
    is_gone(&untold, &gateway).await;
}

async fn is_gone(sandbox: &Sandbox<'_>, gateway: &Gateway) {
    for query in ["", "follow=true", "format=ndjson&follow=true", "tail=5", "since=1h"] {
        let answer = sandbox.read(gateway, query).await;
        assert_eq!((answer.status(), answer.code().as_str()), (404, "LOGS::LOG_NOT_FOUND"), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_come_back_is_a_backend_that_is_lost() {
    let world = World::start();
    let gateway = world.gateway("reconnect_seconds = 1");
    let sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    let mut text = sandbox.follow(&gateway, "").await;
    assert_eq!(text.body_of(7).await, "line-0\n");
    stream.until(|record| number(record) == Some(0)).await;
    sandbox.container.node().kill();
    let seen = stream.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "backend_lost", "{seen:?}");
    text.body().await.expect_err("a text that is not over does not end cleanly");
    // The sandbox is taken away with the node: that is an end.
    sandbox.container.node().set_reach(Reach::Up);
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    stream.until(|record| number(record) == Some(0)).await;
    sandbox.container.node().kill();
    sandbox.remove();
    let seen = stream.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "removed", "{seen:?}");
}

#[tokio::test]
async fn pods_that_are_replaced_are_told_as_restarts() {
    let world = World::start();
    let gateway = world.gateway("");
    let mut sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    let mut one = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    let mut all = Records::new(sandbox.follow(&gateway, "format=ndjson&restarts=true").await);
    for stream in [&mut one, &mut all] {
        stream.until(|record| number(record) == Some(0)).await;
    }
    for turn in 1..3 {
        // Starts are told in whole seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let old = std::mem::replace(&mut sandbox.container, world.logs.container());
        world.server.remove(&PODS, NAMESPACE, &sandbox.pod());
        let status = Status::running(&sandbox.container);
        sandbox.container.out(format!("line-{turn}\n"));
        let pod = PodObject::new(NAMESPACE, &sandbox.pod())
            .label("opensandbox.io/id", &sandbox.id)
            .label("batch-sandbox.sandbox.opensandbox.io/name", &sandbox.id)
            .container("sandbox", &status);
        world.server.create(&PODS, NAMESPACE, pod.json());
        old.exit();
        let seen = all.until(|record| number(record) == Some(turn)).await;
        let told: Vec<_> = seen.iter().filter_map(|record| record["event"].as_str()).collect();
        assert_eq!(told.last(), Some(&"restart"), "{seen:?}");
        assert_eq!(seen.iter().filter_map(number).collect::<Vec<_>>(), [turn], "{seen:?}");
    }
    let seen = one.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "restarted", "{seen:?}");
    assert_eq!(seen.iter().filter_map(number).count(), 0, "{seen:?}");
}

#[tokio::test]
async fn a_pool_s_pod_is_read_while_the_sandbox_has_it() {
    let world = World::start();
    let gateway = world.gateway("");
    let container = world.logs.container();
    container.out("line-0\n");
    let status = Status::running(&container);
    let pod = PodObject::new(NAMESPACE, "pool-7").container("main", &status);
    world.server.create(&PODS, NAMESPACE, pod.json());
    let sandbox = world.sandbox();
    let has = |pods: &str| {
        json!({
            "metadata": {
                "finalizers": ["pool.sandbox.opensandbox.io/pool-allocation"],
                "annotations": {"sandbox.opensandbox.io/alloc-status": format!("{{\"pods\":[{pods}],\"poolRef\":\"pool\"}}")},
            },
            "spec": {"poolRef": "pool"},
        })
    };
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &has("\"pool-7\""));
    let is_pooled = async {
        while sandbox.read(&gateway, "").await.body != "line-0\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    bounded("the pool's pod", is_pooled).await;
    let seen = records(&sandbox.read(&gateway, "format=ndjson").await);
    assert_eq!((seen[0]["event"].as_str(), seen[0]["code"].as_str()), (Some("notice"), Some("POOL_TASK_OUTPUT")));
    assert_eq!(number(&seen[1]), Some(0), "{seen:?}");
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    stream.until(|record| number(record) == Some(0)).await;
    // Given back, the pod lives on, and is another sandbox's.
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &has(""));
    let seen = stream.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "removed", "{seen:?}");
    eventually("the release", Duration::from_secs(20), || world.logs.open() == 0).await;
    container.out("another's\n");
    let answer = sandbox.read(&gateway, "").await;
    assert_eq!((answer.status(), answer.code().as_str()), (409, "LOGS::NOT_STARTED"), "{:?}", answer.body);
}

#[tokio::test]
async fn one_stream_alone_is_given_where_the_cluster_can() {
    let world = World::start();
    let sandbox = world.sandbox();
    for line in 0..3 {
        sandbox.container.out(format!("line-{line}\n"));
        sandbox.container.err(format!("line-{}\n", 10 + line));
    }
    for (gate, can) in [
        (StreamGate::Off, false),
        (StreamGate::Unknown, false),
        (StreamGate::ApiServerOnly, false),
        (StreamGate::On, true),
    ] {
        world.logs.set_gate(gate);
        let gateway = world.gateway("");
        for (query, first) in [("stderr=false", 0), ("stdout=false", 10)] {
            let answer = sandbox.read(&gateway, &format!("format=ndjson&{query}")).await;
            if !can {
                assert_eq!(answer.status(), 422, "{gate:?} {query}: {:?}", answer.body);
                continue;
            }
            let seen = records(&answer);
            assert_eq!(seen.iter().filter_map(number).collect::<Vec<_>>(), [first, first + 1, first + 2], "{query}");
            let last = records(&sandbox.read(&gateway, &format!("format=ndjson&tail=2&{query}")).await);
            assert_eq!(last.iter().filter_map(number).collect::<Vec<_>>(), [first + 1, first + 2], "{query}");
        }
        if can {
            // Kubernetes holds the head of a silent stream back.
            let silent = world.sandbox();
            let mut client = Client::connect(gateway.address()).await;
            let target = silent.target("follow=true&stdout=false");
            let head = client.get(&target);
            assert_eq!(tokio::time::timeout(Duration::from_secs(20), head).await.expect("a head").status, 200);
            silent.container.out("no\n");
            silent.container.err("yes\n");
            assert_eq!(client.body_of(4).await, "yes\n");
        }
    }
}

#[tokio::test]
async fn what_came_between_is_read_by_its_time_in_one_answer() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let print = |lines: std::ops::Range<u64>| lines.for_each(|line| sandbox.container.out(format!("line-{line}\n")));
    print(0..20_000);
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson&tail=10").await);
    let mut seen = stream.until(|record| number(record) == Some(19_999)).await;
    let reads = world.logs.requests().len();
    sandbox.container.node().kill();
    // Some share a time with the last one.
    print(20_000..26_000);
    sandbox.container.node().set_reach(Reach::Up);
    seen.extend(stream.until(|record| number(record) == Some(25_999)).await);
    assert_eq!(check_order(&seen), (0, 6_010));
    let requests = world.logs.requests().split_off(reads);
    assert!(requests.iter().any(|request| request.value("sinceTime").is_some()), "{requests:?}");
    let longest = requests.iter().filter_map(|request| request.value("tailLines")?.parse::<u64>().ok()).max();
    assert!(longest <= Some(1024), "{requests:?}");
}

#[tokio::test]
async fn lines_of_one_nanosecond_come_again_neither_twice_nor_never() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let time = jiff::Timestamp::now();
    let print = |lines: std::ops::Range<u64>| {
        for line in lines {
            let text = format!("line-{line}\n");
            sandbox.container.print_at(time, crate::support::kube::logs::Stream::Stdout, text);
        }
    };
    print(0..600);
    let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    let mut seen = stream.until(|record| number(record) == Some(599)).await;
    for turn in 1..4 {
        sandbox.container.node().kill();
        print(600 * turn..600 * (turn + 1));
        sandbox.container.node().set_reach(Reach::Up);
        let last = 600 * (turn + 1) - 1;
        seen.extend(stream.until(|record| number(record) == Some(last)).await);
    }
    assert_eq!(check_order(&seen), (0, 2400));
}

#[tokio::test]
async fn a_read_that_seems_to_end_early_is_neither_a_gap_nor_a_tail() {
    let world = World::start();
    let gateway = world.gateway("");
    for behind in 0..6 {
        let sandbox = world.sandbox();
        let print =
            |lines: std::ops::Range<u64>| lines.for_each(|line| sandbox.container.out(format!("line-{line}\n")));
        print(0..300);
        let mut stream = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
        let mut seen = stream.until(|record| number(record) == Some(299)).await;
        let cut = || Fault::cut(1000, Ending::Clean).of(&sandbox.pod()).behind(behind);
        world.logs.fault(cut());
        sandbox.container.node().kill();
        print(300..900);
        sandbox.container.node().set_reach(Reach::Up);
        seen.extend(stream.until(|record| number(record) == Some(899)).await);
        assert_eq!(check_order(&seen), (0, 900), "behind {behind}");
        drop(stream);
        world.logs.heal();
        world.logs.fault(cut());
        let last = records(&sandbox.read(&gateway, "format=ndjson&tail=50").await);
        assert_eq!(
            last.iter().filter_map(number).collect::<Vec<_>>(),
            (850..900).collect::<Vec<_>>(),
            "behind {behind}"
        );
        world.logs.heal();
    }
}
