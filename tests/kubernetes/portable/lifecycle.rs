//! A sandbox is shown, listed, renewed, patched, reached, described and deleted.

use serde_json::json;

use super::{METADATA, Program, Stage, ask, ask_until};

/// The target of a sandbox, or of what is below it.
fn target(id: &str, rest: &str) -> String {
    format!("/v1/sandboxes/{id}{rest}")
}

/// A sandbox that is shown as its maker left it: a stage may write it in several steps, which a watch tells one by one.
async fn running(stage: &impl Stage) -> String {
    let id = stage.sandbox(Program::stays([])).await;
    ask_until(stage, &target(&id, ""), |answer| {
        let shown = answer.json();
        answer.status() == 200 && shown["status"]["state"] == "Running" && shown["metadata"][METADATA.0] == METADATA.1
    })
    .await;
    id
}

pub(crate) async fn a_sandbox_is_shown_and_listed(stage: &impl Stage) {
    let id = running(stage).await;
    let shown = ask(stage, "GET", &target(&id, ""), "").await.json();
    assert_eq!((&shown["id"], &shown["status"]["state"]), (&json!(id), &json!("Running")), "{shown}");
    assert_eq!(shown["metadata"], json!({METADATA.0: METADATA.1}), "{shown}");
    assert_eq!(shown["expiresAt"], "2099-11-26T13:18:58Z", "{shown}");
    let filter = format!("/v1/sandboxes?metadata={}%3D{}&state=running", METADATA.0, METADATA.1);
    let list = ask(stage, "GET", &filter, "").await.json();
    assert_eq!(list["items"], json!([shown]), "{list}");
    let none = ask(stage, "GET", "/v1/sandboxes?metadata=project%3Dzeus", "").await.json();
    assert_eq!(none["pagination"]["totalItems"], 0, "{none}");
    assert_eq!(ask(stage, "GET", &target("nope", ""), "").await.code(), "KUBERNETES::SANDBOX_NOT_FOUND");
}

pub(crate) async fn an_expiry_is_moved_and_metadata_patched(stage: &impl Stage) {
    let id = running(stage).await;
    let expires = r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#;
    let renewed = ask(stage, "POST", &target(&id, "/renew-expiration"), expires).await;
    assert_eq!((renewed.status(), renewed.json()["expiresAt"].as_str()), (200, Some("2098-12-01T00:00:00Z")));
    let patched = ask(stage, "PATCH", &target(&id, "/metadata"), r#"{"project":null,"n":"v"}"#).await;
    assert_eq!((patched.status(), &patched.json()["metadata"]), (200, &json!({"n": "v"})), "{patched}");
    // Own writes are seen at once.
    let shown = ask(stage, "GET", &target(&id, ""), "").await.json();
    assert_eq!((&shown["expiresAt"], &shown["metadata"]), (&json!("2098-12-01T00:00:00Z"), &json!({"n": "v"})));
    // Sixteen at once undo nothing of each other.
    let patches = (0..16).map(|number| {
        let (target, body) = (target(&id, "/metadata"), format!(r#"{{"k{number}":"v"}}"#));
        async move { ask(stage, "PATCH", &target, &body).await.status() }
    });
    let statuses = futures_util::future::join_all(patches).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let shown = ask(stage, "GET", &target(&id, ""), "").await.json();
    assert_eq!(shown["metadata"].as_object().map(serde_json::Map::len), Some(17), "{shown}");
}

pub(crate) async fn an_endpoint_is_the_address_of_the_pod(stage: &impl Stage) {
    let id = running(stage).await;
    let endpoint = ask(stage, "GET", &target(&id, "/endpoints/8080"), "").await.json();
    let address: std::net::SocketAddr = endpoint["endpoint"].as_str().unwrap_or_default().parse().unwrap();
    assert_eq!(address.port(), 8080, "{endpoint}");
    let proxied = ask(stage, "GET", &target(&id, "/endpoints/8080?use_server_proxy=true"), "").await.json();
    assert!(proxied["endpoint"].as_str().unwrap().ends_with(&target(&id, "/proxy/8080")), "{proxied}");
    assert_eq!(ask(stage, "GET", &target(&id, "/endpoints/0"), "").await.code(), "DOCKER::INVALID_PORT");
}

pub(crate) async fn a_pod_is_described(stage: &impl Stage) {
    let id = running(stage).await;
    let inspect = ask(stage, "GET", &target(&id, "/diagnostics/inspect"), "").await;
    let text = String::from_utf8_lossy(&inspect.body).into_owned();
    assert_eq!(inspect.status(), 200, "{text}");
    for part in [&format!("Pod Name:       {id}-0\n"), "Phase:          Running\n", "Containers:"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    let events = ask(stage, "GET", &target(&id, "/diagnostics/events"), "").await;
    assert!(events.status() == 200 && !events.body.is_empty(), "{events}");
    let none = ask(stage, "GET", &target("nope", "/diagnostics/inspect"), "").await;
    assert_eq!((none.status(), none.code().as_str()), (404, "KUBERNETES::SANDBOX_NOT_FOUND"));
}

pub(crate) async fn a_deleted_sandbox_is_gone(stage: &impl Stage) {
    let id = running(stage).await;
    assert_eq!(ask(stage, "DELETE", &target(&id, ""), "").await.status(), 204);
    stage.collect(&id).await;
    let gone = ask_until(stage, &target(&id, ""), |answer| answer.status() == 404).await;
    assert_eq!(gone.code(), "KUBERNETES::SANDBOX_NOT_FOUND");
    assert_eq!(ask(stage, "DELETE", &target(&id, ""), "").await.status(), 404);
    // Its pod may live for as long as its grace lasts.
    let log = ask_until(stage, &target(&id, "/logs"), |answer| answer.status() == 404).await;
    assert_eq!(log.code(), "KUBERNETES::SANDBOX_NOT_FOUND", "{log}");
}
