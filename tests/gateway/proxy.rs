//! Requests to a server inside a sandbox: what is forwarded, what comes back, and what is answered in its place.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{
    backend::{Backend, Conn},
    client::{Client, Response, get, request, written},
    gateway::{Gateway, Setup},
    h2::H2,
};

/// A gateway with one sandbox, whose ports are those of this machine.
pub(crate) struct Proxied {
    pub(crate) gateway: Gateway,
    pub(crate) id: String,
}

impl Proxied {
    pub(crate) async fn start() -> Self {
        Self::with(|setup| setup).await
    }

    pub(crate) async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let gateway = change(Setup::process()).start();
        let mut client = Client::connect(gateway.address()).await;
        Self::through(gateway, &mut client).await
    }

    /// The same for a gateway that `client` is connected to.
    pub(crate) async fn through(gateway: Gateway, client: &mut Client) -> Self {
        let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sleep","1000"]}"#;
        let lines = ["Content-Type: application/json", "OPEN-SANDBOX-API-KEY: k-test"];
        let created = client.request("POST", "/v1/sandboxes", &lines, body).await;
        assert_eq!(created.status(), 202, "{created}");
        let id = created.json()["id"].as_str().unwrap().to_owned();
        Self { gateway, id }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// The target of a path on a port.
    pub(crate) fn target(&self, port: u16, path: &str) -> String {
        format!("/v1/sandboxes/{}/proxy/{port}{path}", self.id)
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }
}

/// The mirrored head's first line and the values of a field in it.
fn seen<'r>(mirrored: &'r Response, name: &str) -> (&'r str, Vec<&'r str>) {
    let text = std::str::from_utf8(&mirrored.body).unwrap();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap();
    let values = lines.filter_map(|line| line.split_once(": ")).filter(|(found, _)| *found == name);
    (first, values.map(|(_, value)| value).collect())
}

#[tokio::test]
async fn a_path_and_a_query_arrive_as_they_were_sent() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    let mut client = proxied.connect().await;
    for (path, expected) in [
        ("", "/"),
        ("/", "/"),
        ("//a//b/", "//a//b/"),
        ("/a%2Fb%20c%3Fd%23e%25f%41/+x;y=1", "/a%2Fb%20c%3Fd%23e%25f%41/+x;y=1"),
        ("/../x/%2e%2e/y", "/../x/%2e%2e/y"),
        ("/q?a=%FF&b&c=+&d=%20&e=", "/q?a=%FF&b&c=+&d=%20&e="),
        ("?x=1", "/?x=1"),
    ] {
        let mirrored = client.request("GET", &proxied.target(backend.port, path), &[], "").await;
        assert_eq!(seen(&mirrored, "").0, format!("GET {expected} HTTP/1.1"));
    }
    let root = format!("/sandboxes/{}/proxy/{}/q", proxied.id, backend.port);
    assert_eq!(seen(&client.request("GET", &root, &[], "").await, "").0, "GET /q HTTP/1.1");
}

#[tokio::test]
async fn all_methods_arrive_with_their_bodies() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    let target = proxied.target(backend.port, "/p");
    let mut client = proxied.connect().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let mirrored = client.request(method, &target, &[], "hello").await;
        let (first, lengths) = seen(&mirrored, "content-length");
        assert_eq!((first, lengths), (&format!("{method} /p HTTP/1.1")[..], vec!["5"]));
        assert!(mirrored.body.ends_with(b"\r\n\r\nhello"), "{mirrored}");
    }
    for method in ["GET", "POST"] {
        let chunked = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunked + "5\r\nhello\r\n2\r\n!\n\r\n0\r\n\r\n").await;
        assert_eq!(client.head().await.status, 200);
        let mirrored = client.body().await.unwrap();
        assert!(mirrored.ends_with(b"\r\n\r\nhello!\n"), "{mirrored:?}");
    }
    let bare = client.request("DELETE", &target, &[], "").await;
    assert!(!String::from_utf8_lossy(&bare.body).contains("transfer-encoding"), "{bare}");
    let trace = client.request("TRACE", &target, &[], "").await;
    assert_eq!((trace.status(), trace.head.field("allow")), (405, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"));
}

#[tokio::test]
async fn a_head_request_keeps_the_length_that_it_is_told() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let framing = if head.contains("/length") { "Content-Length: 1234" } else { "Transfer-Encoding: chunked" };
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\nX-A: 1\r\n\r\n")).await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let mut client = proxied.connect().await;
    let told = client.request("HEAD", &proxied.target(backend.port, "/length"), &[], "").await;
    assert_eq!((told.status(), told.head.field("content-length"), told.head.field("x-a")), (200, "1234", "1"));
    let untold = client.request("HEAD", &proxied.target(backend.port, "/chunked"), &[], "").await;
    assert_eq!((untold.status(), untold.head.field("content-length")), (200, ""));
    assert_eq!(backend.accepted(), 1, "the connection is good for more");
}

