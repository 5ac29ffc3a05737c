//! What is known of the sandboxes, and for how long it is believed: one watch for each kind, read through when it is old.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::{ID, OTHER, ask, batch, get, is, not_found},
    support::{
        client, eventually,
        gateway::{Gateway, free_port},
        kube::{Action, Failure, Recorded},
    },
};

/// The part of the target of the watch of sandboxes, and of every request about them.
const KIND: &str = "/batchsandboxes";

/// Generous: what is waited for comes by itself.
const LONG: Duration = Duration::from_secs(60);

fn is_watch(request: &Recorded) -> bool {
    request.query.text("watch") == "true"
}

fn of_sandboxes(cluster: &Cluster) -> Vec<Recorded> {
    cluster.server.requests().into_iter().filter(|request| request.path.contains(KIND)).collect()
}

fn watches(cluster: &Cluster) -> Vec<Recorded> {
    of_sandboxes(cluster).into_iter().filter(is_watch).collect()
}

fn lists(cluster: &Cluster) -> Vec<Recorded> {
    of_sandboxes(cluster).into_iter().filter(|request| request.path.ends_with(KIND) && !is_watch(request)).collect()
}

/// Waits until the sandboxes are watched.
async fn watched(cluster: &Cluster) {
    eventually("a watch of sandboxes", LONG, || watches(cluster).iter().any(|watch| watch.status == 200)).await;
}

/// Asks again and again until the answer is as wished; how long that took.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

async fn state(gateway: &Gateway, id: &str) -> Value {
    get(gateway, &format!("/v1/sandboxes/{id}")).await.json()["status"]["state"].clone()
}

async fn total(gateway: &Gateway) -> Value {
    get(gateway, "/v1/sandboxes?pageSize=1").await.json()["pagination"]["totalItems"].clone()
}

fn phase(cluster: &Cluster, id: &str, phase: &str) {
    cluster.put(&BATCH, batch(id, |object| object["status"]["phase"] = json!(phase)));
}

fn id_of(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

#[tokio::test]
async fn reads_cost_no_call_while_one_watch_a_kind_goes_on() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    watched(&cluster).await;
    cluster.server.wait_asked("/pods?").await;
    let target = format!("/v1/sandboxes/{ID}");
    for _ in 0..100 {
        assert_eq!(get(&gateway, &target).await.status(), 200);
        assert_eq!(total(&gateway).await, 1);
        assert_eq!(get(&gateway, &format!("{target}/endpoints/80")).await.status(), 200);
    }
    let of_sandboxes = of_sandboxes(&cluster);
    let reads: Vec<_> = of_sandboxes.iter().filter(|request| !is_watch(request)).map(|r| &r.target).collect();
    assert_eq!(reads.len(), 1, "{reads:?}");
    assert_eq!(cluster.server.open("watch=true"), 2, "sandboxes and pods");
    for watch in of_sandboxes.iter().filter(|request| is_watch(request)) {
        let Recorded { query, target, .. } = watch;
        assert_eq!(query.text("labelSelector"), "opensandbox.io/id", "{target}");
        assert_eq!((query.text("allowWatchBookmarks"), query.text("timeoutSeconds")), ("true", "7"), "{target}");
    }
}

#[tokio::test]
async fn an_own_write_is_seen_though_the_watch_is_silent() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = cluster.gateway("").start();
    watched(&cluster).await;
    let target = format!("/v1/sandboxes/{ID}");
    let before = of_sandboxes(&cluster).len();
    let patched = ask(&gateway, "PATCH", &format!("{target}/metadata"), r#"{"n":"v"}"#).await;
    assert_eq!(patched.status(), 200);
    let renewed =
        ask(&gateway, "POST", &format!("{target}/renew-expiration"), r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#).await;
    assert_eq!(renewed.status(), 200);
    let shown = get(&gateway, &target).await.json();
    assert_eq!((&shown["metadata"]["n"], &shown["expiresAt"]), (&json!("v"), &json!("2098-12-01T00:00:00Z")));
    let list = get(&gateway, "/v1/sandboxes").await.json();
    let listed = list["items"].as_array().unwrap().iter().find(|item| item["id"] == ID).unwrap();
    assert_eq!(listed["metadata"]["n"], "v");
    is(&ask(&gateway, "DELETE", &format!("/v1/sandboxes/{OTHER}"), "").await, 204, "");
    assert_eq!(total(&gateway).await, 1);
    let made: Vec<_> = of_sandboxes(&cluster).split_off(before).into_iter().map(|request| request.method).collect();
    assert_eq!(made, ["PATCH", "PATCH", "DELETE"], "writes alone");
}

#[tokio::test]
async fn a_quiet_namespace_is_watched_on_from_the_bookmark() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.bookmark_every(Duration::from_millis(100));
    let gateway = cluster.gateway("cache_max_age_seconds = 2").start();
    watched(&cluster).await;
    // Other kinds are written to.
    cluster.server.pass_versions(1000);
    let version = cluster.server.version();
    let goes_on = || {
        let from =
            |watch: &Recorded| watch.query.text("resourceVersion").parse::<u64>().is_ok_and(|from| from >= version);
        watches(&cluster).iter().any(from)
    };
    eventually("a watch from the bookmark's version", LONG, goes_on).await;
    // So nothing of what has happened meanwhile needs to be kept.
    cluster.server.compact();
    phase(&cluster, ID, "Paused");
    until("the change is seen", async || state(&gateway, ID).await == "Paused").await;
    assert_eq!(lists(&cluster).len(), 1);
}

