//! Clients of the gateway's own TLS (`server.tls_cert`) that are silent or gone, and those with whom no hands are shaken.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::version::TLS13;
use socket2::SockRef;
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{
    Setup,
    prometheus::{scraped, series, wait_series},
    proxy::Proxied,
    proxy_tunnel::{handshake, switched},
    support::{
        backend::Backend,
        bounded,
        client::{Client, get_once},
        eventually,
    },
    tls::Files,
};

const LONG: Duration = Duration::from_secs(20);

/// The beginning of a handshake that promises more.
const BEGUN: [u8; 6] = [22, 3, 1, 2, 0, 1];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sent_before_it_closed_its_connection_passes_a_tunnel_whole() {
    const LENGTH: usize = 4_000_000;
    let files = Files::new();
    let received = Arc::new(Mutex::new(None));
    let told = Arc::clone(&received);
    let backend = Backend::start(move |mut conn| {
        let told = Arc::clone(&told);
        async move {
            SockRef::from(&conn.io).set_recv_buffer_size(131_072).unwrap();
            conn.head().await;
            conn.send(switched()).await;
            let (mut piece, mut count) = (vec![0; 32_768], 0);
            let end = loop {
                match conn.io.read(&mut piece).await {
                    Ok(0) => break Ok(count),
                    Ok(length) => count += length,
                    Err(error) => break Err(error.kind()),
                }
                // Slower than the client, which has left before all has come.
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            *told.lock().unwrap() = Some(end);
        }
    })
    .await;
    let gateway = Setup::process().server(&files.server()).start();
    let mut client = files.connect(gateway.address()).await;
    let proxied = Proxied::through(gateway, &mut client).await;
    client.send(handshake(&proxied.target(backend.port, "/ws"))).await;
    assert_eq!(client.head().await.status, 101);
    client.send(vec![b'x'; LENGTH]).await;
    // Without `close_notify`, as many WebSocket clients do.
    client.close();
    eventually("the backend's end", LONG, || received.lock().unwrap().is_some()).await;
    assert_eq!(*received.lock().unwrap(), Some(Ok(LENGTH)));
    let line = || proxied.gateway.output().lines().find(|line| line.contains("\" 101 bytes=")).map(str::to_owned);
    eventually("the access line", LONG, || line().is_some()).await;
    assert!(line().unwrap().contains("end=complete"), "{line:?}", line = line());
}

#[tokio::test]
async fn a_silent_connection_is_closed_before_a_handshake_that_takes_long() {
    let files = Files::new();
    let gateway = Setup::process().server(&files.server()).server("timeout_keep_alive = 1").start();
    let mut begun = Client::connect(gateway.address()).await;
    begun.send(BEGUN).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut silent = Client::connect(gateway.address()).await;
    assert!(silent.is_closed().await);
    assert!(timeout(Duration::from_millis(1), begun.is_closed()).await.is_err(), "it has 10 s for its handshake");
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_their_reason() {
    let (files, strangers) = (Files::new(), Files::new());
    let (setup, metrics) = scraped(Setup::process().server(&files.server()));
    let gateway = setup.start();
    let address = gateway.address();
    let failed = |reason: &str| format!("opensandbox_gateway_tls_handshake_failures_total{{reason=\"{reason}\"}}");
    let count = async |reason: &str| series(metrics, &failed(reason)).await.unwrap();
    let mut slow = Client::connect(address).await;
    slow.send(BEGUN).await;
    for _ in 0..3 {
        // As the probe of a load balancer.
        Client::connect(address).await.close();
    }
    // The question of the tests' own whether it has started was in plain text too.
    let plain = async {
        for _ in 0..5 {
            get_once(address, "/health").await;
        }
        while count("not_tls").await < 6.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    bounded("plain text that is counted", plain).await;
    for _ in 0..2 {
        let config = strangers.client(&[&TLS13], &[]);
        assert!(Client::connect(address).await.over_tls(&config).await.is_err(), "its authority is another one");
    }
    wait_series(metrics, &failed("client_alert"), 2.0).await;
    let old = format!("openssl s_client -connect {address} -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null 2>&1 || true");
    files.run(&old);
    wait_series(metrics, &failed("incompatible"), 1.0).await;
    let mut wrong = Client::connect(address).await;
    wrong.send([22, 99, 99, 0, 1, 0]).await;
    assert!(wrong.is_closed().await);
    wait_series(metrics, &failed("invalid"), 1.0).await;
    let mut gone = Client::connect(address).await;
    gone.send(BEGUN).await;
    gone.close();
    wait_series(metrics, &failed("client_gone"), 1.0).await;
    assert!(slow.is_closed().await);
    wait_series(metrics, &failed("timeout"), 1.0).await;
    let mut whole = files.connect(address).await;
    assert_eq!(whole.request("GET", "/health", &[], "").await.status(), 200);
    for (reason, expected) in
        [("client_alert", 2.0), ("incompatible", 1.0), ("invalid", 1.0), ("client_gone", 1.0), ("timeout", 1.0)]
    {
        assert_eq!(count(reason).await, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_flood_of_failed_handshakes_fills_no_log() {
    const COUNT: u32 = 300;
    let files = Files::new();
    let (setup, metrics) = scraped(Setup::process().server(&files.server()).section("[log]\nlevel = \"DEBUG\""));
    let start = Instant::now();
    let gateway = setup.start();
    let failed = "opensandbox_gateway_tls_handshake_failures_total{reason=\"invalid\"}";
    let before = gateway.output().lines().count();
    for number in 0..COUNT {
        let mut client = Client::connect(gateway.address()).await;
        // Now and then nothing at all.
        if number % 10 == 0 {
            client.close();
            continue;
        }
        client.send([22, 99, 99, 0, 1, 0]).await;
        assert!(client.is_closed().await);
    }
    wait_series(metrics, failed, f64::from(COUNT - COUNT / 10)).await;
    gateway.says("no TLS handshake").await;
    // One of each kind in ten seconds, besides what the rest of the program has to say.
    let most = 20 + 4 * start.elapsed().as_secs() / 10;
    let lines = gateway.output().lines().count() - before;
    assert!(lines as u64 <= most, "{lines} lines: {}", gateway.output());
}
