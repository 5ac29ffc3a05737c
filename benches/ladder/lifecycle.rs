//! The lifecycle beside the Python server: reads, lists, creations, the start.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    client,
    engine_call::must,
    load::{self, Connection},
    peer::Peer,
    rounds,
    support::gateway::{Gateway, Setup},
    table::{self, Bound},
};

const IMAGE: &str = "osb-test/busybox:1";

/// Sandboxes of this run, removed at its end; they only exist, since a list asks no more of one that runs.
pub struct Sandboxes(pub Vec<String>);

impl Sandboxes {
    pub fn grow(&mut self, count: usize) {
        let made: Vec<String> =
            (self.0.len()..count).map(|index| format!("bench-{}-{index}", std::process::id())).collect();
        thread::scope(|scope| {
            for part in made.chunks(made.len().div_ceil(4).max(1)) {
                scope.spawn(|| part.iter().for_each(|id| make(id)));
            }
        });
        self.0.extend(made);
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        for id in &self.0 {
            let _ = crate::engine_call::call("DELETE", &format!("/containers/sandbox-{id}?force=1"), "text/plain", b"");
        }
    }
}

fn make(id: &str) {
    let expires = "2099-01-01T00:00:00+00:00";
    let body = format!(
        r#"{{"Image":"{IMAGE}","Cmd":["sleep","1000000"],"Labels":{{"opensandbox.io/id":"{id}","opensandbox.io/expires-at":"{expires}","team":"bench"}}}}"#
    );
    must("POST", &format!("/containers/create?name=sandbox-{id}"), "application/json", body.as_bytes());
}

pub fn setup() -> Setup {
    let setup = Setup::docker("unix:///var/run/docker.sock").in_session();
    setup.section("[docker]\nnetwork_mode = \"bridge\"\n[log]\nlevel = \"WARNING\"")
}

fn gateway() -> Gateway {
    setup().start()
}

/// The gateway and the Python server on the same engine, in turn.
pub fn run() {
    let ours = gateway();
    table::row_below("resident memory, idle", ours.resident() as f64 / 1048576.0, 20.0, "MiB");
    let peer = Peer::start("bridge");
    let mut sandboxes = Sandboxes(Vec::new());
    sandboxes.grow(100);
    let get = format!("/v1/sandboxes/{}", sandboxes.0[0]);
    compare("GET of a sandbox: requests a second / Python server", &ours, &peer, &get);
    compare("list of 100 sandboxes: requests a second / Python server", &ours, &peer, "/v1/sandboxes?pageSize=100");
    sandboxes.grow(500);
    let path = "/v1/sandboxes?pageSize=200";
    client::read(ours.address(), path);
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let (time, _) = client::read(ours.address(), path);
        let (theirs, _) = client::read(peer.address, path);
        ratios.push(time.as_secs_f64() / theirs.as_secs_f64());
        times.push(time.as_secs_f64() * 1e3);
    }
    table::ratio("list of 500 sandboxes: time / Python server", ratios, Bound::AtMost(0.05));
    table::note("list of 500 sandboxes: time", &format!("{:.1} ms", table::Spread::of(times).median));
    drop(ours);
    start_with(&sandboxes.0);
    drop(sandboxes);
    creations(peer.address);
}

fn compare(what: &str, ours: &Gateway, peer: &Peer, path: &str) {
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for round in 0..=rounds().min(3) {
        let rate = load::rate(ours.address(), path);
        let theirs = load::rate(peer.address, path);
        if round > 0 {
            ratios.push(rate / theirs);
            rates.push(rate);
        }
    }
    table::ratio(what, ratios, Bound::AtLeast(10.0));
    table::note("the same: requests a second", &format!("{:.0}", table::Spread::of(rates).median));
}

/// From the start to the first answer of `/health`, with sandboxes whose timers are to be restored.
fn start_with(sandboxes: &[String]) {
    let times: Vec<f64> = (0..rounds())
        .map(|_| {
            let start = Instant::now();
            let gateway = gateway();
            let time = start.elapsed().as_secs_f64();
            drop(gateway);
            time
        })
        .collect();
    let what = format!("start until /health answers, {} sandboxes", sandboxes.len());
    table::row_below(&what, table::Spread::of(times).median, 1.0, "s");
    table::note("the same: Python server", &format!("{:.1} s", Peer::start("bridge").took.as_secs_f64()));
}

/// Creation and deletion, beside the same calls made of the engine directly.
fn creations(peer: SocketAddr) {
    let ours = gateway();
    let (mut with, mut direct, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds() * 3 {
        let pair = (through(ours.address()), engine_alone());
        if round > 0 {
            with.push(pair.0.as_secs_f64() * 1e3);
            direct.push(pair.1.as_secs_f64() * 1e3);
        }
        if round % 3 == 1 {
            theirs.push(through(peer).as_secs_f64() * 1e3);
        }
    }
    let (with, direct) = (table::Spread::of(with).median, table::Spread::of(direct).median);
    table::row_below("create + delete beyond the engine's own time, p50", with - direct, 20.0, "ms");
    let theirs = table::Spread::of(theirs).median;
    table::note(
        "create + delete: gateway, engine alone, Python server",
        &format!("{with:.0} ms, {direct:.0} ms, {theirs:.0} ms\n"),
    );
}

pub fn through(address: SocketAddr) -> Duration {
    let body = format!(
        r#"{{"image":{{"uri":"{IMAGE}"}},"resourceLimits":{{}},"timeout":600,"entrypoint":["sleep","1000"],"metadata":{{"bench":"create"}}}}"#
    );
    let start = Instant::now();
    let mut connection = Connection::open(address);
    let id = connection.ask_for_id(&format!(
        "POST /v1/sandboxes HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    connection.ask(&format!("DELETE /v1/sandboxes/{id} HTTP/1.1\r\nHost: bench\r\n\r\n"));
    start.elapsed()
}

/// The calls that any server must make: create, one archive, start, kill, remove.
fn engine_alone() -> Duration {
    let name = format!("bench-alone-{}", std::process::id());
    let body = format!(
        r#"{{"Image":"{IMAGE}","Entrypoint":["/opt/opensandbox/bootstrap.sh"],"Cmd":["sleep","1000"],"ExposedPorts":{{"8080/tcp":{{}},"44772/tcp":{{}}}},"HostConfig":{{"PortBindings":{{"8080/tcp":[{{"HostIp":"0.0.0.0"}}],"44772/tcp":[{{"HostIp":"0.0.0.0"}}]}},"PidsLimit":4096}}}}"#
    );
    let archive = archive();
    let start = Instant::now();
    must("POST", &format!("/containers/create?name={name}"), "application/json", body.as_bytes());
    must("PUT", &format!("/containers/{name}/archive?path=/"), "application/x-tar", &archive);
    must("POST", &format!("/containers/{name}/start"), "text/plain", b"");
    must("POST", &format!("/containers/{name}/kill"), "text/plain", b"");
    must("DELETE", &format!("/containers/{name}?force=1"), "text/plain", b"");
    start.elapsed()
}

/// What is put into a sandbox: a bootstrap script that runs its arguments.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let script = b"#!/bin/sh\nexec \"$@\"\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, "opt/opensandbox/bootstrap.sh", &script[..]).unwrap();
    archive.into_inner().unwrap()
}
