//! What a process sandbox runs, it runs as the gateway's user: pages and names of other machines are refused.

use crate::{
    Gateway, Setup,
    support::{
        client::{Client, Response},
        h2::H2,
    },
};

const FOREIGN_PAGES: [&str; 4] = ["https://evil.example", "http://localhost.evil.example", "http://10.0.0.1", "null"];
const FOREIGN_NAMES: [&str; 3] = ["evil.example", "localhost.evil.example:8080", "10.0.0.1"];

/// An exchange under this `Host`, which the client's own requests do not let a test choose.
async fn ask(gateway: &Gateway, request: &str, host: &str, lines: &[&str]) -> Response {
    let mut client = Client::connect(gateway.address()).await;
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    client.send(format!("{request} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")).await;
    Response { head: client.head().await, body: client.body().await.expect("a complete response") }
}

fn is_refused(response: &Response) {
    assert_eq!((response.status(), response.code().as_str()), (403, "FOREIGN_ORIGIN"), "{response}");
    assert_eq!(response.head.field("content-type"), "application/json");
}

#[tokio::test]
async fn foreign_pages_and_names_are_refused_on_every_route() {
    let gateway = Setup::process().start();
    for request in ["GET /health", "GET /v1/sandboxes", "GET /v1/sandboxes/x/logs?follow=true", "GET /nothing"] {
        for page in FOREIGN_PAGES {
            is_refused(&ask(&gateway, request, "localhost", &[&format!("Origin: {page}")]).await);
        }
        for name in FOREIGN_NAMES {
            is_refused(&ask(&gateway, request, name, &[]).await);
            // A page that made its own name point here is of one origin with it.
            is_refused(&ask(&gateway, request, name, &[&format!("Origin: http://{name}")]).await);
        }
        // An image, a script or a link of a foreign page, which tells no origin; and what no browser sends.
        for lines in [
            &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"][..],
            &["Origin: tauri://localhost"],
            &["Origin: http://localhost", "Origin: https://evil.example"],
            &["Origin: http://localhost", "Origin: http://localhost"],
        ] {
            is_refused(&ask(&gateway, request, "localhost", lines).await);
        }
        is_refused(&ask(&gateway, request, "evil.example@localhost", &[]).await);
    }
    // A browser asks first, and is told no by then.
    let asks = ["Origin: https://evil.example", "Access-Control-Request-Method: POST"];
    is_refused(&ask(&gateway, "OPTIONS /v1/sandboxes", "localhost", &asks).await);
}

/// A form can be posted without the browser's asking first.
#[tokio::test]
async fn a_foreign_page_makes_no_sandbox() {
    let gateway = Setup::process().start();
    let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sleep","100"]}"#;
    let head = format!("Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for (origin, status) in [("Origin: https://evil.example\r\n", 403), ("Origin: http://localhost:3000\r\n", 202)] {
        let mut client = Client::connect(gateway.address()).await;
        client.send(format!("POST /v1/sandboxes HTTP/1.1\r\n{head}{origin}\r\n{body}")).await;
        assert_eq!(client.head().await.status, status, "{origin}");
    }
    let list = ask(&gateway, "GET /v1/sandboxes", "localhost", &[]).await;
    assert_eq!(list.json()["items"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn this_machines_own_pages_and_names_are_answered() {
    let gateway = Setup::process().start();
    let port = gateway.address().port();
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"] {
        let host = format!("{host}:{port}");
        assert_eq!(ask(&gateway, "GET /v1/sandboxes", &host, &[]).await.status(), 200, "{host}");
        for page in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:5173"] {
            let response = ask(&gateway, "GET /v1/sandboxes", &host, &[&format!("Origin: {page}")]).await;
            assert_eq!(response.status(), 200, "{host}, {page}: {response}");
            assert_eq!(response.head.field("access-control-allow-origin"), page);
            let far = [&*format!("Origin: {page}"), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"];
            assert_eq!(ask(&gateway, "GET /v1/sandboxes", &host, &far).await.status(), 200, "{host}, {page}");
        }
        for site in ["none", "same-origin", "same-site"] {
            let response = ask(&gateway, "GET /v1/sandboxes", &host, &[&format!("Sec-Fetch-Site: {site}")]).await;
            assert_eq!(response.status(), 200, "{host}, {site}: {response}");
        }
    }
    let asks = ["Origin: http://localhost:3000", "Access-Control-Request-Method: POST"];
    assert_eq!(ask(&gateway, "OPTIONS /v1/sandboxes", "localhost", &asks).await.status(), 200);
}

#[tokio::test]
async fn http_2_makes_no_difference() {
    let gateway = Setup::process().start();
    let connection = H2::connect(gateway.address(), 65_535).await;
    for (field, value, status) in [
        ("origin", "https://evil.example", 403),
        ("host", "evil.example", 403),
        ("origin", "http://localhost:3000", 200),
        ("host", "localhost", 200),
    ] {
        let mut stream = connection.get_with("/v1/sandboxes", &[(field, value)]).await;
        assert_eq!(stream.head.status, status, "{field}: {value}");
        let body = stream.body().await.unwrap();
        assert_eq!(body.windows(14).any(|part| part == b"FOREIGN_ORIGIN"), status == 403, "{body:?}");
    }
}
