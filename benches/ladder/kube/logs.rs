//! Busy logs beside a relay and beside kube's client, and silent ones.

use std::{fs, net::SocketAddr, path::PathBuf, thread, time::Duration};

use super::{
    NAMESPACE,
    load::{LAST, LOADS, Load, Writes},
    objects,
    source::SILENT,
};
use crate::{
    client, followers,
    process::{Role, cpu},
    rounds,
    support::gateway::{Gateway, Setup},
    table::{self, Bound},
};

const FOLLOWERS: usize = 2_000;

struct Stage {
    /// It says where its kubeconfig file is.
    source: Role,
    gateway: Gateway,
}

impl Stage {
    fn set() -> Self {
        let source = Role::start(&["kube-source"]);
        let gateway = Setup::kubernetes(&PathBuf::from(&source.says), NAMESPACE).in_session().start();
        Self { source, gateway }
    }

    /// The source's own address.
    fn address(&self) -> String {
        let text = fs::read_to_string(&self.source.says).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        url.trim_start_matches("https://").to_owned()
    }

    /// Wall time and the gateway's processor time of a whole log, in seconds.
    fn gateway(&self, load: Load) -> (f64, f64) {
        let before = self.gateway.cpu();
        let time = read(self.gateway.address(), load, &log_path(load));
        (time, (self.gateway.cpu() - before).as_secs_f64())
    }
}

fn log_path(load: Load) -> String {
    let follow = if load.writes == Writes::Follow { "?follow=true" } else { "" };
    format!("/sandboxes/{}/logs{follow}", load.id())
}

/// What the gateway asks the API server for.
fn api_path(load: Load) -> String {
    let pod = objects::pod_name(&load.id());
    let follow = if load.writes == Writes::Follow { "&follow=true" } else { "" };
    format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log?container=sandbox&timestamps=true{follow}")
}

/// Reads a whole log: one that is followed up to its last line. Gives the seconds.
fn read(address: SocketAddr, load: Load, path: &str) -> f64 {
    let until = (load.writes == Writes::Follow).then_some(LAST);
    let (time, bytes) = client::read_until(address, path, until);
    assert!(bytes > load.bytes(), "the answer is whole: {bytes} bytes of {}", load.bytes());
    time.as_secs_f64()
}

/// Ratios of one log.
#[derive(Default)]
struct Figures {
    ratio: Vec<f64>,
    gateway_cpu: Vec<f64>,
    relay_cpu: Vec<f64>,
    rate: Vec<f64>,
}

/// The gateway and the relay, in turn.
pub fn run() {
    let stage = Stage::set();
    let relay = Role::start(&["kube-relay", &stage.address()]);
    let address: SocketAddr = relay.says.parse().unwrap();
    for load in LOADS[..4].iter().copied() {
        let mut figures = Figures::default();
        for round in 0..=rounds() {
            let relayed = || {
                let before = cpu(relay.pid());
                let time = read(address, load, &api_path(load));
                (time, (cpu(relay.pid()) - before).as_secs_f64())
            };
            // Neither has the machine's better moments.
            let ((time, cpu_time), (relay_time, relay_cpu)) = if round % 2 == 0 {
                let ours = stage.gateway(load);
                (ours, relayed())
            } else {
                let theirs = relayed();
                (stage.gateway(load), theirs)
            };
            if round > 0 {
                figures.ratio.push(relay_time / time);
                figures.gateway_cpu.push(cpu_time * 1e9 / load.lines as f64);
                figures.relay_cpu.push(relay_cpu * 1e9 / load.lines as f64);
                figures.rate.push(load.bytes() as f64 / time / 1e6);
            }
        }
        print(load, figures);
    }
}

fn print(load: Load, Figures { ratio, gateway_cpu, relay_cpu, rate }: Figures) {
    let how = if load.writes == Writes::Follow { "a chunk a line" } else { "chunks of a buffer" };
    let name = format!("{}-byte lines over TLS, {how}", load.length);
    let bound = if load.length >= 16_384 { 0.85 } else { 0.7 };
    table::ratio(&format!("{name}: throughput / relay"), ratio, Bound::AtLeast(bound));
    let cpu = table::Spread::of(gateway_cpu).median;
    let relay_cpu = table::Spread::of(relay_cpu).median;
    table::note(&format!("{name}: CPU a line"), &format!("{cpu:.0} ns (relay: {relay_cpu:.0} ns)"));
    table::note(&format!("{name}: payload"), &format!("{:.0} MB/s", table::Spread::of(rate).median));
    println!();
}

/// The gateway and kube's client behind a stream body, in turn, on a shorter log.
pub fn baseline() {
    let stage = Stage::set();
    let theirs = Role::start(&["kube-client", &stage.source.says]);
    let address: SocketAddr = theirs.says.parse().unwrap();
    let load = LOADS[4];
    let (mut times, mut cpus) = (Vec::new(), Vec::new());
    for round in 0..=rounds() {
        let (time, _) = stage.gateway(load);
        let before = cpu(theirs.pid());
        let their_time = read(address, load, &api_path(load));
        if round > 0 {
            times.push(their_time / time);
            cpus.push((cpu(theirs.pid()) - before).as_secs_f64() * 1e9 / load.lines as f64);
        }
    }
    let what = "100-byte lines over TLS: time of kube's Client::send / ours";
    table::ratio(what, times, Bound::AtLeast(5.0));
    table::note("the same: CPU a line in it", &format!("{:.0} ns\n", table::Spread::of(cpus).median));
}

/// Silent followers.
pub fn followers() {
    let stage = Stage::set();
    client::read(stage.gateway.address(), &format!("/sandboxes/{SILENT}"));
    let before = stage.gateway.resident();
    followers::block_on(async {
        let mut followers = Vec::new();
        while followers.len() < FOLLOWERS {
            let batch = (0..25).map(|_| followers::follow(stage.gateway.address(), SILENT));
            followers.extend(futures_util::future::join_all(batch).await);
        }
        thread::sleep(Duration::from_secs(2));
        let each = (stage.gateway.resident() - before) as f64 / FOLLOWERS as f64 / 1024.0;
        let what = format!("{FOLLOWERS} silent followers over TLS: resident memory each");
        table::row(&what, &format!("{each:.1} KiB"), "<= 32 KiB", each <= 32.0);
        // Followed logs that say nothing are looked at: that must not be what they weigh from then on.
        thread::sleep(Duration::from_secs(20));
        let later = (stage.gateway.resident() - before) as f64 / FOLLOWERS as f64 / 1024.0;
        table::note("the same after 20 s", &format!("{later:.1} KiB"));
    });
    println!();
}
