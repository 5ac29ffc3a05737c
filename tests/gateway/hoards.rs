//! What clients over HTTP/2 can have kept for them that take nothing, or that nobody takes from: bounded for a connection.

use std::time::Duration;

use crate::{
    proxy::Proxied,
    support::{
        backend::Backend,
        client::get_once,
        eventually,
        h2::H2,
        raw_h2::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, RawH2, frame, until_indexed},
    },
    windows,
};

const MB: u64 = 1 << 20;

/// A request for one path again and again, which costs four bytes each time but the first.
#[tokio::test]
async fn requests_for_a_long_path_keep_little_of_it() {
    let proxied = Proxied::with(|setup| setup.api_key("k-test")).await;
    let before = proxied.gateway.resident();
    let (first, again) = until_indexed(&format!("/docs{}", "x".repeat(3_900)));
    let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
    for number in 1..1_000 {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &again));
    }
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = RawH2::connect(proxied.address(), 0, 0).await;
        client.flood_once(&bytes).await;
        clients.push(client);
    }
    proxied.gateway.rests().await;
    let grown = proxied.gateway.resident().saturating_sub(before);
    assert!(grown < 20 * 2 * MB, "{grown} bytes for 20 connections");
    drop(clients);
}

/// Asks for `target` on 250 streams and takes nothing from the socket; by how much the gateway has grown then.
async fn asked_and_not_read(proxied: &Proxied, target: &str) -> u64 {
    let before = proxied.gateway.resident();
    let mut client = RawH2::connect(proxied.address(), (1 << 31) - 1, 4_096).await;
    for number in 0..250 {
        client.get(2 * number + 1, target).await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    proxied.gateway.resident().saturating_sub(before)
}

#[tokio::test]
async fn long_heads_that_nobody_takes_are_few() {
    let backend = Backend::start(|mut conn| async move {
        let location = format!("Location: /{}", "x".repeat(120_000));
        while conn.head().await.is_some() {
            conn.answer("200 OK", &[&location], b"").await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let grown = asked_and_not_read(&proxied, &proxied.target(backend.port, "/")).await;
    assert!(grown < 16 * MB, "{grown} bytes");
    // One that is taken comes whole.
    let answer = get_once(proxied.address(), &proxied.target(backend.port, "/")).await;
    assert!(answer.head.field("location").len() > 120_000);
    let client = H2::connect(proxied.address(), 65_535).await;
    for _ in 0..20 {
        let answer = client.get(&proxied.target(backend.port, "/")).await;
        assert!(answer.head.headers["location"].len() > 120_000);
    }
    client.vanish();
}

/// What has come whole from the backend and waits for its client has the limit of connections that are in use.
#[tokio::test]
async fn bodies_that_nobody_takes_count_as_connections() {
    let backend = Backend::start(|mut conn| async move {
        while conn.head().await.is_some() {
            conn.answer("200 OK", &[], &[b'x'; 7_000]).await;
        }
    })
    .await;
    let limits = "[proxy]\nmax_connections = 8\nmax_connections_per_sandbox = 8";
    let proxied = Proxied::with(|setup| setup.section(limits)).await;
    let target = proxied.target(backend.port, "/");
    let mut client = RawH2::connect(proxied.address(), 0, 0).await;
    for number in 0..20 {
        client.get(2 * number + 1, &target).await;
    }
    eventually("all that there is room for", Duration::from_secs(10), || backend.accepted() == 8).await;
    proxied.gateway.rests().await;
    assert_eq!(backend.accepted(), 8);
    assert_eq!(get_once(proxied.address(), &target).await.status(), 503);
    for number in 0..20 {
        client.send(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()).await;
    }
    let answered = async || get_once(proxied.address(), &target).await.status() == 200;
    tokio::time::timeout(Duration::from_secs(20), async { while !answered().await {} }).await.expect("room again");
}

/// One after the other, an answer leaves the connection to its backend to the next, also one without a body.
#[tokio::test]
async fn an_answer_that_is_taken_lets_its_connection_go() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let body = conn.body_of(&head).await;
            conn.answer("200 OK", &[], &vec![b'x'; body.len()]).await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let client = H2::connect(proxied.address(), 1 << 20).await;
    for length in [0, 1, 2, 50_000].repeat(3) {
        let answer = windows::upload(&client, &target, "", vec![b'y'; length].into()).await.await.unwrap();
        let mut body = answer.into_body();
        let mut came = 0;
        while let Some(piece) = body.data().await {
            came += piece.unwrap().len();
        }
        assert_eq!(came, length);
    }
    assert_eq!(backend.accepted(), 1);
}

/// Each of its own, one byte long: what h2 notes of each is two hundred times that.
#[tokio::test]
async fn tiny_frames_of_a_body_that_nobody_reads_end_their_connection() {
    let (deaf, _serving) = windows::deaf();
    let proxied = Proxied::start().await;
    let before = proxied.gateway.resident();
    let mut client = RawH2::connect(proxied.address(), 65_535, 0).await;
    for stream in [1, 3, 5, 7, 9] {
        client.send(HEADERS, END_HEADERS, stream, &raw_h2::head("POST", &proxied.target(deaf, "/"))).await;
    }
    proxied.gateway.rests().await;
    let round: Vec<u8> = [1, 3, 5, 7, 9].into_iter().flat_map(|stream| frame(DATA, 0, stream, b"x")).collect();
    let bytes = round.repeat(60_000);
    let taken = client.flood_once(&bytes).await;
    while client.frame().await.is_some() {}
    let grown = proxied.gateway.peak().saturating_sub(before);
    assert!(grown < 24 * MB, "{grown} bytes for {taken}");
    assert_eq!(get_once(proxied.address(), "/health").await.status(), 200);
}
