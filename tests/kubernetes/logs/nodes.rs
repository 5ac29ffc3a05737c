//! What goes wrong on a node: its runtime, its limits, its files (kubernetes-api.md §7; kubernetes.md B9–B12).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Records, check_order,
    fixture::{MAIN, NAMESPACE, Sandbox, World},
    number, records,
};
use crate::support::{
    client::{self, Client},
    eventually,
    gateway::{Gateway, Setup},
    kube::{
        Action, Credentials, Failure,
        logs::{Ending, Fault, Inotify, PodObject, Reach, Runtime, Status, Stream, StreamGate},
        resource::{BATCH_SANDBOXES, PODS},
    },
};

/// Longer than a follow is silent before its log is looked at, which is 10 s.
const LOOKED_AT: Duration = Duration::from_secs(12);

async fn ndjson(sandbox: &Sandbox<'_>, gateway: &Gateway) -> Records {
    Records::new(sandbox.follow(gateway, "format=ndjson").await)
}

fn print(sandbox: &Sandbox<'_>, lines: std::ops::Range<u64>) {
    for line in lines {
        sandbox.container.out(format!("line-{line}\n"));
    }
}

fn events(records: &[Value]) -> Vec<&str> {
    records.iter().filter_map(|record| record["event"].as_str()).collect()
}

/// F9: the container goes on, and what it prints meanwhile comes late.
#[tokio::test]
async fn a_runtime_that_is_started_again_costs_a_follow_nothing() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let node = sandbox.container.node().clone();
    print(&sandbox, 0..3);
    let mut stream = ndjson(&sandbox, &gateway).await;
    let mut seen = stream.until(|record| number(record) == Some(2)).await;
    node.set_runtime(Runtime::Down);
    // Whoever looks at the log is told so in the answer (E2), which is neither the sandbox's text nor its end.
    assert_eq!(sandbox.read(&gateway, "").await.status(), 503);
    let mut begun = Records::new(sandbox.follow(&gateway, "format=ndjson").await);
    tokio::time::sleep(LOOKED_AT).await;
    node.set_runtime(Runtime::Up);
    print(&sandbox, 3..6);
    seen.extend(stream.until(|record| number(record) == Some(5)).await);
    assert_eq!((check_order(&seen), events(&seen)), ((0, 6), vec![]), "{seen:?}");
    let seen = begun.until(|record| number(record) == Some(5)).await;
    assert_eq!((check_order(&seen), events(&seen)), ((0, 6), vec![]), "{seen:?}");
    sandbox.exit(0);
    assert_eq!(stream.until(|record| record["event"] == "end").await.last().unwrap()["reason"], "exited");
}

/// E3 and E4: the follow is refused behind what there is, and goes on by asking again and again.
#[tokio::test]
async fn a_node_without_inotify_is_polled() {
    let world = World::start();
    let gateway = world.gateway("");
    for inotify in [Inotify::Instances(0), Inotify::NoWatches] {
        let sandbox = world.sandbox();
        let node = sandbox.container.node().clone();
        node.set_inotify(inotify);
        print(&sandbox, 0..3);
        let mut stream = ndjson(&sandbox, &gateway).await;
        let mut seen = stream.until(|record| number(record) == Some(2)).await;
        print(&sandbox, 3..5);
        seen.extend(stream.until(|record| number(record) == Some(4)).await);
        node.set_inotify(Inotify::Enough);
        print(&sandbox, 5..7);
        seen.extend(stream.until(|record| number(record) == Some(6)).await);
        sandbox.exit(4);
        seen.extend(stream.until(|record| record["event"] == "end").await);
        assert_eq!((check_order(&seen), events(&seen)), ((0, 7), vec!["end"]), "{inotify:?}: {seen:?}");
        assert_eq!(seen.last().unwrap()["exit_code"], 4);
    }
}

/// E1 and E5, with which an answer begins.
#[tokio::test]
async fn a_log_file_that_is_lost_or_none_is_told_in_our_own_words() {
    let world = World::start();
    let gateway = world.gateway("");
    let lost = world.sandbox();
    print(&lost, 0..1);
    lost.container.lose_file();
    let strange = world.sandbox();
    strange.container.garbage("this is no record");
    for sandbox in [&lost, &strange] {
        let answer = sandbox.read(&gateway, "").await;
        let told = answer.to_string();
        assert_eq!(answer.status(), 503, "{told}");
        assert!(!told.contains("/var/log/pods") && !told.contains("no record"), "{told}");
    }
}

/// B4 of kubernetes-api.md: the other stream breaks a long line's joint. The bytes are the node's, none is guessed.
#[tokio::test]
async fn a_joint_that_the_other_stream_breaks_is_given_as_it_is() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let long = "p".repeat(2 * 16384);
    sandbox.container.print(Stream::Stdout, format!("{long}rest"));
    sandbox.container.print(Stream::Stderr, "err\n");
    sandbox.container.print(Stream::Stdout, " of it\nlast\n");
    assert_eq!(sandbox.read(&gateway, "").await.body, format!("{long}err\nrest of it\nlast\n"));
}

