//! Many silent followers, and how fast one is let go.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client,
    process::Role,
    rounds,
    support::{
        engine::{Engine, script::Script},
        gateway::{Gateway, Setup},
    },
    table,
};

pub const FOLLOWERS: usize = 5_000;
pub const RELEASES: usize = 2_000;

pub async fn follow(address: std::net::SocketAddr, id: &str) -> TcpStream {
    follow_with(address, id, "").await
}

/// Follows with more of a query.
async fn follow_with(address: std::net::SocketAddr, id: &str, query: &str) -> TcpStream {
    let mut io = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /sandboxes/{id}/logs?follow=true{query} HTTP/1.1\r\nHost: bench\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    io.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    io
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Memory, idle CPU and a GET beside 5,000 silent followers.
pub fn run() {
    let source = Role::start(&["source"]);
    let gateway = Setup::docker(&format!("unix://{}", source.says)).in_session().start();
    client::read(gateway.address(), "/sandboxes/silent");
    let before = gateway.resident();
    block_on(async {
        let (followers, each) = crowd(&gateway, before, async || follow(gateway.address(), "silent").await).await;
        let what = format!("{FOLLOWERS} silent followers: resident memory each");
        table::row(&what, &format!("{each:.1} KiB"), "<= 16 KiB", each <= 16.0);
        let (start, used) = (Instant::now(), gateway.cpu());
        thread::sleep(Duration::from_secs(10));
        let idle = (gateway.cpu() - used).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
        table::row(&format!("{FOLLOWERS} silent followers: CPU"), &format!("{idle:.1} %"), "< 2 %", idle < 2.0);
        let times = gets(&gateway);
        let what = format!("{FOLLOWERS} silent followers: GET of a sandbox");
        let figure = format!("{:.1} ms (to {:.1})", times.median, times.most);
        table::row(&what, &figure, "< 5 ms", times.median < 5.0);
        drop(followers);
    });
    thread::sleep(Duration::from_secs(2));
    let left = gateway.resident() as f64 - before as f64;
    table::note("memory that remains after they left", &format!("{:.1} MiB", left / 1048576.0));
    table::note("descriptors that remain", &format!("{}\n", gateway.open_files()));
}

/// From the client's close to the engine's, one after the other.
pub fn release() {
    let engine = Engine::start();
    let id = engine.log(Script::quiet());
    let gateway = Setup::docker(engine.docker_host()).in_session().start();
    let times = releases(&engine, RELEASES, async || follow(gateway.address(), &id).await);
    release_row("", &times);
    println!();
}

/// Prints the middle and the 99th percentile of releases beside their bound.
pub fn release_row(name: &str, times: &[f64]) {
    let p99 = times[times.len() * 99 / 100];
    let figure = format!("{:.2} ms, p99 {p99:.2} ms", times[times.len() / 2]);
    let what = format!("{name}client gone -> engine connection closed: median, p99");
    table::row(&what, &figure, "p99 < 50 ms", p99 < 50.0);
}

/// The times of so many releases in ms, the shortest first.
pub fn releases<F>(engine: &Engine, count: usize, follow: impl AsyncFn() -> F) -> Vec<f64> {
    let before = engine.closed_logs().len();
    let mut times: Vec<f64> = block_on(async {
        let mut times = Vec::new();
        for seen in before..before + count {
            let follower = follow().await;
            let start = Instant::now();
            drop(follower);
            let closed = loop {
                if let Some(closed) = engine.closed_logs().get(seen) {
                    break closed.at;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            times.push(closed.duration_since(start).as_secs_f64() * 1e3);
        }
        times
    });
    times.sort_by(f64::total_cmp);
    times
}

/// What a silent follower costs in KiB, and how long a GET takes beside them in ms.
pub fn weight(gateway: &Gateway) -> (f64, f64) {
    weight_of(gateway, "")
}

/// The same of followers with more of a query.
pub fn weight_of(gateway: &Gateway, query: &str) -> (f64, f64) {
    client::read(gateway.address(), "/sandboxes/silent");
    let before = gateway.resident();
    block_on(async {
        let follow = async || follow_with(gateway.address(), "silent", query).await;
        let (_followers, each) = crowd(gateway, before, follow).await;
        (each, gets(gateway).median)
    })
}

/// The silent followers, and what each costs in KiB when there were `before` bytes without them.
pub async fn crowd<F>(gateway: &Gateway, before: u64, follow: impl AsyncFn() -> F) -> (Vec<F>, f64) {
    // Each waits a moment for an engine that says nothing, so many are opened at a time.
    let mut followers = Vec::new();
    while followers.len() < FOLLOWERS {
        let batch = (0..25).map(|_| follow());
        followers.extend(futures_util::future::join_all(batch).await);
    }
    thread::sleep(Duration::from_secs(2));
    let each = (gateway.resident() - before) as f64 / FOLLOWERS as f64 / 1024.0;
    (followers, each)
}

/// How long a GET takes, in ms.
fn gets(gateway: &Gateway) -> table::Spread {
    let read = |_| client::read(gateway.address(), "/sandboxes/silent").0.as_secs_f64() * 1e3;
    table::Spread::of((0..rounds() * 20).map(read).collect())
}
