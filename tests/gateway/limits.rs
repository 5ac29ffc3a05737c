//! Limits live as long as streams do, and a slow reader slows only itself.

use std::time::{Duration, Instant};

use crate::{
    Pair,
    support::{
        client::{Client, get_once},
        engine::{Sandbox, Script, Step},
        eventually,
        h2::H2,
    },
};

async fn follower(pair: &Pair, target: &str) -> Client {
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(target).await.status, 200);
    client
}

/// The next stream is refused, and one is free as soon as the first follower has left.
async fn refuses_beyond(section: &str, targets: impl Fn(&Pair) -> [String; 3]) {
    let pair = Pair::with(|setup| setup.section(section));
    let [first, second, third] = targets(&pair);
    let leaving = follower(&pair, &first).await;
    let _staying = follower(&pair, &second).await;
    let refused = get_once(pair.address(), &third).await;
    assert_eq!((refused.status(), refused.code().as_str()), (429, "LOGS::STREAM_LIMIT_REACHED"), "{refused}");
    assert!(refused.head.field("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(pair.engine.opened_logs(), 2, "a refused stream never reaches the engine");
    leaving.close();
    // The stream's end is noted when its permit is back.
    pair.gateway.says("end=client_gone").await;
    follower(&pair, &third).await;
}

#[tokio::test]
async fn streams_in_all() {
    let three = |pair: &Pair| [(); 3].map(|()| pair.log(Script::silent(), "follow=true"));
    refuses_beyond("[logs]\nmax_streams = 2", three).await;
}

#[tokio::test]
async fn streams_of_one_sandbox() {
    let same = |pair: &Pair| {
        let target = pair.log(Script::silent(), "follow=true");
        [target.clone(), target.clone(), target]
    };
    refuses_beyond("[logs]\nmax_streams_per_sandbox = 2", same).await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 1"));
    let target = pair.log(Script::endless(), "follow=true");
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    client.send_get(&target, &[]).await;
    pair.engine.wait_open(1).await;
    let start = Instant::now();
    assert!(pair.engine.wait_closed(0).await.by_peer);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    eventually("the reason", Duration::from_secs(2), || pair.gateway.output().contains("end=slow_client")).await;
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_cut_off_and_its_connection_lives_on() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 1"));
    let connection = H2::connect(pair.address(), 65_535).await;
    let mut stream = connection.get(&pair.log(Script::endless(), "follow=true")).await;
    let silent = connection.get(&pair.log(Script::silent(), "follow=true")).await;
    assert!(stream.withheld_piece().await.unwrap().is_some());
    let start = Instant::now();
    assert!(pair.engine.wait_closed(0).await.by_peer);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    eventually("the reason", Duration::from_secs(2), || pair.gateway.output().contains("end=slow_client")).await;
    assert_eq!(connection.get("/health").await.head.status, 200);
    assert_eq!(pair.engine.open_logs(), 1, "silence is no stall");
    drop(silent);
}

#[tokio::test]
async fn a_reader_that_is_slow_but_reads_is_not_cut_off() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 3"));
    let target = pair.log(Script::endless(), "follow=true");
    let mut client = follower(&pair, &target).await;
    let mut stream = H2::connect(pair.address(), 65_535).await.get(&target).await;
    for _ in 0..24 {
        client.body_of(1 << 20).await;
        for _ in 0..8 {
            stream.piece().await.unwrap().expect("no end");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(pair.engine.open_logs(), 2);
}

/// The client's kernel tells of room only by the sixteenth of its receive buffer, or a segment if that is more: what the
/// reader takes within the limit must be more than that to be seen, so its buffer is a small one.
#[tokio::test]
async fn a_reader_that_takes_little_is_not_cut_off_until_it_takes_nothing() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 3"));
    let target = pair.log(Script::endless(), "follow=true");
    let mut client = Client::connect_with_window(pair.address(), 32 << 10).await;
    assert_eq!(client.get(&target).await.status, 200);
    let connection = H2::connect(pair.address(), 65_535).await;
    let mut stream = connection.get(&target).await;
    // Four times the limit.
    for _ in 0..48 {
        client.body_of(24 << 10).await;
        // HTTP/2: half the window, which is when the client says that there is room again.
        for _ in 0..2 {
            stream.piece().await.unwrap().expect("no end");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(pair.engine.open_logs(), 2, "{}", pair.gateway.output());
    let start = Instant::now();
    assert!(pair.engine.wait_closed(1).await.by_peer);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let said = || pair.gateway.output().matches("end=slow_client").count() == 2;
    eventually("the reasons", Duration::from_secs(2), said).await;
    client.body().await.expect_err("an end by which the client can tell");
}

#[tokio::test]
async fn requests_are_limited_and_streams_do_not_count() {
    let pair = Pair::with(|setup| setup.server("limit_concurrency = 1"));
    let silent = pair.log(Script::silent(), "follow=true");
    let mut followers = Vec::new();
    for _ in 0..3 {
        followers.push(follower(&pair, &silent).await);
    }
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200, "three streams are no request");
    let slow = Sandbox { inspect_delay: Duration::from_secs(5), ..Sandbox::new(Script::silent()) };
    let id = pair.engine.sandbox(slow);
    let mut busy = Client::connect(pair.address()).await;
    busy.send_get(&format!("/v1/sandboxes/{id}"), &[]).await;
    pair.engine.wait_asked(&id).await;
    let refused = get_once(pair.address(), "/v1/sandboxes").await;
    assert_eq!((refused.status(), &refused.body[..]), (503, &b"Service Unavailable"[..]), "{refused}");
    assert_eq!(refused.head.field("content-type"), "text/plain; charset=utf-8");
    assert_eq!(busy.head().await.status, 200);
    busy.body().await.unwrap();
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
    assert_eq!(pair.engine.open_logs(), 3);
}

/// An engine that stalls while all who follow come back: the streams have limits of their own from their first byte on, and
/// what asks no engine is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_come_back_while_the_engine_stalls_shut_nobody_out() {
    const FOLLOWERS: usize = 200;
    let pair = Pair::with(|setup| setup.server("limit_concurrency = 20"));
    let known = pair.engine.log(Script::silent());
    let shown = format!("/v1/sandboxes/{known}");
    // The second time it is answered from memory.
    for _ in 0..2 {
        assert_eq!(get_once(pair.address(), &shown).await.status(), 200);
    }
    let slow = Sandbox { inspect_delay: Duration::from_secs(8), ..Sandbox::new(Script::silent()) };
    let id = pair.engine.sandbox(slow);
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        let mut client = Client::connect(pair.address()).await;
        client.send_get(&crate::logs(&id, "follow=true"), &[]).await;
        followers.push(client);
    }
    pair.engine.wait_asked(&id).await;
    for target in ["/health", "/version", "/docs", "/openapi.json", &shown] {
        let start = Instant::now();
        assert_eq!(get_once(pair.address(), target).await.status(), 200, "{target}");
        assert!(start.elapsed() < Duration::from_secs(6), "{target}: {:?}", start.elapsed());
    }
    for client in &mut followers {
        assert_eq!(client.head().await.status, 200);
    }
    pair.engine.wait_open(FOLLOWERS).await;
}

#[tokio::test]
async fn slow_calls_that_hold_every_place_leave_what_is_in_memory_alone() {
    let pair = Pair::with(|setup| setup.server("limit_concurrency = 1"));
    let shown = format!("/v1/sandboxes/{}", pair.engine.log(Script::silent()));
    for _ in 0..2 {
        assert_eq!(get_once(pair.address(), &shown).await.status(), 200);
    }
    let slow = Sandbox { inspect_delay: Duration::from_secs(8), ..Sandbox::new(Script::silent()) };
    let mut busy = Client::connect(pair.address()).await;
    let id = pair.engine.sandbox(slow);
    busy.send_get(&format!("/v1/sandboxes/{id}"), &[]).await;
    pair.engine.wait_asked(&id).await;
    assert_eq!(get_once(pair.address(), "/v1/sandboxes").await.status(), 503, "the engine is asked for that");
    for target in ["/health", "/version", "/docs", &shown] {
        assert_eq!(get_once(pair.address(), target).await.status(), 200, "{target}");
    }
    assert_eq!(get_once(pair.address(), "/v1/sandboxes/nobody").await.status(), 404, "known not to exist");
}

/// The connections beyond the limit wait in the backlog and are served when there is room.
#[tokio::test]
async fn connections_are_limited() {
    let pair = Pair::with(|setup| setup.server("max_connections = 2"));
    let target = pair.log(Script::silent(), "follow=true");
    let first = follower(&pair, &target).await;
    let _second = follower(&pair, &target).await;
    let mut third = Client::connect(pair.address()).await;
    third.send_get("/health", &[]).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), third.head()).await.is_err());
    first.close();
    assert_eq!(third.head().await.status, 200);
}

#[tokio::test]
async fn silence_is_no_stall() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 1"));
    let script = Script::new([Step::output("a\n"), Step::Wait(Duration::from_secs(3)), Step::output("b\n"), Step::End]);
    assert_eq!(get_once(pair.address(), &pair.log(script, "follow=true")).await.body, "a\nb\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_slows_only_itself_and_costs_little() {
    let pair = Pair::start();
    let slow = pair.log(Script::endless(), "follow=true");
    let fast = pair.log(Script::lines(200_000, 100, true), "");
    get_once(pair.address(), &fast).await;
    let before = pair.gateway.resident();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect_with_window(pair.address(), 4_096).await;
        client.send_get(&slow, &[]).await;
        stalled.push(client);
    }
    pair.engine.wait_open(20).await;
    let start = Instant::now();
    assert_eq!(get_once(pair.address(), &fast).await.body.len(), 20_000_000);
    // The slow ones are cut after 60 s.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let grown = pair.gateway.resident().saturating_sub(before);
    assert!(grown < 20 * 512 * 1024, "{grown} bytes for 20 slow readers");
}
