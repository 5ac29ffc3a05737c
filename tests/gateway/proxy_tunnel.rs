//! WebSocket: the handshake is the backend's, and then bytes pass unread.

use std::time::{Duration, Instant};

use crate::{
    proxy::Proxied,
    soon,
    support::{
        backend::{Backend, Conn},
        client::Client,
        eventually,
    },
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Accepts, and sends back what comes until `bye`.
pub(crate) async fn echo(mut conn: Conn) {
    let head = conn.head().await.unwrap();
    conn.send(switched()).await;
    // Right behind the head: some of it may be read with that.
    conn.send(format!("{}\n{}", head.len(), head)).await;
    let mut last = Vec::new();
    loop {
        let Some(bytes) = conn.some().await else { return conn.note_closed() };
        conn.send(&bytes).await;
        last.extend(bytes);
        if last.ends_with(b"bye") {
            return;
        }
    }
}

/// What a backend answers to [`handshake`].
pub(crate) fn switched() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\
         Sec-WebSocket-Protocol: p1\r\nSec-WebSocket-Extensions: permessage-deflate\r\nX-Mine: 1\r\n\r\n"
    )
}

pub(crate) fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: p0, p1\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: http://localhost:9\r\n\
         OPEN-SANDBOX-API-KEY: k\r\nX-Foo: 1\r\n\r\n"
    )
}

/// A tunnel, with the head that the backend was asked with.
async fn open(proxied: &Proxied, backend: &Backend) -> (Client, String) {
    let mut client = proxied.connect().await;
    client.send(handshake(&proxied.target(backend.port, "/ws?x=1"))).await;
    let head = client.head().await;
    assert_eq!((head.status.as_u16(), head.field("x-mine")), (101, "1"));
    for (name, value) in [
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "p1"),
        ("upgrade", "websocket"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        assert_eq!(head.field(name), value);
    }
    assert!(head.field("connection").eq_ignore_ascii_case("upgrade"));
    let asked = echoed_head(&mut client).await;
    (client, asked)
}

/// The head that [`echo`] was asked with.
pub(crate) async fn echoed_head(client: &mut Client) -> String {
    let length: usize = String::from_utf8_lossy(&client.raw_line().await).trim().parse().unwrap();
    String::from_utf8(client.raw(length).await.to_vec()).unwrap()
}

/// So many bytes come back from [`echo`], and its end then.
pub(crate) async fn echoes_and_ends(client: &mut Client, count: usize) {
    let large: Vec<u8> = (0..count).map(|at| (at % 251) as u8).collect();
    for piece in large.chunks(100_000) {
        client.send(piece).await;
        assert!(client.raw(piece.len()).await == piece);
    }
    client.send("bye").await;
    assert_eq!(client.raw(3).await, "bye");
    assert!(client.is_closed().await, "the backend's end is the client's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_pass_both_ways_unread() {
    let (proxied, backend) = (Proxied::start().await, Backend::start(echo).await);
    let (mut client, asked) = open(&proxied, &backend).await;
    assert!(asked.starts_with("GET /ws?x=1 HTTP/1.1\r\n"), "{asked}");
    for line in [
        "upgrade: websocket",
        "connection: Upgrade",
        &format!("sec-websocket-key: {KEY}"),
        "sec-websocket-version: 13",
        "sec-websocket-protocol: p0, p1",
        "origin: http://localhost:9",
        "x-foo: 1",
        "x-forwarded-proto: http",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        "x-forwarded-host: localhost",
    ] {
        assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line}: {asked}");
    }
    assert!(!asked.contains("api-key"), "{asked}");
    for bytes in [&b"\x81\x02hi"[..], &b"\x00\xff"[..]] {
        client.send(bytes).await;
        assert_eq!(client.raw(bytes.len()).await, bytes);
    }
    echoes_and_ends(&mut client, 3_000_000).await;
    let line = "\" 101 bytes=";
    eventually("the access line", Duration::from_secs(5), || proxied.gateway.output().contains(line)).await;
    let output = proxied.gateway.output();
    let bytes: usize = output.split(line).nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 3_000_000 && output.matches("101 bytes=").count() == 1, "{output}");
}

