//! Changes that meet others: another object of the same name, a webhook's refusal, claims that cannot be removed at once; and what
//! an object may not lead to.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    cluster::{self, BATCH, Cluster, NAMESPACE},
    fixture::{ID, OTHER, ask, batch, get, is, not_found, pod},
    support::{
        backend::Backend,
        eventually,
        gateway::Gateway,
        kube::{Action, Failure},
    },
};

const LONG: Duration = Duration::from_secs(60);

fn claim(name: &str, id: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE,
        "labels": {"opensandbox.io/id": id, "opensandbox.io/volume-managed-by": "server"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

async fn delete(gateway: &Gateway, id: &str) -> (u16, String) {
    let answer = ask(gateway, "DELETE", &format!("/v1/sandboxes/{id}"), "").await;
    (answer.status(), String::from_utf8_lossy(&answer.body).into_owned())
}

/// A gateway that knows a sandbox of this name by a watch that went silent, and then another one is made under its name.
async fn of_a_replaced(cluster: &Cluster, change: impl FnOnce(&mut Value)) -> Gateway {
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = cluster.gateway("").start();
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.status(), 200);
    eventually("a watch", LONG, || cluster.server.open("batchsandboxes?") > 0).await;
    cluster.server.remove(&BATCH, NAMESPACE, ID);
    cluster.put(&BATCH, batch(ID, change));
    gateway
}

#[tokio::test]
async fn a_change_is_of_the_object_that_was_found_and_of_no_other() {
    let cluster = Cluster::start();
    let gateway = of_a_replaced(&cluster, |_| {}).await;
    let target = format!("/v1/sandboxes/{ID}/metadata");
    is(&ask(&gateway, "PATCH", &target, r#"{"n":"v"}"#).await, 404, &not_found(ID));
    assert!(cluster.get(&BATCH, ID).unwrap()["metadata"]["labels"]["n"].is_null());
    // What is there now is found by the next.
    assert_eq!(ask(&gateway, "PATCH", &target, r#"{"n":"v"}"#).await.status(), 200);
    assert_eq!(cluster.get(&BATCH, ID).unwrap()["metadata"]["labels"]["n"], "v");
}

#[tokio::test]
async fn a_deletion_of_a_sandbox_that_was_replaced_leaves_the_new_one_and_its_claims() {
    let cluster = Cluster::start();
    let gateway = of_a_replaced(&cluster, |_| {}).await;
    cluster.put(&cluster::CLAIMS, claim("own", ID));
    assert_eq!(delete(&gateway, ID).await, (404, not_found(ID)));
    assert!(cluster.get(&BATCH, ID).is_some() && cluster.get(&cluster::CLAIMS, "own").is_some());
    assert_eq!(delete(&gateway, ID).await.0, 204);
    assert!(cluster.get(&BATCH, ID).is_none() && cluster.get(&cluster::CLAIMS, "own").is_none());
}

#[tokio::test]
async fn a_webhook_that_refuses_a_deletion_is_told() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&cluster::CLAIMS, claim("own", ID));
    let gateway = cluster.gateway("").start();
    cluster.server.fault("DELETE", "batchsandboxes", Action::Fail(Failure::new(409, "Conflict", "not today")), 1);
    let (status, text) = delete(&gateway, ID).await;
    assert!(status >= 400 && status != 404, "{status} {text}");
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.status(), 200);
    assert!(cluster.get(&BATCH, ID).is_some() && cluster.get(&cluster::CLAIMS, "own").is_some());
}

#[tokio::test]
async fn an_object_that_is_nested_deeply_and_held_is_deleted() {
    let cluster = Cluster::start();
    let deep = (0..200).fold(json!(1), |inner, _| json!({"a": inner}));
    cluster.put(
        &BATCH,
        batch(ID, |object| {
            object["metadata"]["finalizers"] = json!(["x.example/y"]);
            object["spec"]["template"]["deep"] = deep;
        }),
    );
    let gateway = cluster.gateway("").start();
    assert_eq!(delete(&gateway, ID).await, (204, String::new()));
    assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}")).await.json()["status"]["state"], "Stopping");
}

/// Of more deletions than there are places for changes.
#[tokio::test(flavor = "multi_thread")]
async fn claims_that_cannot_be_removed_keep_no_places() {
    const MANY: usize = 260;
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let refused = Failure::new(500, "InternalError", "no");
    cluster.server.fault("GET", "persistentvolumeclaims", Action::Fail(refused), usize::MAX);
    let gateway = cluster.gateway("").start();
    let ids: Vec<_> = (0..MANY).map(|number| format!("gone-{number}")).collect();
    // Not all at once: of names that nobody knows few are read at a time, and who waits longer than 10 s is refused.
    for some in ids.chunks(65) {
        for (status, text) in join_all(some.iter().map(|id| delete(&gateway, id))).await {
            assert_eq!(status, 404, "{text}");
        }
    }
    let begun = Instant::now();
    let patched = ask(&gateway, "PATCH", &format!("/v1/sandboxes/{ID}/metadata"), r#"{"a":"1"}"#).await;
    assert_eq!(patched.status(), 200, "{patched}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn claims_that_cannot_be_removed_at_once_are_removed_later() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&cluster::CLAIMS, claim("own", ID));
    let gateway = cluster.gateway("").start();
    let busy = Failure::new(500, "InternalError", "no");
    cluster.server.fault("GET", "persistentvolumeclaims", Action::Fail(busy.clone()), 1);
    cluster.server.fault("DELETE", "persistentvolumeclaims", Action::Fail(busy), 1);
    let begun = Instant::now();
    assert_eq!(delete(&gateway, ID).await.0, 204);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    eventually("the claim's end", LONG, || cluster.get(&cluster::CLAIMS, "own").is_none()).await;
}

#[tokio::test]
async fn a_claim_that_a_webhook_holds_back_holds_back_no_other_and_goes_later() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    for name in ["a", "b"] {
        cluster.put(&cluster::CLAIMS, claim(name, ID));
    }
    let gateway = cluster.gateway("").start();
    let held = Action::Fail(Failure::new(409, "Conflict", "not today"));
    cluster.server.fault("DELETE", "persistentvolumeclaims/a", held, 2);
    assert_eq!(delete(&gateway, ID).await.0, 204);
    assert!(cluster.get(&cluster::CLAIMS, "b").is_none(), "at once");
    eventually("the other claim's end", LONG, || cluster.get(&cluster::CLAIMS, "a").is_none()).await;
}

#[tokio::test]
async fn an_object_does_not_lead_the_proxy_to_this_machine() {
    let cluster = Cluster::start();
    let backend = Backend::mirror().await;
    cluster.put(&BATCH, batch(ID, |_| {}));
    let port = backend.port;
    let gateway = cluster.gateway("").networks("").start();
    let target = format!("/v1/sandboxes/{ID}");
    let none = r#"{"code":"KUBERNETES::POD_IP_NOT_AVAILABLE","message":"Pod IP is not yet available. The Pod may still be starting."}"#;
    is(&get(&gateway, &format!("{target}/proxy/{port}/x")).await, 404, none);
    is(&get(&gateway, &format!("{target}/endpoints/{port}")).await, 404, none);
}

#[tokio::test]
async fn what_no_route_finds_is_not_listed() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch("named", |object| object["metadata"]["labels"]["opensandbox.io/id"] = json!(OTHER)));
    cluster.put(&BATCH, batch("fsb-x", |_| {}));
    let gateway = cluster.gateway("").start();
    let list = get(&gateway, "/v1/sandboxes").await.json();
    assert_eq!((&list["pagination"]["totalItems"], &list["items"][0]["id"]), (&json!(1), &json!(ID)), "{list}");
}

