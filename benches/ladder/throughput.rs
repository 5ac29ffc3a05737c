//! One busy stream: the gateway beside a relay, nginx and bollard.

use std::{net::SocketAddr, thread, time::Duration};

use crate::{
    client,
    nginx::Nginx,
    process::{Role, cpu},
    rounds,
    source::{LOADS, Load, Writes},
    support::gateway::{Gateway, Setup},
    table::{self, Bound},
};

pub struct Stage {
    source: Role,
    gateway: Gateway,
}

impl Stage {
    fn set() -> Self {
        let source = Role::start(&["source"]);
        let gateway = Setup::docker(&format!("unix://{}", source.says)).in_session().start();
        Self { source, gateway }
    }

    pub fn log_path(load: Load) -> String {
        format!("/sandboxes/{}/logs", load.id())
    }

    fn engine_path(load: Load) -> String {
        format!("/v1.41/containers/sandbox-{}/logs?stdout=1&stderr=1", load.id())
    }

    /// Reads the load through the gateway: wall time and the gateway's CPU time.
    fn gateway(&self, load: Load) -> (f64, f64) {
        let before = self.gateway.cpu();
        let (time, bytes) = client::read(self.gateway.address(), &Self::log_path(load));
        assert!(bytes > load.bytes(), "the answer is whole: {bytes} bytes of {}", load.bytes());
        (time.as_secs_f64(), (self.gateway.cpu() - before).as_secs_f64())
    }
}

/// Ratios of one load.
#[derive(Default)]
struct Figures {
    relay: Vec<f64>,
    nginx: Vec<f64>,
    gateway_cpu: Vec<f64>,
    relay_cpu: Vec<f64>,
    rate: Vec<f64>,
}

/// The gateway, the relay and nginx, in turn.
pub fn run() {
    let stage = Stage::set();
    let relay = Role::start(&["relay", &stage.source.says]);
    let nginx = Nginx::start(&stage.source.says);
    let address: SocketAddr = relay.says.parse().unwrap();
    for load in &LOADS[..5] {
        let load = *load;
        let mut figures = Figures::default();
        for round in 0..=rounds() {
            let (time, cpu_time) = stage.gateway(load);
            let before = cpu(relay.pid());
            let (relayed, _) = client::read(address, &Stage::engine_path(load));
            let relay_cpu = (cpu(relay.pid()) - before).as_secs_f64();
            let (proxied, _) = client::read(nginx.address, &Stage::engine_path(load));
            if round > 0 {
                figures.relay.push(relayed.as_secs_f64() / time);
                figures.nginx.push(time / proxied.as_secs_f64());
                figures.gateway_cpu.push(cpu_time * 1e9 / load.lines as f64);
                figures.relay_cpu.push(relay_cpu * 1e9 / load.lines as f64);
                figures.rate.push(load.bytes() as f64 / time / 1e6);
            }
        }
        print(load, figures);
    }
}

fn print(load: Load, Figures { relay, nginx, gateway_cpu, relay_cpu, rate }: Figures) {
    let Load { length, writes, .. } = load;
    let name = match writes {
        Writes::Batched => format!("{length}-byte lines"),
        Writes::Lines => format!("{length}-byte lines, one write a line"),
        Writes::Stamped => format!("{length}-byte lines with times"),
    };
    let bound = if length >= 16_384 || writes == Writes::Lines { 0.9 } else { 0.8 };
    table::ratio(&format!("{name}: throughput / 64 KiB relay"), relay, Bound::AtLeast(bound));
    let target = match (length, writes) {
        (128, Writes::Batched) => Some(0.65),
        (1024, Writes::Batched) => Some(0.95),
        (16_384, Writes::Batched) => Some(0.85),
        _ => None,
    };
    match target {
        Some(target) => table::ratio(&format!("{name}: time / nginx"), nginx, Bound::AtMost(target)),
        None => table::note(&format!("{name}: time / nginx"), &format!("{:.2}", table::Spread::of(nginx).median)),
    }
    let cpu = table::Spread::of(gateway_cpu).median;
    let (what, figure) = (format!("{name}: CPU in the gateway a line"), format!("{cpu:.0} ns"));
    match (length, writes) {
        (100, Writes::Batched) => table::row(&what, &figure, "<= 120 ns", cpu <= 120.0),
        _ => table::note(&what, &figure),
    }
    let relay_cpu = table::Spread::of(relay_cpu).median;
    table::note(&format!("{name}: CPU in the relay a line"), &format!("{relay_cpu:.0} ns"));
    table::note(
        &format!("{name}: payload through the gateway"),
        &format!("{:.0} MB/s", table::Spread::of(rate).median),
    );
    println!();
}

/// The gateway and bollard, in turn, on a shorter load: bollard takes its time.
pub fn baseline() {
    let stage = Stage::set();
    let bollard = Role::start(&["bollard", &stage.source.says]);
    let (load, mut times, mut cpus) = (LOADS[5], Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let (time, _) = stage.gateway(load);
        let before = cpu(bollard.pid());
        let path = format!("/sandbox-{}", load.id());
        let (theirs, bytes) = client::read(bollard.says.parse().unwrap(), &path);
        assert!(bytes > load.bytes(), "the answer is whole");
        times.push(theirs.as_secs_f64() / time);
        cpus.push((cpu(bollard.pid()) - before).as_secs_f64() * 1e9 / load.lines as f64);
    }
    let times = table::Spread::of(times);
    table::note(
        "100-byte lines: time of bollard's logs() behind a stream body / ours",
        &format!("{:.0} ({:.0} to {:.0})", times.median, times.least, times.most),
    );
    table::note("100-byte lines: CPU a line in it", &format!("{:.0} ns\n", table::Spread::of(cpus).median));
}

/// Resident memory while a log of 250 MB streams.
pub fn memory() {
    let stage = Stage::set();
    let load = Load { lines: 2_000_000, ..LOADS[1] };
    let load = LOADS.iter().copied().find(|known| known.bytes() >= load.bytes()).unwrap();
    let idle = stage.gateway.resident();
    let mut most = idle;
    let (address, path) = (stage.gateway.address(), Stage::log_path(load));
    let reader = thread::spawn(move || client::read(address, &path));
    while !reader.is_finished() {
        most = most.max(stage.gateway.resident());
        thread::sleep(Duration::from_millis(2));
    }
    let (_, bytes) = reader.join().unwrap();
    let above = (most - idle) as f64 / 1048576.0;
    let what = format!("memory above idle while {} MB stream", bytes / 1_000_000);
    table::row(&what, &format!("{above:.1} MiB"), "<= 8 MiB", above <= 8.0);
    table::note("memory when idle", &format!("{:.1} MiB\n", idle as f64 / 1048576.0));
}
