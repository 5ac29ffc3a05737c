//! The browser viewer's listener (`[ui]`): its files, what it passes on, and whom it answers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    Pair, Setup, soon,
    support::{
        client::{Client, Response, get_once, request},
        engine::Script,
        eventually,
        gateway::free_port,
    },
};

/// The section, with these other keys, and where the viewer is then.
fn section(rest: &str) -> (String, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (format!("[ui]\nlisten = \"{address}\"\n{rest}"), address)
}

/// A scripted engine, a gateway on it, and where its viewer is.
fn viewed_pair(change: impl FnOnce(Setup) -> Setup) -> (Pair, SocketAddr) {
    let mut address = None;
    let pair = Pair::with(|setup| {
        let (section, at) = section("hosts = [\"logs.example.com\"]");
        address = Some(at);
        change(setup).section(&section)
    });
    (pair, address.expect("it was changed"))
}

/// An exchange under this `Host`, which the client's own requests do not let a test choose.
async fn ask(address: SocketAddr, request: &str, host: &str, lines: &[&str]) -> Response {
    let mut client = Client::connect(address).await;
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    client.send(format!("{request} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")).await;
    Response { head: client.head().await, body: client.body().await.expect("a complete response") }
}

/// Nothing that comes from there lets another page in.
fn is_protected(response: &Response) {
    let head = &response.head;
    let policy = head.field("content-security-policy");
    for part in ["default-src 'none';", "script-src 'self';", "frame-ancestors 'none'", "require-trusted-types-for"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("access-control-allow-origin", ""),
        ("access-control-allow-credentials", ""),
        ("access-control-expose-headers", ""),
    ] {
        assert_eq!(head.field(name), value, "{name}: {response}");
    }
}

