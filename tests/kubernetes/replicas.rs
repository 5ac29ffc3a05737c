//! Two gateways in front of one cluster, as behind a load balancer: it makes no difference which of them is asked.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    cluster::{BATCH, Cluster, NAMESPACE, PODS},
    fixture::{ID, OTHER, ask, batch, get, is, not_found},
    support::{
        backend::Backend,
        client::{Client, Response},
        gateway::Gateway,
        kube::logs::{Container, PodLogs, PodObject, Status},
    },
};

const LONG: Duration = Duration::from_secs(20);

struct World {
    cluster: Cluster,
    logs: PodLogs,
    gateways: [Gateway; 2],
    turn: AtomicUsize,
}

impl World {
    /// With these lines in the configuration of both.
    fn start(lines: &str) -> Self {
        let (cluster, logs) = (Cluster::start(), PodLogs::new());
        cluster.server.logs(logs.clone());
        cluster.put(&BATCH, batch(ID, |_| {}));
        let gateways = [(); 2].map(|()| cluster.gateway("").section(lines).start());
        Self { cluster, logs, gateways, turn: AtomicUsize::new(0) }
    }

    /// The sandbox's pod, with a container that runs.
    fn pod(&self) -> Container {
        let container = self.logs.container();
        let pod = PodObject::new(NAMESPACE, &format!("{ID}-0"))
            .label("opensandbox.io/id", ID)
            .container("sandbox", &Status::running(&container));
        self.cluster.server.create(&PODS, NAMESPACE, pod.json());
        container
    }

    /// The gateway whose turn it is.
    fn next(&self) -> &Gateway {
        &self.gateways[self.turn.fetch_add(1, Ordering::Relaxed) % 2]
    }

