//! However an HTTP/1.1 client leaves, the engine's connection is closed at once: log-pitfalls.md, table A1, row by row,
//! each on a sandbox that has printed nothing and on one that has printed a line.

use std::time::{Duration, Instant};

use crate::{
    Pair, soon,
    support::{
        client::{self, Client},
        engine::Script,
        eventually,
    },
};

/// Opens a followed log with these bytes and leaves by `leave`; the engine must see it soon, and nothing must remain.
async fn released(request: impl Fn(&str) -> Vec<u8>, leave: impl AsyncFn(Client)) {
    let pair = Pair::start();
    let mut files = usize::MAX;
    for script in [Script::silent(), Script::quiet(), Script::line_then_open("hello\n")] {
        released_by(&pair, script, async || Client::connect(pair.address()).await, &request, &leave).await;
        // The first round leaves the gateway's own connection to the engine behind, which it keeps.
        eventually("descriptors released", Duration::from_secs(2), || pair.gateway.open_files() <= files).await;
        files = pair.gateway.open_files();
    }
    assert_eq!(pair.engine.open_logs(), 0);
    assert!(pair.gateway.output().contains("end=client_gone"), "the access line says who ended it");
}

/// The same for one log and a client that connects by `connect`.
pub(crate) async fn released_by(
    pair: &Pair,
    script: Script,
    connect: impl AsyncFn() -> Client,
    request: impl Fn(&str) -> Vec<u8>,
    leave: impl AsyncFn(Client),
) {
    let prints = script.steps.len() > 1;
    let target = pair.log(script, "follow=true");
    soon(async || {
        let seen = pair.engine.closed_logs().len();
        let mut client = connect().await;
        client.send(request(&target)).await;
        assert_eq!(client.head().await.status, 200);
        if prints {
            assert_eq!(client.body_of(6).await, "hello\n");
        }
        pair.engine.wait_open(1).await;
        let left = Instant::now();
        leave(client).await;
        pair.engine.wait_closed(seen).await.after(left)
    })
    .await;
}

mod leaving {
    use super::released;
    use crate::support::leaving::ways_of_leaving;

    ways_of_leaving!(released);
}

#[tokio::test]
async fn close_long_after_a_stray_byte() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    soon(async || {
        let seen = pair.engine.closed_logs().len();
        let mut client = Client::connect(pair.address()).await;
        assert_eq!(client.get(&target).await.status, 200);
        client.send("x").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(pair.engine.open_logs(), 1, "a stray byte changes nothing");
        let left = Instant::now();
        client.close();
        pair.engine.wait_closed(seen).await.after(left)
    })
    .await;
}

#[tokio::test]
async fn a_request_with_a_body_never_reaches_the_engine() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    for (field, body) in [
        ("Content-Length: 10", ""),
        ("Content-Length: 10", "half"),
        ("Content-Length: 10", "0123456789"),
        ("Transfer-Encoding: chunked", ""),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let mut client = Client::connect(pair.address()).await;
        client.send([&client::get(&target, &[field])[..], body.as_bytes()].concat()).await;
        let head = client.head().await;
        assert_eq!(head.status, 400);
        assert_eq!(head.field("connection"), "close");
        let answer: serde_json::Value = serde_json::from_slice(&client.body().await.unwrap()).unwrap();
        assert_eq!(answer["code"], "LOGS::BODY_NOT_ALLOWED");
        assert!(client.is_closed().await);
    }
    assert_eq!(pair.engine.opened_logs(), 0);
}

#[tokio::test]
async fn an_empty_body_is_no_body() {
    released(|target| client::get(target, &["Content-Length: 0"]), async |client| client.close()).await;
}

#[tokio::test]
async fn close_and_reset_of_a_client_that_has_stopped_reading() {
    let pair = Pair::start();
    let script = Script::endless();
    let target = pair.log(script, "follow=true");
    for (pipelined, reset) in [(false, false), (false, true), (true, false), (true, true)] {
        soon(async || {
            let seen = pair.engine.closed_logs().len();
            let mut client = Client::connect_with_window(pair.address(), 4_096).await;
            client.send_get(&target, &[]).await;
            assert_eq!(client.head().await.status, 200);
            if pipelined {
                client.send(client::get("/health", &[])).await;
            }
            pair.engine.wait_open(1).await;
            // Until every buffer on the way is full.
            pair.gateway.rests().await;
            let left = Instant::now();
            // Closing with unread bytes is a reset in any case; the pair keeps both spellings of the table.
            client.leave(reset);
            pair.engine.wait_closed(seen).await.after(left)
        })
        .await;
    }
}

/// The watch's memory is bounded: who floods the connection behind a silent stream loses it.
#[tokio::test]
async fn a_flood_behind_a_silent_stream_ends_it() {
    let pair = Pair::start();
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&pair.log(Script::silent(), "follow=true")).await.status, 200);
    pair.engine.wait_open(1).await;
    for _ in 0..1_000 {
        if !client.try_send(client::get("/health", &[]).repeat(10)).await {
            break;
        }
    }
    assert!(pair.engine.wait_closed(0).await.by_peer);
}

#[tokio::test]
async fn a_connection_that_is_kept_carries_the_next_request() {
    let pair = Pair::start();
    let target = pair.log(Script::texts(["one\n", "two\n"]), "");
    let mut client = Client::connect(pair.address()).await;
    for _ in 0..3 {
        assert_eq!(client.get(&target).await.status, 200);
        assert_eq!(client.body().await.unwrap(), "one\ntwo\n");
    }
    client.send([client::get(&target, &[]), client::get("/health", &[])].concat()).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body().await.unwrap(), "one\ntwo\n");
    assert_eq!(client.head().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_followers_come_and_leave_nothing() {
    const FOLLOWERS: usize = 2_000;
    // One arena: with one a thread, what is kept depends on which thread took it.
    let pair = Pair::with(|setup| setup.server("limit_concurrency = 0").env("MALLOC_ARENA_MAX", "1"));
    let target = pair.log(Script::silent(), "follow=true");
    let files = pair.gateway.open_files();
    let threads = pair.gateway.threads();
    let mut resident = Vec::new();
    for round in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..FOLLOWERS {
            let mut client = Client::connect(pair.address()).await;
            client.send_get(&target, &[]).await;
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.head().await.status, 200);
        }
        eventually("all followers", Duration::from_secs(30), || pair.engine.open_logs() == FOLLOWERS).await;
        for (number, client) in clients.into_iter().enumerate() {
            client.leave(number % 2 != 0);
        }
        eventually("no follower", Duration::from_secs(10), || pair.engine.open_logs() == 0).await;
        assert_eq!(pair.engine.closed_logs().len(), FOLLOWERS * (round + 1));
        resident.push(pair.gateway.resident());
    }
    // A connection of the gateway's own to the engine may have been opened meanwhile and kept.
    eventually("descriptors released", Duration::from_secs(5), || pair.gateway.open_files() <= files + 4).await;
    assert!(pair.gateway.threads() <= threads + 1);
    // The allocator keeps what the first rounds took and gives it out again; a leak would be there twice more.
    let grown = resident[4].saturating_sub(resident[2]);
    assert!(grown < 8 << 20, "{resident:?}");
}
