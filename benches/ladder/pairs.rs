//! This build beside an earlier one, row by row of the table in docs/performance.md, in the same run.
//!
//! Each round asks both and begins with the other one than the round before, so that neither has the machine's better
//! moments; a ratio is taken from each round.

use std::{path::PathBuf, time::Duration};

use crate::{
    client, followers, lifecycle, load,
    process::Role,
    proxied, rounds,
    source::LOADS,
    support::{
        engine::{Engine, script::Script},
        gateway::{Gateway, Setup},
    },
    table::{self, Bound},
    throughput::Stage,
};

/// How much worse a row may get: what the earlier build gives, times this.
const WORSE: f64 = 1.02;

/// The builds that are compared.
struct Pair {
    before: Gateway,
    now: Gateway,
}

impl Pair {
    fn start(setup: impl Fn() -> Setup) -> Self {
        let program =
            PathBuf::from(std::env::var_os("BEFORE").expect("BEFORE is the path of an earlier build's program"));
        Self { before: setup().program(&program).start(), now: setup().start() }
    }

    /// What both give, in rounds; a figure is a cost (less is better). Prints the medians' ratio.
    fn costs(&self, what: &str, count: usize, cost: impl Fn(&Gateway) -> f64) {
        let mut ratios = Vec::new();
        for round in 0..=count {
            let ratio = if round % 2 == 0 {
                let before = cost(&self.before);
                cost(&self.now) / before
            } else {
                let now = cost(&self.now);
                now / cost(&self.before)
            };
            if round > 0 {
                ratios.push(ratio);
            }
        }
        table::ratio(&format!("{what}: now / before"), ratios, Bound::AtMost(WORSE));
    }
}

/// Processor time in seconds that `gateway` spends on the answer to a GET.
fn cpu_of(gateway: &Gateway, path: &str) -> f64 {
    let before = gateway.cpu();
    client::read(gateway.address(), path);
    (gateway.cpu() - before).max(Duration::from_millis(1)).as_secs_f64()
}

/// All rows, or those of the groups that `PAIRS` names.
pub fn run() {
    let wanted = std::env::var("PAIRS").unwrap_or_else(|_| "logs,lives,proxy,reads".to_owned());
    for group in wanted.split(',') {
        match group {
            "logs" => logs(),
            "lives" => lives(),
            "proxy" => proxy(),
            "reads" => reads(),
            other => panic!("PAIRS has no group '{other}': logs, lives, proxy, reads"),
        }
    }
}

fn logs() {
    let source = Role::start(&["source"]);
    let pair = Pair::start(|| Setup::docker(&format!("unix://{}", source.says)).in_session());
    for load in &LOADS[..5] {
        let (name, path) = (format!("{}-byte lines, {:?}", load.length, load.writes), Stage::log_path(*load));
        pair.costs(&format!("{name}: time"), rounds(), |gateway| {
            client::read(gateway.address(), &path).0.as_secs_f64()
        });
        pair.costs(&format!("{name}: CPU"), rounds(), |gateway| cpu_of(gateway, &path));
    }
    pair.costs("GET of a sandbox: time a request", rounds(), |gateway| {
        1.0 / load::rate(gateway.address(), "/v1/sandboxes/silent")
    });
    println!();
}

/// Each build has its followers to itself, since the first ones leave memory behind.
fn lives() {
    let source = Role::start(&["source"]);
    let setup = || Setup::docker(&format!("unix://{}", source.says)).in_session();
    let pair = Pair::start(setup);
    let ((before, get_before), (now, get)) = (followers::weight(&pair.before), followers::weight(&pair.now));
    let figure = format!("{now:.1} KiB (before: {before:.1})");
    table::row("a silent follower: resident memory", &figure, "<= 11.6 KiB", now <= 11.6);
    table::note("GET beside the followers", &format!("{get:.2} ms (before: {get_before:.2})"));
    let engine = Engine::start();
    let id = engine.log(Script::quiet());
    let pair = Pair::start(|| Setup::docker(engine.docker_host()).in_session());
    let of = |gateway: &Gateway| {
        let follow = async || followers::follow(gateway.address(), &id).await;
        let times = followers::releases(&engine, followers::RELEASES, follow);
        (times[times.len() / 2], times[times.len() * 99 / 100])
    };
    let (before, now) = (of(&pair.before), of(&pair.now));
    let figure = format!("{:.2} ms, p99 {:.2} ms (before: {:.2}, {:.2})", now.0, now.1, before.0, before.1);
    table::note("client gone -> engine connection closed: median", &figure);
    let mib = |gateway: &Gateway| gateway.resident() as f64 / 1048576.0;
    table::note(
        "resident memory after that",
        &format!("{:.1} MiB (before: {:.1})\n", mib(&pair.now), mib(&pair.before)),
    );
}

fn proxy() {
    let dir = tempfile::tempdir().unwrap();
    let service = proxied::Server::service(&dir);
    let sandbox = proxied::Sandbox::start();
    let pair = Pair::start(proxied::setup);
    let (large, small) = (sandbox.path(&service, "large"), sandbox.path(&service, "small"));
    pair.costs("proxied bytes: time", rounds(), |gateway| client::read(gateway.address(), &large).0.as_secs_f64());
    pair.costs("proxied bytes: CPU", rounds(), |gateway| cpu_of(gateway, &large));
    pair.costs("proxied small requests: time a request", rounds() * 2, |gateway| {
        1.0 / load::rate(gateway.address(), &small)
    });
    println!();
}

fn reads() {
    let pair = Pair::start(lifecycle::setup);
    let mut sandboxes = lifecycle::Sandboxes(Vec::new());
    sandboxes.grow(100);
    let list = "/v1/sandboxes?pageSize=100";
    pair.costs("list of 100 sandboxes: time a request", rounds(), |gateway| 1.0 / load::rate(gateway.address(), list));
    pair.costs("create + delete: time", rounds() * 3, |gateway| lifecycle::through(gateway.address()).as_secs_f64());
    let start = |program: Option<PathBuf>| {
        let (setup, from) = (lifecycle::setup(), std::time::Instant::now());
        let setup = program.into_iter().fold(setup, |setup, program| setup.program(&program));
        let gateway = setup.start();
        (from.elapsed().as_secs_f64() * 1e3, gateway.resident() as f64 / 1048576.0)
    };
    let before = std::env::var_os("BEFORE").map(PathBuf::from);
    let (now, before) = (start(None), start(before));
    table::note("start until /health, 100 sandboxes", &format!("{:.0} ms (before: {:.0})", now.0, before.0));
    table::note("resident memory, idle", &format!("{:.1} MiB (before: {:.1})\n", now.1, before.1));
}
