//! SIGTERM and SIGINT: no new work, plain requests finish, log streams are broken off at a line's end, exit 0.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::{
    Pair,
    support::{
        client::{Client, get},
        engine::{Gate, Sandbox, Script, Step, script},
        eventually,
        h2::H2,
    },
};

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut pair = Pair::start();
        let start = Instant::now();
        pair.gateway.signal(signal);
        assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
        // The grace is 5 s.
        assert!(start.elapsed() < Duration::from_secs(4), "{signal}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn followed_logs_are_broken_off_in_time() {
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
    // A proper end of text means that nothing more comes.
    assert_eq!(client.body().await.expect_err("no proper end").received, "");
    assert_eq!(other.body().await.expect_err("no proper end").received, "");
    stream.body().await.expect_err("no proper end");
    assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
    assert_eq!(pair.engine.open_logs(), 0);
    assert_eq!(pair.gateway.output().matches("end=drained").count(), 3, "{}", pair.gateway.output());
}

#[tokio::test]
async fn a_busy_log_ends_at_a_lines_end() {
    let mut pair = Pair::start();
    let script = Script::new([Step::Lines { count: 100, length: 1_000, batched: false }, Step::Again]);
    let mut client = Client::connect(pair.address()).await;
    client.get(&pair.log(script, "follow=true")).await;
    client.body_of(100_000).await;
    pair.gateway.terminate();
    let body = client.body().await.expect_err("no proper end").received;
    assert!(body.ends_with(b"\n"), "{:?}", &body[body.len().saturating_sub(40)..]);
    assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
}

#[tokio::test]
async fn a_plain_request_finishes_and_no_new_connection_is_taken() {
    let mut pair = Pair::start();
    let slow = Sandbox { inspect_delay: Duration::from_secs(1), ..Sandbox::new(Script::texts(["x\n"])) };
    let id = pair.engine.sandbox(slow);
    let mut client = Client::connect(pair.address()).await;
    client.send(get(&format!("/v1/sandboxes/{id}"), &[])).await;
    pair.engine.wait_asked(&id).await;
    pair.gateway.terminate();
    has_begun_to_drain(&pair).await;
    assert!(TcpStream::connect(pair.address()).await.is_err());
    assert_eq!(client.head().await.status, 200);
    client.body().await.unwrap();
    assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_the_end_up() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 1"));
    let script = Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again]);
    let target = pair.log(script, "follow=true");
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    client.send(get(&target, &[])).await;
    pair.engine.wait_open(1).await;
    pair.gateway.rests().await;
    let start = Instant::now();
    pair.gateway.terminate();
    assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_line_that_is_under_way_is_finished_and_nothing_after_it() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 30"));
    let gate = Gate::new();
    let steps = [Step::output("half"), Step::Gate(gate.clone()), Step::output(" a line\nthe next\nand a"), Step::Open];
    let target = pair.log(Script::new(steps), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.get(&target).await;
    client.body_of(4).await;
    let connection = H2::connect(pair.address(), 65_535).await;
    let mut stream = connection.get(&target).await;
    assert_eq!(stream.piece().await.unwrap().unwrap(), "half");
    pair.gateway.terminate();
    assert!(client.is_silent_for(Duration::from_millis(300)).await, "ended in the middle of a line");
    gate.open();
    // All of the lines that were there in one piece with the end of this one are whole, so they may go out too.
    assert_eq!(client.body().await.expect_err("no proper end").received, " a line\nthe next\n");
    assert_eq!(stream.piece().await.unwrap().unwrap(), " a line\nthe next\n");
    stream.body().await.expect_err("no proper end");
    assert_eq!(pair.gateway.wait(Duration::from_secs(15)).code(), Some(0));
}

