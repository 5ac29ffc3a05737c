//! A gateway that is stopped in the middle of a creation.

use std::time::Duration;

use serde_json::json;

use super::fixture::{LONG, never, nothing_is_left, request, watched, world};
use crate::{
    cluster::{BATCH, NAMESPACE},
    support::{client::Client, eventually},
};

#[tokio::test]
async fn a_creation_that_is_cut_off_leaves_nothing() {
    let (cluster, mut gateway) = world(never(), "");
    watched(&cluster).await;
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
    eventually("the object", LONG, || cluster.server.list(&BATCH, NAMESPACE).len() == 1).await;
    gateway.terminate();
    // 5 s for the requests, and at most 10 s for what they made.
    assert!(gateway.wait(Duration::from_secs(20)).success());
    nothing_is_left(&cluster).await;
}
