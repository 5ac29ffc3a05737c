//! A sandbox is created through the gateway, paused and resumed, saved, and taken from a pool.

use serde_json::{Value, json};

use super::{METADATA, Stage, ask, ask_until};
use crate::support::client::Response;

/// A creation of a container that sleeps, with `change`.
fn request(stage: &impl Stage, change: impl FnOnce(&mut Value)) -> String {
    let mut request = json!({
        "image": {"uri": stage.image()}, "entrypoint": ["sleep", "100000"], "timeout": 3600,
        "resourceLimits": {"cpu": "50m", "memory": "32Mi"}, "metadata": {METADATA.0: METADATA.1},
        "env": {"ONE": "1"}, "extensions": {"opensandbox.extensions.x": "y"},
    });
    change(&mut request);
    request.to_string()
}

async fn create(stage: &impl Stage, change: impl FnOnce(&mut Value)) -> Response {
    ask(stage, "POST", "/v1/sandboxes", &request(stage, change)).await
}

/// A running sandbox; the target of it.
async fn created(stage: &impl Stage) -> String {
    let made = create(stage, |_| {}).await;
    assert_eq!(made.status(), 202, "{made}");
    format!("/v1/sandboxes/{}", made.json()["id"].as_str().unwrap())
}

async fn until_state(stage: &impl Stage, target: &str, state: &str) {
    ask_until(stage, target, |answer| answer.status() == 200 && answer.json()["status"]["state"] == state).await;
}

/// What an answer says, in two words.
fn told(answer: &Response) -> (u16, String) {
    (answer.status(), answer.code())
}

pub(crate) async fn a_creation_is_answered_when_the_sandbox_runs(stage: &impl Stage) {
    let made = create(stage, |_| {}).await;
    let shown = made.json();
    assert_eq!((made.status(), &shown["status"]["state"]), (202, &json!("Running")), "{made}");
    assert_eq!(
        (&shown["entrypoint"], &shown["metadata"]),
        (&json!(["sleep", "100000"]), &json!({METADATA.0: METADATA.1}))
    );
    let target = format!("/v1/sandboxes/{}", shown["id"].as_str().unwrap());
    let later = ask(stage, "GET", &target, "").await.json();
    assert_eq!((&later["status"]["state"], &later["expiresAt"]), (&json!("Running"), &shown["expiresAt"]), "{later}");
    assert_eq!(
        (&later["image"]["uri"], &later["extensions"]),
        (&json!(stage.image()), &shown["extensions"]),
        "{later}"
    );
    let endpoint = ask(stage, "GET", &format!("{target}/endpoints/8080"), "").await.json();
    assert!(endpoint["endpoint"].as_str().unwrap().parse::<std::net::SocketAddr>().is_ok(), "{endpoint}");
    let inspect = ask(stage, "GET", &format!("{target}/diagnostics/inspect"), "").await;
    assert!(inspect.status() == 200 && inspect.to_string().contains("Phase:          Running"), "{inspect}");
    assert_eq!(ask(stage, "DELETE", &target, "").await.status(), 204);
    ask_until(stage, &target, |answer| answer.status() == 404).await;
}

pub(crate) async fn creations_at_once_wait_for_their_own_pods_alone(stage: &impl Stage) {
    let all = futures_util::future::join_all((0..4).map(|_| create(stage, |_| {}))).await;
    let mut ids: Vec<_> = all.iter().map(|made| (made.status(), made.json()["id"].to_string())).collect();
    ids.sort();
    ids.dedup();
    assert!(ids.len() == 4 && ids.iter().all(|(status, _)| *status == 202), "{ids:?}");
    let list = ask(stage, "GET", "/v1/sandboxes", "").await.json();
    assert_eq!(list["pagination"]["totalItems"], 4, "{list}");
}