#[tokio::test]
async fn fields_are_filtered_on_the_way_in() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    let lines = [
        "X-Custom: 1",
        "X-Custom: 2",
        "Connection: X-Hop",
        "X-Hop: 1",
        "Authorization: Bearer z",
        "Cookie: c=1",
        "OPEN-SANDBOX-API-KEY: k",
        "OpenSandbox-Access-Renew: skip",
        "X-Forwarded-For: 9.9.9.9",
        "X-Real-IP: 1.1.1.1",
        "Forwarded: for=1",
        "X-Request-ID: rid9",
    ];
    let target = proxied.target(backend.port, "/");
    let mirrored = request(proxied.address(), "GET", &target, &lines, "").await;
    let host = format!("127.0.0.1:{}", backend.port);
    for (name, expected) in [
        ("x-custom", vec!["1", "2"]),
        ("x-hop", vec![]),
        ("authorization", vec![]),
        ("cookie", vec!["c=1"]),
        ("open-sandbox-api-key", vec![]),
        ("opensandbox-access-renew", vec![]),
        ("x-forwarded-for", vec!["9.9.9.9"]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-forwarded-host", vec!["localhost"]),
        ("x-real-ip", vec![]),
        ("forwarded", vec![]),
        ("x-request-id", vec!["rid9"]),
        ("host", vec![&host[..]]),
        ("accept-encoding", vec![]),
        ("user-agent", vec![]),
        ("accept", vec![]),
    ] {
        assert_eq!(seen(&mirrored, name).1, expected, "{name}: {mirrored}");
    }
    assert_eq!(mirrored.head.field("x-request-id"), "rid9");
    let h2 = H2::connect(proxied.address(), 65_535).await;
    let mut stream = h2.get_with(&target, &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]).await;
    let text = String::from_utf8(stream.body().await.unwrap().to_vec()).unwrap();
    assert!(text.contains("\r\ncookie: a=1; b=2\r\n") && text.contains("\r\nte: trailers\r\n"), "{text}");
}

#[tokio::test]
async fn fields_are_filtered_on_the_way_out() {
    let lines = [
        "Server: mine",
        "Date: Mon, 01 Jan 2001 00:00:00 GMT",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2; Path=/",
        "X-Request-Id: theirs",
        "Access-Control-Allow-Origin: http://theirs",
        "Vary: Accept-Encoding",
        "Keep-Alive: timeout=5",
        "Connection: X-Hop",
        "X-Hop: 1",
        "Content-Encoding: gzip",
    ];
    let backend = Backend::start(move |mut conn| async move {
        while conn.head().await.is_some() {
            conn.answer("203 Mine", &lines, b"ok").await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let origin = ["Origin: http://localhost", "X-Request-ID: ours"];
    let answer = request(proxied.address(), "GET", &target, &origin, "").await;
    let all = |name: &str| answer.head.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((answer.status(), &answer.body[..]), (203, &b"ok"[..]));
    let scoped = format!("b=2; Path={}", target.trim_end_matches('/'));
    for (name, expected) in [
        ("date", vec!["Mon, 01 Jan 2001 00:00:00 GMT"]),
        ("set-cookie", vec!["a=1", &scoped[..]]),
        ("x-request-id", vec!["ours"]),
        ("access-control-allow-origin", vec!["http://localhost"]),
        ("access-control-allow-credentials", vec!["true"]),
        ("access-control-expose-headers", vec!["OPEN-SANDBOX-ORIGIN"]),
        ("vary", vec!["Accept-Encoding", "Origin"]),
        ("keep-alive", vec![]),
        ("x-hop", vec![]),
        ("connection", vec![]),
        ("content-encoding", vec!["gzip"]),
        ("content-length", vec!["2"]),
    ] {
        assert_eq!(all(name), expected, "{name}");
    }
    assert!(answer.head.field("server").starts_with("opensandbox-gateway/") && all("server").len() == 1);
    let plain = request(proxied.address(), "GET", &target, &[], "").await;
    assert_eq!(plain.head.field("access-control-allow-origin"), "http://theirs");
}

#[tokio::test]
async fn only_a_redirect_from_the_root_is_rewritten() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let to = head.split_once("to=").unwrap().1.split(' ').next().unwrap();
            conn.answer("302 Found", &[&format!("Location: {to}")], b"").await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let mut client = proxied.connect().await;
    let prefix = proxied.target(backend.port, "");
    for (to, expected) in [
        ("/target?x=1", format!("{prefix}/target?x=1")),
        ("http://other.example/x", "http://other.example/x".to_owned()),
        ("//other.example/x", "//other.example/x".to_owned()),
        ("rel", "rel".to_owned()),
    ] {
        let answer = client.request("GET", &proxied.target(backend.port, &format!("/r?to={to}")), &[], "").await;
        assert_eq!((answer.status(), answer.head.field("location")), (302, &expected[..]));
    }
    let root = format!("/sandboxes/{}/proxy/{}", proxied.id, backend.port);
    let answer = client.request("GET", &format!("{root}?to=/x"), &[], "").await;
    assert_eq!(answer.head.field("location"), format!("{root}/x"));
}

#[tokio::test]
async fn a_public_address_gives_redirects_their_path() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.answer("302 Found", &["Location: /x"], b"").await;
    })
    .await;
    let proxied = Proxied::with(|setup| setup.server("eip = \"https://gw.example/base/\"")).await;
    let answer = request(proxied.address(), "GET", &proxied.target(backend.port, "/"), &[], "").await;
    let expected = format!("/base/sandboxes/{}/proxy/{}/x", proxied.id, backend.port);
    assert_eq!(answer.head.field("location"), expected);
}

