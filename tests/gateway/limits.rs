//! Limits live as long as streams do, and a slow reader slows only itself.

use std::time::{Duration, Instant};

use crate::{
    Pair,
    support::{
        client::{Client, get_once},
        engine::{Script, Step},
        eventually,
    },
};

fn endless() -> Script {
    Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again])
}

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
    eventually("the permit back", Duration::from_secs(5), || pair.engine.open_logs() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
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
    let target = pair.log(endless(), "follow=true");
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    client.send_get(&target, &[]).await;
    pair.engine.wait_open(1).await;
    let start = Instant::now();
    assert!(pair.engine.wait_closed(0).await.by_peer);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
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
    let slow = pair.log(endless(), "follow=true");
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
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let grown = pair.gateway.resident().saturating_sub(before);
    assert!(grown < 20 * 512 * 1024, "{grown} bytes for 20 slow readers");
}
