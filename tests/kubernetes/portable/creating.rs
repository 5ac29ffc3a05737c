//! Creations that fail. One that succeeds needs an image with an execd, which not every cluster has.

use serde_json::json;

use super::{Stage, ask};

/// A creation with these limits.
fn request(cpu: &str) -> String {
    json!({"image": {"uri": "registry.invalid/nowhere:1"}, "entrypoint": ["true"], "resourceLimits": {"cpu": cpu},
        "timeout": 600})
    .to_string()
}

pub(crate) async fn an_image_that_cannot_be_pulled_fails_a_creation_and_nothing_is_left(stage: &impl Stage) {
    stage.has_no_execd().await;
    let answer = ask(stage, "POST", "/v1/sandboxes", &request("100m")).await;
    assert_eq!((answer.status(), answer.code().as_str()), (500, "KUBERNETES::POD_FAILED"), "{answer}");
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("failed: container 'execd-installer': its image cannot be pulled"), "{message}");
    let list = ask(stage, "GET", "/v1/sandboxes", "").await.json();
    let left: Vec<_> = list["items"].as_array().into_iter().flatten().map(|it| &it["status"]["state"]).collect();
    assert!(left.iter().all(|state| **state == "Stopping"), "{list}");
}

pub(crate) async fn what_would_blind_the_operator_is_refused(stage: &impl Stage) {
    let answer = ask(stage, "POST", "/v1/sandboxes", &request("lots")).await;
    assert_eq!((answer.status(), answer.code().as_str()), (400, "SANDBOX::INVALID_PARAMETER"), "{answer}");
    let list = ask(stage, "GET", "/v1/sandboxes", "").await.json();
    assert_eq!(list["pagination"]["totalItems"], 0, "{list}");
}
