//! An engine that takes requests and never answers them: whatever is asked of the gateway has an end, and gives back what it
//! held.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    Pair, Setup, logs,
    support::{
        bounded,
        client::{Client, get_once, request},
        engine::{Action, Engine, Head, Sandbox, Script, Step},
        eventually,
    },
};

const JSON: &str = "Content-Type: application/json";

/// The limit that these gateways have, twice over, and some time for a busy machine.
const ENOUGH: Duration = Duration::from_secs(6);

/// A gateway whose engine has a second for each answer, and that allows one log stream.
fn pair() -> Pair {
    Pair::with(|setup| setup.section("[docker]\napi_timeout = 1\nnetwork_mode = \"bridge\"\n[logs]\nmax_streams = 1"))
}

const LOG: &str = "/logs?follow=0";

/// What a tail or a time is found with.
const LAST: &str = "/logs?follow=0&stdout=1&stderr=1&timestamps=1&tail=";

#[tokio::test]
async fn every_read_has_an_end() {
    let reads = [
        ("/json", "", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/endpoints/8080", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/proxy/8080/", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/diagnostics/inspect", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/diagnostics/events", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/diagnostics/summary", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/diagnostics/logs", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        ("/json", "/logs", (503, "LOGS::ENGINE_UNAVAILABLE")),
        ("/json", "/logs?follow=true", (503, "LOGS::ENGINE_UNAVAILABLE")),
        (LOG, "/logs", (503, "LOGS::ENGINE_UNAVAILABLE")),
        (LOG, "/logs?format=ndjson", (503, "LOGS::ENGINE_UNAVAILABLE")),
        (LAST, "/logs?since=10m", (503, "LOGS::ENGINE_UNAVAILABLE")),
        (LAST, "/logs?tail=5", (503, "LOGS::ENGINE_UNAVAILABLE")),
        (LOG, "/diagnostics/logs", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        (LAST, "/diagnostics/logs?scope=container", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
        (LAST, "/diagnostics/summary", (504, "DOCKER::SANDBOX_QUERY_FAILED")),
    ];
    // All at once, each with an engine of its own that hangs.
    let pairs: Vec<Pair> = reads.iter().map(|_| pair()).collect();
    let reads = reads.into_iter().zip(&pairs).map(async |((hangs, below, expected), pair)| {
        let id = pair.engine.log(Script::texts(["x\n"]));
        pair.engine.fault("GET", hangs, Action::Hang);
        let target = format!("/v1/sandboxes/{id}{below}");
        let start = Instant::now();
        let answer = get_once(pair.address(), &target).await;
        assert_eq!((answer.status(), answer.code().as_str()), expected, "{hangs} {below}: {answer}");
        assert!(start.elapsed() < ENOUGH, "{hangs} {below}: {:?}", start.elapsed());
        assert!(answer.json()["message"].is_string(), "{answer}");
        pair.engine.heal();
        // The one stream that is allowed is free again.
        let after = get_once(pair.address(), &logs(&id, "")).await;
        assert_eq!((after.status(), &after.body[..]), (200, &b"x\n"[..]), "{hangs} {below}");
    });
    join_all(reads).await;
}

#[tokio::test]
async fn a_list_of_containers_that_cannot_be_inspected_is_not_held_up() {
    let pair = Pair::start();
    for _ in 0..40 {
        pair.engine.sandbox(Sandbox { inspect_delay: Duration::from_secs(60), ..Sandbox::new(Script::silent()) });
    }
    let start = Instant::now();
    let answer = get_once(pair.address(), "/v1/sandboxes?pageSize=100").await;
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 40);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    pair.engine.fault("GET", "/containers/json", Action::Hang);
    drop(pair);
    let pair = pair_with_hung_list();
    assert_eq!(get_once(pair.address(), "/v1/sandboxes").await.status(), 504);
}

fn pair_with_hung_list() -> Pair {
    let pair = pair();
    pair.engine.fault("GET", "/containers/json", Action::Hang);
    pair
}

/// What has begun as a 200 is broken off, so that the client can tell.
#[tokio::test]
async fn a_read_that_stops_in_the_middle_has_an_end() {
    let pair = pair();
    for script in [
        Script::new([Step::output("x\n"), Step::Open]),
        Script::new([Step::output("x\n"), Step::Raw("ff\r\n\u{1}\0\0\0\0\0\0\u{70}half".into()), Step::Open]),
    ] {
        let id = pair.engine.log(script);
        let start = Instant::now();
        let mut client = Client::connect(pair.address()).await;
        assert_eq!(client.get(&logs(&id, "")).await.status, 200);
        assert!(client.body().await.expect_err("no proper end").received.starts_with(b"x\n"));
        assert!(start.elapsed() < ENOUGH);
        // Counting reads the same, before there is a status.
        let counted = get_once(pair.address(), &logs(&id, "tail=5")).await;
        assert_eq!((counted.status(), counted.code().as_str()), (503, "LOGS::ENGINE_UNAVAILABLE"), "{counted}");
    }
    // A head that never ends, and a refusal that does not.
    let half = |bytes: &'static str| Script::new([Step::Open]).with_head(Head::Raw(bytes.into()));
    for head in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{"] {
        let id = pair.engine.log(half(head));
        let answer = get_once(pair.address(), &logs(&id, "")).await;
        assert_eq!((answer.status(), answer.code().as_str()), (503, "LOGS::ENGINE_UNAVAILABLE"), "{head}: {answer}");
    }
    eventually("connections are closed", ENOUGH, || pair.engine.open_logs() == 0).await;
}

/// The limit is the engine's, not the client's: one that reads slowly has its whole log.
#[tokio::test]
async fn a_client_that_takes_its_time_is_not_the_engine_s_silence() {
    let pair = pair();
    let id = pair.engine.log(Script::lines(100_000, 100, true));
    let mut client = Client::connect_with_window(pair.address(), 4096).await;
    assert_eq!(client.get(&logs(&id, "")).await.status, 200);
    let mut length = client.body_of(100).await.len();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        length += client.body_of(1000).await.len();
    }
    length += client.body().await.expect("the whole log").len();
    assert_eq!(length, 10_000_000);
}

#[tokio::test]
async fn a_silent_follow_goes_on_while_the_engine_answers_and_ends_when_it_does_not() {
    let pair = Pair::with(|setup| setup.section("[docker]\napi_timeout = 1"));
    let gate = crate::support::engine::Gate::new();
    let waits = pair.engine.log(Script::new([Step::Gate(gate.clone()), Step::output("late\n"), Step::Open]));
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&logs(&waits, "follow=true")).await.status, 200);
    assert!(client.is_silent_for(Duration::from_secs(4)).await);
    gate.open();
    assert_eq!(client.body_of(5).await, "late\n");
    // One that has its head is left alone: its connection is alive for as long as the kernel says so.
    pair.engine.fault("GET", "/_ping", Action::Hang);
    assert!(client.is_silent_for(Duration::from_secs(3)).await);
    let (one, two) = (pair.engine.log(Script::silent()), pair.engine.log(Script::silent()));
    let start = Instant::now();
    let follow = async |id: &str| {
        let mut client = Client::connect(pair.address()).await;
        assert_eq!(client.get(&logs(id, "follow=true")).await.status, 200);
        client.body().await.expect_err("no proper end");
        start.elapsed()
    };
    let (one, two) = tokio::join!(follow(&one), follow(&two));
    assert!(one < ENOUGH && two < ENOUGH, "{one:?} {two:?}");
    pair.engine.heal();
}