#[tokio::test]
async fn what_cannot_be_forwarded_has_the_peers_answers() {
    let proxied = Proxied::start().await;
    let closed = Backend::mirror().await.port;
    let dropping = Backend::start(|mut conn| async move { drop(conn.head().await) }).await;
    let talking = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("this is no answer\r\n\r\n").await;
    })
    .await;
    let switching = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    })
    .await;
    let id = &proxied.id;
    for (target, status, code, text) in [
        (proxied.target(closed, "/"), 502, "BACKEND_CONNECTION_FAILED", "Could not connect to the backend sandbox: "),
        (
            proxied.target(dropping.port, "/"),
            502,
            "BACKEND_RESPONSE_FAILED",
            "The backend sandbox dropped the connection or sent an invalid response: ",
        ),
        (
            proxied.target(talking.port, "/"),
            502,
            "BACKEND_RESPONSE_FAILED",
            "The backend sandbox dropped the connection or sent an invalid response: ",
        ),
        (
            proxied.target(switching.port, "/"),
            502,
            "BACKEND_RESPONSE_FAILED",
            "The backend sandbox dropped the connection or sent an invalid response: ",
        ),
        ("/v1/sandboxes/nope/proxy/80/".to_owned(), 404, "DOCKER::SANDBOX_NOT_FOUND", "Sandbox nope not found."),
        (format!("/v1/sandboxes/{id}/proxy/0/"), 400, "DOCKER::INVALID_PORT", "Port must be between 1 and 65535."),
        (format!("/sandboxes/{id}/proxy/70000"), 400, "DOCKER::INVALID_PORT", "Port must be between 1 and 65535."),
        (format!("/sandboxes/{id}/proxy/abc/x"), 422, "VALIDATION_ERROR", "path.port: Input should be a valid integer"),
    ] {
        let answer = request(proxied.address(), "GET", &target, &[], "").await;
        assert_eq!((answer.status(), &answer.code()[..]), (status, code), "{target}: {answer}");
        assert!(answer.json()["message"].as_str().unwrap().starts_with(text), "{answer}");
    }
    for line in [&["Upgrade: websocket"][..], &["Upgrade: websocket", "Connection: keep-alive"]] {
        let answer = request(proxied.address(), "GET", &proxied.target(closed, "/"), line, "").await;
        let expected =
            serde_json::json!({"code": "GENERAL::UNKNOWN_ERROR", "message": "Websocket upgrade is not supported yet"});
        assert_eq!((answer.status(), answer.json()), (400, expected));
    }
}

#[tokio::test]
async fn a_sandboxes_server_needs_no_key_and_nothing_else_goes_without() {
    let backend = Backend::mirror().await;
    let proxied = Proxied::with(|setup| setup.api_key("k-test")).await;
    let (id, port) = (&proxied.id, backend.port);
    assert_eq!(request(proxied.address(), "GET", &proxied.target(port, "/a"), &[], "").await.status(), 200);
    for target in [
        format!("/v1/sandboxes/{id}/proxy/{port}/../x"),
        format!("/v1/sandboxes/{id}/proxy/{port}/a..b"),
        format!("/v1/sandboxes/{id}/proxy/{port}/%2e%2e/x"),
        format!("/v1/sandboxes/{id}%2Fproxy%2F{port}"),
        format!("/v1/sandboxes/{id}%2Fproxy%2F{port}/logs"),
        format!("/v1/sandboxes/{id}/proxy/abc/"),
        format!("/v1/sandboxes/{id}/networkpolicy"),
        format!("/v1//sandboxes/{id}/proxy/{port}/"),
    ] {
        let answer = request(proxied.address(), "GET", &target, &[], "").await;
        assert_eq!((answer.status(), &answer.code()[..]), (401, "MISSING_API_KEY"), "{target}");
    }
    let keyed = ["OPEN-SANDBOX-API-KEY: k-test"];
    let climbing = request(proxied.address(), "GET", &proxied.target(port, "/../x"), &keyed, "").await;
    assert_eq!(seen(&climbing, "open-sandbox-api-key"), ("GET /../x HTTP/1.1", vec![]));
    assert_eq!(request(proxied.address(), "TRACE", &proxied.target(port, "/"), &[], "").await.status(), 405);
}

