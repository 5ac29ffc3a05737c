//! Clients that take nothing: cut within the period and a fifth, and named, whatever they were answered and by what protocol.

use std::time::{Duration, Instant};

use crate::{
    Pair,
    proxy::Proxied,
    support::{
        backend::{Backend, Conn},
        client::{Client, get},
        engine::{Script, Step},
        eventually,
        gateway::Gateway,
        raw_h2::RawH2,
    },
};

/// As the issue has it.
const PERIOD: Duration = Duration::from_secs(5);

/// What a machine that is busy with other tests may add: less than another period would.
const BUSY: Duration = Duration::from_secs(2);

/// How soon after the last byte that it took a client may be cut, and how late.
fn is_in_time(took: Duration) -> bool {
    PERIOD.mul_f64(0.95) < took && took < PERIOD.mul_f64(1.2) + BUSY
}

const SETUP: &str = "[logs]\nwrite_stall_timeout_seconds = 5";

/// Waits until an access line for `path` says `end`; the time since `start`.
async fn ended(gateway: &Gateway, start: Instant, count: usize, words: [&str; 2]) -> Duration {
    let said = || {
        let output = gateway.output();
        output.lines().filter(|line| words.iter().all(|word| line.contains(word))).count() >= count
    };
    eventually(words[1], PERIOD * 2, said).await;
    start.elapsed()
}

/// Sends bytes as long as they are taken.
async fn endless_body(mut conn: Conn) {
    conn.head().await;
    conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await;
    while conn.send([b'x'; 65_536]).await {}
    conn.note_closed();
}

async fn never_reads(address: std::net::SocketAddr, target: &str, buffer: u32) -> (Client, Instant) {
    let mut client = match buffer {
        0 => Client::connect(address).await,
        buffer => Client::connect_with_window(address, buffer).await,
    };
    let start = Instant::now();
    client.send(get(target, &[])).await;
    (client, start)
}

#[tokio::test]
async fn a_follower_that_takes_nothing_is_cut_in_time_three_times_of_three() {
    let pair = Pair::with(|setup| setup.section(SETUP));
    let target = pair.log(Script::endless(), "follow=true");
    let mut clients = Vec::new();
    for buffer in [4_096, 0, 65_536] {
        clients.push(never_reads(pair.address(), &target, buffer).await);
    }
    for (turn, (_, start)) in clients.iter().enumerate() {
        let took = ended(&pair.gateway, *start, turn + 1, ["/logs", "end=slow_client"]).await;
        assert!(is_in_time(took), "turn {turn}: {took:?}");
    }
    let took = eventually("the engine's end", PERIOD, || pair.engine.open_logs() == 0).await;
    assert!(took < PERIOD.mul_f64(0.8), "{took:?}");
}

/// All of it is in the kernel's buffers, and no write ever waits: a client that takes nothing is one all the same.
#[tokio::test]
async fn a_follower_of_a_log_that_trickles_is_cut_too() {
    let pair = Pair::with(|setup| setup.section(SETUP));
    let burst = Step::Lines { count: 40, length: 1_000, batched: true };
    let trickle = (0..60).flat_map(|_| [Step::Wait(Duration::from_millis(300)), Step::output("more\n")]);
    let script = Script::new([burst].into_iter().chain(trickle).chain([Step::Open]));
    let (_client, start) = never_reads(pair.address(), &pair.log(script, "follow=true"), 4_096).await;
    let took = ended(&pair.gateway, start, 1, ["/logs", "end=slow_client"]).await;
    assert!(is_in_time(took), "{took:?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_a_plain_or_a_proxied_answer_is_cut_in_time_and_named() {
    let backend = Backend::start(endless_body).await;
    let proxied = Proxied::with(|setup| setup.section(SETUP)).await;
    let plain = "/docs/assets/swagger-ui-bundle.js";
    let (_first, start) = never_reads(proxied.address(), plain, 4_096).await;
    let (_second, _) = never_reads(proxied.address(), &proxied.target(backend.port, "/"), 4_096).await;
    // Nothing is read of any of the answers.
    let (mut third, _) = never_reads(proxied.address(), "/health", 4_096).await;
    third.send(get("/openapi.json", &[]).repeat(50)).await;
    let took = ended(&proxied.gateway, start, 1, [plain, "end=slow_client"]).await;
    assert!(is_in_time(took), "{took:?}");
    assert!(is_in_time(ended(&proxied.gateway, start, 1, ["/proxy/", "end=slow_client"]).await));
    assert!(is_in_time(ended(&proxied.gateway, start, 1, ["/openapi.json", "end=slow_client"]).await));
    backend.wait_closed(0).await;
}

#[tokio::test]
async fn a_tunnel_whose_client_takes_nothing_is_cut_in_time_and_named() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        while conn.send([b'x'; 65_536]).await {}
        conn.note_closed();
    })
    .await;
    let proxied = Proxied::with(|setup| setup.section(SETUP)).await;
    let mut client = Client::connect_with_window(proxied.address(), 4_096).await;
    let target = proxied.target(backend.port, "/ws");
    let lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"];
    let start = Instant::now();
    client.send(get(&target, &lines)).await;
    let took = ended(&proxied.gateway, start, 1, ["/ws", "end=slow_client"]).await;
    assert!(is_in_time(took), "{took:?}");
    backend.wait_closed(0).await;
}

#[tokio::test]
async fn a_client_of_http2_that_reads_nothing_from_its_socket_is_cut_in_time() {
    let pair = Pair::with(|setup| setup.section(SETUP));
    let (log, silent) = (pair.log(Script::endless(), "follow=true"), pair.log(Script::silent(), "follow=true"));
    let mut client = RawH2::connect(pair.address(), (1 << 31) - 1, 4_096).await;
    client.grant(0, 1 << 30).await;
    let start = Instant::now();
    client.get(1, &log).await;
    client.get(3, &silent).await;
    let took = ended(&pair.gateway, start, 2, ["/logs", "end=slow_client"]).await;
    assert!(is_in_time(took), "{took:?}");
    let took = eventually("the engine's end", PERIOD, || pair.engine.open_logs() == 0).await;
    assert!(took < PERIOD.mul_f64(0.8), "{took:?}");
}

/// So little at a time that no buffer is ever far from full, but some of it in every period.
#[tokio::test]
async fn a_client_that_takes_a_little_in_every_period_is_not_cut() {
    let pair = Pair::with(|setup| setup.section("[logs]\nwrite_stall_timeout_seconds = 3"));
    let target = pair.log(Script::endless(), "follow=true");
    let (mut client, start) = never_reads(pair.address(), &target, 2_304).await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    let mut stream = RawH2::connect(pair.address(), 0, 0).await;
    stream.get(1, &target).await;
    while start.elapsed() < Duration::from_secs(12) {
        client.body_of(1_200).await;
        stream.grant(1, 1).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(pair.engine.open_logs(), 2, "{}", pair.gateway.output());
}
