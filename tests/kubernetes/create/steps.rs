//! The API server goes away at one step of a creation after the other, and comes back later.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::fixture::{LONG, asked, error, never, nothing_is_left, objects, request, watched, world};
use crate::{
    cluster::{CLAIMS, NAMESPACE},
    support::{client, eventually, kube::Action},
};

/// A request that takes every step.
fn full() -> String {
    request(json!({
        "image": {"uri": "reg.example/x", "auth": {"username": "u", "password": "p"}},
        "volumes": [
            {"name": "a", "mountPath": "/a", "pvc": {"claimName": "kept"}},
            {"name": "b", "mountPath": "/b", "pvc": {"claimName": "managed", "deleteOnSandboxTermination": true}},
        ],
    }))
}

async fn goes_away_at(method: &'static str, text: &'static str) {
    let (mut cluster, gateway) = world(never(), "");
    watched(&cluster).await;
    cluster.server.fault(method, text, Action::Hang, 1);
    let creation = tokio::spawn({
        let address = gateway.address();
        async move { client::request(address, "POST", "/v1/sandboxes", &["content-type: application/json"], &full()).await }
    });
    eventually(text, LONG, || asked(&cluster, method, text).len() == 1).await;
    cluster.server.kill();
    let (status, code, message) = error(&creation.await.unwrap());
    assert_eq!((status, code.as_str()), (503, "KUBERNETES::API_ERROR"), "{method} {text}: {message}");
    cluster.server.up();
    nothing_is_left(&cluster).await;
    assert!(asked(&cluster, "POST", "/batchsandboxes").len() <= 1, "{method} {text}: nothing is made twice");
}

#[tokio::test]
async fn at_whatever_step_the_api_server_goes_away_nothing_is_left() {
    let steps = [
        ("GET", "/persistentvolumeclaims/kept"),
        ("POST", "/batchsandboxes"),
        ("POST", "/secrets"),
        ("POST", "/persistentvolumeclaims"),
    ];
    join_all(steps.map(|(method, text)| goes_away_at(method, text))).await;
}

#[tokio::test]
async fn a_creation_that_times_out_while_the_api_server_is_away_is_removed_when_it_is_back() {
    let (mut cluster, gateway) = world(never(), "sandbox_create_timeout_seconds = 2");
    watched(&cluster).await;
    let creation = tokio::spawn({
        let address = gateway.address();
        async move { client::request(address, "POST", "/v1/sandboxes", &["content-type: application/json"], &full()).await }
    });
    eventually("the claims", LONG, || cluster.server.list(&CLAIMS, NAMESPACE).len() == 2).await;
    cluster.server.kill();
    let response = creation.await.unwrap();
    assert_eq!(response.json()["code"], Value::from("KUBERNETES::POD_READY_TIMEOUT"));
    cluster.server.up();
    // A claim that does not go with its sandbox may be another's by now.
    eventually("that this claim alone is left", LONG, || objects(&cluster).len() == 1).await;
    assert!(cluster.get(&CLAIMS, "kept").is_some());
}