    /// Waits until both answer this as wished.
    async fn both(&self, target: &str, is_so: impl Fn(&Response) -> bool) {
        for gateway in &self.gateways {
            let begun = Instant::now();
            loop {
                let answer = get(gateway, target).await;
                if is_so(&answer) {
                    break;
                }
                assert!(begun.elapsed() < LONG, "{answer:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn object(&self) -> Value {
        (*self.cluster.get(&BATCH, ID).unwrap()).clone()
    }
}

fn target(path: &str) -> String {
    format!("/v1/sandboxes/{ID}{path}")
}

fn records(text: &[u8]) -> Vec<Value> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[tokio::test]
async fn both_answer_the_same() {
    let world = World::start("");
    world.pod().out("one\ntwo\n");
    world.cluster.put(&BATCH, batch(OTHER, |object| object["status"]["phase"] = json!("Paused")));
    world.both("/v1/sandboxes", |list| list.json()["pagination"]["totalItems"] == 2).await;
    let [one, other] = &world.gateways;
    for path in [
        "",
        "/logs",
        "/logs?format=ndjson&timestamps=true",
        "/endpoints/80",
        "/diagnostics/inspect",
        "/diagnostics/events",
    ] {
        let (a, b) = (get(one, &target(path)).await, get(other, &target(path)).await);
        assert_eq!((a.status(), &a.body), (b.status(), &b.body), "{path}");
        assert_eq!(a.status(), 200, "{path}");
    }
    for query in ["", "?state=paused", "?pageSize=1&page=2", "?metadata=project%3Dapollo"] {
        let (a, b) =
            (get(one, &format!("/v1/sandboxes{query}")).await, get(other, &format!("/v1/sandboxes{query}")).await);
        assert_eq!((a.status(), a.body), (200, b.body), "{query}");
    }
    // What one has deleted the other one does not show for long.
    is(&ask(one, "DELETE", &format!("/v1/sandboxes/{OTHER}"), "").await, 204, "");
    world.both(&format!("/v1/sandboxes/{OTHER}"), |answer| answer.status() == 404).await;
    is(&get(other, &format!("/v1/sandboxes/{OTHER}")).await, 404, &not_found(OTHER));
}

#[tokio::test]
async fn a_log_is_gone_on_with_at_the_other_one_behind_each_record() {
    let world = World::start("");
    let container = world.pod();
    let lines: Vec<String> = (0..20).map(|number| format!("line {number}\n")).collect();
    container.out(lines.concat());
    let [one, other] = &world.gateways;
    let all = records(&get(one, &target("/logs?format=ndjson")).await.body);
    let texts: Vec<_> = all.iter().filter_map(|record| record["log"].as_str()).collect();
    assert_eq!(texts, lines);
    for (number, record) in all.iter().filter(|record| record["log"].is_string()).enumerate() {
        let id = record["id"].as_str().unwrap();
        let rest = records(&get(other, &target(&format!("/logs?format=ndjson&after={id}"))).await.body);
        let rest: Vec<_> = rest.iter().filter_map(|record| record["log"].as_str().map(str::to_owned)).collect();
        assert_eq!(rest, lines[number + 1..], "after line {number}");
    }
    // A follow that one of them ends is followed on at the other.
    let last = all.iter().rev().find_map(|record| record["id"].as_str()).unwrap();
    let mut follower = Client::connect(other.address()).await;
    assert_eq!(follower.get(&target(&format!("/logs?format=ndjson&follow=true&after={last}"))).await.status, 200);
    container.out("line 20\n");
    let piece = follower.piece().await.unwrap().unwrap();
    assert_eq!(records(&piece)[0]["log"], "line 20\n");
}

#[tokio::test]
async fn patches_of_many_clients_at_both_lose_nothing() {
    let world = World::start("");
    let patches = (0..40).map(|number| {
        let (gateway, body) = (world.next(), format!(r#"{{"k{number}":"v"}}"#));
        async move { ask(gateway, "PATCH", &target("/metadata"), &body).await.status() }
    });
    assert!(join_all(patches).await.iter().all(|status| *status == 200));
    let labels = world.object()["metadata"]["labels"].clone();
    assert!((0..40).all(|number| labels[format!("k{number}")] == "v"), "{labels}");
    // Some set while others take away: each key is as its only client left it.
    let patches = (0..40).map(|number| {
        let value = if number % 2 == 0 { "null" } else { "\"w\"" };
        let (gateway, body) = (world.next(), format!(r#"{{"k{number}":{value}}}"#));
        async move { ask(gateway, "PATCH", &target("/metadata"), &body).await.status() }
    });
    assert!(join_all(patches).await.iter().all(|status| *status == 200));
    let is_as_left = |answer: &Response| {
        let metadata = &answer.json()["metadata"];
        (0..40).all(|number| {
            let found = &metadata[format!("k{number}")];
            if number % 2 == 0 { found.is_null() } else { found == "w" }
        })
    };
    world.both(&target(""), is_as_left).await;
}

#[tokio::test]
async fn use_never_moves_an_expiry_back() {
    let world = World::start("[renew_intent]\nenabled = true\nmin_interval_seconds = 1\n");
    let server = Backend::mirror().await;
    world.cluster.put(
        &BATCH,
        batch(ID, |object| {
            object["metadata"]["annotations"]["opensandbox.io/access-renew-extend-seconds"] = json!("600");
            object["spec"]["expireTime"] = json!("2026-01-01T00:00:00+00:00");
        }),
    );
    let (proxied, renewing) = (target(&format!("/proxy/{}/", server.port)), target("/renew-expiration"));
    let body = r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#;
    for _ in 0..10 {
        let uses = (0..8).map(|_| get(world.next(), &proxied));
        let renewal = ask(world.next(), "POST", &renewing, body);
        let (uses, renewed) = tokio::join!(join_all(uses), renewal);
        assert!(uses.iter().all(|used| used.status() == 200));
        assert_eq!(renewed.status(), 200);
    }
    // Whatever still is under way comes to its end.
    for gateway in &world.gateways {
        gateway.rests().await;
    }
    assert_eq!(world.object()["spec"]["expireTime"], "2098-12-01T00:00:00+00:00");
}

#[tokio::test]
async fn a_renewal_that_was_answered_is_there_and_a_sandbox_that_goes_has_none() {
    let world = World::start("");
    let renewing = target("/renew-expiration");
    for round in 0..20 {
        let number = round.to_string();
        let object = batch(ID, |object| {
            object["metadata"]["finalizers"] = json!(["x.example/y"]);
            object["metadata"]["labels"]["round"] = json!(number);
        });
        if world.cluster.get(&BATCH, ID).is_some() {
            world.cluster.server.remove(&BATCH, NAMESPACE, ID);
        }
        world.cluster.put(&BATCH, object);
        world.both(&target(""), |shown| shown.status() == 200 && shown.json()["metadata"]["round"] == *number).await;
        let body = r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#;
        let renewal = ask(world.next(), "POST", &renewing, body);
        // The operator ends it at the same time.
        let expiry = async { world.cluster.server.delete(&BATCH, NAMESPACE, ID) };
        let (renewed, ()) = if round % 2 == 0 { tokio::join!(renewal, expiry) } else { (renewal.await, expiry.await) };
        match renewed.status() {
            200 => assert_eq!(world.object()["spec"]["expireTime"], "2098-12-01T00:00:00+00:00"),
            409 => assert_eq!(renewed.code(), "KUBERNETES::INVALID_STATE"),
            other => panic!("{other}: {renewed:?}"),
        }
        let again = ask(world.next(), "POST", &renewing, body).await;
        assert_eq!((again.status(), again.code().as_str()), (409, "KUBERNETES::INVALID_STATE"), "round {round}");
    }
}

#[tokio::test]
async fn a_deletion_at_one_ends_a_follow_at_the_other() {
    let world = World::start("");
    let container = world.pod();
    container.out("first\n");
    let [one, other] = &world.gateways;
    let mut follower = Client::connect(other.address()).await;
    assert_eq!(follower.get(&target("/logs?format=ndjson&follow=true")).await.status, 200);
    let piece = follower.piece().await.unwrap().unwrap();
    assert_eq!(records(&piece)[0]["log"], "first\n");
    is(&ask(one, "DELETE", &target(""), "").await, 204, "");
    // The operator's part.
    world.cluster.server.remove(&PODS, NAMESPACE, &format!("{ID}-0"));
    container.exit();
    world.logs.forget(&container);
    let rest = records(&follower.body().await.unwrap());
    let end = rest.last().unwrap();
    assert_eq!((&end["event"], &end["reason"]), (&json!("end"), &json!("removed")), "{rest:?}");
    // Two who delete it: one did, and neither failed otherwise.
    world.cluster.put(&BATCH, batch(OTHER, |_| {}));
    let other_target = format!("/v1/sandboxes/{OTHER}");
    world.both(&other_target, |shown| shown.status() == 200).await;
    let (a, b) = tokio::join!(ask(one, "DELETE", &other_target, ""), ask(other, "DELETE", &other_target, ""));
    let mut statuses = [a.status(), b.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
}
