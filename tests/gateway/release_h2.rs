//! Release on HTTP/2: streams reset, idle and blocked, and connections cut.

use std::time::{Duration, Instant};

use crate::{
    Pair,
    support::{
        engine::{Script, Step},
        h2::H2,
    },
};

const SOON: Duration = Duration::from_millis(100);
const WINDOW: u32 = 65_535;

#[tokio::test]
async fn reset_of_an_idle_stream() {
    let pair = Pair::start();
    for (turn, script) in [Script::silent(), Script::line_then_open("hello\n")].into_iter().enumerate() {
        let prints = script.steps.len() > 1;
        let target = pair.log(script, "follow=true");
        let connection = H2::connect(pair.address(), WINDOW).await;
        let mut stream = connection.get(&target).await;
        assert_eq!(stream.head.status, 200);
        if prints {
            assert_eq!(stream.piece().await.unwrap().unwrap(), "hello\n");
        }
        pair.engine.wait_open(1).await;
        let left = Instant::now();
        stream.reset();
        assert!(pair.engine.wait_closed(turn).await.at.saturating_duration_since(left) < SOON);
        // The connection lives on.
        assert_eq!(connection.get("/health").await.head.status, 200);
    }
}

#[tokio::test]
async fn a_cut_connection_releases_all_its_streams() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    let connection = H2::connect(pair.address(), WINDOW).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(connection.get(&target).await);
    }
    pair.engine.wait_open(10).await;
    let left = Instant::now();
    connection.vanish();
    drop(streams);
    assert!(pair.engine.wait_closed(9).await.at.saturating_duration_since(left) < SOON);
}

#[tokio::test]
async fn reset_of_a_stream_without_window() {
    let pair = Pair::start();
    let script = Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again]);
    let target = pair.log(script, "follow=true");
    let connection = H2::connect(pair.address(), WINDOW).await;
    let mut stream = connection.get(&target).await;
    assert!(stream.withheld_piece().await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let left = Instant::now();
    stream.reset();
    assert!(pair.engine.wait_closed(0).await.at.saturating_duration_since(left) < SOON);
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
