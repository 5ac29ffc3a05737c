//! What holds while the API server cannot be asked, or is not the one that it was; and what clients can make of it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::{ID, OTHER, batch, get, is, not_found},
    support::{
        backend::Backend,
        client, eventually,
        gateway::Gateway,
        kube::{Action, Failure},
    },
};

/// Generous: what is waited for comes by itself.
const LONG: Duration = Duration::from_secs(60);

async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

/// How many requests so far have this text in their target, watches or others.
fn asked(cluster: &Cluster, text: &str, watches: bool) -> usize {
    let is_one = |request: &String| request.contains(text) && request.contains("watch=true") == watches;
    cluster.requests().iter().filter(|request| is_one(request)).count()
}

async fn watched(cluster: &Cluster) {
    // A list's answer is open for a moment too.
    eventually("a watch of sandboxes", LONG, || cluster.server.open("batchsandboxes?&watch=true") > 0).await;
}

async fn state(gateway: &Gateway) -> String {
    let shown = get(gateway, &format!("/v1/sandboxes/{ID}")).await;
    shown.json()["status"]["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn traffic_to_a_pod_goes_on_while_the_api_server_is_away() {
    let mut cluster = Cluster::start();
    let backend = Backend::mirror().await;
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    watched(&cluster).await;
    let (target, port) = (format!("/v1/sandboxes/{ID}"), backend.port);
    let proxied = format!("{target}/proxy/{port}/x");
    assert_eq!(get(&gateway, &proxied).await.status(), 200);
    cluster.server.kill();
    until("what is old is not told", async || get(&gateway, &target).await.status() == 503).await;
    for _ in 0..20 {
        assert_eq!(get(&gateway, &proxied).await.status(), 200);
    }
    // What shows a sandbox's state does not show an old one, and what nobody knew is not there for the proxy either.
    assert_eq!(get(&gateway, &target).await.status(), 503);
    assert_eq!(get(&gateway, "/v1/sandboxes").await.status(), 503);
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{OTHER}/proxy/{port}/x")).await.status(), 503);
    // Nor does it wait for one that takes questions and does not answer; a pod that went is gone when it is back.
    cluster.server.fault("GET", "batchsandboxes", Action::Hang, usize::MAX);
    cluster.server.up();
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(get(&gateway, &proxied).await.status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    cluster.server.remove(&BATCH, NAMESPACE, ID);
    // What hangs goes on hanging; a read is joined for 2 s.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    cluster.server.heal();
    until("it is gone", async || get(&gateway, &proxied).await.status() == 404).await;
}

#[tokio::test]
async fn a_refusal_of_the_question_itself_is_none_of_the_pod() {
    let cluster = Cluster::start();
    let backend = Backend::mirror().await;
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    watched(&cluster).await;
    let proxied = format!("/v1/sandboxes/{ID}/proxy/{}/x", backend.port);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for failure in [Failure::too_many_requests(), Failure::new(500, "InternalError", "no")] {
        cluster.server.fault("GET", ID, Action::Fail(failure), usize::MAX);
        assert_eq!(get(&gateway, &proxied).await.status(), 200);
        cluster.server.heal();
        cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    }
    cluster.server.fault("GET", ID, Action::Fail(Failure::new(403, "Forbidden", "no")), usize::MAX);
    until("it is told", async || get(&gateway, &proxied).await.status() == 403).await;
}

#[tokio::test]
async fn one_read_serves_all_who_ask_for_a_name_and_holds_for_a_while() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = cluster.gateway("cache_max_age_seconds = 5").start();
    watched(&cluster).await;
    // Longer than what the watch told is believed. What is read then has the same time for all the requests below.
    tokio::time::sleep(Duration::from_secs(6)).await;
    cluster.server.fault("GET", ID, Action::Delay(Duration::from_millis(300)), 1);
    let target = format!("/v1/sandboxes/{ID}");
    let before = asked(&cluster, ID, false);
    let all = futures_util::future::join_all((0..64).map(|_| get(&gateway, &target))).await;
    assert!(all.iter().all(|answer| answer.status() == 200));
    for _ in 0..20 {
        assert_eq!(get(&gateway, &target).await.status(), 200);
    }
    assert_eq!(asked(&cluster, ID, false), before + 1);
}

#[tokio::test]
async fn who_makes_up_ids_does_not_use_up_the_reads_of_others() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("read_qps = 10\nread_burst = 1\ncache_max_age_seconds = 8").start();
    watched(&cluster).await;
    let begun = Instant::now();
    for _ in 0..10 {
        is(&get(&gateway, &format!("/v1/sandboxes/{OTHER}")).await, 404, &not_found(OTHER));
    }
    // An id has two names, and what was not found is believed for a second.
    let most = 2 * (2 + begun.elapsed().as_secs());
    assert!(asked(&cluster, OTHER, false) as u64 <= most, "{most}: {:?}", cluster.requests());
    let target = format!("/v1/sandboxes/{ID}");
    let ids: Vec<_> = (0..200).map(|number| format!("/v1/sandboxes/made-up-{number}")).collect();
    let crowd = futures_util::future::join_all(ids.iter().map(|target| get(&gateway, target)));
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut slowest = Duration::ZERO;
        // Longer than the cache is believed: the watch is not in the way of the crowd either. By the time and not by their number,
        // since the crowd is not there for ever.
        let first = Instant::now();
        while first.elapsed() < Duration::from_secs(9) {
            let begun = Instant::now();
            assert_eq!(get(&gateway, &target).await.status(), 200);
            slowest = slowest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        slowest
    };
    let slowest =
        tokio::select! { slowest = others => slowest, _ = crowd => panic!("9 s are not enough for 200 names") };
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert_eq!(asked(&cluster, ID, false), 0, "all from memory");
}