#[tokio::test]
async fn every_step_of_a_creation_has_an_end() {
    let body = json!({"image": {"uri": "osb-test/busybox:1"}, "resourceLimits": {}, "entrypoint": ["sleep", "9"]});
    for (method, hangs, code) in [
        ("GET", "/images/", "DOCKER::SANDBOX_IMAGE_PULL_FAILED"),
        ("POST", "/images/create", "DOCKER::SANDBOX_IMAGE_PULL_FAILED"),
        ("POST", "/containers/create?name=sandbox-execd-", "DOCKER::SANDBOX_EXECD_START_FAILED"),
        ("GET", "/archive", "DOCKER::SANDBOX_EXECD_DISTRIBUTION_FAILED"),
        ("POST", "/containers/create", "DOCKER::SANDBOX_EXECD_START_FAILED"),
        ("PUT", "/archive", "DOCKER::SANDBOX_EXECD_DISTRIBUTION_FAILED"),
        ("POST", "/start", "DOCKER::SANDBOX_START_FAILED"),
    ] {
        let pair = pair();
        if hangs == "/images/create" {
            pair.engine.fault("GET", "/images/", Action::Fail(404, "No such image"));
        }
        pair.engine.fault(method, hangs, Action::Hang);
        let start = Instant::now();
        let answer = request(pair.address(), "POST", "/v1/sandboxes", &[JSON], &body.to_string()).await;
        assert_eq!(answer.code(), code, "{hangs}: {answer}");
        assert!(answer.status() >= 500 && start.elapsed() < 2 * ENOUGH, "{hangs}: {answer}");
        pair.engine.heal();
        let answer = request(pair.address(), "POST", "/v1/sandboxes", &[JSON], &body.to_string()).await;
        assert_eq!(answer.status(), 202, "{hangs}: {answer}");
    }
}

