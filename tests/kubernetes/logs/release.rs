//! However a client leaves, the API server's answer is let go at once: log-pitfalls.md, table A1, each on a sandbox that has printed
//! nothing and on one that has printed a line.

use std::time::Duration;

use tokio::time::Instant;

use super::fixture::World;
use crate::support::{
    client::{self, Client},
    eventually,
};

/// How soon, at best: a machine that is busy with other tests may be late now and then.
const SOON: Duration = Duration::from_millis(100);

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
        let mut times = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(gateway.address()).await;
            client.send(request(&target)).await;
            assert_eq!(client.head().await.status, 200);
            if prints {
                assert_eq!(client.body_of(6).await, "hello\n");
            }
            eventually("the backend's answer", Duration::from_secs(5), || world.logs.open() == 1).await;
            let left = Instant::now();
            leave(client).await;
            eventually("the release", Duration::from_secs(5), || world.logs.open() == 0).await;
            let closed = world.logs.closed();
            let closed = closed.last().unwrap();
            assert!(closed.by_peer);
            times.push(closed.at.saturating_duration_since(left));
        }
        assert!(times.iter().any(|time| *time < SOON), "{times:?}");
    }
    assert!(gateway.output().contains("end=client_gone"), "the access line says who ended it");
}

fn plain(target: &str) -> Vec<u8> {
    client::get(target, &[])
}

#[tokio::test]
async fn close() {
    released(plain, async |client| client.close()).await;
}

#[tokio::test]
async fn reset() {
    released(plain, async |client| client.reset()).await;
}

#[tokio::test]
async fn close_after_asking_for_it() {
    released(|target| client::get(target, &["Connection: close"]), async |client| client.close()).await;
}

#[tokio::test]
async fn close_of_http_1_0() {
    let request = |target: &str| format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").into_bytes();
    released(request, async |client| client.close()).await;
}

#[tokio::test]
async fn close_after_a_stray_byte() {
    let leave = async |mut client: Client| {
        client.send("x").await;
        client.close();
    };
    released(plain, leave).await;
}

#[tokio::test]
async fn shutting_the_write_side_down() {
    let leave = async |mut client: Client| {
        client.half_close().await;
        client.body().await.expect_err("an end by which the client can tell");
    };
    released(plain, leave).await;
}

#[tokio::test]
async fn close_after_an_extra_line_end() {
    released(|target| [client::get(target, &[]), b"\r\n".to_vec()].concat(), async |client| client.close()).await;
}

#[tokio::test]
async fn close_and_reset_with_a_request_waiting() {
    let twice = |target: &str| [plain(target), plain("/health")].concat();
    released(twice, async |client| client.close()).await;
    released(twice, async |client| client.reset()).await;
}