#[tokio::test]
async fn an_expired_watch_is_a_new_list() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    let gateway = cluster.gateway("").start();
    watched(&cluster).await;
    let begun = watches(&cluster).len();
    cluster.server.fault("GET", "batchsandboxes?", Action::Expired, 1);
    eventually("the watch's end", LONG, || watches(&cluster).len() > begun).await;
    cluster.server.remove(&BATCH, NAMESPACE, OTHER);
    phase(&cluster, ID, "Paused");
    eventually("another list", LONG, || lists(&cluster).len() > 1).await;
    until("the list counts", async || state(&gateway, ID).await == "Paused" && total(&gateway).await == 1).await;
}

#[tokio::test]
async fn many_sandboxes_come_in_pages_and_a_page_that_expired_begins_them_anew() {
    let cluster = Cluster::start();
    for number in 0..1203 {
        cluster.server.create(&BATCH, NAMESPACE, batch(&id_of(number), |_| {}));
    }
    cluster.server.fault("GET", "continue=", Action::Expired, 1);
    let gateway = cluster.gateway("").start();
    // Who asks while the list is on its way waits for it.
    assert_eq!(total(&gateway).await, 1203);
    let lists = lists(&cluster);
    assert!(lists.iter().all(|list| list.query.text("limit") == "500"), "{lists:?}");
    let begin: Vec<_> = lists.iter().map(|list| list.query.text("continue").is_empty()).collect();
    assert_eq!(begin, [true, false, true, false, false]);
    watched(&cluster).await;
    let page = get(&gateway, "/v1/sandboxes?pageSize=200&page=7").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_watch_that_is_dead_without_a_word_costs_reads_and_is_given_up() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), 2);
    let begun = Instant::now();
    let gateway = cluster.gateway("cache_max_age_seconds = 2").start();
    watched(&cluster).await;
    phase(&cluster, ID, "Paused");
    // What is two seconds old is asked for.
    let took = until("the change is read", async || state(&gateway, ID).await == "Paused").await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    let reads = of_sandboxes(&cluster).iter().filter(|request| request.path.ends_with(ID)).count();
    assert!(reads >= 1, "by a read of its own");
    // The idle limit: the time that was asked for, and some more.
    let is_anew = || watches(&cluster).len() >= 2;
    eventually("another watch", LONG, is_anew).await;
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
    until("the cache is fresh again", async || {
        let before = of_sandboxes(&cluster).iter().filter(|request| !is_watch(request)).count();
        assert_eq!(total(&gateway).await, 1);
        before == of_sandboxes(&cluster).iter().filter(|request| !is_watch(request)).count()
    })
    .await;
}

#[tokio::test]
async fn after_a_gap_a_watch_s_head_does_not_make_old_news_new() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("cache_max_age_seconds = 2").start();
    watched(&cluster).await;
    let refusal = Action::Fail(Failure::new(500, "InternalError", "no"));
    cluster.server.fault("GET", "batchsandboxes?&watch=true", refusal, 2);
    // What happened meanwhile stays on its way.
    cluster.server.fault("GET", "batchsandboxes?&watch=true", Action::Silence(0), 1);
    cluster.server.end_watches();
    let begun = watches(&cluster).len();
    eventually("a refusal", LONG, || watches(&cluster)[begun..].iter().any(|watch| watch.status == 500)).await;
    phase(&cluster, ID, "Paused");
    eventually("a watch that goes on", LONG, || {
        watches(&cluster)[begun..].iter().skip_while(|watch| watch.status != 500).any(|watch| watch.status == 200)
    })
    .await;
    assert_eq!(state(&gateway, ID).await, "Paused");
}

