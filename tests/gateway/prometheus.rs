//! What Prometheus is told (`[metrics]`), by a real one and by `promtool`, and the alert rules that are shipped.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    Gateway, Pair, Setup, logs,
    support::{
        backend::Backend,
        bounded,
        client::{Client, Response, get_once, request},
        docker::{self, Container},
        engine::{Script, Step},
        eventually,
        gateway::free_port,
        prometheus::Prometheus,
    },
    tls::Files,
};

/// Adds a listener of metrics to a gateway; gives its address too.
pub(crate) fn scraped(setup: Setup) -> (Setup, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (setup.section(&format!("[metrics]\nlisten = \"{address}\"")), address)
}

/// A scripted engine, a gateway on it, and where it tells its metrics.
pub(crate) fn scraped_pair() -> (Pair, SocketAddr) {
    scraped_pair_with(|setup| setup)
}

/// The same, changed.
pub(crate) fn scraped_pair_with(change: impl FnOnce(Setup) -> Setup) -> (Pair, SocketAddr) {
    let mut address = None;
    let pair = Pair::with(|setup| {
        let (setup, at) = scraped(change(setup));
        address = Some(at);
        setup
    });
    (pair, address.unwrap())
}

/// The value of a series, written as the text has it.
pub(crate) async fn series(metrics: SocketAddr, name: &str) -> Option<f64> {
    let text = get_once(metrics, "/metrics").await;
    assert_eq!(text.status(), 200, "{text}");
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// Waits until a series has a value.
pub(crate) async fn wait_series(metrics: SocketAddr, name: &str, wished: f64) {
    let has_it = async {
        while series(metrics, name).await != Some(wished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    bounded(&format!("{name} is {wished}"), has_it).await;
}

#[tokio::test]
async fn a_real_prometheus_sees_a_follower_come_and_go() {
    let (setup, metrics) = scraped(Setup::docker(&docker::host()));
    let gateway = setup.start();
    let prometheus = Prometheus::start(metrics);
    let container = Container::run("echo 0123456789; sleep 600");
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(container.id(), "follow=true")).await.status, 200);
    assert_eq!(client.body_of(11).await, "0123456789\n");
    let follows = "opensandbox_gateway_log_streams{runtime=\"docker\",format=\"text\",follow=\"true\"}";
    prometheus.wait_for(follows, |value| value == 1.0).await;
    prometheus.wait_for("opensandbox_gateway_log_sent_bytes_total{source=\"engine\"}", |value| value == 11.0).await;
    // The frame's header and its chunk come besides.
    prometheus.wait_for("opensandbox_gateway_log_read_bytes_total", |value| value > 11.0).await;
    prometheus.wait_for("opensandbox_gateway_log_backend_streams", |value| value == 1.0).await;
    prometheus.wait_for("opensandbox_gateway_log_first_byte_seconds_count", |value| value == 1.0).await;
    prometheus.wait_for("opensandbox_gateway_sandboxes{state=\"Running\"}", |value| value >= 1.0).await;
    let logs = "opensandbox_gateway_backend_requests_total{operation=\"container_logs\",code=\"200\"}";
    prometheus.wait_for(logs, |value| value == 1.0).await;
    let calls = "opensandbox_gateway_backend_request_duration_seconds_count{operation=\"container_inspect\"}";
    prometheus.wait_for(calls, |value| value >= 1.0).await;
    for always in [
        "up{job=\"opensandbox-gateway\"} == 1",
        concat!("opensandbox_gateway_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",rustc=~\"rustc .*\"} == 1"),
        "opensandbox_gateway_http_connections{protocol=\"http/1.1\"} == 1",
        "opensandbox_gateway_http_requests_total{route=\"/health\",method=\"GET\",code=\"200\"} >= 1",
        "opensandbox_gateway_http_requests_total{route=\"/sandboxes/{sandbox_id}/logs\",code=\"200\"} == 1",
        "process_open_fds > 10",
        "process_max_fds > process_open_fds",
        "process_resident_memory_bytes > 1e6",
        "process_start_time_seconds > 1.6e9",
        "process_cpu_seconds_total >= 0",
        "scrape_samples_scraped > 50",
    ] {
        assert!(prometheus.value(always).await.is_some(), "{always}");
    }
    client.close();
    prometheus.wait_for(follows, |value| value == 0.0).await;
    prometheus.wait_for("opensandbox_gateway_log_streams_total{end=\"client_gone\"}", |value| value == 1.0).await;
    prometheus.wait_for("opensandbox_gateway_log_release_seconds_count", |value| value == 1.0).await;
    prometheus.wait_for("opensandbox_gateway_log_release_seconds_sum", |value| value < 0.1).await;
    let durations = "opensandbox_gateway_log_stream_duration_seconds_count{runtime=\"docker\",end=\"client_gone\"}";
    prometheus.wait_for(durations, |value| value == 1.0).await;
    prometheus.wait_for("opensandbox_gateway_log_sent_bytes_total", |value| value == 11.0).await;
    // The longest of scrapes of a gateway that has nothing else to do.
    prometheus.wait_for("max_over_time(scrape_duration_seconds[1m])", |value| value < 1.0).await;
}

#[tokio::test]
async fn both_texts_are_what_their_readers_expect() {
    let (pair, metrics) = scraped_pair();
    let target = pair.log(Script::texts(["a\n"]), "");
    assert_eq!(get_once(pair.address(), &target).await.body, "a\n");
    let ended = "opensandbox_gateway_log_streams_total{runtime=\"docker\",format=\"text\",end=\"complete\"}";
    wait_series(metrics, ended, 1.0).await;
    let text = get_once(metrics, "/metrics").await;
    assert_eq!(text.head.field("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool is installed: scripts/test");
    check.stdin.take().unwrap().write_all(&text.body).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let open = request(metrics, "GET", "/metrics", &[accept], "").await;
    assert_eq!(open.head.field("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.body.ends_with(b"# EOF\n"), "{open}");
    assert!(!text.body.windows(5).any(|bytes| bytes == b"# EOF"), "{text}");
}

#[tokio::test]
async fn what_others_make_up_becomes_no_series() {
    let (pair, metrics) = scraped_pair();
    let names = async || {
        let text = String::from_utf8(get_once(metrics, "/metrics").await.body.to_vec()).unwrap();
        text.lines().filter(|line| line.contains("http_request")).map(str::to_owned).collect::<Vec<_>>()
    };
    for number in 0..50 {
        request(pair.address(), &format!("BREW{number}"), &format!("/v1/sandboxes/made-up-{number}"), &[], "").await;
        get_once(pair.address(), &format!("/made/up/{number}")).await;
    }
    let lines = names().await;
    assert!(!lines.iter().any(|line| line.contains("made") || line.contains("BREW")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("method=\"_OTHER\",code=\"405\"} 50")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("route=\"unknown\",method=\"GET\",code=\"404\"} 50")), "{lines:?}");
}

/// A sandbox of the process runtime.
async fn sandbox(gateway: &Gateway) -> String {
    let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sleep","600"]}"#;
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &["Content-Type: application/json"], body).await;
    created.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_sandboxs_server_makes_no_series_of_statuses_that_it_invents() {
    let (setup, metrics) = scraped(Setup::process());
    let gateway = setup.start();
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let status = head.split("/status/").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
            conn.answer(&format!("{status} Made up"), &[], b"x").await;
        }
    })
    .await;
    let id = sandbox(&gateway).await;
    for status in 600..640 {
        let target = format!("/v1/sandboxes/{id}/proxy/{}/status/{status}", backend.port);
        assert_eq!(get_once(gateway.address(), &target).await.status(), status);
    }
    let other = "opensandbox_gateway_http_requests_total{route=\"/sandboxes/{sandbox_id}/proxy/{port}/{full_path:path}\",method=\"GET\",code=\"_OTHER\"}";
    assert_eq!(series(metrics, other).await, Some(40.0), "{}", get_once(metrics, "/metrics").await);
}

#[tokio::test]
async fn refusals_and_stalled_clients_are_counted() {
    let (pair, at) = scraped_pair_with(|setup| setup.section("[logs]\nmax_streams_per_sandbox = 1"));
    let endless = Script::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again]);
    let target = pair.log(endless, "follow=true");
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    client.send_get(&target, &[]).await;
    wait_series(at, "opensandbox_gateway_log_write_stalled_streams", 1.0).await;
    assert_eq!(get_once(pair.address(), &target).await.status(), 429);
    assert_eq!(series(at, "opensandbox_gateway_log_rejected_total{reason=\"sandbox_limit\"}").await, Some(1.0));
    client.close();
    wait_series(at, "opensandbox_gateway_log_write_stalled_streams", 0.0).await;
}