#[tokio::test]
async fn the_newest_of_many_events_are_shown() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let name = format!("{ID}-0");
    cluster.put(&cluster::PODS, pod(&name, ID));
    let uid = cluster.get(&cluster::PODS, &name).unwrap()["metadata"]["uid"].clone();
    for number in 0..620 {
        let time = format!("2026-11-26T13:{:02}:{:02}Z", number / 60, number % 60);
        cluster.server.create(&cluster::EVENTS, NAMESPACE, json!({"apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("e{number:03}"), "namespace": NAMESPACE}, "type": "Normal", "reason": "Pulled",
            "involvedObject": {"kind": "Pod", "name": name, "uid": uid}, "message": format!("m{number}"), "lastTimestamp": time}));
    }
    let gateway = cluster.gateway("").start();
    let events = get(&gateway, &format!("/v1/sandboxes/{ID}/diagnostics/events?limit=2")).await;
    let text = String::from_utf8_lossy(&events.body).into_owned();
    assert!(events.status() == 200 && text.lines().count() == 2 && text.ends_with("m619"), "{text}");
    for (failure, status) in [
        (Failure::new(401, "Unauthorized", "Unauthorized"), 403),
        (Failure::bad_request("no"), 400),
        (Failure::new(409, "Conflict", "no"), 500),
    ] {
        cluster.server.fault("GET", "/events", Action::Fail(failure), 1);
        assert_eq!(get(&gateway, &format!("/v1/sandboxes/{ID}/diagnostics/events")).await.status(), status);
    }
}
