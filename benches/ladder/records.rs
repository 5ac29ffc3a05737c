//! Records: what a line costs in each format and with filters, what a silent follower of records costs, and how fast a place in a
//! large log is found.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client, followers,
    process::{Role, cpu},
    rounds,
    source::STAMPED,
    support::{
        docker::{self, Container},
        gateway::Setup,
    },
    table,
};

/// How many lines the large log has in front of its trickle: 250 MB.
const HISTORY: u64 = 2_500_000;

/// How many followers come back at once.
const RETURNING: usize = 200;

/// All of it.
pub fn run() {
    lines();
    client();
    follower();
    large_log();
    bursty_log();
    println!();
}

/// The CPU time in the gateway a line.
fn lines() {
    let source = Role::start(&["source"]);
    let gateway = Setup::docker(&format!("unix://{}", source.says)).in_session().start();
    let cases = [
        ("NDJSON", "format=ndjson", Some(200.0)),
        ("SSE", "format=sse", Some(260.0)),
        ("text, search= without a match", "search=nowhere", Some(80.0)),
        ("text, grep= with a literal prefix, 1 in 1,000", "grep=%5Ematch", Some(150.0)),
        ("text, timestamps", "timestamps=true", None),
        ("text, tail of all", "tail=1999999", None),
    ];
    for (name, query, bound) in cases {
        let mut figures = Vec::new();
        for round in 0..=rounds() {
            let before = gateway.cpu();
            let (_, bytes) = client::read(gateway.address(), &format!("/sandboxes/{}/logs?{query}", STAMPED.id()));
            assert!(bytes > 100, "{name}: {bytes} bytes");
            if round > 0 {
                figures.push((gateway.cpu() - before).as_secs_f64() * 1e9 / STAMPED.lines as f64);
            }
        }
        let what = format!("100-byte lines, {name}: CPU in the gateway a line");
        let cpu = table::Spread::of(figures);
        let figure = format!("{:.0} ns ({:.0} to {:.0})", cpu.median, cpu.least, cpu.most);
        match bound {
            Some(bound) => table::row(&what, &figure, &format!("<= {bound} ns"), cpu.median <= bound),
            None => table::note(&what, &figure),
        }
    }
}

/// The command that reads records and writes text, beside `curl`, which throws the same answer away.
fn client() {
    let source = Role::start(&["source"]);
    let gateway = Setup::docker(&format!("unix://{}", source.says)).in_session().start();
    let (url, id) = (format!("http://{}", gateway.address()), STAMPED.id());
    let program = std::env::var_os("GATEWAY_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_opensandbox-gateway").into(), PathBuf::from);
    let answer = format!("{url}/sandboxes/{id}/logs?format=ndjson");
    let ours = || {
        let mut command = Command::new(&program);
        command.args(["logs", "-o", "text", "--url", &url, &id]).env_remove("OPEN_SANDBOX_API_KEY");
        seconds(&mut command)
    };
    let theirs = || seconds(Command::new("curl").args(["-sSf", &answer, "-o", "/dev/null"]));
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for round in 0..=rounds() {
        // Neither has the machine's better moments.
        let (ours, theirs) = if round % 2 == 0 {
            let ours = ours();
            (ours, theirs())
        } else {
            let theirs = theirs();
            (ours(), theirs)
        };
        if round > 0 {
            ratios.push(theirs / ours);
            rates.push(STAMPED.bytes() as f64 / ours / 1e6);
        }
    }
    let rate = format!("{:.0} MB/s", table::Spread::of(rates).median);
    table::ratio("100-byte lines, the logs command: throughput / curl", ratios, table::Bound::AtLeast(0.8));
    table::note("100-byte lines, the logs command: payload", &rate);
}

/// How long a program that writes to nowhere takes.
fn seconds(command: &mut Command) -> f64 {
    let start = Instant::now();
    assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    start.elapsed().as_secs_f64()
}

fn follower() {
    let source = Role::start(&["source"]);
    let gateway = Setup::docker(&format!("unix://{}", source.says)).in_session().start();
    let (each, _) = followers::weight_of(&gateway, "&format=ndjson");
    table::row("a silent NDJSON follower: resident memory", &format!("{each:.1} KiB"), "<= 14 KiB", each <= 14.0);
}

/// The user and system time of the engine, which is the machine's own: `scripts/engine` has started it.
fn engine_cpu() -> Duration {
    let pid = std::fs::read_to_string("/var/run/docker.pid").expect("the machine's own engine, with a pid file");
    cpu(pid.trim().parse().unwrap())
}