#[tokio::test]
async fn a_request_whose_client_left_is_counted_as_that() {
    let (setup, metrics) = scraped(Setup::process());
    let gateway = setup.start();
    let silent = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.wait_closed().await;
    })
    .await;
    let id = sandbox(&gateway).await;
    let mut client = Client::connect(gateway.address()).await;
    client.send_get(&format!("/v1/sandboxes/{id}/proxy/{}", silent.port), &[]).await;
    eventually("the backend is asked", Duration::from_secs(5), || silent.accepted() == 1).await;
    client.reset();
    let gone = "opensandbox_gateway_http_requests_total{route=\"/sandboxes/{sandbox_id}/proxy/{port}\",method=\"GET\",code=\"0\"}";
    wait_series(metrics, gone, 1.0).await;
}

#[tokio::test]
async fn an_engine_that_hangs_holds_no_scrape_and_its_sandboxes_are_unknown() {
    let (mut pair, metrics) = scraped_pair();
    pair.engine.sandbox(crate::support::engine::Sandbox::new(Script::silent()));
    wait_series(metrics, "opensandbox_gateway_sandboxes{runtime=\"docker\",state=\"Running\"}", 1.0).await;
    pair.engine.kill();
    // What was told is taken for new for 5 s.
    let gone = async || series(metrics, "opensandbox_gateway_sandboxes{runtime=\"docker\",state=\"Running\"}").await;
    let is_gone = async {
        while gone().await.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    bounded("the series goes", is_gone).await;
    let start = std::time::Instant::now();
    assert_eq!(gone().await, None);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let failed =
        "opensandbox_gateway_backend_requests_total{backend=\"docker\",operation=\"container_list\",code=\"error\"}";
    assert!(series(metrics, failed).await.unwrap_or_default() >= 1.0);
}

#[tokio::test]
async fn the_last_scrape_sees_that_the_gateway_ends() {
    let (setup, metrics) = scraped(Setup::process().server("timeout_graceful_shutdown = 3"));
    let mut gateway = setup.start();
    assert_eq!(series(metrics, "opensandbox_gateway_drain_state").await, Some(0.0));
    // A request that is under way until the grace is over.
    let mut client = Client::connect(gateway.address()).await;
    client.send("POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gateway.terminate();
    wait_series(metrics, "opensandbox_gateway_drain_state", 1.0).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(series(metrics, "opensandbox_gateway_drain_state").await, Some(1.0), "near the end too");
    assert!(gateway.wait(Duration::from_secs(10)).success());
}

/// Starts `gateway`, whose metrics address is taken; what it says.
async fn with_a_taken_address(address: SocketAddr) -> (Gateway, std::net::TcpListener) {
    let taken = std::net::TcpListener::bind(address).unwrap();
    let mut gateway = Setup::process().section(&format!("[metrics]\nlisten = \"{address}\"")).spawn();
    assert_eq!(gateway.wait(Duration::from_secs(10)).code(), Some(3));
    (gateway, taken)
}

#[tokio::test]
async fn a_gateway_that_still_serves_before_it_ends_tells_that_too() {
    let (setup, metrics) = scraped(Setup::process().server("shutdown_delay_seconds = 3"));
    let mut gateway = setup.start();
    gateway.terminate();
    wait_series(metrics, "opensandbox_gateway_drain_state", 1.0).await;
    assert_eq!(get_once(gateway.address(), "/health").await.status(), 200);
    assert!(gateway.wait(Duration::from_secs(10)).success());
}

#[tokio::test]
async fn a_taken_address_is_told_before_anything_is_touched() {
    let (gateway, taken) = with_a_taken_address(SocketAddr::from(([127, 0, 0, 1], free_port()))).await;
    let address = taken.local_addr().unwrap();
    let said = gateway.output();
    assert!(said.contains(&format!("Cannot listen on {address} (metrics.listen)")), "{said}");
}

#[tokio::test]
async fn nothing_listens_unless_it_is_asked_for() {
    let gateway = Setup::process().start();
    let refused = get_once(gateway.address(), "/metrics").await;
    assert_eq!(refused.status(), 404, "the API's listener tells nothing");
    assert!(!gateway.output().contains("metrics are on"), "{}", gateway.output());
}

#[test]
fn the_alert_rules_are_right_and_fire_when_they_should() {
    for (what, file) in [("check", "deploy/alerts.yml"), ("test", "deploy/alerts_test.yml")] {
        let output = Command::new("promtool").args([what, "rules", file]).output();
        let output = output.expect("promtool is installed: scripts/test");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{what} {file}: {said}");
    }
}

/// What the alerts ask for is what a gateway tells.
#[tokio::test]
async fn the_alert_rules_name_metrics_that_exist() {
    let files = Files::new();
    let (pair, metrics) = scraped_pair_with(|setup| setup.server(&files.server()));
    let mut client = files.connect(pair.address()).await;
    assert_eq!(client.request("GET", "/v1/sandboxes", &[], "").await.status(), 200);
    let text: Response = get_once(metrics, "/metrics").await;
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    let rules = std::fs::read_to_string("deploy/alerts.yml").unwrap();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut named: Vec<_> =
        words.filter(|word| word.starts_with("opensandbox_gateway_") || word.starts_with("process_")).collect();
    named.sort_unstable();
    named.dedup();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is none of:\n{text}");
    }
    eventually("the gateway lives", Duration::from_secs(1), || pair.gateway.pid() > 0).await;
}
