//! A real engine: the gateway beside `curl` on the engine's own socket.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    client, rounds,
    support::{docker::Container, gateway::Setup},
    table::{self, Bound},
};

const LINES: u64 = 2_000_000;

/// Two million lines of 100 bytes, read whole.
pub fn run() {
    let print = format!("yes {} | head -n {LINES}", "0123456789".repeat(10).trim_end_matches('9'));
    let container = Container::run(&print);
    container.wait();
    let gateway = Setup::docker("unix:///var/run/docker.sock").in_session().start();
    let mut ratios = Vec::new();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds() {
        let (time, bytes) = client::read(gateway.address(), &format!("/sandboxes/{}/logs", container.id()));
        assert!(bytes > LINES * 100, "the answer is whole: {bytes}");
        let start = Instant::now();
        curl(container.id());
        let direct = start.elapsed().as_secs_f64();
        if round > 0 {
            ratios.push(time.as_secs_f64() / direct);
            ours.push(time.as_secs_f64());
            theirs.push(direct);
        }
    }
    table::ratio("real engine, 2,000,000 lines: time / curl on its socket", ratios, Bound::AtMost(1.05));
    let figure = format!("{:.1} s, curl {:.1} s\n", table::Spread::of(ours).median, table::Spread::of(theirs).median);
    table::note("real engine: wall time", &figure);
}

fn curl(id: &str) {
    let url = format!("http://docker/v1.41/containers/sandbox-{id}/logs?stdout=1&stderr=1");
    let mut command = Command::new("curl");
    let command = command.args(["-s", "--unix-socket", "/var/run/docker.sock", "-o", "/dev/null", &url]);
    assert!(command.stdin(Stdio::null()).status().unwrap().success());
}
