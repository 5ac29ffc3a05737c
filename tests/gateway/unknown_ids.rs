//! What is no sandbox costs the engine nothing, whoever asks and however.

use std::time::Duration;

use serde_json::json;

use crate::{
    Pair,
    support::{
        bounded,
        client::{Client, get_once, request},
        engine::{Action, Sandbox, Script},
        eventually,
    },
};

const JSON: &str = "Content-Type: application/json";

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// A pair whose gateway knows all that the engine has.
async fn pair() -> Pair {
    let pair = Pair::with(|setup| setup.api_key("key"));
    settled(&pair).await;
    pair
}

/// Waits until the gateway has the event stream and has listed all containers since.
async fn settled(pair: &Pair) {
    let lists = || {
        let requests = pair.engine.requests();
        let events = requests.iter().rposition(|target| target.contains("/events"));
        requests.len() - events.unwrap_or(requests.len())
    };
    eventually("the event stream and lists", Duration::from_secs(10), || lists() > 1).await;
    pair.gateway.rests().await;
}

/// Sends `count` requests without a key on twenty connections.
async fn flood(pair: &Pair, count: usize, target: &str, status: u16) {
    let send = || async {
        let mut client = Client::connect(pair.address()).await;
        for _ in 0..count / 20 {
            let answer = client.request("GET", target, &[], "").await;
            assert_eq!(answer.status(), status, "{answer}");
            assert!(answer.body.len() < 1024, "{answer}");
        }
    };
    futures_util::future::join_all((0..20).map(|_| send())).await;
}

#[tokio::test]
async fn fifteen_hundred_proxied_requests_to_nothing_cost_no_engine_call() {
    let pair = pair().await;
    let removed = pair.engine.log(Script::silent());
    get_once(pair.address(), &format!("/sandboxes/{removed}/proxy/9/")).await;
    pair.engine.remove(&removed);
    let long = "a".repeat(40_000);
    let odd = ["-x", "a%0d%0ab", "a%00b", &"x".repeat(129), &long];
    let seen = pair.engine.requests().len();
    flood(&pair, 1500, &format!("/v1/sandboxes/{UNKNOWN}/proxy/8080/"), 404).await;
    flood(&pair, 100, &format!("/v1/sandboxes/{removed}/proxy/8080/"), 404).await;
    for id in odd {
        flood(&pair, 100, &format!("/v1/sandboxes/{id}/proxy/8080/"), 404).await;
    }
    assert_eq!(pair.engine.container_requests(seen), [] as [&str; 0]);
    assert!(pair.gateway.output().lines().all(|line| line.len() < 100_000));
}

#[tokio::test]
async fn everything_by_id_knows_what_is_not_there() {
    let pair = pair().await;
    let seen = pair.engine.requests().len();
    for (method, below, body) in [
        ("GET", "", ""),
        ("GET", "/logs", ""),
        ("GET", "/logs?follow=true", ""),
        ("GET", "/endpoints/8080", ""),
        ("GET", "/diagnostics/logs", ""),
        ("GET", "/diagnostics/logs?scope=container", ""),
        ("GET", "/diagnostics/events", ""),
        ("GET", "/diagnostics/inspect", ""),
        ("GET", "/diagnostics/summary", ""),
        ("POST", "/pause", ""),
        ("POST", "/resume", ""),
        ("PATCH", "/metadata", "{}"),
        ("POST", "/renew-expiration", r#"{"expiresAt":"2099-01-01T00:00:00Z"}"#),
        ("POST", "/snapshots", "{}"),
    ] {
        let key = ["OPEN-SANDBOX-API-KEY: key", JSON];
        let answer = request(pair.address(), method, &format!("/v1/sandboxes/{UNKNOWN}{below}"), &key, body).await;
        assert_eq!((answer.status(), answer.code().as_str()), (404, "DOCKER::SANDBOX_NOT_FOUND"), "{below}: {answer}");
        assert_eq!(answer.json()["message"], format!("Sandbox {UNKNOWN} not found."), "{below}");
    }
    assert_eq!(pair.engine.container_requests(seen), [] as [&str; 0]);
}

#[tokio::test]
async fn a_sandbox_that_has_ended_costs_an_engine_call_once_in_a_while() {
    let pair = pair().await;
    let id = pair.engine.sandbox(Sandbox { state: "exited".into(), ..Sandbox::new(Script::silent()) });
    let seen = pair.engine.requests().len();
    flood(&pair, 1500, &format!("/v1/sandboxes/{id}/proxy/8080/"), 409).await;
    let asked = pair.engine.container_requests(seen).len();
    assert!(asked <= 20, "{asked} calls");
}

/// Nobody waits for an event: a client that was told of a sandbox finds it.
#[tokio::test]
async fn a_new_sandbox_is_there_at_once_whoever_made_it() {
    let pair = pair().await;
    let key = ["OPEN-SANDBOX-API-KEY: key", JSON];
    let body = json!({"image": {"uri": "osb-test/busybox:1"}, "resourceLimits": {}, "entrypoint": ["sleep", "9"]});
    for _ in 0..25 {
        let theirs = pair.engine.log(Script::texts(["x\n"]));
        let found = request(pair.address(), "GET", &format!("/v1/sandboxes/{theirs}"), &key, "").await;
        assert_eq!(found.status(), 200, "{found}");
        let ours = request(pair.address(), "POST", "/v1/sandboxes", &key, &body.to_string()).await.json()["id"].clone();
        let ours = ours.as_str().unwrap();
        let found = request(pair.address(), "GET", &format!("/v1/sandboxes/{ours}"), &key, "").await;
        assert_eq!(found.status(), 200, "{found}");
        let theirs = pair.engine.log(Script::texts(["x\n"]));
        let log = request(pair.address(), "GET", &crate::logs(&theirs, ""), &key, "").await;
        assert_eq!(&log.body[..], b"x\n");
    }
}

#[tokio::test]
async fn without_the_event_stream_nothing_is_surely_missing() {
    let pair = pair().await;
    pair.engine.fault("GET", "/events", Action::Hang);
    pair.engine.end_events();
    eventually("the end is noticed", Duration::from_secs(5), || pair.gateway.output().contains("event stream ended"))
        .await;
    let id = pair.engine.sandbox_in_silence(Sandbox::new(Script::silent()));
    let key = ["OPEN-SANDBOX-API-KEY: key"];
    let found = request(pair.address(), "GET", &format!("/v1/sandboxes/{id}"), &key, "").await;
    assert_eq!(found.status(), 200, "{found}");
    let seen = pair.engine.requests().len();
    flood(&pair, 200, &format!("/v1/sandboxes/{UNKNOWN}/proxy/8080/"), 404).await;
    let asked = pair.engine.container_requests(seen).len();
    assert!((1..=200).contains(&asked), "twenty who ask at once share the answers: {asked}");
    pair.engine.heal();
}

#[tokio::test]
async fn an_event_stream_that_is_dead_without_a_word_is_noticed() {
    let pair = Pair::with(|setup| setup.section("[docker]\napi_timeout = 1"));
    settled(&pair).await;
    let id = pair.engine.sandbox_in_silence(Sandbox::new(Script::silent()));
    let target = format!("/v1/sandboxes/{id}");
    let found = async {
        while get_once(pair.address(), &target).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    bounded("it is found", found).await;
    // An engine that lists nothing any more tells no events either.
    pair.engine.fault("GET", "/containers/json", Action::Hang);
    eventually("it is given up", Duration::from_secs(10), || pair.gateway.output().contains("event stream ended"))
        .await;
    pair.engine.heal();
}
