//! `/ready`: for load balancers, while the gateway ends and while its engine is out of reach.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    Pair, Setup,
    support::{
        client::{Client, Response, get_once, request},
        eventually,
        h2::H2,
    },
};

async fn ready(address: std::net::SocketAddr) -> Response {
    get_once(address, "/ready").await
}

/// Asks until the answer is that it is not.
async fn not_ready(address: std::net::SocketAddr, within: Duration) -> Response {
    let start = Instant::now();
    loop {
        let answer = ready(address).await;
        if answer.status() != 200 {
            assert_eq!(answer.status(), 503, "{answer}");
            return answer;
        }
        assert!(start.elapsed() < within, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_gateway_that_serves_is_ready_and_asks_no_engine() {
    let pair = Pair::with(|setup| setup.api_key("k-test"));
    let before = pair.engine.requests().len();
    let mut client = Client::connect(pair.address()).await;
    for _ in 0..500 {
        let answer = client.request("GET", "/ready", &[], "").await;
        assert_eq!((answer.status(), answer.json()["status"].clone()), (200, json!("ready")), "{answer}");
        assert_eq!(answer.head.field("cache-control"), "no-store");
    }
    // The gateway's own look every few seconds, and what it learns at the start.
    let asked = pair.engine.requests().len() - before;
    assert!(asked < 10, "{asked}: {:?}", pair.engine.requests());
    let head = client.request("HEAD", "/ready", &[], "").await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(request(pair.address(), "POST", "/ready", &[], "").await.status(), 405);
    let connection = H2::connect(pair.address(), 65_535).await;
    assert!(connection.get("/ready").await.body().await.unwrap().starts_with(br#"{"status":"ready""#));
}

#[tokio::test]
async fn the_listener_stays_open_for_the_delay_and_ready_says_draining() {
    let mut gateway = Setup::process().server("shutdown_delay_seconds = 8").start();
    let mut kept = Client::connect(gateway.address()).await;
    assert_eq!(kept.request("GET", "/v1/sandboxes", &[], "").await.head.field("connection"), "");
    let start = Instant::now();
    gateway.terminate();
    let answer = not_ready(gateway.address(), Duration::from_secs(6)).await;
    assert_eq!(
        (answer.json()["status"].clone(), answer.code()),
        (json!("draining"), "NOT_READY".to_owned()),
        "{answer}"
    );
    assert_eq!(get_once(gateway.address(), "/health").await.status(), 200);
    // What still comes is served, on new connections and on kept ones, which end with their answer.
    let served = kept.request("GET", "/v1/sandboxes", &[], "").await;
    assert_eq!((served.status(), served.head.field("connection")), (200, "close"));
    assert!(kept.is_closed().await);
    assert_eq!(get_once(gateway.address(), "/v1/sandboxes").await.status(), 200);
    assert_eq!(gateway.wait(Duration::from_secs(20)).code(), Some(0));
    let took = start.elapsed();
    assert!(Duration::from_millis(7_900) < took && took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test]
async fn a_second_signal_ends_the_delay_and_a_third_all_else() {
    let mut gateway = Setup::process().server("shutdown_delay_seconds = 60\ntimeout_graceful_shutdown = 60").start();
    let mut client = Client::connect(gateway.address()).await;
    client.send("POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n").await;
    gateway.terminate();
    not_ready(gateway.address(), Duration::from_secs(20)).await;
    gateway.terminate();
    let says_so = || gateway.output().contains("no new connections");
    eventually("the drain's beginning", Duration::from_secs(5), says_so).await;
    assert!(TcpStream::connect(gateway.address()).await.is_err());
    gateway.terminate();
    assert_eq!(gateway.wait(Duration::from_secs(20)).code(), Some(143));
}

#[tokio::test]
async fn a_person_at_the_terminal_waits_for_no_load_balancer() {
    let mut gateway = Setup::process().server("shutdown_delay_seconds = 60").start();
    gateway.signal("INT");
    assert_eq!(gateway.wait(Duration::from_secs(20)).code(), Some(0));
}

#[tokio::test]
async fn an_engine_that_is_out_of_reach_for_half_a_minute_is_not_ready_and_told_why() {
    let mut pair = Pair::start();
    assert_eq!(ready(pair.address()).await.status(), 200);
    pair.engine.kill();
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(ready(pair.address()).await.status(), 200, "it may come back");
    let answer = not_ready(pair.address(), Duration::from_secs(25)).await;
    assert!(start.elapsed() > Duration::from_secs(29), "{:?}", start.elapsed());
    assert_eq!(answer.json()["status"], "unavailable");
    assert!(
        answer.json()["message"].as_str().unwrap().starts_with("The Docker Engine has been out of reach for 3"),
        "{answer}"
    );
    assert!(!answer.to_string().contains(".sock"), "no address: {answer}");
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
}
