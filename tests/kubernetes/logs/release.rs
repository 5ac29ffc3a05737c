//! However a client leaves, the API server's answer is let go at once: log-pitfalls.md, table A1, each on a sandbox that has printed
//! nothing and on one that has printed a line; on HTTP/1.1 and on HTTP/2.

use std::time::Duration;

use tokio::time::Instant;

use super::fixture::World;
use crate::support::{
    LONGEST,
    client::Client,
    eventually,
    gateway::Gateway,
    h2::H2,
    leaving::soon,
    raw_h2::{DATA, GOAWAY, HEADERS, PING, RawH2, SETTINGS},
};

/// Opens a followed log with these bytes and leaves by `leave`.
async fn released(request: impl Fn(&str) -> Vec<u8>, leave: impl AsyncFn(Client)) {
    let world = World::start();
    let gateway = world.gateway("");
    for prints in [false, true] {
        let sandbox = world.sandbox();
        if prints {
            sandbox.container.out("hello\n");
        }
        let target = sandbox.target("follow=true");
        soon(async || {
            let mut client = Client::connect(gateway.address()).await;
            client.send(request(&target)).await;
            assert_eq!(client.head().await.status, 200);
            if prints {
                assert_eq!(client.body_of(6).await, "hello\n");
            }
            eventually("the backend's answer", LONGEST, || world.logs.open() == 1).await;
            let left = Instant::now();
            leave(client).await;
            eventually("the release", Duration::from_secs(20), || world.logs.open() == 0).await;
            let closed = world.logs.closed();
            let closed = closed.last().unwrap();
            assert!(closed.by_peer);
            closed.at.saturating_duration_since(left)
        })
        .await;
    }
    assert!(gateway.output().contains("end=client_gone"), "the access line says who ended it");
}

mod leaving {
    use super::released;
    use crate::support::leaving::ways_of_leaving;

    ways_of_leaving!(released);
}

const WINDOW: u32 = 65_535;

/// Waits until so many live reads are open and nothing else happens: a place is found by reads of its own, which end.
async fn followed(world: &World, gateway: &Gateway, count: usize) {
    let open = || world.server.open("follow=true");
    eventually("the live reads", LONGEST, || (open(), world.logs.open()) == (count, count)).await;
    gateway.rests().await;
    assert_eq!((open(), world.logs.open()), (count, count));
}

/// Waits until the `count` answers of the API server that are followed are let go; how long after `left` the last was.
async fn let_go(world: &World, before: usize, count: usize, left: Instant) -> Duration {
    eventually("the release", Duration::from_secs(20), || world.logs.open() == 0).await;
    let mut closed = world.logs.closed().split_off(before);
    // What was read before it was followed was over by then.
    closed.retain(|closed| closed.at >= left && closed.by_peer);
    assert_eq!(closed.len(), count, "{closed:?}");
    closed.last().unwrap().at.saturating_duration_since(left)
}

#[tokio::test]
async fn reset_of_a_stream_of_http_2() {
    let world = World::start();
    let gateway = world.gateway("");
    let connection = H2::connect(gateway.address(), WINDOW).await;
    for prints in [false, true] {
        let sandbox = world.sandbox();
        if prints {
            sandbox.container.out("hello\n");
        }
        soon(async || {
            let before = world.logs.closed().len();
            let mut stream = connection.get(&sandbox.target("follow=true")).await;
            assert_eq!(stream.head.status, 200);
            if prints {
                assert_eq!(stream.piece().await.unwrap().unwrap(), "hello\n");
            }
            followed(&world, &gateway, 1).await;
            let left = Instant::now();
            stream.reset();
            let_go(&world, before, 1, left).await
        })
        .await;
        // The connection lives on.
        assert_eq!(connection.get("/health").await.head.status, 200);
    }
}

#[tokio::test]
async fn reset_of_a_stream_of_http_2_that_nobody_reads() {
    let world = World::start();
    let gateway = world.gateway("");
    let connection = H2::connect(gateway.address(), WINDOW).await;
    let sandbox = world.sandbox();
    let line = "x".repeat(999) + "\n";
    (0..5000).for_each(|_| sandbox.container.out(&line));
    soon(async || {
        let before = world.logs.closed().len();
        let mut stream = connection.get(&sandbox.target("follow=true")).await;
        assert!(stream.withheld_piece().await.unwrap().is_some());
        followed(&world, &gateway, 1).await;
        let left = Instant::now();
        stream.reset();
        let_go(&world, before, 1, left).await
    })
    .await;
}

#[tokio::test]
async fn a_cut_connection_of_http_2_lets_all_its_streams_go() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandboxes: Vec<_> = (0..10).map(|_| world.sandbox()).collect();
    soon(async || {
        let before = world.logs.closed().len();
        let connection = H2::connect(gateway.address(), WINDOW).await;
        let mut streams = Vec::new();
        for sandbox in &sandboxes {
            streams.push(connection.get(&sandbox.target("follow=true")).await);
        }
        followed(&world, &gateway, 10).await;
        let left = Instant::now();
        connection.vanish();
        drop(streams);
        let_go(&world, before, 10, left).await
    })
    .await;
}

/// Reads frames until one of this kind comes, and answers what must be answered.
async fn frame_of(client: &mut RawH2, kind: u8) -> Vec<u8> {
    loop {
        let frame = client.frame().await.expect("the connection lives on");
        match (frame.kind, frame.flags & 1) {
            (SETTINGS, 0) => drop(client.send(SETTINGS, 1, 0, &[]).await),
            (PING, 0) => drop(client.send(PING, 1, 0, &frame.payload).await),
            _ => {}
        }
        if frame.kind == kind {
            return frame.payload;
        }
    }
}

/// GOAWAY ends no stream that is open (RFC 9113 §6.8): the client that says so reads on until it closes.
#[tokio::test]
async fn a_connection_of_http_2_that_says_goaway_and_closes() {
    let world = World::start();
    let gateway = world.gateway("");
    let sandbox = world.sandbox();
    let mut line = 0;
    soon(async || {
        let before = world.logs.closed().len();
        let mut client = RawH2::connect(gateway.address(), WINDOW, 0).await;
        client.get(1, &sandbox.target("follow=true&tail=1")).await;
        frame_of(&mut client, HEADERS).await;
        followed(&world, &gateway, 1).await;
        // No stream of the server's, and no error.
        assert!(client.send(GOAWAY, 0, 0, &[0; 8]).await);
        sandbox.container.out(format!("line-{line}\n"));
        let expected = format!("line-{line}\n");
        while frame_of(&mut client, DATA).await != expected.as_bytes() {}
        line += 1;
        let left = Instant::now();
        drop(client);
        let_go(&world, before, 1, left).await
    })
    .await;
}
