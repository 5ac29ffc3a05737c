//! Many connections: who says nothing gives way to who does, and no address takes all the places.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    Pair,
    support::{
        client::{Client, get_once},
        engine::Script,
        eventually,
        h2::H2,
    },
};

/// An address of this machine that no proxy has.
fn stranger(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 7, last)
}

async fn connect_from(ip: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    timeout(Duration::from_secs(20), socket.connect(to)).await.expect("a connection in time").unwrap()
}

async fn crowd(count: usize, ip: Ipv4Addr, to: SocketAddr) -> Vec<TcpStream> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(connect_from(ip, to).await);
    }
    all
}

/// Whether the peer has closed it.
async fn is_closed(io: &mut TcpStream, within: Duration) -> bool {
    matches!(timeout(within, io.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
}

/// How long a new client waits for its answer.
async fn wait_of_a_new_one(to: SocketAddr) -> Duration {
    let start = Instant::now();
    assert_eq!(get_once(to, "/health").await.status(), 200);
    start.elapsed()
}

/// The issue's own number, from an address that counts as a load balancer's and so has no share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_thousand_silent_sockets_shut_nobody_out() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    let mut follower = Client::connect(pair.address()).await;
    assert_eq!(follower.get(&target).await.status, 200);
    let start = Instant::now();
    let silent = crowd(16_400, Ipv4Addr::LOCALHOST, pair.address()).await;
    for _ in 0..20 {
        let waited = wait_of_a_new_one(pair.address()).await;
        // A silent one has 5 s.
        assert!(waited < Duration::from_secs(4), "{waited:?} of {:?}", start.elapsed());
    }
    assert_eq!(pair.engine.open_logs(), 1, "who has a request never gives way");
    drop(silent);
}

#[tokio::test]
async fn a_silent_connection_has_five_seconds_for_its_first_bytes() {
    let pair = Pair::start();
    let start = Instant::now();
    let mut silent = connect_from(stranger(1), pair.address()).await;
    // The beginning of HTTP/2 is no more.
    let mut begun = connect_from(stranger(1), pair.address()).await;
    begun.try_write(b"PRI * HTTP/2").unwrap();
    for io in [&mut silent, &mut begun] {
        assert!(is_closed(io, Duration::from_secs(20)).await);
        assert!(start.elapsed() > Duration::from_millis(4_900), "{:?}", start.elapsed());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_longest_silent_ones_give_way_and_none_with_a_request() {
    let pair = Pair::with(|setup| setup.server("max_connections = 4"));
    let target = pair.log(Script::silent(), "follow=true");
    let mut follower = Client::connect(pair.address()).await;
    assert_eq!(follower.get(&target).await.status, 200);
    let connection = H2::connect(pair.address(), 65_535).await;
    let stream = connection.get(&target).await;
    assert_eq!(stream.head.status, 200);
    let mut kept = Client::connect(pair.address()).await;
    assert_eq!(kept.get("/health").await.status, 200);
    kept.body().await.unwrap();
    let mut silent = connect_from(stranger(1), pair.address()).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    // The silent one first, then the one that was served and waits.
    let mut fifth = Client::connect(pair.address()).await;
    assert_eq!(fifth.get("/health").await.status, 200);
    // In time it would be in another 3.9 s.
    assert!(is_closed(&mut silent, Duration::from_secs(3)).await);
    let mut sixth = Client::connect(pair.address()).await;
    assert_eq!(sixth.get("/health").await.status, 200);
    assert!(timeout(Duration::from_secs(20), kept.is_closed()).await.unwrap());
    assert_eq!(pair.engine.open_logs(), 2);
    // Half a head is no request.
    let half = connect_from(stranger(1), pair.address()).await;
    half.try_write(b"GET /health HTTP/1.1\r\nHost: ").unwrap();
    for _ in 0..8 {
        assert!(wait_of_a_new_one(pair.address()).await < Duration::from_secs(4));
    }
    assert_eq!(pair.engine.open_logs(), 2);
}

#[tokio::test]
async fn an_address_has_a_share_and_a_trusted_proxy_has_none() {
    let limits = "max_connections = 40\nmax_connections_per_address = 10";
    let pair = Pair::with(|setup| setup.server(limits));
    let target = pair.log(Script::silent(), "follow=true");
    let follow = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // With a request each, so that none of them gives way.
    let greedy = crowd(10, stranger(1), pair.address()).await;
    for io in &greedy {
        io.try_write(follow.as_bytes()).unwrap();
    }
    pair.engine.wait_open(10).await;
    for _ in 0..5 {
        let mut refused = connect_from(stranger(1), pair.address()).await;
        assert!(is_closed(&mut refused, Duration::from_secs(4)).await, "beyond its share");
    }
    let said = || pair.gateway.output().contains("the limit of 10 connections of 127.0.7.1 is reached");
    eventually("a word on it", Duration::from_secs(2), said).await;
    let other = connect_from(stranger(2), pair.address()).await;
    other.try_write(follow.as_bytes()).unwrap();
    pair.engine.wait_open(11).await;
    let mut local = Vec::new();
    for _ in 0..15 {
        let mut client = Client::connect(pair.address()).await;
        client.send(&follow).await;
        local.push(client);
    }
    pair.engine.wait_open(26).await;
    drop(greedy);
    pair.engine.wait_open(16).await;
    let again = connect_from(stranger(1), pair.address()).await;
    again.try_write(follow.as_bytes()).unwrap();
    pair.engine.wait_open(17).await;
    // Its own silent ones give way to its next.
    let mut silent = crowd(9, stranger(1), pair.address()).await;
    let next = connect_from(stranger(1), pair.address()).await;
    next.try_write(follow.as_bytes()).unwrap();
    pair.engine.wait_open(18).await;
    assert!(is_closed(&mut silent[0], Duration::from_secs(1)).await);
}
