//! SIGTERM and SIGINT: no new work, plain requests finish, log streams end at a line's end, exit 0.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::{
    Pair,
    support::{
        client::{Client, get},
        engine::{Sandbox, Script, Step},
        h2::H2,
    },
};

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut pair = Pair::start();
        let start = Instant::now();
        pair.gateway.signal(signal);
        assert_eq!(pair.gateway.wait(Duration::from_secs(5)).code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(2), "{signal}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn followed_logs_end_properly_and_in_time() {
    let mut pair = Pair::start();
    let target = pair.log(Script::line_then_open("one\n"), "follow=true");
    let silent = pair.log(Script::silent(), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.get(&target).await;
    client.body_of(4).await;
    let mut other = Client::connect(pair.address()).await;
    other.get(&silent).await;
    let connection = H2::connect(pair.address(), 65_535).await;
    let mut stream = connection.get(&silent).await;
    pair.gateway.terminate();
    assert_eq!(client.body().await.expect("a proper end"), "");
    assert_eq!(other.body().await.expect("a proper end"), "");
    assert_eq!(stream.body().await.expect("a proper end"), "");
    assert_eq!(pair.gateway.wait(Duration::from_secs(7)).code(), Some(0));
    assert_eq!(pair.engine.open_logs(), 0);
}

#[tokio::test]
async fn a_busy_log_ends_at_a_lines_end() {
    let mut pair = Pair::start();
    let script = Script::new([Step::Lines { count: 100, length: 1_000, batched: false }, Step::Again]);
    let mut client = Client::connect(pair.address()).await;
    client.get(&pair.log(script, "follow=true")).await;
    client.body_of(100_000).await;
    pair.gateway.terminate();
    let body = client.body().await.expect("a proper end");
    assert!(body.ends_with(b"\n"), "{:?}", &body[body.len().saturating_sub(40)..]);
    assert_eq!(pair.gateway.wait(Duration::from_secs(7)).code(), Some(0));
}

#[tokio::test]
async fn a_plain_request_finishes_and_no_new_connection_is_taken() {
    let mut pair = Pair::start();
    let slow = Sandbox { inspect_delay: Duration::from_secs(1), ..Sandbox::new(Script::texts(["x\n"])) };
    let id = pair.engine.sandbox(slow);
    let mut client = Client::connect(pair.address()).await;
    client.send(get(&format!("/v1/sandboxes/{id}"), &[])).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    pair.gateway.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(TcpStream::connect(pair.address()).await.is_err());
    assert_eq!(client.head().await.status, 200);
    client.body().await.unwrap();
    assert_eq!(pair.gateway.wait(Duration::from_secs(5)).code(), Some(0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_the_end_up() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 1"));
    let script = Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again]);
    let target = pair.log(script, "follow=true");
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    client.send(get(&target, &[])).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    pair.gateway.terminate();
    assert_eq!(pair.gateway.wait(Duration::from_secs(5)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