/// Each call that hangs once more would cost the client the whole limit again.
#[tokio::test]
async fn a_creation_waits_once_for_volumes_that_hang() {
    let volume = json!({"name": "v", "mountPath": "/x", "pvc": {"claimName": "osb-test"}});
    let body = json!({"image": {"uri": "osb-test/busybox:1"}, "resourceLimits": {}, "entrypoint": ["sleep", "9"],
                      "volumes": [volume]});
    let pair = pair();
    for hangs in [&["GET", "POST", "DELETE"][..], &["POST", "DELETE"], &["DELETE"]] {
        for method in hangs {
            pair.engine.fault(method, "/volumes", Action::Hang);
        }
        if hangs == ["DELETE"] {
            pair.engine.fault("POST", "/start", Action::Fail(500, "no"));
        }
        let start = Instant::now();
        let answer = request(pair.address(), "POST", "/v1/sandboxes", &[JSON], &body.to_string()).await;
        assert!(
            answer.status() >= 500 && start.elapsed() < ENOUGH / 2 + ENOUGH / 6,
            "{hangs:?}: {:?}",
            start.elapsed()
        );
        pair.engine.heal();
    }
}

/// As after a kill, or after an engine that did not answer when they were to be removed.
#[tokio::test]
async fn a_sandbox_s_own_volume_that_was_left_goes_at_the_next_start() {
    let engine = Engine::start();
    engine.fault("GET", "/info", Action::Answer(r#"{"SystemTime": "2027-01-15T08:00:00.5Z"}"#));
    let volumes = r#"{"Volumes": [
        {"Name": "opensandbox-runtime-11111111-0000-4000-8000-000000000000", "CreatedAt": "2027-01-15T07:50:00Z",
         "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Scope": "local", "Options": {}},
        {"Name": "opensandbox-runtime-22222222-0000-4000-8000-000000000000", "CreatedAt": "2027-01-15T07:50:30Z",
         "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Scope": "local", "Options": {}},
        {"Name": "opensandbox-runtime-33333333-0000-4000-8000-000000000000", "CreatedAt": "2027-01-15T07:50:00Z",
         "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Scope": "local", "Options": {}},
        {"Name": "data-opensandbox-runtime-", "CreatedAt": "2027-01-15T07:50:00Z",
         "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Scope": "local", "Options": {}}]}"#;
    engine.fault("GET", "/volumes?", Action::Answer(volumes));
    // One whose sandbox is there.
    let id = "33333333-0000-4000-8000-000000000000".to_owned();
    engine.sandbox(Sandbox { id, ..Sandbox::new(Script::silent()) });
    let _gateway = Setup::docker(engine.docker_host()).section("[docker]\napi_timeout = 1").spawn();
    // Nothing else asks for one by its name.
    let removed = || engine.requests().into_iter().filter(|target| target.contains("/volumes/"));
    eventually("it is removed", 5 * ENOUGH, || removed().count() > 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let removed: Vec<String> = removed().collect();
    assert!(removed.len() == 1 && removed[0].contains("runtime-11111111"), "{removed:?}");
}

#[tokio::test]
async fn every_change_of_a_sandbox_has_an_end() {
    let pair = pair();
    let id = pair.engine.log(Script::silent());
    for (method, below, engine, hangs, code) in [
        ("POST", "/pause", "POST", "/pause", "DOCKER::SANDBOX_PAUSE_FAILED"),
        ("DELETE", "", "DELETE", "/containers/", "DOCKER::SANDBOX_DELETE_FAILED"),
        ("POST", "/pause", "GET", "/containers/json", "DOCKER::SANDBOX_QUERY_FAILED"),
        ("DELETE", "", "GET", "/json", "DOCKER::SANDBOX_QUERY_FAILED"),
    ] {
        pair.engine.fault(engine, hangs, Action::Hang);
        let start = Instant::now();
        let answer = request(pair.address(), method, &format!("/v1/sandboxes/{id}{below}"), &[], "").await;
        assert_eq!(answer.code(), code, "{method} {below} {hangs}: {answer}");
        assert!(answer.status() >= 500 && start.elapsed() < ENOUGH, "{method} {below}: {answer}");
        pair.engine.heal();
    }
    let answer = request(pair.address(), "DELETE", &format!("/v1/sandboxes/{id}"), &[], "").await;
    assert_eq!(answer.status(), 204, "{answer}");
}

#[tokio::test]
async fn a_snapshot_has_an_end() {
    let pair = pair();
    let id = pair.engine.log(Script::silent());
    pair.engine.fault("POST", "/commit", Action::Hang);
    let made = request(pair.address(), "POST", &format!("/v1/sandboxes/{id}/snapshots"), &[JSON], "{}").await;
    let snapshot = made.json()["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let target = format!("/v1/snapshots/{snapshot}");
    let fails = async {
        while get_once(pair.address(), &target).await.json()["status"]["state"] != "Failed" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    bounded("its failure", fails).await;
}

#[tokio::test]
async fn a_start_has_an_end_and_says_why() {
    let engine = Engine::start();
    engine.fault("GET", "/version", Action::Hang);
    let mut gateway = Setup::docker(engine.docker_host()).section("[docker]\napi_timeout = 1").spawn();
    assert!(!gateway.wait(Duration::from_secs(15)).success());
    let output = gateway.output();
    assert!(output.contains("did not answer in time") && output.contains("DOCKER_HOST"), "{output}");
}
