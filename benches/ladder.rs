//! The ladder: the gateway between what a byte relay can do and what others do, all in one run.
//!
//! `scripts/bench` calls this; `cargo bench --bench ladder -- --help` lists the parts. Sides alternate, a ratio is taken
//! from each round, and medians are printed (log-performance.md §4). Every role is a process of its own: this program
//! starts itself as the source, as the relay and as the bollard baseline.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "a program of its own that says where it cannot go on"
)]

#[path = "ladder/baseline.rs"]
mod baseline;
#[path = "ladder/client.rs"]
mod client;
#[path = "ladder/engine_call.rs"]
mod engine_call;
#[path = "ladder/followers.rs"]
mod followers;
#[path = "ladder/kube/mod.rs"]
mod kube;
#[path = "ladder/lifecycle.rs"]
mod lifecycle;
#[path = "ladder/load.rs"]
mod load;
#[path = "ladder/nginx.rs"]
mod nginx;
#[path = "ladder/pairs.rs"]
mod pairs;
#[path = "ladder/peer.rs"]
mod peer;
#[path = "ladder/process.rs"]
mod process;
#[path = "ladder/proxied.rs"]
mod proxied;
#[path = "ladder/real.rs"]
mod real;
#[path = "ladder/records.rs"]
mod records;
#[path = "ladder/relay.rs"]
mod relay;
#[path = "ladder/source.rs"]
mod source;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "ladder/table.rs"]
mod table;
#[path = "ladder/throughput.rs"]
mod throughput;
#[path = "ladder/tls.rs"]
mod tls;

const HELP: &str = "\
usage: ladder [PART]...   (default: all)

  throughput   the gateway, a 64 KiB relay and nginx on the same stream, batched and one write a line
  tls          logs over the gateway's own TLS, beside nginx with TLS in front of the plain gateway
  baseline     the gateway beside bollard's logs() behind a stream body
  followers    5,000 silent followers: memory, idle CPU, a GET beside them
  release      client gone -> engine connection closed, 2,000 times
  memory       resident memory while 250 MB stream
  real         2,000,000 lines of a real Docker Engine, beside curl on its socket
  records      formats, filters, tokens and tails
  lifecycle    get, list, create, delete and the start, beside the Python server on the same engine
  proxied      a sandbox's port through the gateway's proxy, beside nginx
  kubernetes   logs of an API server over TLS beside a relay and kube's client, silent followers, sandboxes, the start,
               creations
  soak         memory while sandboxes of a cluster are created and deleted for ten minutes (SOAK_SECONDS=600); not
               among all
  pairs        this build beside an earlier one (BEFORE=path of its opensandbox-gateway); not among all

Environment: GATEWAY_PROGRAM (default: what cargo built for the benchmark, which differs from what is installed);
ROUNDS (default 7, and one to warm up); BEFORE, for pairs; PAIRS=logs,lives,proxy,reads, the groups of pairs.";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["role", "source"] => source::run(),
        ["role", "relay", socket] => relay::run(socket),
        ["role", "bollard", socket] => baseline::run(socket),
        ["role", "kube-source"] => kube::source(),
        ["role", "kube-relay", address] => kube::plain_relay(address),
        ["role", "kube-client", kubeconfig] => kube::client_send(kubeconfig),
        ["role", "kube-cluster", count] => kube::cluster(count),
        ["--help" | "-h"] => println!("{HELP}"),
        parts => run(parts),
    }
}

fn run(parts: &[&str]) {
    table::machine();
    let wanted = |part| parts.contains(&part) || parts.is_empty() && !["pairs", "soak"].contains(&part);
    let all: [(&str, fn()); 13] = [
        ("throughput", throughput::run),
        ("tls", tls::run),
        ("baseline", throughput::baseline),
        ("followers", followers::run),
        ("release", followers::release),
        ("memory", throughput::memory),
        ("real", real::run),
        ("records", records::run),
        ("lifecycle", lifecycle::run),
        ("proxied", proxied::run),
        ("kubernetes", kube::run),
        ("soak", kube::soak),
        ("pairs", pairs::run),
    ];
    for (part, run) in all {
        if wanted(part) {
            run();
        }
    }
}

/// How many rounds are measured.
fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(7)
}