#[tokio::test]
async fn made_up_ids_leave_room_for_reads_of_what_is_there() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    cluster.server.fault("GET", "/batchsandboxes/made-up-", Action::Hang, usize::MAX);
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    watched(&cluster).await;
    let address = gateway.address();
    let crowd: Vec<_> = (0..1000)
        .map(|number| {
            let target = format!("/v1/sandboxes/made-up-{number}");
            tokio::spawn(async move { client::get_once(address, &target).await.status() })
        })
        .collect();
    eventually("that there is no room for more", LONG, || crowd.iter().any(tokio::task::JoinHandle::is_finished)).await;
    // What is old is read.
    cluster.put(&BATCH, batch(ID, |object| object["status"]["phase"] = json!("Paused")));
    let begun = Instant::now();
    until("the change is read", async || state(&gateway).await == "Paused").await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let waiting = crowd.iter().filter(|task| !task.is_finished()).count();
    assert!(waiting > 0, "the crowd is there still");
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_read_that_is_answered_again_wakes_the_watch() {
    let mut cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    watched(&cluster).await;
    cluster.server.kill();
    let target = format!("/v1/sandboxes/{ID}");
    until("reads fail", async || get(&gateway, &target).await.status() == 503).await;
    // The fifth try lies 6.4 s behind the fourth.
    let failures = || gateway.output().matches("batchsandboxes cannot be watched").count();
    eventually("the fourth failure", LONG, || failures() >= 2).await;
    cluster.server.up();
    until("a read", async || get(&gateway, &target).await.status() == 200).await;
    let begun = Instant::now();
    watched(&cluster).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_store_that_was_put_back_is_noticed() {
    let cluster = Cluster::start();
    let version = cluster.server.version();
    cluster.server.pass_versions(100_000);
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    let gateway = cluster.gateway("cache_max_age_seconds = 2").start();
    watched(&cluster).await;
    cluster.server.restore(version + 10);
    cluster.server.remove(&BATCH, NAMESPACE, OTHER);
    cluster.put(&BATCH, batch(ID, |object| object["status"]["phase"] = json!("Paused")));
    cluster.server.end_watches();
    until("what is there now is shown", async || state(&gateway).await == "Paused").await;
    is(&get(&gateway, &format!("/v1/sandboxes/{OTHER}")).await, 404, &not_found(OTHER));
    // And it is watched on from there.
    cluster.put(&BATCH, batch(ID, |object| object["status"]["phase"] = json!("Succeed")));
    until("the watch tells", async || state(&gateway).await == "Running").await;
}

#[tokio::test]
async fn a_kind_that_the_cluster_does_not_have_has_no_objects() {
    let cluster = Cluster::start();
    cluster.server.set_there(&BATCH, false);
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    let total = async || get(&gateway, "/v1/sandboxes").await.json()["pagination"]["totalItems"].clone();
    assert_eq!(total().await, 0);
    is(&get(&gateway, &format!("/v1/sandboxes/{ID}")).await, 404, &not_found(ID));
    let ready = get(&gateway, "/ready").await;
    assert!(ready.status() == 200 && ready.json()["notes"].to_string().contains("CRD"), "{ready:?}");
    cluster.server.set_there(&BATCH, true);
    cluster.put(&BATCH, batch(ID, |_| {}));
    until("it is shown", async || total().await == 1).await;
    watched(&cluster).await;
    until("nothing is left to note", async || get(&gateway, "/ready").await.json()["notes"].is_null()).await;
    // It goes again, with all its objects.
    cluster.server.set_there(&BATCH, false);
    until("it is gone", async || total().await == 0).await;
    is(&get(&gateway, &format!("/v1/sandboxes/{ID}")).await, 404, &not_found(ID));
}
