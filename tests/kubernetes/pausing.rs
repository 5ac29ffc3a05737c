//! Pausing and resuming sandboxes of both kinds: what is written into the object, and what is answered (kubernetes-runtime.md §9).

mod rows;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    cluster::{AGENT, BATCH, Cluster, NAMESPACE, PODS},
    fixture::{ID, OTHER, ask, batch, get, is, not_found, pod},
    support::{
        client::Response,
        eventually,
        gateway::Gateway,
        kube::{Action, Failure, Operator},
    },
};

const LONG: Duration = Duration::from_secs(60);

async fn pause(gateway: &Gateway, id: &str) -> Response {
    ask(gateway, "POST", &format!("/v1/sandboxes/{id}/pause"), "").await
}

async fn resume(gateway: &Gateway, id: &str) -> Response {
    ask(gateway, "POST", &format!("/v1/sandboxes/{id}/resume"), "").await
}

async fn state(gateway: &Gateway, id: &str) -> String {
    let shown = get(gateway, &format!("/v1/sandboxes/{id}")).await;
    shown.json()["status"]["state"].as_str().unwrap_or_default().to_owned()
}

async fn reaches(gateway: &Gateway, id: &str, wanted: &str) {
    let begun = std::time::Instant::now();
    while state(gateway, id).await != wanted {
        assert!(begun.elapsed() < LONG, "{id} does not become {wanted}: {}", state(gateway, id).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The specifications that were merged into objects so far.
fn patches(cluster: &Cluster) -> Vec<Value> {
    let all = cluster.server.requests().into_iter().filter(|request| request.method == "PATCH");
    all.map(|request| request.body["spec"].clone()).collect()
}

fn refused(message: &str) -> String {
    format!(r#"{{"code":"KUBERNETES::INVALID_STATE","message":"{message}"}}"#)
}

fn agent(id: &str, change: impl FnOnce(&mut Value)) -> Value {
    let ready = json!({"type": "Ready", "status": "True", "reason": "DependenciesReady", "message": "ok",
        "lastTransitionTime": "2026-11-23T02:00:00Z"});
    let mut object = json!({
        "apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": id, "namespace": NAMESPACE, "labels": {"opensandbox.io/id": id}},
        "spec": {"operatingMode": "Running", "podTemplate": {"spec": {"containers": [{"name": "sandbox", "image": "x",
            "command": ["/opt/opensandbox/bootstrap.sh", "a"]}]}}},
        "status": {"conditions": [ready]},
    });
    change(&mut object);
    object
}

fn of_agents(cluster: &Cluster) -> Gateway {
    cluster.gateway("workload_provider = \"agent-sandbox\"").start()
}

/// A phase with these conditions that hold.
fn phase(name: &str, conditions: &[&str]) -> impl Fn(&mut Value) {
    let conditions: Vec<_> = conditions.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    let phase = if name.is_empty() { Value::Null } else { json!(name) };
    move |object| {
        object["status"]["phase"] = phase.clone();
        object["status"]["conditions"] = conditions.clone().into();
    }
}

#[tokio::test]
async fn the_operator_takes_the_pod_away_and_brings_one_back() {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::default());
    cluster.put(&BATCH, batch(ID, |object| object["status"] = json!({})));
    let gateway = cluster.gateway("").start();
    let pod = || cluster.get(&PODS, &format!("{ID}-0"));
    reaches(&gateway, ID, "Running").await;
    let first = pod().unwrap()["metadata"]["uid"].clone();
    is(&pause(&gateway, ID).await, 202, "");
    reaches(&gateway, ID, "Paused").await;
    assert!(pod().is_none());
    is(&pause(&gateway, ID).await, 409, &refused("Sandbox is already paused"));
    is(&resume(&gateway, ID).await, 202, "");
    reaches(&gateway, ID, "Running").await;
    assert_ne!(pod().unwrap()["metadata"]["uid"], first);
    assert_eq!(patches(&cluster), [json!({"pause": true}), json!({"pause": false})]);
}

#[tokio::test]
async fn an_agent_sandbox_is_suspended_and_goes_on() {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::default());
    cluster.put(&AGENT, agent("b0b", |object| object["status"] = json!({})));
    let gateway = of_agents(&cluster);
    reaches(&gateway, "b0b", "Running").await;
    is(&pause(&gateway, "b0b").await, 202, "");
    reaches(&gateway, "b0b", "Paused").await;
    assert!(cluster.get(&PODS, "b0b").is_none());
    is(&resume(&gateway, "b0b").await, 202, "");
    reaches(&gateway, "b0b", "Running").await;
    assert_eq!(patches(&cluster), [json!({"operatingMode": "Suspended"}), json!({"operatingMode": "Running"})]);
}

#[tokio::test]
async fn a_wish_is_seen_at_once() {
    let cluster = Cluster::start();
    cluster.put(&AGENT, agent("b0b", |_| {}));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = of_agents(&cluster);
    eventually("a watch", LONG, || cluster.server.open("sandboxes?") > 0).await;
    is(&pause(&gateway, "b0b").await, 202, "");
    assert_eq!(state(&gateway, "b0b").await, "Pausing");
    is(&resume(&gateway, "b0b").await, 409, &refused("Cannot resume: operation in progress (state=Pausing)"));
}

#[tokio::test]
async fn memory_that_is_old_leads_to_no_wrong_answer() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.put(&BATCH, batch(OTHER, phase("Paused", &[])));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = cluster.gateway("").start();
    eventually("a watch", LONG, || cluster.server.open("batchsandboxes?") > 0).await;
    // Both change unseen.
    cluster.put(&BATCH, batch(ID, phase("Paused", &[])));
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    assert_eq!(state(&gateway, OTHER).await, "Paused");
    is(&pause(&gateway, ID).await, 409, &refused("Sandbox is already paused"));
    assert!(cluster.get(&BATCH, ID).unwrap()["spec"]["pause"].is_null());
    is(&pause(&gateway, OTHER).await, 202, "");
    assert_eq!(cluster.get(&BATCH, OTHER).unwrap()["spec"]["pause"], true);
}

