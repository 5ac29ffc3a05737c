//! Connections to the API server that go silent and say nothing of it, at every stage: each wait has a bound and a clear answer.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    fixture::get,
    logs::{
        Records, check_order,
        fixture::{NAMESPACE, World},
        number,
    },
    support::{
        client::{self, Client, Response},
        eventually,
        gateway::{Gateway, Setup},
        kube::{Action, Credentials, resource::BATCH_SANDBOXES},
    },
};

/// A relay in front of the API server, which may swallow what the server sends.
#[derive(Clone)]
struct Relay(Arc<Shared>);

struct Shared {
    port: u16,
    to: std::net::SocketAddr,
    mode: AtomicU8,
    /// Connections that were begun.
    begun: AtomicUsize,
    /// The connections on which the server's bytes are swallowed.
    swallowed: Mutex<Range<usize>>,
}

/// Everything passes.
const OPEN: u8 = 0;
/// New connections are accepted, and nothing passes on them: a TLS handshake is never answered. Old ones go on.
const MUTE: u8 = 1;
/// What there is is closed, and new connections are as of [`MUTE`].
const CUT: u8 = 2;
/// Handshakes pass, and what the server says behind them does not: an answer's head never comes.
const HEADLESS: u8 = 3;

/// More than a handshake takes of the server's bytes, and less than it and an answer: the server's part of it is some 1,500 bytes
/// here, and nothing comes behind it before a request. A handshake takes long where other tests have the processor.
const QUIET: Duration = Duration::from_secs(2);

