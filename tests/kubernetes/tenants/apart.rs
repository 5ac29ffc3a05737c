//! What one tenant does reaches nothing of another's.

use serde_json::{Value, json};

use super::fixture::{World, get, seen, with_key};
use crate::{
    cluster::{BATCH, CLAIMS},
    fixture::{ID, OTHER, is, not_found},
    support::{backend::Backend, client::Client, eventually},
};

const SECRET: &str = "a secret line of team-a\n";

/// What can be asked about a sandbox whose server listens on `port`: method, path below the sandbox, body.
fn requests(port: u16) -> Vec<(&'static str, String, &'static str)> {
    let get = |path: &str| ("GET", path.to_owned(), "");
    let mut all: Vec<_> = [
        "",
        "/logs",
        "/logs?format=ndjson",
        "/logs?follow=true&format=sse",
        "/logs?previous=true",
        "/logs?container=sandbox",
        "/diagnostics/inspect",
        "/diagnostics/events",
        "/diagnostics/logs",
        "/diagnostics/summary",
        "/endpoints/80",
        "/endpoints/80?use_server_proxy=true",
        "/networkpolicy",
    ]
    .map(get)
    .into();
    all.extend([
        get(&format!("/proxy/{port}/x")),
        ("POST", format!("/proxy/{port}/x"), "{}"),
        ("PATCH", "/metadata".to_owned(), r#"{"of":"me"}"#),
        ("POST", "/renew-expiration".to_owned(), r#"{"expiresAt":"2098-12-01T00:00:00Z"}"#),
        ("POST", "/snapshots".to_owned(), "{}"),
        ("POST", "/pause".to_owned(), ""),
        ("POST", "/resume".to_owned(), ""),
        ("DELETE", String::new(), ""),
    ]);
    all
}

#[tokio::test]
async fn no_tenant_reaches_another_s_sandbox_by_any_route() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", SECRET);
    let server = Backend::mirror().await;
    let gateway = world.gateway();
    let object = world.cluster.server.get(&BATCH, "a", ID);
    let target = |path: &str| format!("/v1/sandboxes/{ID}{path}");
    for key in ["key-b", "key-as"] {
        assert_eq!(seen(&gateway, key).await, 0);
        assert_eq!(get(&gateway, key, "/v1/snapshots").await.json()["items"], json!([]));
        for (method, path, body) in requests(server.port) {
            let answer = with_key(&gateway, key, method, &target(&path), body).await;
            assert_eq!(
                (answer.status(), answer.code().as_str()),
                (404, "KUBERNETES::SANDBOX_NOT_FOUND"),
                "{key}: {method} {path}"
            );
            assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{key}: {method} {path}");
        }
        // The same words as of a sandbox that nobody has.
        is(&get(&gateway, key, &target("")).await, 404, &not_found(ID));
    }
    assert_eq!(server.accepted(), 0);
    assert_eq!(world.cluster.server.get(&BATCH, "a", ID), object, "nothing has changed");
    // And it is there for whom it belongs to, with either key.
    for key in ["key-a1", "key-a2"] {
        assert_eq!(seen(&gateway, key).await, 1);
        assert_eq!(get(&gateway, key, &target("")).await.json()["metadata"]["of"], "team-a");
        is(&get(&gateway, key, &target("/logs")).await, 200, SECRET);
    }
    for (method, path, body) in requests(server.port) {
        if path.contains("previous")
            || path.contains("follow")
            || path == "/networkpolicy"
            || path == "/snapshots"
            || path == "/resume"
        {
            continue;
        }
        let answer = with_key(&gateway, "key-a1", method, &target(&path), body).await;
        assert!((200..300).contains(&answer.status()), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_log_token_of_another_tenant_opens_nothing() {
    let world = World::start();
    let container = world.sandbox(ID, "a", "team-a", SECRET);
    let gateway = world.gateway();
    let target = format!("/v1/sandboxes/{ID}/logs?format=ndjson");
    let text = get(&gateway, "key-a1", &target).await.body;
    let record: Value = serde_json::from_slice(text.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let token = record["id"].as_str().unwrap_or_else(|| panic!("no token in {record}"));
    container.out("another secret line\n");
    let after = format!("{target}&after={token}");
    for key in ["key-b", "key-as"] {
        for target in [after.clone(), format!("{after}&follow=true")] {
            let answer = get(&gateway, key, &target).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("secret"), "{key}: {text}");
        }
    }
    let own = get(&gateway, "key-a1", &after).await;
    assert!(String::from_utf8_lossy(&own.body).contains("another secret line"), "{own:?}");
}

#[tokio::test]
async fn the_same_id_in_two_namespaces_is_two_sandboxes() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "of a\n");
    world.sandbox(ID, "b", "team-b", "of b\n");
    let (of_a, of_b) = (Backend::mirror().await, Backend::mirror().await);
    let gateway = world.gateway();
    let target = |path: &str| format!("/v1/sandboxes/{ID}{path}");
    for (key, text, tenant) in [("key-a1", "of a\n", "team-a"), ("key-b", "of b\n", "team-b")] {
        is(&get(&gateway, key, &target("/logs")).await, 200, text);
        assert_eq!(get(&gateway, key, &target("")).await.json()["metadata"]["of"], tenant);
        let inspected = get(&gateway, key, &target("/diagnostics/inspect")).await;
        let namespace = format!("Namespace:      {}\n", &tenant[5..]);
        assert!(String::from_utf8_lossy(&inspected.body).contains(&namespace), "{inspected:?}");
    }
    // A connection that one has used is none of the other's, though both are to the same address.
    for (key, port) in [("key-a1", of_a.port), ("key-b", of_a.port), ("key-a2", of_a.port), ("key-b", of_b.port)] {
        assert_eq!(get(&gateway, key, &target(&format!("/proxy/{port}/"))).await.status(), 200);
    }
    assert!(of_a.accepted() >= 2, "{}", of_a.accepted());
    is(&with_key(&gateway, "key-b", "DELETE", &target(""), "").await, 204, "");
    assert_eq!([seen(&gateway, "key-a1").await, seen(&gateway, "key-b").await], [json!(1), json!(0)]);
}

#[tokio::test]
async fn a_tenant_that_follows_takes_no_place_of_another_s() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "of a\n");
    world.sandbox(ID, "b", "team-b", "of b\n");
    let gateway = world.setup("").section("[logs]\nmax_streams_per_sandbox = 1\n").start();
    let target = format!("/v1/sandboxes/{ID}/logs?follow=true");
    let mut follower = Client::connect(gateway.address()).await;
    follower.send_get(&target, &["open-sandbox-api-key: key-b"]).await;
    assert_eq!(follower.head().await.status, 200);
    assert_eq!(get(&gateway, "key-b", &target).await.code(), "LOGS::STREAM_LIMIT_REACHED");
    is(&get(&gateway, "key-a1", &format!("/v1/sandboxes/{ID}/logs")).await, 200, "of a\n");
}