pub(crate) async fn a_creation_that_cannot_be_leaves_nothing(stage: &impl Stage) {
    let quantity = create(stage, |request| request["resourceLimits"]["cpu"] = json!("lots")).await;
    assert_eq!(told(&quantity), (400, "SANDBOX::INVALID_PARAMETER".to_owned()), "{quantity}");
    let pool = create(stage, |request| request["extensions"]["poolRef"] = json!("nowhere")).await;
    assert_eq!(told(&pool), (404, "KUBERNETES::POOL_NOT_FOUND".to_owned()), "{pool}");
    let template = ask(stage, "POST", "/v1/sandboxes", r#"{"templateId":"t","timeout":60}"#).await;
    assert_eq!(told(&template), (501, "FSB::API_NOT_SUPPORTED".to_owned()), "{template}");
    let list = ask(stage, "GET", "/v1/sandboxes", "").await.json();
    assert_eq!(list["items"], json!([]), "{list}");
}

pub(crate) async fn an_image_that_cannot_be_pulled_fails_a_creation_and_nothing_is_left(stage: &impl Stage) {
    stage.cannot_pull().await;
    let answer = create(stage, |request| request["image"]["uri"] = json!("registry.invalid/nowhere:1")).await;
    assert_eq!(told(&answer), (500, "KUBERNETES::POD_FAILED".to_owned()), "{answer}");
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    // Which container it is depends on whether there is an image of execd.
    assert!(message.contains("': its image cannot be pulled"), "{message}");
    let list = ask(stage, "GET", "/v1/sandboxes", "").await.json();
    let left: Vec<_> = list["items"].as_array().into_iter().flatten().map(|it| &it["status"]["state"]).collect();
    assert!(left.iter().all(|state| **state == "Stopping"), "{list}");
}

pub(crate) async fn a_sandbox_is_paused_and_resumed(stage: &impl Stage) {
    let target = created(stage).await;
    let (pause, resume) = (format!("{target}/pause"), format!("{target}/resume"));
    assert_eq!(told(&ask(stage, "POST", &resume, "").await), (409, "KUBERNETES::INVALID_STATE".to_owned()));
    assert_eq!(ask(stage, "POST", &pause, "").await.status(), 202);
    if !stage.pauses() {
        return;
    }
    until_state(stage, &target, "Paused").await;
    assert_eq!(told(&ask(stage, "POST", &pause, "").await), (409, "KUBERNETES::INVALID_STATE".to_owned()));
    assert_eq!(ask(stage, "POST", &resume, "").await.status(), 202);
    until_state(stage, &target, "Running").await;
    let none = ask(stage, "POST", "/v1/sandboxes/nope/pause", "").await;
    assert_eq!(told(&none), (404, "KUBERNETES::SANDBOX_NOT_FOUND".to_owned()));
}

pub(crate) async fn a_snapshot_is_of_a_sandbox_whose_pod_runs(stage: &impl Stage) {
    let target = created(stage).await;
    let none = ask(stage, "POST", "/v1/sandboxes/nope/snapshots", "{}").await;
    assert_eq!(told(&none), (404, "KUBERNETES::SANDBOX_NOT_FOUND".to_owned()));
    let made = ask(stage, "POST", &format!("{target}/snapshots"), r#"{"name":"s"}"#).await;
    let shown = made.json();
    assert_eq!(
        (made.status(), &shown["status"]["state"], &shown["name"]),
        (202, &json!("Creating"), &json!("s")),
        "{made}"
    );
    let snapshot = format!("/v1/snapshots/{}", shown["id"].as_str().unwrap());
    let later = ask(stage, "GET", &snapshot, "").await.json();
    assert_eq!((&later["id"], &later["sandboxId"]), (&shown["id"], &shown["sandboxId"]), "{later}");
    let list =
        ask(stage, "GET", &format!("/v1/snapshots?sandboxId={}", shown["sandboxId"].as_str().unwrap()), "").await;
    assert_eq!(list.json()["pagination"]["totalItems"], 1, "{list}");
}

pub(crate) async fn a_pool_is_made_changed_and_deleted(stage: &impl Stage) {
    // Nobody has to make pods for it.
    let capacity = json!({"bufferMax": 0, "bufferMin": 0, "poolMax": 0, "poolMin": 0});
    let template = json!({"spec": {"containers": [{"name": "sandbox", "image": stage.image()}]}});
    let pool = json!({"name": "p1", "template": template, "capacitySpec": capacity}).to_string();
    let made = ask(stage, "POST", "/v1/pools", &pool).await;
    assert_eq!((made.status(), &made.json()["capacitySpec"]), (201, &capacity), "{made}");
    let again = ask(stage, "POST", "/v1/pools", &pool).await;
    assert_eq!(told(&again), (409, "KUBERNETES::POOL_ALREADY_EXISTS".to_owned()));
    let listed = ask(stage, "GET", "/v1/pools", "").await.json();
    assert_eq!(
        (listed["items"].as_array().map(Vec::len), &listed["items"][0]["name"]),
        (Some(1), &json!("p1")),
        "{listed}"
    );
    let more = json!({"bufferMax": 1, "bufferMin": 0, "poolMax": 1, "poolMin": 0});
    let change = json!({"capacitySpec": more}).to_string();
    assert_eq!(ask(stage, "PUT", "/v1/pools/p1", &change).await.json()["capacitySpec"], more);
    assert_eq!(ask(stage, "GET", "/v1/pools/p1", "").await.json()["capacitySpec"], more);
    assert_eq!(ask(stage, "DELETE", "/v1/pools/p1", "").await.status(), 204);
    let gone = ask_until(stage, "/v1/pools/p1", |answer| answer.status() == 404).await;
    assert_eq!(gone.code(), "KUBERNETES::POOL_NOT_FOUND");
}
