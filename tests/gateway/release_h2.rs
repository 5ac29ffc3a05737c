//! Release on HTTP/2: streams reset, idle and blocked, and connections cut.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::{
    Pair, soon,
    support::{
        engine::{Script, Step},
        eventually,
        h2::H2,
    },
};

const WINDOW: u32 = 65_535;

#[tokio::test]
async fn reset_of_an_idle_stream() {
    let pair = Pair::start();
    let connection = H2::connect(pair.address(), WINDOW).await;
    for script in [Script::silent(), Script::quiet(), Script::line_then_open("hello\n")] {
        let prints = script.steps.len() > 1;
        let target = pair.log(script, "follow=true");
        soon(async || {
            let seen = pair.engine.closed_logs().len();
            let mut stream = connection.get(&target).await;
            assert_eq!(stream.head.status, 200);
            if prints {
                assert_eq!(stream.piece().await.unwrap().unwrap(), "hello\n");
            }
            pair.engine.wait_open(1).await;
            let left = Instant::now();
            stream.reset();
            pair.engine.wait_closed(seen).await.after(left)
        })
        .await;
        // The connection lives on.
        assert_eq!(connection.get("/health").await.head.status, 200);
    }
}

#[tokio::test]
async fn a_cut_connection_releases_all_its_streams() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    let files = Cell::new(usize::MAX);
    for _ in 0..2 {
        soon(async || {
            let seen = pair.engine.closed_logs().len();
            let connection = H2::connect(pair.address(), WINDOW).await;
            let mut streams = Vec::new();
            for _ in 0..10 {
                streams.push(connection.get(&target).await);
            }
            pair.engine.wait_open(10).await;
            let left = Instant::now();
            connection.vanish();
            drop(streams);
            pair.engine.wait_closed(seen + 9).await.after(left)
        })
        .await;
        eventually("descriptors released", Duration::from_secs(2), || pair.gateway.open_files() <= files.get()).await;
        files.set(pair.gateway.open_files());
    }
}

#[tokio::test]
async fn reset_of_a_stream_without_window() {
    let pair = Pair::start();
    let script = Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again]);
    let target = pair.log(script, "follow=true");
    let connection = H2::connect(pair.address(), WINDOW).await;
    soon(async || {
        let seen = pair.engine.closed_logs().len();
        let mut stream = connection.get(&target).await;
        assert!(stream.withheld_piece().await.unwrap().is_some());
        pair.gateway.rests().await;
        let left = Instant::now();
        stream.reset();
        pair.engine.wait_closed(seen).await.after(left)
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_window_does_not_hold_its_neighbour() {
    let pair = Pair::start();
    let endless = Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again]);
    let stalled = pair.log(endless, "follow=true");
    let busy = pair.log(Script::lines(20_000, 100, true), "");
    let connection = H2::connect(pair.address(), WINDOW).await;
    let mut slow = connection.get(&stalled).await;
    assert!(slow.withheld_piece().await.unwrap().is_some());
    let body = connection.get(&busy).await.body().await.unwrap();
    assert_eq!(body.len(), 20_000 * 100);
}

#[tokio::test]
async fn a_broken_backend_resets_the_stream() {
    let pair = Pair::start();
    let target = pair.log(Script::new([Step::output("half\n"), Step::Wait(Duration::from_millis(20)), Step::Cut]), "");
    let connection = H2::connect(pair.address(), WINDOW).await;
    let mut stream = connection.get(&target).await;
    assert_eq!(stream.piece().await.unwrap().unwrap(), "half\n");
    assert!(stream.piece().await.is_err());
}