#[tokio::test]
async fn a_line_that_never_ends_is_cut_at_the_end_of_the_grace() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 1"));
    let target = pair.log(Script::line_then_open("half a line"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.get(&target).await;
    client.body_of(11).await;
    let mut stream = H2::connect(pair.address(), 65_535).await.get(&target).await;
    assert_eq!(stream.piece().await.unwrap().unwrap(), "half a line");
    let start = Instant::now();
    pair.gateway.terminate();
    assert_eq!(client.body().await.expect_err("no proper end").received, "");
    stream.body().await.expect_err("no proper end");
    assert_eq!(pair.gateway.wait(Duration::from_secs(5)).code(), Some(0));
    let took = start.elapsed();
    assert!(Duration::from_millis(900) < took && took < Duration::from_secs(4), "{took:?}");
}

// The HTTP/2 client answers the gateway's farewell while this waits for the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_hold_the_end_up() {
    // Longer than a silent connection has for its first bytes, which is 5 s.
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 20"));
    let mut kept = Client::connect(pair.address()).await;
    kept.get("/health").await;
    kept.body().await.unwrap();
    let mut new = Client::connect(pair.address()).await;
    let connection = H2::connect(pair.address(), 65_535).await;
    connection.get("/health").await.body().await.unwrap();
    let start = Instant::now();
    pair.gateway.terminate();
    assert_eq!(pair.gateway.wait(Duration::from_secs(30)).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(kept.is_closed().await && new.is_closed().await);
}

/// A load balancer connects and sends its request at once: neither may be lost because the gateway ends in between.
#[tokio::test]
async fn a_request_on_its_way_is_answered_though_the_drain_has_begun() {
    for number in 0..5 {
        let mut pair = Pair::start();
        // What the start has opened is closed again.
        pair.gateway.rests().await;
        let files = pair.gateway.open_files();
        let mut accepted = Client::connect(pair.address()).await;
        eventually("it is accepted", Duration::from_secs(5), || pair.gateway.open_files() > files).await;
        pair.gateway.terminate();
        // These come at about the moment when the listener goes.
        tokio::time::sleep(Duration::from_millis(number)).await;
        let waiting = TcpStream::connect(pair.address()).await.is_ok();
        has_begun_to_drain(&pair).await;
        accepted.send(get("/health", &[])).await;
        let head = accepted.head().await;
        assert_eq!((head.status.as_u16(), head.headers["connection"].as_bytes()), (200, &b"close"[..]), "{waiting}");
        accepted.body().await.unwrap();
        assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
    }
}

/// The kernel resets what it has let in when its listener goes: so all of it is accepted before that.
#[tokio::test]
async fn clients_that_the_kernel_has_let_in_are_served_at_the_end() {
    let mut pair = Pair::start();
    // Stopped, the program accepts nothing while they come.
    pair.gateway.signal("STOP");
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = Client::connect(pair.address()).await;
        client.send(get("/health", &[])).await;
        clients.push(client);
    }
    pair.gateway.terminate();
    pair.gateway.signal("CONT");
    for mut client in clients {
        assert_eq!(client.head().await.status, 200);
        client.body().await.unwrap();
    }
    assert_eq!(pair.gateway.wait(Duration::from_secs(20)).code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 30"));
    let target = pair.log(Script::line_then_open("half a line"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.get(&target).await;
    client.body_of(11).await;
    pair.gateway.signal("INT");
    has_begun_to_drain(&pair).await;
    pair.gateway.signal("INT");
    assert_eq!(pair.gateway.wait(Duration::from_secs(15)).code(), Some(130));
}

/// A log that ends, of more bytes than all the buffers between the engine and a client that does not read can hold.
fn long() -> (Script, Vec<u8>) {
    const COUNT: u64 = 20_000;
    let expected = (0..COUNT).flat_map(|number| script::line(number, 1_000)).collect();
    (Script::lines(COUNT, 1_000, true), expected)
}

/// How the logs of a gateway that has ended did, by its access lines.
fn ends(pair: &Pair) -> Vec<String> {
    let output = pair.gateway.output();
    let lines = output.lines().filter(|line| line.contains("access") && line.contains("/logs"));
    lines.map(|line| line.split_once("end=").expect("an end").1.to_owned()).collect()
}

async fn has_begun_to_drain(pair: &Pair) {
    let says_so = || pair.gateway.output().contains("no new connections");
    eventually("the drain's beginning", Duration::from_secs(5), says_so).await;
}

/// Its client waits for a certain end, which is not ours to choose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_followed_goes_on_to_its_end() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 20"));
    let (script, expected) = long();
    let target = pair.log(script, "");
    let mut client = Client::connect(pair.address()).await;
    client.get(&target).await;
    let first = client.body_of(1).await;
    let mut stream = H2::connect(pair.address(), 65_535).await.get(&target).await;
    pair.gateway.terminate();
    has_begun_to_drain(&pair).await;
    assert_eq!(pair.engine.open_logs(), 2, "neither log fits into the buffers");
    let rest = client.body().await.expect("a proper end");
    assert!([first, rest].concat() == expected);
    assert!(stream.body().await.expect("a proper end") == expected);
    assert_eq!(pair.gateway.wait(Duration::from_secs(15)).code(), Some(0));
    assert_eq!(ends(&pair), ["complete", "complete"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_followed_breaks_off_visibly_at_the_end_of_the_grace() {
    let mut pair = Pair::with(|setup| setup.server("timeout_graceful_shutdown = 1"));
    let (script, expected) = long();
    let target = pair.log(script, "");
    let mut taker = Client::connect(pair.address()).await;
    taker.get(&pair.log(Script::line_then_open("one\n"), "")).await;
    taker.body_of(4).await;
    let mut sleeper = Client::connect(pair.address()).await;
    sleeper.get(&target).await;
    let first = sleeper.body_of(1).await;
    let mut stream = H2::connect(pair.address(), 65_535).await.get(&target).await;
    let start = Instant::now();
    pair.gateway.terminate();
    assert_eq!(taker.body().await.expect_err("no proper end").received, "");
    assert_eq!(pair.gateway.wait(Duration::from_secs(5)).code(), Some(0));
    let took = start.elapsed();
    assert!(Duration::from_millis(900) < took && took < Duration::from_secs(4), "{took:?}");
    let rest = sleeper.body().await.expect_err("no proper end").received;
    assert!(expected.starts_with(&[first, rest].concat()));
    stream.body().await.expect_err("no proper end");
    // It was not the clients that left.
    assert_eq!(ends(&pair), ["cut"; 3]);
    let output = pair.gateway.output();
    assert!(output.contains("cut after 1 s: 3 connections with 3 requests"), "{output}");
    let path = target.split('?').next().unwrap();
    assert_eq!(output.matches(&format!("cut: GET {path} of 127.0.0.1:")).count(), 2, "{output}");
}
