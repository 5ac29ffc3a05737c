//! The tests' own engine and client, checked against each other: what they say of the gateway rests on them.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::engine::{Engine, Gate, Head, Sandbox, Script, Step, frame};

async fn ask(engine: &Engine, id: &str) -> UnixStream {
    let mut io = UnixStream::connect(engine.address()).await.unwrap();
    let target = format!("/v1.41/containers/sandbox-{id}/logs?follow=1&stdout=1");
    io.write_all(format!("GET {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    io
}

async fn all(engine: &Engine, id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    ask(engine, id).await.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_silent_log_withholds_its_head_and_its_closing_is_seen() {
    let engine = Engine::start();
    let id = engine.log(Script::silent());
    let mut io = ask(&engine, &id).await;
    engine.wait_open(1).await;
    let wait = tokio::time::timeout(Duration::from_millis(50), io.read_u8()).await;
    assert!(wait.is_err(), "a byte came: {wait:?}");
    let left = Instant::now();
    drop(io);
    let closed = engine.wait_closed(0).await;
    assert!(closed.by_peer && closed.sandbox == id);
    assert!(closed.at - left < Duration::from_secs(1));
    assert_eq!((engine.open_logs(), engine.opened_logs(), engine.peak_logs()), (0, 1, 1));
}

#[tokio::test]
async fn lines_have_a_chunk_and_a_frame_each() {
    let engine = Engine::start();
    for batched in [true, false] {
        let bytes = all(&engine, &engine.log(Script::lines(3, 20, batched))).await;
        let text = String::from_utf8_lossy(&bytes);
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert!(body.starts_with("1c\r\n\u{1}\0\0\0\0\0\0\u{14}000000000 "), "{body:?}");
        assert!(body.ends_with("\n\r\n0\r\n\r\n"), "{body:?}");
    }
}

#[tokio::test]
async fn a_gate_holds_the_script_and_a_cut_has_no_terminal_chunk() {
    let engine = Engine::start();
    let gate = Gate::new();
    let steps = [Step::Gate(gate.clone()), Step::on(2, b"late"), Step::Cut];
    let id = engine.log(Script::new(steps).with_head(Head::AtOnce));
    let mut io = ask(&engine, &id).await;
    engine.wait_open(1).await;
    gate.open();
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    let mut end = frame(2, b"late");
    end.extend_from_slice(b"\r\n");
    assert!(bytes.ends_with(&end), "{bytes:?}");
    assert!(!engine.wait_closed(0).await.by_peer);
}

#[tokio::test]
async fn inspection_and_errors_are_the_engines() {
    let engine = Engine::start();
    let id = engine.sandbox(Sandbox { log_driver: "none".into(), ..Sandbox::tty(Script::error(501, "no reading")) });
    let text = String::from_utf8(all(&engine, &id).await).unwrap();
    assert!(text.starts_with("HTTP/1.1 501 ") && text.ends_with("{\"message\":\"no reading\"}\n"), "{text}");
    let mut io = UnixStream::connect(engine.address()).await.unwrap();
    let filters = format!("{{\"label\":[\"opensandbox.io/id={id}\"]}}");
    let filters: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
    let target = format!("/containers/json?all=1&filters={filters}");
    io.write_all(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut list = String::new();
    io.read_to_string(&mut list).await.unwrap();
    assert!(list.contains(&format!("\"Names\":[\"/sandbox-{id}\"]")), "{list}");
}

#[tokio::test]
async fn a_killed_engine_breaks_its_connections_and_refuses_new_ones() {
    let mut engine = Engine::start();
    let id = engine.log(Script::quiet());
    let mut io = ask(&engine, &id).await;
    engine.wait_open(1).await;
    engine.kill();
    let mut rest = Vec::new();
    // Closed or reset, and no terminal chunk in either case.
    let _ = io.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
    assert!(UnixStream::connect(engine.address()).await.is_err());
}