/// B9: the kubelet's times are in the zone of its node, which may change.
#[tokio::test]
async fn a_follow_goes_on_behind_its_place_in_every_zone() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let node = sandbox.container.node().clone();
    node.set_offset(8);
    print(&sandbox, 0..3);
    let mut stream = ndjson(&sandbox, &gateway).await;
    let mut seen = stream.until(|record| number(record) == Some(2)).await;
    for (turn, offset) in [(1, -5), (2, 0), (3, 14)] {
        node.set_offset(offset);
        node.restart([Reach::Down]);
        print(&sandbox, 3 * turn..3 * (turn + 1));
        seen.extend(stream.until(|record| number(record) == Some(3 * (turn + 1) - 1)).await);
    }
    assert_eq!((check_order(&seen), events(&seen)), ((0, 12), vec![]), "{seen:?}");
    let times: Vec<_> = seen.iter().map(|record| record["time"].as_str().unwrap()).collect();
    assert!(times.iter().all(|time| time.len() == 30 && time.ends_with('Z')) && times.is_sorted(), "{times:?}");
}

/// C16: who comes back has no tail.
#[tokio::test]
async fn a_token_has_everything_behind_it_however_much() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    print(&sandbox, 0..5000);
    let all = records(&sandbox.read(&gateway, "format=ndjson").await);
    let token = all[0]["id"].as_str().unwrap();
    let rest = records(&sandbox.read(&gateway, &format!("format=ndjson&after={token}")).await);
    assert_eq!(check_order(&rest), (0, 4999));
    assert_eq!(number(&rest[0]), Some(1));
    let refused = sandbox.read(&gateway, &format!("after={token}&tail=10")).await;
    assert_eq!(refused.status(), 422, "{refused}");
}

/// F8 without an end: who waits is told after the 30 s that a node may be silent.
#[tokio::test]
async fn a_runtime_that_hangs_for_ever_is_told() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    print(&sandbox, 0..1);
    sandbox.container.node().set_runtime(Runtime::Frozen);
    let begun = Instant::now();
    let mut client = Client::connect(gateway.address()).await;
    client.send_get(&sandbox.target(""), &[]).await;
    // Longer than the client waits for a head.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(client.head().await.status, 503);
    let body = String::from_utf8(client.body().await.unwrap().to_vec()).unwrap();
    assert!(body.contains("LOGS::ENGINE_UNAVAILABLE"), "{body}");
    assert!((29..45).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    eventually("it is let go", Duration::from_secs(5), || world.logs.open() == 0).await;
}

/// A node that is silent answers a look only after 30 s, and there are many looks to be had at its logs.
#[tokio::test]
async fn a_node_that_is_silent_keeps_nobody_from_looking_at_another_s_logs() {
    let world = World::start();
    let gateway = world.gateway("");
    let mut dead = Vec::new();
    for _ in 0..8 {
        world.logs.node("dead");
        let container = world.logs.container_on("dead");
        let status = Status::running(&container);
        let sandbox = world.sandbox_of(container, |pod| pod.container(MAIN, &status).node(Some("dead")));
        print(&sandbox, 0..1);
        let mut stream = ndjson(&sandbox, &gateway).await;
        stream.until(|record| number(record) == Some(0)).await;
        world.logs.fault(Fault::no_head().of(&sandbox.pod()).always());
        dead.push(stream);
    }
    // So that theirs are the first looks.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sandbox = world.sandbox();
    print(&sandbox, 0..1);
    world.logs.fault(Fault::cut("line-0\n".len() + 31, Ending::Silence).of(&sandbox.pod()).follows());
    let mut stream = ndjson(&sandbox, &gateway).await;
    stream.until(|record| number(record) == Some(0)).await;
    let silent = Instant::now();
    print(&sandbox, 1..2);
    stream.until(|record| number(record) == Some(1)).await;
    assert!(silent.elapsed() < Duration::from_secs(20), "{:?}", silent.elapsed());
}