#[tokio::test]
async fn either_end_that_leaves_takes_the_other_along() {
    let (proxied, backend) = (Proxied::start().await, Backend::start(echo).await);
    let files = proxied.gateway.open_files();
    for reset in [false, true] {
        soon(async || {
            let seen = backend.closed().len();
            let (client, _) = open(&proxied, &backend).await;
            let left = Instant::now();
            client.leave(reset);
            backend.wait_closed(seen).await.saturating_duration_since(left)
        })
        .await;
    }
    let cutting = Backend::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        conn.send(format!("{}{}\n{head}", switched(), head.len())).await;
        conn.bytes(1).await;
        conn.reset();
    })
    .await;
    let (mut client, _) = open(&proxied, &cutting).await;
    client.send("x").await;
    assert!(client.is_closed().await);
    eventually("descriptors released", Duration::from_secs(5), || proxied.gateway.open_files() <= files).await;
}

/// A backend that does not close when it is told that its client is gone.
#[tokio::test]
async fn a_backend_that_goes_on_is_cut_off() {
    let backend = Backend::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        conn.send(format!("{}{}\n{head}", switched(), head.len())).await;
        while conn.send("x").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        conn.note_closed();
    })
    .await;
    let proxied = Proxied::start().await;
    let (client, _) = open(&proxied, &backend).await;
    client.close();
    backend.wait_closed(0).await;
}

#[tokio::test]
async fn a_handshake_that_fails_is_answered_with_its_status() {
    let refusing = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.answer("403 Forbidden", &["X-Mine: 1"], b"no").await;
    })
    .await;
    let proxied = Proxied::start().await;
    let id = &proxied.id;
    let closed = Backend::start(echo).await.port;
    for (target, status, body) in [
        (proxied.target(refusing.port, "/ws"), 403, "no"),
        (proxied.target(closed, "/ws"), 502, "BACKEND_CONNECTION_FAILED"),
        ("/v1/sandboxes/nope/proxy/80/ws".to_owned(), 404, "DOCKER::SANDBOX_NOT_FOUND"),
        (format!("/v1/sandboxes/{id}/proxy/0/ws"), 400, "DOCKER::INVALID_PORT"),
        (format!("/v1/sandboxes/{id}/proxy/abc/ws"), 422, "int_parsing"),
        ("/v1/foo".to_owned(), 404, "NOT_FOUND"),
    ] {
        let mut client = proxied.connect().await;
        client.send(handshake(&target)).await;
        let head = client.head().await;
        let text = String::from_utf8(client.body().await.unwrap().to_vec()).unwrap();
        assert_eq!(head.status, status, "{target}: {text}");
        assert!(text.contains(body), "{text}");
        // The connection is still one of HTTP.
        assert_eq!(client.get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn tunnels_count_as_connections_and_end_with_the_grace() {
    let backend = Backend::start(echo).await;
    let setup = "max_connections = 2\ntimeout_graceful_shutdown = 1";
    let mut proxied = Proxied::with(|setup_| setup_.server(setup)).await;
    let (first, _) = open(&proxied, &backend).await;
    let (mut second, _) = open(&proxied, &backend).await;
    let mut third = proxied.connect().await;
    third.send_get("/health", &[]).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), third.head()).await.is_err());
    first.close();
    assert_eq!(third.head().await.status, 200);
    third.close();
    proxied.gateway.terminate();
    proxied.gateway.says("no new connections").await;
    second.send("ping").await;
    assert_eq!(second.raw(4).await, "ping", "a tunnel goes on within the grace");
    assert!(second.is_closed().await);
    assert_eq!(proxied.gateway.wait(Duration::from_secs(5)).code(), Some(0));
    assert!(proxied.gateway.output().contains("end=cut"), "{}", proxied.gateway.output());
}
