//! Objects as operators leave them, and requests as clients make them.

use serde_json::{Value, json};

use crate::{
    cluster::NAMESPACE,
    support::{
        client::{self, Response},
        gateway::Gateway,
    },
};

pub(crate) const ID: &str = "a20d40a3-e37b-4a88-80df-7f81c2465e44";
pub(crate) const OTHER: &str = "2ac503a7-652a-42be-a827-aa31fab376d3";

/// A BatchSandbox as the operator leaves one that runs.
pub(crate) fn batch(id: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({
        "apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "BatchSandbox",
        "metadata": {
            "name": id, "namespace": NAMESPACE, "labels": {"opensandbox.io/id": id, "project": "apollo"},
            "annotations": {"sandbox.opensandbox.io/endpoints": "[\"127.0.0.1\"]"},
        },
        "spec": {
            "expireTime": "2099-11-26T13:18:58.511753+00:00", "replicas": 1,
            "template": {"spec": {"containers": [{"name": "sandbox", "image": "reg.example/py:1",
                "command": ["/opt/opensandbox/bootstrap.sh", "python", "-c", "x"]}]}},
        },
        "status": {"phase": "Succeed", "replicas": 1, "allocated": 1, "ready": 1, "taskRunning": 0, "taskSucceed": 0,
            "taskFailed": 0, "taskPending": 0, "taskUnknown": 0},
    });
    change(&mut object);
    object
}

pub(crate) fn pod(name: &str, id: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"opensandbox.io/id": id}},
        "spec": {"nodeName": "n1", "containers": [{"name": "sandbox", "image": "reg.example/py:1"}]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "hostIP": "10.0.0.1"},
    })
}

pub(crate) async fn ask(gateway: &Gateway, method: &str, target: &str, body: &str) -> Response {
    let lines: &[&str] = if body.is_empty() { &[] } else { &["content-type: application/json"] };
    client::request(gateway.address(), method, target, lines, body).await
}

pub(crate) async fn get(gateway: &Gateway, target: &str) -> Response {
    ask(gateway, "GET", target, "").await
}

pub(crate) fn is(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status(), std::str::from_utf8(&response.body).unwrap()), (status, body));
}

pub(crate) fn not_found(id: &str) -> String {
    format!(r#"{{"code":"KUBERNETES::SANDBOX_NOT_FOUND","message":"Sandbox '{id}' not found"}}"#)
}