/// A pod of a pool is its sandbox's until the cluster says otherwise, which it cannot while nobody reaches it.
#[tokio::test]
async fn a_pools_pod_is_read_on_while_the_cluster_cannot_tell_whose_it_is() {
    let world = World::start();
    let kubeconfig = world.server.kubeconfig(Credentials::Certificate("admin"));
    let gateway = Setup::kubernetes(&kubeconfig, NAMESPACE).section("cache_max_age_seconds = 1").start();
    let container = world.logs.container();
    let status = Status::running(&container);
    let pod = PodObject::new(NAMESPACE, "pool-3").container("main", &status);
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
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &has("\"pool-3\""));
    let target = format!("/v1/sandboxes/{}", sandbox.id);
    let begun = Instant::now();
    while client::get_once(gateway.address(), &target).await.json()["allocation"].is_null() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the gateway does not know of the allocation");
    }
    container.out("line-0\n");
    let mut stream = ndjson(&sandbox, &gateway).await;
    stream.until(|record| number(record) == Some(0)).await;
    for action in [Action::Hang, Action::Fail(Failure::new(503, "ServiceUnavailable", "away"))] {
        world.server.fault("GET", "batchsandboxes", action, usize::MAX);
    }
    world.server.end_watches();
    // Longer than what is known counts, and than some looks.
    tokio::time::sleep(Duration::from_secs(4)).await;
    container.out("line-1\n");
    let seen = stream.until(|record| number(record) == Some(1)).await;
    assert_eq!(events(&seen), Vec::<&str>::new(), "{seen:?}");
    world.server.heal();
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &has(""));
    let seen = stream.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "removed", "{seen:?}");
}

/// R1 and R5 of kubernetes-api.md: who follows has a line whole that runs over a rotation; who comes later has what is left of it.
#[tokio::test]
async fn a_line_over_a_rotation_is_whole_for_who_follows() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    // Two of its three pieces fill the file.
    sandbox.container.rotate_at(20_000);
    let mut follow = sandbox.follow(&gateway, "").await;
    // The head comes first.
    eventually("the live read", Duration::from_secs(10), || world.server.open("follow=true") == 1).await;
    let long = "p".repeat(40_000);
    sandbox.container.out(format!("{long}\nlast\n"));
    assert!(sandbox.container.rotations() > 0);
    assert_eq!(follow.body_of(40_006).await, format!("{long}\nlast\n"));
    let rest = sandbox.read(&gateway, "").await.body;
    assert_eq!(rest, format!("{}\nlast\n", &long[2 * 16_384..]));
}

/// Whether a cluster can give one stream alone is not learnt from other programs' answers.
#[tokio::test]
async fn a_load_balancers_refusal_tells_nothing_of_a_clusters_streams() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    sandbox.container.err("line-0\n");
    world.logs.set_gate(StreamGate::On);
    for status in [400, 422] {
        world.logs.fault(Fault::refuse(status, "text/html", "<html>stream</html>").always());
        let answer = sandbox.read(&gateway, "stdout=false").await;
        assert_eq!((answer.status(), answer.code().as_str()), (500, "KUBERNETES::API_ERROR"), "{status}: {answer}");
        world.logs.heal();
    }
    assert_eq!(sandbox.read(&gateway, "stdout=false").await.body, "line-0\n");
}

/// A clean end that is none, of a log whose clock was set back: the time of the last record is not the latest.
#[tokio::test]
async fn a_read_that_is_cut_is_complete_though_the_clock_was_set_back() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    for (line, second) in [(0, 50), (1, 51), (2, 52), (3, 10), (4, 11)] {
        let time = format!("2026-11-26T12:55:{second}Z").parse().unwrap();
        sandbox.container.print_at(time, Stream::Stdout, format!("line-{line}\n"));
    }
    for after in (0..5 * 38).step_by(19) {
        // The second read is that of the whole log.
        world.logs.fault(Fault::cut(after, Ending::Clean).behind(1));
        let seen = records(&sandbox.read(&gateway, "format=ndjson").await);
        assert_eq!(check_order(&seen), (0, 5), "after {after}: {seen:?}");
        world.logs.heal();
    }
}

/// The same of lines that are all alike, and of long ones, whose last record read alone is a piece with another time.
#[tokio::test]
async fn a_read_that_is_cut_is_complete_though_its_lines_are_alike() {
    let world = World::start();
    let gateway = world.gateway("");
    for (length, step) in [(5, 18), (40_000, 30_011)] {
        let line = "x".repeat(length) + "\n";
        let sandbox = world.sandbox();
        (0..6).for_each(|_| sandbox.container.out(&line));
        for behind in 0..2 {
            for after in (0..6 * (length + 32)).step_by(step) {
                world.logs.fault(Fault::cut(after, Ending::Clean).of(&sandbox.pod()).behind(behind));
                let read = sandbox.read(&gateway, "").await.body;
                assert_eq!(read.len(), 6 * line.len(), "{length} behind {behind} after {after}");
                assert!(read == line.repeat(6));
                world.logs.heal();
            }
        }
        for tail in 1..=6 {
            let read = sandbox.read(&gateway, &format!("tail={tail}")).await.body;
            assert!(read == line.repeat(tail), "{length}, tail {tail}: {}", read.len());
        }
        sandbox.container.out("last\n");
        assert_eq!(sandbox.read(&gateway, "tail=2").await.body, line.clone() + "last\n");
    }
}
