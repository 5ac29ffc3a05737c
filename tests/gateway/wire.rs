//! Wire conventions (http-api.md §2–§5) and the log endpoint's own.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Gateway, Pair, Setup, logs,
    support::{
        client::{self, Client, Response, get_once, request},
        engine::{Engine, Script},
        h2::H2,
    },
};

const KEY: &str = "OPEN-SANDBOX-API-KEY: secret-key";

/// The API's version, as the existing server names it, and the program's own.
const VERSION: &str = concat!("{\"version\":\"1.1.1\",\"gateway\":\"", env!("CARGO_PKG_VERSION"), "\"}");

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
    assert_eq!(response.head.field("location"), "/v1/sandboxes");
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
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n").await;
    for _ in 0..100 {
        // The gateway may answer and close before all of it is written.
        if tokio::time::timeout(Duration::from_secs(1), client.try_send(&field)).await.is_ok_and(|sent| !sent) {
            break;
        }
    }
    assert!(client.is_closed().await);
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
}

#[tokio::test]
async fn the_static_routes() {
    let (gateway, _engine) = guarded();
    let health = get_once(gateway.address(), "/health").await;
    assert_eq!(
        (&health.body[..], health.head.field("content-type")),
        (&b"{\"status\":\"healthy\"}"[..], "application/json")
    );
    assert_eq!(get_once(gateway.address(), "/version").await.body, VERSION);
    let described = get_once(gateway.address(), "/openapi.json").await;
    assert_eq!(described.head.field("content-type"), "application/json");
    let written: serde_json::Value =
        serde_yaml_ng::from_str(include_str!("../../specs/sandbox-lifecycle.yml")).unwrap();
    assert_eq!(described.json(), written);
    assert_eq!(described.json()["info"]["title"], "OpenSandbox Lifecycle API");
    // What begins like an exempt path is exempt, and then unknown; the second mount has none of them.
    assert_eq!(get_once(gateway.address(), "/healthfoo").await.status(), 404);
    for path in ["/v1/health", "/v1/version", "/v1/openapi.json"] {
        assert_eq!(get_once(gateway.address(), path).await.status(), 401, "{path}");
        assert_eq!(request(gateway.address(), "GET", path, &[KEY], "").await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_a_date_and_varies_by_origin() {
    let (gateway, engine) = guarded();
    let id = engine.log(Script::texts(["x\n"]));
    let own = "X-Request-ID: the-very-same";
    for (method, path, lines, status) in [
        ("GET", "/health", vec![own], 200),
        ("GET", "/v1/sandboxes", vec![own], 401),
        ("GET", "/nothing", vec![own, KEY], 404),
        ("PATCH", "/v1/sandboxes", vec![own, KEY], 405),
        ("OPTIONS", "/v1/sandboxes", vec![own, KEY], 405),
        ("HEAD", "/health", vec![own], 200),
        ("HEAD", "/v1/sandboxes", vec![own, KEY], 405),
        ("GET", "/v1/sandboxes?page=0", vec![own, KEY], 422),
        ("GET", "/v1/sandboxes/", vec![own, KEY], 307),
        ("GET", &logs(&id, ""), vec![own, KEY], 200),
        ("OPTIONS", "/x", vec![own, "Origin: http://o", "Access-Control-Request-Method: GET"], 200),
    ] {
        let response = request(gateway.address(), method, path, &lines, "").await;
        assert_eq!(response.status(), status, "{method} {path}: {response}");
        assert_eq!(response.head.field("x-request-id"), "the-very-same", "{method} {path}");
        assert!(response.head.field("vary").starts_with("Origin"), "{method} {path}");
        assert!(
            !response.head.field("date").is_empty() && !response.head.field("server").is_empty(),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_redirect_keeps_the_query_and_leaves_scheme_and_host_to_the_client() {
    let pair = Pair::start();
    let response = get_once(pair.address(), "/sandboxes/?page=2").await;
    assert_eq!(response.head.field("location"), "/sandboxes?page=2");
    let told = request(pair.address(), "GET", "/v1/sandboxes/", &["X-Forwarded-Proto: https"], "").await;
    assert_eq!(told.head.field("location"), "/v1/sandboxes");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let pair = Pair::start();
    let mut client = Client::connect(pair.address()).await;
    let head = "POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    client.send(format!("{head}Content-Length: 8000000\r\n\r\n")).await;
    for _ in 0..80 {
        if !client.try_send([b' '; 100_000]).await {
            break;
        }
    }
    let head = client.head().await;
    assert_eq!((head.status.as_u16(), head.field("connection")), (413, "close"));
    let body: serde_json::Value = serde_json::from_slice(&client.body().await.unwrap()).unwrap();
    assert_eq!(body["code"], "REQUEST_BODY_TOO_LARGE");
}

#[tokio::test]
async fn a_422_never_echoes_a_secret() {
    let pair = Pair::start();
    let json = ["Content-Type: application/json"];
    let auth = r#""image":{"uri":"x","auth":{"username":"u","password":"s3cret-password"}}"#;
    for body in [
        format!("{{{auth}}}"),
        format!("{{{auth},\"timeout\":1,\"resourceLimits\":{{}},\"entrypoint\":[\"x\"]}}"),
        format!("{{{auth},\"env\":{{\"TOKEN\":[\"s3cret-token\"]}},\"resourceLimits\":5}}"),
        r#"{"image":{"uri":5,"auth":{"username":"u","password":"s3cret-password"}}}"#.to_owned(),
        r#"{"image":{"uri":"x","auth":{"username":5,"password":["s3cret-password"]}},"entrypoint":["x"]}"#.to_owned(),
        r#"{"image":{"uri":"x","auth":"s3cret-password"},"entrypoint":["x"],"resourceLimits":{}}"#.to_owned(),
    ] {
        let response = request(pair.address(), "POST", "/v1/sandboxes", &json, &body).await;
        is_error(&response, 422, "VALIDATION_ERROR");
        assert!(!response.to_string().contains("s3cret"), "{response}");
    }
    let broken = request(pair.address(), "POST", "/v1/sandboxes", &json, "{\"password\":\"s3cret\" oops").await;
    is_error(&broken, 422, "VALIDATION_ERROR");
    assert!(!broken.to_string().contains("s3cret") && !pair.gateway.output().contains("s3cret"));
}

#[tokio::test]
async fn the_key_is_in_no_line_of_the_log_at_any_level() {
    let engine = Engine::start();
    let setup = Setup::docker(engine.docker_host()).api_key("secret-key").section("[log]\nlevel = \"TRACE\"");
    let gateway = setup.start();
    let id = engine.log(Script::texts(["x\n"]));
    for target in [logs(&id, ""), "/v1/sandboxes".to_owned(), "/nothing".to_owned()] {
        request(gateway.address(), "GET", &target, &[KEY], "").await;
        request(gateway.address(), "GET", &target, &["OPEN-SANDBOX-API-KEY: secret-kez"], "").await;
    }
    let mut broken = Client::connect(gateway.address()).await;
    broken.send(format!("GET /health HTTP/1.1\r\n{KEY}\r\nbro ken\r\n\r\n")).await;
    assert!(broken.is_closed().await);
    assert!(!gateway.output().contains("secret-ke"), "{}", gateway.output());
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let pair = Pair::with(|setup| setup.server("timeout_keep_alive = 1"));
    let kept = async {
        let mut client = Client::connect(pair.address()).await;
        assert_eq!(client.get("/health").await.status, 200);
        client.body().await.unwrap();
        client
    };
    let slow = async {
        let mut client = Client::connect(pair.address()).await;
        client.send("GET /health HTTP/1.1\r\nHost: ga").await;
        client
    };
    let preface = async {
        let mut client = Client::connect(pair.address()).await;
        client.send("PRI * HT").await;
        client
    };
    let clients = [kept.await, slow.await, preface.await, Client::connect(pair.address()).await];
    let start = Instant::now();
    for mut client in clients {
        assert!(client.is_closed().await);
    }
    assert!(start.elapsed() < Duration::from_millis(4_500), "{:?}", start.elapsed());
    // A stream is not idle, however silent it is.
    let mut follower = Client::connect(pair.address()).await;
    assert_eq!(follower.get(&pair.log(Script::silent(), "follow=true")).await.status, 200);
    assert!(follower.is_silent_for(Duration::from_secs(3)).await);
    assert_eq!(pair.engine.open_logs(), 1);
}

#[tokio::test]
async fn http_2_has_the_same_conventions() {
    let (gateway, engine) = guarded();
    let id = engine.log(Script::texts(["x\n"]));
    let connection = H2::connect(gateway.address(), 65_535).await;
    for (target, status) in [("/health", 200), ("/nothing", 401), ("/v1/sandboxes/", 401), (&logs(&id, ""), 401)] {
        let mut stream = connection.get(target).await;
        assert_eq!(stream.head.status, status, "{target}");
        assert_eq!(stream.head.headers["x-request-id"].len(), 32);
        assert_eq!(stream.head.headers["vary"], "Origin");
        stream.body().await.unwrap();
    }
    let long = "x".repeat(40_000);
    let mut stream = connection.get_with("/health", &[("x-long", &long)]).await;
    assert_eq!(stream.head.status, 431);
    let _ = stream.body().await;
    let mut stream = connection.get_with(&logs(&id, ""), &[("open-sandbox-api-key", "secret-key")]).await;
    assert_eq!((stream.head.status.as_u16(), stream.body().await.unwrap()), (200, "x\n".into()));
}

#[tokio::test]
async fn a_body_in_chunks_and_one_that_waits_to_be_asked_for_are_read() {
    let pair = Pair::start();
    let body = "{\"image\":{\"uri\":\"x\"}}";
    let lines = ["Content-Type: application/json", "Transfer-Encoding: chunked"];
    let head = String::from_utf8(client::written("POST", "/v1/sandboxes", &lines, "")).unwrap();
    let response = {
        let mut client = Client::connect(pair.address()).await;
        client.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
        let head = client.head().await;
        Response { head, body: client.body().await.unwrap() }
    };
    is_error(&response, 422, "VALIDATION_ERROR");
    let mut client = Client::connect(pair.address()).await;
    let expect = ["Content-Type: application/json", "Expect: 100-continue", "Content-Length: 21"];
    client.send(client::written("POST", "/v1/sandboxes", &expect, "")).await;
    assert_eq!(client.head().await.status, 100);
    client.send(body).await;
    assert_eq!(client.head().await.status, 422);
}

/// It is read on another thread, with the same outcome.
#[tokio::test]
async fn a_long_creation_is_read_as_a_short_one() {
    let gateway = Setup::process().start();
    let long = "x".repeat(100_000);
    let whole = format!(
        r#"{{"image":{{"uri":"any"}},"resourceLimits":{{}},"entrypoint":["sleep","9"],"env":{{"LONG":"{long}"}}}}"#
    );
    for (body, status) in [(&whole[..], 202), (&whole[..whole.len() - 1], 422)] {
        let json = ["Content-Type: application/json"];
        let answer = request(gateway.address(), "POST", "/v1/sandboxes", &json, body).await;
        assert_eq!(answer.status(), status, "{}", String::from_utf8_lossy(&answer.body));
    }
}

/// An answer that does not wait for the request's body reaches a client that is still sending it: its connection is closed
/// only when that has come, and not reset.
#[tokio::test]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let (gateway, engine) = guarded();
    let id = engine.log(Script::texts(["x\n"]));
    let logs = format!("GET /sandboxes/{id}/logs");
    for (line, key, expected) in [
        ("POST /v1/sandboxes", "", 401),
        ("POST /nowhere", KEY, 404),
        ("PUT /v1/sandboxes", KEY, 405),
        (logs.as_str(), KEY, 400),
        ("POST /v1/sandboxes/none/proxy/80/", KEY, 404),
    ] {
        for length in [1, 1_000, 60_000] {
            let mut io = TcpStream::connect(gateway.address()).await.unwrap();
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{key}\r\nTransfer-Encoding: chunked\r\n\r\n");
            io.write_all(head.replace("\r\n\r\nT", "\r\nT").as_bytes()).await.unwrap();
            for _ in 0..20 {
                let chunk = format!("{length:x}\r\n{}\r\n", "x".repeat(length));
                io.write_all(chunk.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            io.write_all(b"0\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            io.read_to_end(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{line} {length}: {answer}");
        }
    }
}
