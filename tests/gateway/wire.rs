//! Wire conventions (http-api.md §2–§5) and the log endpoint's own.

use crate::{
    Gateway, Pair, Setup, logs,
    support::{
        client::{Client, Response, get_once, request},
        engine::{Engine, Script},
        h2::H2,
    },
};

const KEY: &str = "OPEN-SANDBOX-API-KEY: secret-key";

/// A gateway with an API key.
fn guarded() -> (Gateway, Engine) {
    let engine = Engine::start();
    (Setup::docker(engine.docker_host()).api_key("secret-key").start(), engine)
}

/// `code`, `message` and `detail`: the errors that the existing server sends as `detail` alone.
fn is_error(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status(), response.code().as_str()), (status, code), "{response}");
    assert_eq!(response.head.field("content-type"), "application/json");
    let body = response.json();
    assert!(body["message"].is_string() && !body["detail"].is_null(), "{response}");
}

#[tokio::test]
async fn the_logs_head_is_exactly_this() {
    let pair = Pair::start();
    for mount in ["", "/v1"] {
        let id = pair.engine.log(Script::texts(["x\n"]));
        let response = get_once(pair.address(), &format!("{mount}/sandboxes/{id}/logs")).await;
        assert_eq!((response.status(), &response.body[..]), (200, &b"x\n"[..]));
        assert_eq!(response.head.field("content-type"), "text/plain; charset=utf-8");
        assert_eq!(response.head.field("cache-control"), "no-cache, no-transform");
        assert_eq!(response.head.field("x-accel-buffering"), "no");
        assert!(!response.head.headers.contains_key("content-length"));
        assert!(!response.head.field("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn junk_in_the_query_is_422_and_never_a_default() {
    let pair = Pair::start();
    let id = pair.engine.log(Script::texts(["x\n"]));
    for query in [
        "tail=0",
        "tail=-1",
        "tail=x",
        "tail=1.5",
        "follow=maybe",
        "timestamps=2",
        "since=junk",
        "until=junk",
        "since=",
        "since=2026-13-01T00:00:00Z",
        "stdout=false&stderr=false",
        "container=other",
    ] {
        let response = get_once(pair.address(), &logs(&id, query)).await;
        is_error(&response, 422, "VALIDATION_ERROR");
        assert_eq!(response.json()["detail"][0]["loc"][0], "query", "{query}: {response}");
    }
    assert_eq!(pair.engine.opened_logs(), 0);
}

#[tokio::test]
async fn every_spelling_of_a_time_is_taken() {
    let pair = Pair::start();
    let id = pair.engine.log(Script::texts(["x\n"]));
    for query in [
        "since=2026-11-23T02:01:21Z",
        "since=2026-11-23T02:01:21.821916123%2B02:00",
        "since=1795417501",
        "since=1795417501.123456789",
        "since=10m",
        "until=1h",
        "follow=1&timestamps=no",
        "container=sandbox",
        "tail=5",
    ] {
        let response = get_once(pair.address(), &logs(&id, query)).await;
        assert_eq!(response.status(), 200, "{query}: {response}");
    }
}

#[tokio::test]
async fn unknown_routes_methods_and_sandboxes() {
    let pair = Pair::start();
    for path in ["/nothing", "/v1/nothing", "/v1/health", "/v1/sandboxes/x/y/z"] {
        is_error(&get_once(pair.address(), path).await, 404, "NOT_FOUND");
    }
    let response = request(pair.address(), "POST", &logs("x", ""), &[], "").await;
    is_error(&response, 405, "METHOD_NOT_ALLOWED");
    assert_eq!(response.head.field("allow"), "GET");
    for path in [logs("nobody", ""), logs("nobody", "follow=true"), "/v1/sandboxes/nobody".to_owned()] {
        let response = get_once(pair.address(), &path).await;
        assert_eq!((response.status(), response.code().as_str()), (404, "DOCKER::SANDBOX_NOT_FOUND"), "{response}");
    }
}

#[tokio::test]
async fn a_trailing_slash_redirects() {
    let pair = Pair::start();
    let response = get_once(pair.address(), "/v1/sandboxes/").await;
    assert_eq!(response.status(), 307);
    assert_eq!(response.head.field("location"), "http://gateway/v1/sandboxes");
    assert!(response.body.is_empty());
}

#[tokio::test]
async fn the_key_is_asked_for_before_anything_else() {
    let (gateway, engine) = guarded();
    let id = engine.log(Script::texts(["x\n"]));
    for path in [logs(&id, ""), logs(&id, "tail=0"), "/nothing".to_owned(), "/v1/sandboxes/".to_owned()] {
        let missing = get_once(gateway.address(), &path).await;
        assert_eq!((missing.status(), missing.code().as_str()), (401, "MISSING_API_KEY"), "{path}");
        let wrong = request(gateway.address(), "GET", &path, &["OPEN-SANDBOX-API-KEY: secret-kex"], "").await;
        assert_eq!((wrong.status(), wrong.code().as_str()), (401, "INVALID_API_KEY"), "{path}");
    }
    assert_eq!(request(gateway.address(), "GET", &logs(&id, ""), &[KEY], "").await.body, "x\n");
    for path in ["/health", "/version", "/openapi.json"] {
        assert_eq!(get_once(gateway.address(), path).await.status(), 200, "{path}");
    }
    assert!(!gateway.output().contains("secret-ke"), "{}", gateway.output());
}

#[tokio::test]
async fn the_request_id_is_echoed_or_made() {
    let pair = Pair::start();
    let echoed = request(pair.address(), "GET", "/nothing", &["X-Request-ID:  my id "], "").await;
    assert_eq!(echoed.head.field("x-request-id"), "my id");
    let made = get_once(pair.address(), "/health").await;
    let id = made.head.field("x-request-id");
    assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
}

#[tokio::test]
async fn cors_and_its_preflight() {
    let (gateway, _engine) = guarded();
    let origin = "Origin: https://app.example";
    let plain = request(gateway.address(), "GET", "/v1/sandboxes", &[origin], "").await;
    assert_eq!(plain.status(), 401);
    assert_eq!(plain.head.field("access-control-allow-origin"), "https://app.example");
    assert_eq!(plain.head.field("access-control-allow-credentials"), "true");
    assert_eq!(plain.head.field("access-control-expose-headers"), "OPEN-SANDBOX-ORIGIN");
    let lines = [origin, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-a, x-b"];
    let preflight = request(gateway.address(), "OPTIONS", "/anything", &lines, "").await;
    assert_eq!((preflight.status(), &preflight.body[..]), (200, &b"OK"[..]));
    assert_eq!(preflight.head.field("access-control-allow-headers"), "x-a, x-b");
    assert_eq!(preflight.head.field("access-control-max-age"), "600");
    let odd = ["Access-Control-Request-Method: BREW", origin];
    let refused = request(gateway.address(), "OPTIONS", "/anything", &odd, "").await;
    assert_eq!((refused.status(), &refused.body[..]), (400, &b"Disallowed CORS method"[..]));
}

#[tokio::test]
async fn both_protocols_answer_the_same() {
    let pair = Pair::start();
    let target = pair.log(Script::texts(["one\n", "two\n"]), "");
    let mut stream = H2::connect(pair.address(), 65_535).await.get(&target).await;
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.head.headers["x-accel-buffering"], "no");
    assert_eq!(stream.body().await.unwrap(), "one\ntwo\n");
}

#[tokio::test]
async fn a_head_without_end_is_bounded() {
    let pair = Pair::start();
    let mut client = Client::connect(pair.address()).await;
    let field = format!("X-Long: {}\r\n", "x".repeat(8_000));
    client.send("GET /health HTTP/1.1\r\nHost: gateway\r\n").await;
    for _ in 0..100 {
        // The gateway may answer and close before all of it is written.
        if tokio::time::timeout(std::time::Duration::from_secs(1), client.try_send(&field))
            .await
            .is_ok_and(|sent| !sent)
        {
            break;
        }
    }
    assert!(client.is_closed().await);
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
}
