//! A gateway that is stopped in the middle of a creation.

use std::time::Duration;

use serde_json::json;

use super::fixture::{LONG, asked, never, nothing_is_left, objects, request, watched, world};
use crate::{
    cluster::Cluster,
    fixture::{ask, get},
    support::{client::Client, eventually, gateway::Gateway, kube::Action},
};

/// Sends a request for a sandbox with a claim and a secret.
async fn begin(gateway: &Gateway) -> Client {
    let volumes =
        json!([{"name": "v", "mountPath": "/v", "pvc": {"claimName": "c", "deleteOnSandboxTermination": true}}]);
    let auth = json!({"uri": "reg.example/x", "auth": {"username": "u", "password": "p"}});
    let body = request(json!({"volumes": volumes, "image": auth}));
    let mut client = Client::connect(gateway.address()).await;
    let head = format!(
        "POST /v1/sandboxes HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head).await;
    client
}

/// A creation whose sandbox is waited for: its object, its pod, its secret and its claim are there.
async fn waiting(cluster: &Cluster, gateway: &Gateway) -> Client {
    watched(cluster).await;
    let client = begin(gateway).await;
    eventually("what is made", LONG, || objects(cluster).len() == 4).await;
    client
}

#[tokio::test]
async fn a_creation_that_is_cut_off_leaves_nothing() {
    let (cluster, mut gateway) = world(never(), "");
    let _client = waiting(&cluster, &gateway).await;
    gateway.terminate();
    // 5 s for the requests, and at most 10 s for what they made.
    assert!(gateway.wait(Duration::from_secs(20)).success());
    nothing_is_left(&cluster).await;
}

/// Whatever it waits for: nothing that was made yet, or an object that was made without an answer.
#[tokio::test]
async fn a_creation_that_hangs_is_cut_off_too() {
    for (method, text) in [("GET", "/persistentvolumeclaims/"), ("POST", "/batchsandboxes")] {
        let (cluster, mut gateway) = world(never(), "");
        watched(&cluster).await;
        cluster.server.fault(method, text, Action::Silence(0), 1);
        let _client = begin(&gateway).await;
        eventually("the call", LONG, || !asked(&cluster, method, text).is_empty()).await;
        gateway.terminate();
        assert!(gateway.wait(Duration::from_secs(20)).success(), "{method} {text}");
        assert!(!gateway.output().contains("are given up"), "{method} {text}");
        nothing_is_left(&cluster).await;
    }
}

#[tokio::test]
async fn what_a_killed_gateway_leaves_is_one_sandbox_that_owns_the_rest() {
    let (cluster, mut gateway) = world(never(), "");
    let _client = waiting(&cluster, &gateway).await;
    gateway.signal("KILL");
    assert!(!gateway.wait(Duration::from_secs(20)).success());
    let next = cluster.gateway("").start();
    let list = get(&next, "/v1/sandboxes").await.json();
    assert_eq!(
        (&list["pagination"]["totalItems"], &list["items"][0]["status"]["state"]),
        (&json!(1), &json!("Pending"))
    );
    assert_eq!(asked(&cluster, "POST", "/batchsandboxes").len(), 1, "nothing is made twice");
    let id = list["items"][0]["id"].as_str().unwrap();
    assert_eq!(ask(&next, "DELETE", &format!("/v1/sandboxes/{id}"), "").await.status(), 204);
    nothing_is_left(&cluster).await;
}