#[tokio::test]
async fn claims_that_are_left_go_with_whose_they_are() {
    let world = World::start();
    world.claim("own", "a", Some("team-a"));
    world.claim("shadow-s", "a", Some("shadow"));
    world.claim("nobody-s", "a", None);
    world.claim("elsewhere", "b", Some("team-a"));
    let gateway = world.gateway();
    // The sandbox itself is gone.
    let target = format!("/v1/sandboxes/{ID}");
    is(&with_key(&gateway, "key-a1", "DELETE", &target, "").await, 404, &not_found(ID));
    let is_there = |namespace: &str, name: &str| world.cluster.server.get(&CLAIMS, namespace, name).is_some();
    assert!(!is_there("a", "own"));
    assert!(is_there("a", "shadow-s") && is_there("a", "nobody-s") && is_there("b", "elsewhere"));
}

#[tokio::test]
async fn the_label_of_a_tenant_is_not_a_client_s_to_change() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    let gateway = world.gateway();
    let target = format!("/v1/sandboxes/{ID}/metadata");
    for body in
        [r#"{"opensandbox.io/tenant":"shadow"}"#, r#"{"opensandbox.io/tenant":null}"#, r#"{"opensandbox.io/id":"x"}"#]
    {
        assert_eq!(
            with_key(&gateway, "key-a1", "PATCH", &target, body).await.code(),
            "INVALID_METADATA_LABEL",
            "{body}"
        );
    }
    assert_eq!(seen(&gateway, "key-a1").await, 1);
}