impl Relay {
    async fn to(to: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared =
            Shared { port, to, mode: AtomicU8::new(OPEN), begun: AtomicUsize::new(0), swallowed: Mutex::default() };
        let relay = Self(Arc::new(shared));
        let accepting = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = accepting.0.begun.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(accepting.clone().relay(client, number));
            }
        });
        relay
    }

    fn set(&self, mode: u8) {
        self.0.mode.store(mode, Ordering::SeqCst);
    }

    /// Swallows from now on what the server sends on the connections that there are, from the `number`th on. Those that are begun
    /// later are as they should be.
    fn swallow_from(&self, number: usize) {
        *self.0.swallowed.lock().unwrap() = number..self.begun();
    }

    fn mode(&self) -> u8 {
        self.0.mode.load(Ordering::SeqCst)
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    async fn relay(self, mut client: TcpStream, number: usize) {
        let first = self.mode();
        if matches!(first, MUTE | CUT) {
            // It takes what comes. Nobody answers, and nobody closes.
            let _ = client.read_to_end(&mut Vec::new()).await;
            return;
        }
        let Ok(mut server) = TcpStream::connect(self.0.to).await else { return };
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = tokio::io::copy(&mut from_client, &mut to_server);
        let down = async {
            let begun = Instant::now();
            let mut bytes = vec![0; 64 * 1024];
            let mut is_silent = false;
            loop {
                let length = from_server.read(&mut bytes).await.unwrap_or(0);
                is_silent |= self.0.swallowed.lock().unwrap().contains(&number);
                is_silent |= first == HEADLESS && begun.elapsed() > QUIET;
                if is_silent {
                    // Not even its end is told.
                    if length == 0 {
                        std::future::pending::<()>().await;
                    }
                    continue;
                }
                if length == 0 || to_client.write_all(&bytes[..length]).await.is_err() {
                    return;
                }
            }
        };
        let cut = async {
            while self.mode() != CUT {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! { _ = up => {}, () = down => {}, () = cut => {} }
    }
}

/// A cluster behind a relay, and a gateway that knows the relay.
struct Behind {
    world: World,
    relay: Relay,
    gateway: Gateway,
}

impl Behind {
    async fn start(lines: &str) -> Self {
        let world = World::start();
        let relay = Relay::to(world.server.address()).await;
        let gateway = gateway(&world, relay.0.port, lines);
        Self { world, relay, gateway }
    }
}

fn gateway(world: &World, port: u16, lines: &str) -> Gateway {
    let mut config = world.server.config(Credentials::Certificate("admin"));
    config["clusters"][0]["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
    Setup::kubernetes(&world.server.write_config(&config), NAMESPACE).section(lines).start()
}

/// An answer that takes longer than a test's client waits for any.
async fn late(gateway: &Gateway, target: &str, pause: Duration) -> (Response, Duration) {
    let begun = Instant::now();
    let mut client = Client::connect(gateway.address()).await;
    client.send(client::get(target, &[])).await;
    tokio::time::sleep(pause).await;
    let head = client.head().await;
    let body = client.body().await.expect("a whole answer");
    (Response { head, body }, begun.elapsed())
}

/// The code and the message, and whether the time was about `seconds`.
fn is_bounded((answer, took): &(Response, Duration), status: u16, words: &str, seconds: std::ops::Range<u64>) {
    let error: Value = answer.json();
    assert_eq!((answer.status(), error["code"].as_str()), (status, Some("KUBERNETES::API_ERROR")), "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    assert!(seconds.contains(&took.as_secs()), "{took:?}: {error}");
}

#[tokio::test]
async fn a_port_that_does_not_answer_a_connection() {
    let world = World::start();
    let sandbox = world.sandbox();
    // Its queue is full and nobody accepts: the kernel says nothing to whoever comes.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(io)) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        waiting.push(io);
    }
    let gateway = gateway(&world, address.port(), "");
    let logs = sandbox.target("");
    let shown = format!("/v1/sandboxes/{}", sandbox.id);
    let pause = Duration::from_secs(8);
    let (logs, shown) = tokio::join!(late(&gateway, &logs, pause), late(&gateway, &shown, pause));
    is_bounded(&logs, 503, "the API server cannot be reached", 9..20);
    is_bounded(&shown, 503, "the API server cannot be reached", 9..20);
}

#[tokio::test]
async fn a_handshake_that_is_not_answered() {
    let world = World::start();
    let relay = Relay::to(world.server.address()).await;
    relay.set(MUTE);
    let gateway = gateway(&world, relay.0.port, "");
    let sandbox = world.sandbox();
    let logs = sandbox.target("follow=true");
    let shown = format!("/v1/sandboxes/{}", sandbox.id);
    let pause = Duration::from_secs(8);
    let (logs, shown) = tokio::join!(late(&gateway, &logs, pause), late(&gateway, &shown, pause));
    is_bounded(&logs, 503, "the API server cannot be reached", 9..32);
    is_bounded(&shown, 503, "the API server cannot be reached", 9..32);
}

#[tokio::test]
async fn a_head_that_does_not_come() {
    let behind = Behind::start("").await;
    let sandbox = behind.world.sandbox();
    sandbox.container.out("line-0\n");
    assert_eq!(sandbox.read(&behind.gateway, "").await.status(), 200);
    // The first request comes as soon as there is a connection: here it is the answer to the second part of it that is late.
    behind.world.logs.fault(crate::support::kube::logs::Fault::late_head(2 * QUIET).always());
    behind.relay.set(HEADLESS);
    let pause = Duration::from_secs(28);
    let answer = late(&behind.gateway, &sandbox.target(""), pause).await;
    is_bounded(&answer, 504, "the API server did not answer within 30 s", 29..45);
}

/// Prints numbered lines while the relay's connections are as `fail` leaves them, and reads them all.
async fn goes_on(behind: &Behind, fail: impl AsyncFn(usize)) -> Duration {
    let Behind { world, relay, gateway } = behind;
    let sandbox = world.sandbox();
    (0..3).for_each(|line| sandbox.container.out(format!("line-{line}\n")));
    assert_eq!(sandbox.read(gateway, "").await.status(), 200);
    let before = relay.begun();
    let mut stream = Records::new(sandbox.follow(gateway, "format=ndjson").await);
    let mut seen = stream.until(|record| number(record) == Some(2)).await;
    // The live read has a connection of its own.
    eventually("a live read", Duration::from_secs(5), || world.logs.open() == 1).await;
    let silent = Instant::now();
    fail(before).await;
    (3..6).for_each(|line| sandbox.container.out(format!("line-{line}\n")));
    seen.extend(stream.until(|record| number(record) == Some(5)).await);
    assert_eq!(check_order(&seen), (0, 6));
    silent.elapsed()
}

#[tokio::test]
async fn a_followed_log_whose_connection_goes_silent_is_read_by_another() {
    let behind = Behind::start("").await;
    // Only those that were begun for it.
    let took = goes_on(&behind, async |before| behind.relay.swallow_from(before)).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test]
async fn a_followed_log_goes_on_though_all_connections_went_silent_and_no_new_one_is_answered_for_a_while() {
    let behind = Behind::start("").await;
    let outage = async |_| {
        behind.relay.swallow_from(0);
        behind.relay.set(MUTE);
        tokio::time::sleep(Duration::from_secs(5)).await;
        // What went silent stays so.
        behind.relay.set(OPEN);
    };
    // The watchdog's 10 s, the 10 s that a connection may take which was begun meanwhile, and the watchdog's next 20 s.
    let took = goes_on(&behind, outage).await;
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn a_read_on_a_connection_that_went_silent_is_asked_on_another_too() {
    let behind = Behind::start("").await;
    let Behind { world, relay, gateway } = &behind;
    let sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    let read = async || {
        let begun = Instant::now();
        let answer = sandbox.read(gateway, "").await;
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"line-0\n"[..]), "{answer}");
        begun.elapsed()
    };
    read().await;
    // Its question for the pod leaves a connection behind, which is kept.
    relay.swallow_from(0);
    let took = read().await;
    assert!((4..15).contains(&took.as_secs()), "{took:?}");
    // The others that were kept are not tried one after the other.
    for _ in 0..3 {
        let took = read().await;
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test]
async fn a_connection_that_nobody_used_for_a_while_is_not_used_again() {
    let behind = Behind::start("").await;
    let Behind { world, relay, gateway } = &behind;
    let sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    assert_eq!(sandbox.read(gateway, "").await.status(), 200);
    relay.swallow_from(0);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let begun = Instant::now();
    assert_eq!(sandbox.read(gateway, "").await.status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// An API server that is slow is no silent connection.
#[tokio::test]
async fn an_api_server_that_is_slow_gives_its_first_answer() {
    let behind = Behind::start("").await;
    let Behind { world, gateway, .. } = &behind;
    let sandbox = world.sandbox();
    sandbox.container.out("line-0\n");
    assert_eq!(sandbox.read(gateway, "").await.status(), 200);
    // The question for the sandbox's pod, and no watch's.
    world.server.fault("GET", "limit=100", Action::Delay(Duration::from_secs(7)), usize::MAX);
    let begun = Instant::now();
    assert_eq!(sandbox.read(gateway, "").await.status(), 200);
    let took = begun.elapsed();
    // What is asked 5 s later is answered 5 s later. All else of a read is to have time on a busy machine.
    assert!((Duration::from_secs(7)..Duration::from_millis(11_800)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_follow_that_was_cut_and_finds_nobody_that_answers_is_lost_within_its_limit() {
    let behind = Behind::start("[logs]\nreconnect_seconds = 2").await;
    let sandbox = behind.world.sandbox();
    sandbox.container.out("line-0\n");
    let mut stream = Records::new(sandbox.follow(&behind.gateway, "format=ndjson").await);
    stream.until(|record| number(record) == Some(0)).await;
    behind.relay.set(CUT);
    let begun = Instant::now();
    let seen = stream.until(|record| record["event"] == "end").await;
    assert_eq!(seen.last().unwrap()["reason"], "backend_lost", "{seen:?}");
    // A connection is waited for for 10 s.
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_watch_that_goes_silent_is_found_and_nothing_old_is_told() {
    let behind = Behind::start("cache_max_age_seconds = 2").await;
    let Behind { world, relay, gateway } = &behind;
    let sandbox = world.sandbox();
    eventually("a watch", Duration::from_secs(20), || world.server.open("batchsandboxes?") > 0).await;
    let shown = format!("/v1/sandboxes/{}", sandbox.id);
    let state = async || get(gateway, &shown).await.json()["status"]["state"].as_str().unwrap_or_default().to_owned();
    let until = async |wanted: &str| {
        let begun = Instant::now();
        while state().await != wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    };
    until("Running").await;
    relay.swallow_from(0);
    let paused = serde_json::json!({"status": {"phase": "Paused"}});
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &paused);
    let took = until("Paused").await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Watched again, changes come by themselves.
    eventually("another watch", Duration::from_secs(40), || world.server.open("batchsandboxes?") > 0).await;
    let running = serde_json::json!({"status": {"phase": "Succeed"}});
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, &sandbox.id, &running);
    until("Running").await;
}

/// A connection that vanishes without a word is found by TCP itself: the kernel probes it while it is silent (kubernetes.md C3).
#[tokio::test]
async fn silent_connections_are_probed() {
    let world = World::start();
    let gateway = gateway(&world, world.server.address().port(), "");
    let sandbox = world.sandbox();
    let _follow = sandbox.follow(&gateway, "").await;
    let is_open = || world.server.open("batchsandboxes?") > 0 && world.server.open("follow=true") == 1;
    eventually("a watch and a follow", Duration::from_secs(20), is_open).await;
    let port = format!(":{:04X}", world.server.address().port());
    // Of each connection to it the timer: 02 is that of the next probe (proc_net_tcp.txt).
    let timers = || -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = rows.filter(|row| row.len() > 5 && row[2].ends_with(&port) && row[3] == "01");
        ours.map(|row| row[5][..2].to_owned()).collect()
    };
    let is_probed = || timers().len() >= 3 && timers().iter().all(|timer| timer == "02");
    eventually("probes", Duration::from_secs(10), is_probed).await;
}