/// A log of 250 MB, and ten lines a second behind it.
fn large_log() {
    let history = format!("yes {} | head -n {HISTORY}", "x".repeat(99));
    let container = Container::run(&format!("{history}; while :; do echo line; usleep 100000; done"));
    let gateway = Setup::docker("unix:///var/run/docker.sock").in_session().start();
    let address = gateway.address();
    while docker::docker(&["logs", "--tail", "1", &container.name()]).trim() != "line" {
        thread::sleep(Duration::from_millis(500));
    }
    thread::sleep(Duration::from_secs(12));
    let path = |query: &str| format!("/sandboxes/{}/logs?{query}", container.id());
    let measured = |query: &str| {
        let read = |_| client::read(address, &path(query)).0.as_secs_f64();
        table::Spread::of((0..rounds()).map(read).collect())
    };
    let since = measured("since=5s");
    let figure = |spread: &table::Spread| format!("{:.3} s (to {:.3})", spread.median, spread.most);
    table::row("250 MB log, real engine: since=5s to the end", &figure(&since), "<= 0.3 s", since.median <= 0.3);
    let token = first_id(address, &path("since=5s&format=ndjson"));
    let after = measured(&format!("after={token}"));
    table::row("250 MB log, real engine: after= to the end", &figure(&after), "<= 0.3 s", after.median <= 0.3);
    let (start, before) = (Instant::now(), engine_cpu());
    let returning = (0..RETURNING).map(|_| {
        let path = path(&format!("follow=true&format=ndjson&after={token}"));
        thread::spawn(move || first_id(address, &path))
    });
    let ids: Vec<_> = returning.collect::<Vec<_>>().into_iter().map(|follower| follower.join().unwrap()).collect();
    let time = start.elapsed().as_secs_f64();
    assert!(ids.iter().all(|id| *id == ids[0] && *id != token), "all go on with the same record");
    thread::sleep(Duration::from_millis(200));
    let used = (engine_cpu() - before).as_secs_f64();
    let what = format!("{RETURNING} followers resume at once: all have their first record");
    table::row(&what, &format!("{time:.2} s"), "<= 5 s", time <= 5.0);
    table::row("… the engine's CPU", &format!("{used:.2} s"), "<= 5 s", used <= 5.0);
}

/// The id of the first record of an NDJSON answer.
fn first_id(address: SocketAddr, path: &str) -> String {
    let mut io = TcpStream::connect(address).unwrap();
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let lines = BufReader::new(io).lines().map_while(Result::ok);
    let mut records = lines.filter(|line| line.starts_with("{\"log\""));
    let record = records.next().expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["id"].as_str().unwrap().to_owned()
}

/// 300,000 lines, then twelve a second.
fn bursty_log() {
    let history = format!("yes {} | head -n 300000", "y".repeat(99));
    let burst = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo burst; done";
    let container = Container::run(&format!("{history}; while :; do {burst}; sleep 1; done"));
    let gateway = Setup::docker("unix:///var/run/docker.sock").in_session().start();
    thread::sleep(Duration::from_secs(8));
    let path = format!("/sandboxes/{}/logs?tail=10", container.id());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut our_cpu, mut their_cpu) = (0.0, 0.0);
    for round in 0..=rounds() {
        let before = engine_cpu();
        let time = client::read(gateway.address(), &path).0.as_secs_f64();
        let between = engine_cpu();
        let direct = tail_by_docker(&container);
        let after = engine_cpu();
        if round > 0 {
            ours.push(time / direct);
            theirs.push(direct);
            our_cpu += (between - before).as_secs_f64();
            their_cpu += (after - between).as_secs_f64();
        }
    }
    table::ratio("bursty log: tail=10 / docker logs --tail 10: time", ours, table::Bound::AtMost(3.0));
    let direct = table::Spread::of(theirs).median * 1e3;
    table::note("bursty log: docker logs --tail 10", &format!("{direct:.0} ms"));
    // A tick of the processor's clock is 10 ms: less than that is nothing.
    let figure = format!("{our_cpu:.2} s, docker {their_cpu:.2} s in all rounds");
    let is_reached = our_cpu <= 3.0 * their_cpu.max(0.02);
    table::row("bursty log: the engine's CPU", &figure, "<= 3 times docker's", is_reached);
}

fn tail_by_docker(container: &Container) -> f64 {
    let start = Instant::now();
    let mut command = Command::new("docker");
    let command = command.args(["logs", "--tail", "10", &container.name()]);
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    start.elapsed().as_secs_f64()
}
