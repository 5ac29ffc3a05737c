//! The sandboxes that are there, beside the Python server on the same API server, and the start in front of many.

use std::{
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{NAMESPACE, objects};
use crate::{
    client, load,
    peer::Peer,
    rounds,
    support::{
        gateway::{Gateway, Setup},
        kube::{
            Credentials, Server,
            logs::{PodLogs, Status},
            resource::{BATCH_SANDBOXES, PODS},
        },
    },
    table::{self, Bound},
};

/// How many sandboxes a list has.
const LISTED: usize = 1_000;

/// How many there are at a start.
pub const MANY: usize = 5_000;

/// A cluster that grows.
pub struct Cluster {
    pub server: Server,
    logs: PodLogs,
    ids: Vec<String>,
}

impl Cluster {
    pub fn start() -> Self {
        Self { server: Server::start_tls(), logs: PodLogs::new(), ids: Vec::new() }
    }

    pub fn grow(&mut self, count: usize) {
        let status = Status::running(&self.logs.container());
        for number in self.ids.len()..count {
            let id = format!("00000000-0000-4000-8000-{number:012x}");
            self.server.create(&BATCH_SANDBOXES, NAMESPACE, objects::sandbox(&id));
            self.server.create(&PODS, NAMESPACE, objects::pod(&id, &status));
            self.ids.push(id);
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.server.kubeconfig(Credentials::Certificate("admin"))
    }
}

/// Serves a cluster of so many sandboxes until the standard input ends, for who looks at a gateway by hand. Says the path of a
/// kubeconfig file.
pub fn serve(count: &str) {
    let mut cluster = Cluster::start();
    cluster.grow(count.parse().expect("a number of sandboxes"));
    println!("{}", cluster.kubeconfig().display());
    let _ = std::io::stdin().read(&mut [0]);
}

pub fn gateway(kubeconfig: &Path) -> Gateway {
    Setup::kubernetes(kubeconfig, NAMESPACE).section("[log]\nlevel = \"WARNING\"").in_session().start()
}

pub fn run() {
    let mut cluster = Cluster::start();
    cluster.grow(LISTED);
    let kubeconfig = cluster.kubeconfig();
    let ours = gateway(&kubeconfig);
    let peer = Peer::start_kubernetes(&kubeconfig, NAMESPACE);
    lists(&cluster, ours.address(), peer.address);
    let get = format!("/v1/sandboxes/{}", cluster.ids[0]);
    // What a cache must be asked for first is not measured.
    client::read(ours.address(), &get);
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for round in 0..=rounds().min(3) {
        let rate = load::rate(ours.address(), &get);
        let theirs = load::rate(peer.address, &get);
        if round > 0 {
            ratios.push(rate / theirs);
            rates.push(rate);
        }
    }
    table::ratio("GET of a sandbox: requests a second / Python server", ratios, Bound::AtLeast(50.0));
    table::note("the same: requests a second", &format!("{:.0}", table::Spread::of(rates).median));
    drop((ours, peer));
    start(&mut cluster);
    println!();
}

/// A page of the list of all, which is as long as pages may be, on a connection that is kept.
fn lists(cluster: &Cluster, ours: SocketAddr, peer: SocketAddr) {
    let mut ours = load::Connection::open(ours);
    let mut theirs = load::Connection::open(peer);
    let (mut ratios, mut times, mut calls) = (Vec::new(), Vec::new(), 0);
    for round in 0..=rounds() {
        let before = asked(&cluster.server);
        let time = list(&mut ours);
        calls += asked(&cluster.server) - before;
        let their_time = list(&mut theirs);
        if round > 0 {
            ratios.push(their_time / time);
            times.push(time);
        }
    }
    let time = table::Spread::of(times);
    let figure = format!("{:.1} ms (to {:.1})", time.median, time.most);
    table::row(&format!("list of {LISTED} sandboxes"), &figure, "<= 20 ms", time.median <= 20.0);
    table::row("the same: calls of the API server", &calls.to_string(), "0", calls == 0);
    table::ratio("the same: time of the Python server / ours", ratios, Bound::AtLeast(20.0));
}

/// What a list takes, of ten, in ms.
fn list(connection: &mut load::Connection) -> f64 {
    let begin = Instant::now();
    for _ in 0..10 {
        let bytes = connection.get("/v1/sandboxes?pageSize=200");
        assert!(bytes > 200 * 300, "a whole page: {bytes} bytes");
    }
    begin.elapsed().as_secs_f64() * 1e3 / 10.0
}

/// How many requests of the gateway have come: the Python server's are its own.
fn asked(server: &Server) -> usize {
    server.requests().iter().filter(|request| !request.user_agent.contains("python")).count()
}

/// From the start to the first answer of `/health`, and the memory once all sandboxes are known.
fn start(cluster: &mut Cluster) {
    cluster.grow(MANY);
    let kubeconfig = cluster.kubeconfig();
    let (mut times, mut known, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds().min(5) {
        let begin = Instant::now();
        let gateway = gateway(&kubeconfig);
        times.push(begin.elapsed().as_secs_f64());
        let last = format!("\"totalItems\":{MANY}");
        while !client::text(gateway.address(), "/v1/sandboxes?pageSize=1").contains(&last) {
            thread::sleep(Duration::from_millis(20));
        }
        known.push(begin.elapsed().as_secs_f64());
        memory.push(gateway.resident() as f64 / 1048576.0);
    }
    let what = format!("start until /health answers, {MANY} sandboxes");
    table::row_below(&what, table::Spread::of(times).median, 2.0, "s");
    table::note("the same: until a list has all", &format!("{:.2} s", table::Spread::of(known).median));
    table::row_below("the same: resident memory then", table::Spread::of(memory).median, 60.0, "MiB");
}