#[tokio::test]
async fn pods_that_memory_does_not_know_decide_too() {
    let cluster = Cluster::start();
    // Its operator has said nothing of it: its pods tell its state.
    cluster.put(&AGENT, agent("b0b", |object| object["status"] = json!({})));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = of_agents(&cluster);
    eventually("a watch", LONG, || cluster.server.open("/pods?") > 0).await;
    cluster.put(&PODS, pod("b0b", "b0b"));
    // What cannot be looked at is no refusal.
    let look = "labelSelector=opensandbox.io%2Fid%3Db0b";
    cluster.server.fault("GET", look, Action::Fail(Failure::new(500, "InternalError", "no")), 1);
    let answer = pause(&gateway, "b0b").await;
    assert_eq!((answer.status(), answer.code().as_str()), (500, "KUBERNETES::API_ERROR"), "{answer}");
    is(&pause(&gateway, "b0b").await, 202, "");
    assert_eq!(patches(&cluster), [json!({"operatingMode": "Suspended"})]);
}

#[tokio::test]
async fn what_is_not_there_or_is_going_is_not_paused() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |object| object["metadata"]["finalizers"] = json!(["x.example/y"])));
    let gateway = cluster.gateway("").start();
    for id in ["nope", "..", "a,b"] {
        is(&pause(&gateway, id).await, 404, &not_found(id));
        is(&resume(&gateway, id).await, 404, &not_found(id));
    }
    let fast = r#"{"code":"FSB::SANDBOX_NOT_FOUND","message":"Sandbox not found."}"#;
    is(&pause(&gateway, "fsb-x").await, 404, fast);
    is(&resume(&gateway, "fsb-x").await, 404, fast);
    is(&ask(&gateway, "DELETE", &format!("/v1/sandboxes/{ID}"), "").await, 204, "");
    let going = refused(&format!("Sandbox {ID} is being deleted."));
    is(&pause(&gateway, ID).await, 409, &going);
    is(&resume(&gateway, ID).await, 409, &going);
    assert_eq!(patches(&cluster), <[Value; 0]>::default());
}