#[tokio::test]
async fn the_page_comes_without_a_key_and_is_asked_about_each_time() {
    let (pair, ui) = viewed_pair(|setup| setup.api_key("k"));
    for path in ["/", "/ui"] {
        let response = get_once(ui, path).await;
        assert_eq!((response.status(), response.head.field("location")), (308, "/ui/"), "{path}");
        is_protected(&response);
    }
    let page = get_once(ui, "/ui/").await;
    assert_eq!((page.status(), page.head.field("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!((page.head.field("cache-control"), page.head.field("content-encoding")), ("no-cache", ""));
    assert!(page.body.starts_with(b"<!doctype html>"), "{page}");
    is_protected(&page);
    let known = format!("If-None-Match: {}", page.head.field("etag"));
    let again = request(ui, "GET", "/ui/", &[&known], "").await;
    assert_eq!((again.status(), again.body.len()), (304, 0));
    is_protected(&again);
    let zipped = request(ui, "GET", "/ui/index.html", &["Accept-Encoding: gzip"], "").await;
    assert_eq!((zipped.head.field("content-encoding"), &zipped.body[..2]), ("gzip", &[0x1f, 0x8b][..]));
    assert_ne!(zipped.head.field("etag"), page.head.field("etag"));
    let missing = get_once(ui, "/ui/nothing.js").await;
    assert_eq!((missing.status(), missing.code().as_str()), (404, "NOT_FOUND"));
    is_protected(&missing);
    let own = get_once(pair.address(), "/ui/").await;
    assert_eq!(own.status(), 401, "the API's listener has no viewer: {own}");
}

#[tokio::test]
async fn what_the_viewer_reads_is_passed_on_with_the_key_and_nothing_else_is() {
    let (pair, ui) = viewed_pair(|setup| setup.api_key("k"));
    let target = pair.log(Script::texts(["hello\n"]), "follow=true");
    for path in ["/v1/sandboxes", "/v1/sandboxes/x", &target] {
        let refused = get_once(ui, path).await;
        assert_eq!((refused.status(), refused.code().as_str()), (401, "MISSING_API_KEY"), "{path}");
        is_protected(&refused);
    }
    let key = ["OPEN-SANDBOX-API-KEY: k"];
    let list = request(ui, "GET", "/v1/sandboxes", &key, "").await;
    assert_eq!(list.status(), 200, "{list}");
    is_protected(&list);
    let log = request(ui, "GET", &target, &key, "").await;
    assert_eq!((log.status(), &log.body[..]), (200, &b"hello\n"[..]), "{log}");
    is_protected(&log);
    for path in ["/version", "/health"] {
        assert_eq!(get_once(ui, path).await.status(), 200, "{path}");
    }
    for (method, path) in [
        ("POST", "/v1/sandboxes"),
        ("DELETE", "/v1/sandboxes/x"),
        ("GET", "/v1/sandboxes/x/proxy/80/"),
        ("GET", "/v1/sandboxes/x/endpoints/80"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
        ("GET", "/sandboxes"),
    ] {
        let refused = request(ui, method, path, &key, "").await;
        assert_eq!((refused.status(), refused.code().as_str()), (404, "NOT_FOUND"), "{method} {path}");
        is_protected(&refused);
    }
}

#[tokio::test]
async fn other_names_and_pages_get_nothing() {
    let (_pair, ui) = viewed_pair(|setup| setup);
    let own = format!("localhost:{}", ui.port());
    for path in ["/ui/", "/v1/sandboxes", "/health"] {
        for host in [own.as_str(), "127.0.0.1:1", "[::1]", "logs.example.com", "logs.example.com:8443"] {
            let response = ask(ui, &format!("GET {path}"), host, &[]).await;
            assert_eq!(response.status(), 200, "{host} {path}: {response}");
        }
        // A page that made its own name point here is of one origin with it.
        for host in ["evil.example", &format!("evil.example:{}", ui.port()), "localhost.evil.example"] {
            let lines = [&*format!("Origin: http://{host}"), "Sec-Fetch-Site: same-origin"];
            let refused = ask(ui, &format!("GET {path}"), host, &lines).await;
            assert_eq!((refused.status(), refused.code().as_str()), (421, "UI::UNKNOWN_HOST"), "{refused}");
            is_protected(&refused);
        }
        for lines in [
            &["Origin: https://evil.example"][..],
            &["Origin: null"],
            // A page of the API's origin, as those of sandboxes are.
            &["Origin: http://localhost:8080", "Sec-Fetch-Site: same-site"],
            &["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"],
            &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"],
        ] {
            let refused = ask(ui, &format!("GET {path}"), &own, lines).await;
            assert_eq!((refused.status(), refused.code().as_str()), (403, "FOREIGN_ORIGIN"), "{lines:?} {refused}");
            is_protected(&refused);
        }
    }
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    assert_eq!(ask(ui, "GET /ui/", &own, &link).await.status(), 200);
    assert_eq!(ask(ui, "GET /v1/sandboxes", &own, &link).await.status(), 403);
    let asks = ["Origin: https://evil.example", "Access-Control-Request-Method: GET"];
    let preflight = ask(ui, "OPTIONS /v1/sandboxes", &own, &asks).await;
    assert_eq!(preflight.status(), 403);
    is_protected(&preflight);
    let page = [&*format!("Origin: http://{own}"), "Sec-Fetch-Site: same-origin"];
    let answered = ask(ui, "GET /v1/sandboxes", &own, &page).await;
    assert_eq!(answered.status(), 200);
    is_protected(&answered);
}

#[tokio::test]
async fn a_reader_that_leaves_lets_the_engine_go() {
    let (pair, ui) = viewed_pair(|setup| setup);
    let target = pair.log(Script::silent(), "follow=true");
    soon(async || {
        let seen = pair.engine.closed_logs().len();
        let mut client = Client::connect(ui).await;
        assert_eq!(client.get(&target).await.status, 200);
        pair.engine.wait_open(1).await;
        let left = Instant::now();
        client.close();
        pair.engine.wait_closed(seen).await.after(left)
    })
    .await;
    eventually("no stream", Duration::from_secs(20), || pair.engine.open_logs() == 0).await;
    let is_told = || pair.gateway.output().contains("end=client_gone");
    eventually("an access line that says who ended it", Duration::from_secs(20), is_told).await;
}

#[tokio::test]
async fn the_end_of_the_gateway_is_the_end_of_its_streams() {
    let (mut pair, ui) = viewed_pair(|setup| setup);
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(ui).await;
    assert_eq!(client.get(&target).await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    pair.gateway.terminate();
    assert!(pair.gateway.wait(Duration::from_secs(20)).success());
    assert!(tokio::net::TcpStream::connect(ui).await.is_err());
    assert!(pair.gateway.output().contains("end=drained"), "{}", pair.gateway.output());
}

#[tokio::test]
async fn the_proxy_does_not_reach_it() {
    let (section, ui) = section("");
    let gateway = Setup::process().section(&section).start();
    let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sleep","600"]}"#;
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &["Content-Type: application/json"], body).await;
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    let target = format!("/v1/sandboxes/{id}/proxy/{}/ui/", ui.port());
    let refused = get_once(gateway.address(), &target).await;
    assert_eq!((refused.status(), refused.code().as_str()), (403, "BACKEND_FORBIDDEN"));
}

#[tokio::test]
async fn a_taken_address_is_told_before_anything_is_touched() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let address = taken.local_addr().expect("it is bound");
    let mut gateway = Setup::process().section(&format!("[ui]\nlisten = \"{address}\"")).spawn();
    assert_eq!(gateway.wait(Duration::from_secs(20)).code(), Some(3));
    gateway.says(&format!("Cannot listen on {address} (ui.listen)")).await;
}
