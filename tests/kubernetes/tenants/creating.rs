//! A tenant's creations: everything is in its own namespace and bears its name.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::fixture::{World, with_key};
use crate::{
    cluster::{BATCH, CLAIMS},
    support::{
        LONGEST, eventually,
        kube::{Action, Failure, Operator, Outcome, resource::SECRETS},
    },
};

#[tokio::test]
async fn what_a_tenant_makes_is_in_its_namespace_and_nobody_else_s() {
    let world = World::start();
    let server = &world.cluster.server;
    server.operate(Operator::of(Outcome::Ready(Duration::ZERO)));
    let gateway = world.gateway();
    let volumes =
        json!([{"name": "v", "mountPath": "/v", "pvc": {"claimName": "c", "deleteOnSandboxTermination": true}}]);
    let request = json!({"image": {"uri": "reg.example/x", "auth": {"username": "u", "password": "p"}},
        "entrypoint": ["a"], "resourceLimits": {}, "timeout": 600, "volumes": volumes})
    .to_string();
    let created = with_key(&gateway, "key-a1", "POST", "/v1/sandboxes", &request).await;
    assert_eq!(created.status(), 202, "{created:?}");
    let id = created.json()["id"].as_str().unwrap().to_owned();
    for resource in [&BATCH, &SECRETS, &CLAIMS] {
        let there = ["a", "b", "osb"].map(|namespace| server.list(resource, namespace).len());
        assert_eq!(there, [1, 0, 0], "{}", resource.plural);
    }
    for resource in [&BATCH, &CLAIMS] {
        let labels = &server.list(resource, "a")[0]["metadata"]["labels"];
        assert_eq!(labels["opensandbox.io/tenant"], "team-a", "{}", resource.plural);
    }
    for key in ["key-as", "key-b"] {
        assert_eq!(with_key(&gateway, key, "GET", &format!("/v1/sandboxes/{id}"), "").await.status(), 404);
    }
    // A tenant of the same namespace is not told whose sandbox has the claim.
    let refused = with_key(&gateway, "key-as", "POST", "/v1/sandboxes", &request).await;
    assert_eq!(refused.status(), 409);
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(text.contains("by another sandbox") && !text.contains(&id), "{text}");
    assert_eq!(server.list(&BATCH, "a").len(), 1);
}

/// More than a tenant has places for: of each the client was answered, while what it made cannot be removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_keeps_no_places() {
    /// As many as a tenant has places for, so that none waits for another's; and more.
    const BATCHES: [usize; 2] = [256, 24];
    let world = World::start();
    let server = &world.cluster.server;
    server.operate(Operator::of(Outcome::Failed("no")));
    server.fault("DELETE", "/batchsandboxes/", Action::Fail(Failure::new(500, "InternalError", "no")), usize::MAX);
    let gateway = Arc::new(world.gateway());
    let create = {
        let gateway = Arc::clone(&gateway);
        move || {
            let gateway = Arc::clone(&gateway);
            let request = json!({"image": {"uri": "x"}, "entrypoint": ["a"], "resourceLimits": {}}).to_string();
            async move { with_key(&gateway, "key-a1", "POST", "/v1/sandboxes", &request).await.status() }
        }
    };
    for count in BATCHES {
        let creations: Vec<_> = (0..count).map(|_| tokio::spawn(create())).collect();
        for creation in creations {
            assert_eq!(creation.await.unwrap(), 500);
        }
    }
    server.operate(Operator::of(Outcome::Ready(Duration::ZERO)));
    assert_eq!(create().await, 202);
}

/// All that a tenant may have hang before anything is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_the_same_namespace_has_its_own_places() {
    const MANY: usize = 256;
    /// How many are begun at once: of more handshakes the last would take longer than the gateway waits, on a slow machine.
    const AT_ONCE: usize = 16;
    let world = World::start();
    let server = &world.cluster.server;
    server.operate(Operator::of(Outcome::Ready(Duration::ZERO)));
    server.fault("GET", "/persistentvolumeclaims/slow", Action::Hang, usize::MAX);
    let gateway = Arc::new(world.gateway());
    let request = |volumes| {
        json!({"image": {"uri": "x"}, "entrypoint": ["a"], "resourceLimits": {}, "volumes": volumes}).to_string()
    };
    let slow = request(json!([{"name": "v", "mountPath": "/v", "pvc": {"claimName": "slow"}}]));
    let hung = || world.cluster.requests().iter().filter(|request| request.contains("/slow")).count();
    for begun in (0..MANY).step_by(AT_ONCE) {
        for _ in 0..AT_ONCE {
            let (gateway, slow) = (Arc::clone(&gateway), slow.clone());
            tokio::spawn(async move { with_key(&gateway, "key-a1", "POST", "/v1/sandboxes", &slow).await });
        }
        eventually("creations that hang", LONGEST, || hung() >= begun + AT_ONCE).await;
    }
    let begun = Instant::now();
    let created = with_key(&gateway, "key-as", "POST", "/v1/sandboxes", &request(json!([]))).await;
    assert_eq!(created.status(), 202, "{created:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
