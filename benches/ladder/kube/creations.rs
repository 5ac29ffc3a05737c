//! Creations of sandboxes, beside the Python server on the same API server, whose operator makes their pods.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    NAMESPACE,
    reads::{self, Cluster, MANY},
};
use crate::{
    load::Connection,
    peer::Peer,
    rounds,
    support::kube::{Operator, Outcome},
    table::{self, Spread},
};

/// How many creations come at once. The Python server has forty threads.
const AT_ONCE: usize = 200;

/// How long a sandbox of those takes to be ready.
const DELAY: Duration = Duration::from_secs(2);

/// How often one is created among many: 200 a minute.
const EVERY: Duration = Duration::from_millis(300);

/// By how much memory may differ between two minutes, in MiB: an allocator gives back pages late.
const FLAT: f64 = 3.0;

pub fn run() {
    let cluster = Cluster::start();
    let kubeconfig = cluster.kubeconfig();
    let ours = reads::gateway(&kubeconfig);
    let peer = Peer::start_kubernetes(&kubeconfig, NAMESPACE);
    cluster.server.operate(Operator::of(Outcome::Ready(Duration::ZERO)));
    let (mut times, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds() * 3 {
        let time = create(ours.address()).as_secs_f64() * 1e3;
        if round > 0 {
            times.push(time);
        }
        if round % 3 == 1 {
            theirs.push(create(peer.address).as_secs_f64() * 1e3);
        }
    }
    table::row_below("create until 202, with the test server's part in it, p50", Spread::of(times).median, 30.0, "ms");
    table::note("the same: Python server", &format!("{:.0} ms", Spread::of(theirs).median));
    cluster.server.operate(Operator::of(Outcome::Ready(DELAY)));
    let (time, calls) = at_once(&cluster, ours.address());
    let limit = DELAY.as_secs_f64() * 2.0;
    let what = format!("{AT_ONCE} creations at once, of {} s each: until the last 202", DELAY.as_secs());
    table::row_below(&what, time, limit, "s");
    let (their_time, their_calls) = at_once(&cluster, peer.address);
    table::note("the same: Python server", &format!("{their_time:.1} s"));
    let figure = format!("{calls:.2} (Python server: {their_calls:.2})");
    table::row("the same: calls of the API server a creation", &figure, "<= the Python server's", calls <= their_calls);
    println!();
}

/// Memory with many sandboxes, while some are created and deleted for ten minutes, or SOAK_SECONDS.
pub fn soak() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(600);
    let mut cluster = Cluster::start();
    cluster.grow(MANY);
    cluster.server.operate(Operator::of(Outcome::Ready(Duration::ZERO)));
    let gateway = reads::gateway(&cluster.kubeconfig());
    let resident = || gateway.resident() as f64 / 1048576.0;
    let mut connection = Connection::open(gateway.address());
    let (start, mut made, mut minutes) = (Instant::now(), 0_u32, Vec::new());
    while start.elapsed() < Duration::from_secs(seconds) {
        thread::sleep((EVERY * made).saturating_sub(start.elapsed()));
        let id = connection.ask_for_id(&request());
        connection.ask(&format!("DELETE /v1/sandboxes/{id} HTTP/1.1\r\nHost: bench\r\n\r\n"));
        made += 1;
        if start.elapsed().as_secs() / 60 > minutes.len() as u64 {
            // What the record of requests takes is the test server's own, which is in this process.
            cluster.server.forget_requests();
            minutes.push(resident());
        }
    }
    minutes.push(resident());
    // What it takes once is taken in the first minute.
    let figure = minutes.iter().map(|minute| format!("{minute:.1}")).collect::<Vec<_>>().join(" ");
    let grown = minutes[minutes.len() - 1] - minutes[0];
    let what = format!("{made} creations among {MANY} sandboxes: memory in MiB, a minute");
    table::row(&what, &figure, &format!("flat (<= {FLAT} MiB more)"), grown <= FLAT);
    println!();
}

fn request() -> String {
    let body = r#"{"image":{"uri":"reg.example/py:1"},"resourceLimits":{"cpu":"500m","memory":"512Mi"},"timeout":600,"entrypoint":["sleep","1000"],"metadata":{"bench":"create"}}"#;
    let length = body.len();
    format!(
        "POST /v1/sandboxes HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// How long a creation takes, on a connection of its own.
fn create(address: SocketAddr) -> Duration {
    let mut connection = Connection::open(address);
    let start = Instant::now();
    connection.ask_for_id(&request());
    start.elapsed()
}

/// Seconds until the last of many creations was answered, and calls of the API server a creation.
fn at_once(cluster: &Cluster, address: SocketAddr) -> (f64, f64) {
    cluster.server.forget_requests();
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| create(address));
        }
    });
    let time = start.elapsed().as_secs_f64();
    // The other side is idle but for its watches, each of which is a call.
    (time, cluster.server.requests().len() as f64 / AT_ONCE as f64)
}