#[tokio::test]
async fn a_watch_that_is_refused_is_asked_for_ever_more_rarely() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let refusal = Failure::new(500, "InternalError", "no");
    cluster.server.fault("GET", "watch=true", Action::Fail(refusal), usize::MAX);
    // The tries begin within the start: they cannot take less than from here, nor more than from behind it.
    let begun = Instant::now();
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    let started = Instant::now();
    eventually("four tries", LONG, || watches(&cluster).len() >= 4).await;
    // 0.8 s, 1.6 s and 3.2 s, and at most half as much again.
    assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    // Reads are good all the same, and one list serves all who come at the same time.
    phase(&cluster, ID, "Paused");
    until("the change is read", async || state(&gateway, ID).await == "Paused").await;
    let before = lists(&cluster).len();
    let all = (0..64).map(|_| total(&gateway));
    assert!(futures_util::future::join_all(all).await.iter().all(|total| *total == 1));
    assert!(lists(&cluster).len() <= before + 2, "{} lists", lists(&cluster).len() - before);
    cluster.server.heal();
    eventually("a watch", LONG, || watches(&cluster).iter().any(|watch| watch.status == 200)).await;
}

#[tokio::test]
async fn a_watch_that_always_ends_at_once_is_not_asked_for_without_a_pause() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::End(0), usize::MAX);
    // The tries begin within the start.
    let begun = Instant::now();
    let _gateway = cluster.gateway("").start();
    eventually("three tries", LONG, || watches(&cluster).len() >= 3).await;
    assert!(begun.elapsed() > Duration::from_millis(2300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_control_plane_that_vanishes_and_returns_needs_no_restart() {
    let mut cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    let gateway = cluster.gateway("cache_max_age_seconds = 1").start();
    watched(&cluster).await;
    cluster.server.kill();
    let target = format!("/v1/sandboxes/{ID}");
    until("what is old is not told", async || get(&gateway, &target).await.status() == 503).await;
    let refused = get(&gateway, &target).await;
    let text = "Failed to get sandbox: the API server cannot be reached";
    is(&refused, 503, &format!(r#"{{"code":"KUBERNETES::API_ERROR","message":"{text}"}}"#));
    assert_eq!(get(&gateway, "/v1/sandboxes").await.code(), "SANDBOX_LIST_UNAVAILABLE");
    let ready = get(&gateway, "/ready").await;
    assert!(ready.json()["notes"][0].as_str().unwrap().contains("s old"), "{ready:?}");
    assert_eq!(get(&gateway, "/health").await.status(), 200);
    // Long enough for the back-off to have grown: the next try lies seconds ahead.
    eventually("a warning", LONG, || gateway.output().contains("cannot be watched")).await;
    // Meanwhile one sandbox went and the other one changed.
    cluster.server.remove(&BATCH, NAMESPACE, OTHER);
    phase(&cluster, ID, "Paused");
    cluster.server.forget_requests();
    cluster.server.up();
    // Reads are good at once, whenever the next watch begins.
    assert_eq!(state(&gateway, ID).await, "Paused");
    // Or by the watch, which begins with what happened meanwhile.
    let gone = format!("/v1/sandboxes/{OTHER}");
    until("the other one is gone", async || get(&gateway, &gone).await.status() == 404).await;
    is(&get(&gateway, &gone).await, 404, &not_found(OTHER));
    assert_eq!(total(&gateway).await, 1);
    watched(&cluster).await;
    phase(&cluster, ID, "Succeed");
    until("the watch tells", async || state(&gateway, ID).await == "Running").await;
    until("nothing is left to note", async || get(&gateway, "/ready").await.json()["notes"].is_null()).await;
}

#[tokio::test]
async fn the_age_and_the_restarts_are_metrics() {
    let cluster = Cluster::start();
    let port = free_port();
    let metrics = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    cluster.server.fault("GET", "batchsandboxes?", Action::Drop, 2);
    let _gateway = cluster.gateway("").section(&metrics).start();
    watched(&cluster).await;
    let address = ([127, 0, 0, 1], port).into();
    let value = async |name: &str| {
        let text = String::from_utf8(client::get_once(address, "/metrics").await.body.to_vec()).unwrap();
        let line = text.lines().find(|line| line.contains(name) && line.contains("kind=\"batchsandboxes\""));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
    };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let contact = value("watch_contact_timestamp_seconds").await.unwrap();
    assert!((now - 10.0..=now + 10.0).contains(&contact), "{contact}");
    assert!(value("watch_restarts_total").await.unwrap() >= 1.0);
}