#[tokio::test]
async fn small_requests_share_a_connection() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    let mut client = proxied.connect().await;
    for number in 0..1_000 {
        let target = proxied.target(backend.port, &format!("/{number}"));
        let mirrored = client.request("GET", &target, &[], "").await;
        assert_eq!(seen(&mirrored, "").0, format!("GET /{number} HTTP/1.1"));
    }
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_never_reach_another_client() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    let mut clients = tokio::task::JoinSet::new();
    for name in 0..32 {
        let (address, prefix) = (proxied.address(), proxied.target(backend.port, ""));
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for number in 0..100 {
                let body = format!("body of {name} {number} {}", "x".repeat(number * 37));
                let mirrored = client.request("POST", &format!("{prefix}/{name}/{number}"), &[], &body).await;
                assert_eq!(seen(&mirrored, "").0, format!("POST /{name}/{number} HTTP/1.1"));
                assert!(mirrored.body.ends_with(format!("\r\n\r\n{body}").as_bytes()));
                if number % 10 == 3 {
                    // Left in the middle of an answer: its connection is never used again.
                    let mut leaving = Client::connect(address).await;
                    leaving.send(get(&format!("{prefix}/left"), &[])).await;
                    leaving.close();
                }
            }
        });
    }
    clients.join_all().await;
    assert!(backend.accepted() < 32 + 320 + 32, "{} connections", backend.accepted());
}

/// Answers one request a connection, and closes without having said so.
async fn once(mut conn: Conn) {
    if let Some(head) = conn.head().await {
        let body = conn.body_of(&head).await;
        conn.answer("200 OK", &[], &body).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_is_no_failure() {
    let (proxied, backend) = (Proxied::start().await, Backend::start(once).await);
    let mut client = proxied.connect().await;
    for turn in 0..50 {
        let (method, body) = [("GET", ""), ("POST", "hello"), ("POST", ""), ("DELETE", "")][turn % 4];
        let answer = client.request(method, &proxied.target(backend.port, "/"), &[], body).await;
        assert_eq!((answer.status(), &answer.body[..]), (200, body.as_bytes()), "{method}, turn {turn}: {answer}");
    }
    assert_eq!(backend.accepted(), 50);
}

#[tokio::test]
async fn the_network_policy_is_checked_and_goes_to_the_sidecar() {
    let proxied = Proxied::start().await;
    let target = format!("/v1/sandboxes/{}/networkpolicy", proxied.id);
    let json = ["Content-Type: application/json"];
    for (method, body, status, code) in [
        ("PUT", "[]", 422, "VALIDATION_ERROR"),
        ("PATCH", "{}", 422, "VALIDATION_ERROR"),
        ("DELETE", "", 422, "VALIDATION_ERROR"),
        ("DELETE", r#"["a"]"#, 502, "BACKEND_CONNECTION_FAILED"),
        ("GET", "", 502, "BACKEND_CONNECTION_FAILED"),
    ] {
        let answer = request(proxied.address(), method, &target, &json, body).await;
        assert_eq!((answer.status(), &answer.code()[..]), (status, code), "{method} {body}: {answer}");
    }
    let foreign = request(proxied.address(), "GET", "/v1/sandboxes/fsb-1/networkpolicy", &[], "").await;
    let expected: Value = serde_json::json!({"code": "GENERAL::UNKNOWN_ERROR", "message": "Fsb sandbox not found."});
    assert_eq!((foreign.status(), foreign.json()), (404, expected));
}

/// What waits behind a request is not lost by looking whether its client is still there.
#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let body = conn.body_of(&head).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            conn.answer("200 OK", &[], &body).await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let mut client = proxied.connect().await;
    let bodies: Vec<String> = (0..8).map(|number| format!("{number}").repeat(20_000)).collect();
    for body in &bodies {
        client.send(written("POST", &target, &[], body)).await;
    }
    for body in &bodies {
        assert_eq!(client.head().await.status, 200);
        assert!(client.body().await.unwrap() == body.as_bytes());
    }
    assert_eq!(backend.accepted(), 1);
}