#[tokio::test]
async fn who_comes_behind_a_deletion_or_another_change_is_told_so() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    assert_eq!(state(&gateway, ID).await, "Running");
    // Another writer is faster once: it is decided again, and written.
    cluster.server.fault("PATCH", ID, Action::Conflict, 1);
    is(&pause(&gateway, ID).await, 202, "");
    // The operator is faster: what it did decides. The delay is longer than a whole request takes on a slow machine.
    cluster.server.fault("PATCH", ID, Action::Delay(Duration::from_secs(4)), 1);
    let late = pause(&gateway, ID);
    let operator = async {
        eventually("the patch", LONG, || patches(&cluster).len() == 3).await;
        cluster.put(&BATCH, batch(ID, phase("Pausing", &[])));
    };
    let (late, ()) = tokio::join!(late, operator);
    is(&late, 409, &refused("Cannot pause: operation in progress (phase=Pausing)"));
    // And a deletion.
    cluster.put(&BATCH, batch(ID, |_| {}));
    cluster.server.fault("PATCH", ID, Action::Delay(Duration::from_secs(4)), 1);
    let late = pause(&gateway, ID);
    let deletion = async {
        eventually("the patch", LONG, || patches(&cluster).len() == 4).await;
        is(&ask(&gateway, "DELETE", &format!("/v1/sandboxes/{ID}"), "").await, 204, "");
    };
    let (late, ()) = tokio::join!(late, deletion);
    is(&late, 404, &not_found(ID));
    assert!(cluster.get(&BATCH, ID).is_none());
}

#[tokio::test]
async fn many_who_pause_at_once_are_all_told_the_same() {
    let cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    let all = join_all((0..16).map(|_| pause(&gateway, ID))).await;
    assert!(all.iter().all(|answer| answer.status() == 202), "{all:?}");
    assert_eq!(cluster.get(&BATCH, ID).unwrap()["spec"]["pause"], true);
}

#[tokio::test]
async fn an_api_server_that_refuses_or_is_away_is_told() {
    let mut cluster = Cluster::start();
    cluster.put(&BATCH, batch(ID, |_| {}));
    let gateway = cluster.gateway("").start();
    assert_eq!(state(&gateway, ID).await, "Running");
    for (failure, status, code, again) in [
        (Failure::new(403, "Forbidden", "no"), 403, "KUBERNETES::FORBIDDEN", ""),
        (Failure::too_many_requests(), 429, "KUBERNETES::API_ERROR", "1"),
        (Failure::new(500, "InternalError", "no"), 500, "KUBERNETES::API_ERROR", ""),
        (Failure::new(503, "ServiceUnavailable", "no"), 503, "KUBERNETES::API_ERROR", "5"),
    ] {
        cluster.server.fault("PATCH", ID, Action::Fail(failure), 1);
        let answer = pause(&gateway, ID).await;
        assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{answer}");
        assert_eq!(answer.head.field("retry-after"), again, "{answer}");
    }
    // One that never lets it through.
    cluster.server.fault("PATCH", ID, Action::Conflict, usize::MAX);
    let answer = pause(&gateway, ID).await;
    assert_eq!((answer.status(), answer.code().as_str()), (429, "KUBERNETES::API_ERROR"), "{answer}");
    cluster.server.heal();
    // The look behind a refusal fails.
    cluster.put(&BATCH, batch(ID, phase("Paused", &[])));
    reaches(&gateway, ID, "Paused").await;
    cluster.server.fault("GET", ID, Action::Fail(Failure::new(500, "InternalError", "no")), 1);
    assert_eq!(pause(&gateway, ID).await.status(), 500);
    cluster.server.kill();
    let away = pause(&gateway, ID).await;
    assert_eq!((away.status(), away.code().as_str()), (503, "KUBERNETES::API_ERROR"), "{away}");
    assert!(cluster.get(&BATCH, ID).unwrap()["spec"]["pause"].is_null());
}

#[tokio::test]
async fn an_object_by_its_older_name_is_paused() {
    let cluster = Cluster::start();
    cluster
        .put(&BATCH, batch("sandbox-old", |object| object["metadata"]["labels"]["opensandbox.io/id"] = json!("old")));
    let gateway = cluster.gateway("").start();
    is(&pause(&gateway, "old").await, 202, "");
    assert_eq!(cluster.get(&BATCH, "sandbox-old").unwrap()["spec"]["pause"], true);
}