#[tokio::test]
async fn use_by_a_tenant_makes_its_own_sandbox_live_longer() {
    let world = World::start();
    let server = Backend::mirror().await;
    for (namespace, tenant) in [("a", "team-a"), ("b", "team-b")] {
        world.sandbox(ID, namespace, tenant, "");
        let renewed = json!({"metadata": {"annotations": {"opensandbox.io/access-renew-extend-seconds": "600"}},
            "spec": {"expireTime": "2026-01-01T00:00:00+00:00"}});
        world.cluster.server.patch(&BATCH, namespace, ID, &renewed);
    }
    let gateway = world.setup("").section("[renew_intent]\nenabled = true\nmin_interval_seconds = 3600\n").start();
    let expiry = |namespace: &str| {
        let object = world.cluster.server.get(&BATCH, namespace, ID).unwrap();
        object["spec"]["expireTime"].as_str().unwrap().to_owned()
    };
    let before = expiry("a");
    let target = format!("/v1/sandboxes/{ID}/proxy/{}/", server.port);
    assert_eq!(get(&gateway, "key-b", &target).await.status(), 200);
    let long = std::time::Duration::from_secs(60);
    eventually("the renewal of b's", long, || expiry("b") != before).await;
    assert_eq!(expiry("a"), before);
    // That of the other one's sandbox is no reason to wait with this one's.
    assert_eq!(get(&gateway, "key-a1", &target).await.status(), 200);
    eventually("the renewal of a's", long, || expiry("a") != before).await;
}

#[tokio::test]
async fn a_key_is_needed_for_everything_but_what_is_nobody_s() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    let server = Backend::mirror().await;
    let gateway = world.gateway();
    let proxied = format!("/v1/sandboxes/{ID}/proxy/{}/", server.port);
    let websocket =
        ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13", "sec-websocket-key: AAAA"];
    for target in
        ["/v1/sandboxes", "/v1/pools", "/v1/templates", "/v1/snapshots", "/nope", "/", &proxied, "/v1/metrics/events"]
    {
        let missing = get(&gateway, "", target).await;
        assert_eq!((missing.status(), missing.code().as_str()), (401, "MISSING_API_KEY"), "{target}");
        for wrong in ["zzz", "key-a", "key-a11", "KEY-A1", "team-a", "key-a1,key-b", &"x".repeat(5000)] {
            let invalid = get(&gateway, wrong, target).await;
            assert_eq!((invalid.status(), invalid.code().as_str()), (401, "INVALID_API_KEY"), "{target}");
        }
    }
    let refused = crate::support::client::request(gateway.address(), "GET", &proxied, &websocket, "").await;
    assert_eq!((refused.status(), refused.code().as_str()), (401, "MISSING_API_KEY"));
    assert_eq!(server.accepted(), 0);
    for target in ["/health", "/ready", "/version", "/docs", "/openapi.json"] {
        assert_eq!(get(&gateway, "", target).await.status(), 200, "{target}");
        assert_eq!(get(&gateway, "zzz", target).await.status(), 200, "{target}");
    }
    // A secured sandbox wants its token besides.
    let secured = json!({"metadata": {"annotations": {"opensandbox.io/secure-access-token": "t0ken"}}});
    world.cluster.server.patch(&BATCH, "a", ID, &secured);
    world.sandbox(OTHER, "a", "team-a", "");
    let code = async || get(&gateway, "key-a1", &proxied).await.code();
    let begun = std::time::Instant::now();
    while code().await != "MISSING_OR_INVALID_SECURE_ACCESS" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
    }
    assert!(!gateway.output().contains("key-a1"), "{}", gateway.output());
}
