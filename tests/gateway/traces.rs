//! Spans, as a collector gets them (`[otel] traces`, config.md), and the trace that others are told of.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

use crate::{
    Pair, Setup,
    proxy::Proxied,
    proxy_tunnel::{echo, handshake},
    support::{
        backend::Backend,
        client::{Client, request},
        collector::{Collector, attribute},
        engine::Script,
        gateway::free_port,
    },
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Sends spans to `url` as soon as they have ended.
fn traced(setup: Setup, url: &str) -> Setup {
    traced_with(setup, url, "")
}

fn traced_with(setup: Setup, url: &str, lines: &str) -> Setup {
    let section = format!("[otel]\ntraces = true\nendpoint = '{url}'\n{lines}");
    setup.section(&section).env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(span: &Span, keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| attribute(&span.attributes, key)).collect()
}

fn is_of(route: &'static str) -> impl Fn(&Span) -> bool {
    move |span| attribute(&span.attributes, "http.route") == route && span.kind == SpanKind::Server as i32
}

const LOGS: &str = "/sandboxes/{sandbox_id}/logs";

#[tokio::test]
async fn a_request_and_its_calls_are_spans_below_the_client_s() {
    let collector = Collector::start("200 OK");
    let pair = Pair::with(|setup| traced_with(setup.api_key("k"), &collector.url(), "service_name = 'mine'"));
    let target = pair.log(Script::texts(["hello\n"]), "tail=secret5");
    let target = target.replace("secret5", "5");
    let lines = [PARENT, "tracestate: a=1", "User-Agent: probe/1", "OPEN-SANDBOX-API-KEY: k"];
    assert_eq!(request(pair.address(), "GET", &target, &lines, "").await.body, "hello\n");
    let span = collector.span("the request's span", is_of(LOGS)).await;
    assert_eq!(span.name, "GET /sandboxes/{sandbox_id}/logs");
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id), &*span.trace_state),
        (TRACE.into(), CALLER.into(), "a=1")
    );
    let id = target.split('/').nth(3).unwrap();
    let keys = [
        "http.request.method",
        "http.response.status_code",
        "http.response.body.size",
        "url.path",
        "client.address",
        "network.protocol.version",
        "user_agent.original",
        "opensandbox.sandbox.id",
        "opensandbox.key.name",
        "opensandbox.end",
        "error.type",
    ];
    let path = format!("/v1/sandboxes/{id}/logs");
    let expected = ["GET", "200", "6", &path, "127.0.0.1", "1.1", "probe/1", id, "api_key", "complete", ""];
    assert_eq!(attributes(&span, &keys), expected);
    assert!(!format!("{span:?}").contains("tail="), "a query may have what is nobody's business: {span:?}");
    let call = collector.span("a call's span", |span| span.name == "docker container_logs").await;
    assert_eq!(
        (hex(&call.trace_id), &call.parent_span_id, call.kind),
        (TRACE.into(), &span.span_id, SpanKind::Client as i32)
    );
    assert_eq!(
        attributes(&call, &["opensandbox.backend.operation", "http.response.status_code"]),
        ["container_logs", "200"]
    );
    assert!(
        call.start_time_unix_nano >= span.start_time_unix_nano && call.end_time_unix_nano <= span.end_time_unix_nano
    );
    // What the gateway does of its own accord, such as its pings of the engine, has no spans.
    assert!(
        collector.spans().iter().all(|span| !span.parent_span_id.is_empty() || span.kind == SpanKind::Server as i32)
    );
    let sent = &collector.received()[0];
    assert_eq!((&*sent.head[0], &*sent.resource("service.name")), ("POST /v1/traces HTTP/1.1", "mine"));
}

#[tokio::test]
async fn a_follow_is_one_span_that_ends_with_it() {
    let collector = Collector::start("200 OK");
    let pair = Pair::with(|setup| traced(setup, &collector.url()));
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&target).await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    collector.span("the call's span", |span| span.name == "docker container_logs").await;
    assert!(!collector.spans().iter().any(is_of(LOGS)), "it lasts");
    client.close();
    let span = collector.span("the stream's span", is_of(LOGS)).await;
    let keys = ["opensandbox.end", "opensandbox.logs.follow", "http.response.body.size", "error.type"];
    assert_eq!(attributes(&span, &keys), ["client_gone", "true", "6", ""]);
}

#[tokio::test]
async fn what_the_backend_breaks_off_is_an_error() {
    let collector = Collector::start("200 OK");
    let mut pair = Pair::with(|setup| traced(setup, &collector.url()));
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&target).await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    pair.engine.kill();
    let span = collector.span("the stream's span", is_of(LOGS)).await;
    assert_eq!(attributes(&span, &["opensandbox.end", "error.type"]), ["backend_lost", "backend_lost"]);
    assert_eq!(span.status.unwrap().code, StatusCode::Error as i32);
}

/// The value of a header in a head that a backend was sent.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name)).map(|(_, value)| value)
}

#[tokio::test]
async fn a_proxied_server_is_told_the_gateway_s_span() {
    let collector = Collector::start("200 OK");
    let (proxied, mirror) = (Proxied::with(|setup| traced(setup, &collector.url())).await, Backend::mirror().await);
    let lines = [PARENT, "tracestate: a=1", "tracestate: b=2", "Connection: traceparent"];
    let target = proxied.target(mirror.port, "/hunter2?x=1");
    let seen = request(proxied.address(), "GET", &target, &lines, "").await;
    let seen = String::from_utf8_lossy(&seen.body).into_owned();
    let span = collector.span("the request's span", |span| span.name.contains("/proxy/")).await;
    let told = format!("00-{TRACE}-{}-01", hex(&span.span_id));
    assert_eq!((field(&seen, "traceparent"), field(&seen, "tracestate")), (Some(&*told), Some("a=1,b=2")));
    assert_eq!(hex(&span.parent_span_id), CALLER);
    assert!(!format!("{span:?}").contains("hunter2"), "{span:?}");
    assert_eq!(seen.matches("traceparent").count(), 1, "{seen}");
}

#[tokio::test]
async fn so_is_the_server_of_a_websocket() {
    let collector = Collector::start("200 OK");
    let proxied = Proxied::with(|setup| traced(setup, &collector.url())).await;
    let backend = Backend::start(echo).await;
    let mut client = proxied.connect().await;
    let asked = handshake(&proxied.target(backend.port, "/ws"));
    client.send(asked.replace("X-Foo: 1\r\n", &format!("{PARENT}\r\n"))).await;
    assert_eq!(client.head().await.status, 101);
    let length = client.raw_line().await;
    let length: usize = std::str::from_utf8(&length).unwrap().trim().parse().unwrap();
    let head = String::from_utf8(client.raw(length).await.to_vec()).unwrap();
    client.send("bye").await;
    let span = collector.span("the request's span", |span| span.name.contains("/proxy/")).await;
    assert_eq!(field(&head, "traceparent"), Some(&*format!("00-{TRACE}-{}-01", hex(&span.span_id))));
    assert_eq!(attributes(&span, &["http.response.status_code"]), ["101"]);
}

#[tokio::test]
async fn a_client_that_does_not_want_it_is_not_traced_and_its_server_is_told() {
    let collector = Collector::start("200 OK");
    let (proxied, mirror) = (Proxied::with(|setup| traced(setup, &collector.url())).await, Backend::mirror().await);
    let target = proxied.target(mirror.port, "/");
    let lines = [&PARENT.replace("-01", "-00")[..]];
    let seen = request(proxied.address(), "GET", &target, &lines, "").await;
    let seen = String::from_utf8_lossy(&seen.body).into_owned();
    let told = field(&seen, "traceparent").unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00") && !told.contains(CALLER), "{told}");
    request(proxied.address(), "GET", "/version", &[PARENT], "").await;
    collector.span("the last request's span", is_of("/version")).await;
    assert!(!collector.spans().iter().any(|span| span.name.contains("/proxy/")));
}

#[tokio::test]
async fn what_is_no_traceparent_begins_a_new_trace() {
    let collector = Collector::start("200 OK");
    let (proxied, mirror) = (Proxied::with(|setup| traced(setup, &collector.url())).await, Backend::mirror().await);
    let target = proxied.target(mirror.port, "/");
    for lines in [
        vec!["traceparent: hunter2".to_owned()],
        vec![format!("traceparent: {}", "0".repeat(8_000))],
        vec![PARENT.to_owned(), PARENT.to_owned()],
        vec![PARENT.to_uppercase()],
        vec![PARENT.replace(TRACE, &"0".repeat(32))],
        vec![PARENT.replace("00-4", "ff-4")],
        vec![format!("{PARENT}-more")],
        vec!["traceparent: \u{202e}\u{e9}".to_owned()],
    ] {
        let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
        lines.push("tracestate: a=hunter2");
        let seen = request(proxied.address(), "GET", &target, &lines, "").await;
        assert_eq!(seen.status(), 200, "{lines:?}");
        let seen = String::from_utf8_lossy(&seen.body).into_owned();
        let told = field(&seen, "traceparent").unwrap();
        assert!(told.len() == 55 && told.ends_with("-01") && !told.contains(TRACE), "{told}");
        assert!(!seen.contains("hunter2") && !seen.contains("tracestate"), "{seen}");
    }
    // A state that is none costs the state alone.
    let long = format!("tracestate: a={}", "x".repeat(4_000));
    let seen = request(proxied.address(), "GET", &target, &[PARENT, &long], "").await;
    let seen = String::from_utf8_lossy(&seen.body).into_owned();
    assert!(field(&seen, "traceparent").unwrap().contains(TRACE) && !seen.contains("tracestate"), "{seen}");
}

#[tokio::test]
async fn without_it_nothing_is_sent_and_headers_pass_as_they_are() {
    let collector = Collector::start("200 OK");
    let section = format!("[otel]\nendpoint = '{}'", collector.url());
    let change = |setup: Setup| setup.section(&section).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let (mut proxied, mirror) = (Proxied::with(change).await, Backend::mirror().await);
    let lines = ["traceparent: what is this", "tracestate: a=1", "X-Request-Id: the-one"];
    let seen = request(proxied.address(), "GET", &proxied.target(mirror.port, "/"), &lines, "").await;
    let seen = String::from_utf8_lossy(&seen.body).into_owned();
    assert_eq!((field(&seen, "traceparent"), field(&seen, "tracestate")), (Some("what is this"), Some("a=1")));
    proxied.gateway.terminate();
    assert!(proxied.gateway.wait(Duration::from_secs(20)).success());
    assert!(collector.received().is_empty());
    let output = proxied.gateway.output();
    assert!(output.contains("[the-one]") && !output.contains("trace_id"), "{output}");
}

#[tokio::test]
async fn log_lines_name_the_trace() {
    let collector = Collector::start("200 OK");
    let pair = Pair::with(|setup| traced(setup, &collector.url()));
    request(pair.address(), "GET", "/v1/sandboxes/nobody", &[PARENT, "X-Request-Id: the-one"], "").await;
    let line = pair.access_line("the-one").await;
    assert!(line.ends_with(&format!(" trace_id={TRACE}")), "{line}");
    let pair = Pair::with(|setup| traced(setup, &collector.url()).section("[log]\nformat = \"json\""));
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.send_get(&target, &["X-Request-Id: the-other", PARENT]).await;
    assert_eq!(client.head().await.status, 200);
    client.close();
    let line = pair.access_line("the-other").await;
    let span = collector.span("the stream's span", is_of(LOGS)).await;
    let output = pair.gateway.output();
    // The line of its beginning and that of its end.
    assert_eq!(output.lines().filter(|line| line.contains("the-other")).count(), 2, "{output}");
    for line in output.lines().filter(|line| line.contains("the-other")) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["trace_id"], &line["span_id"]), (&TRACE.into(), &hex(&span.span_id).into()));
    }
    assert!(line.contains("\"end\":\"client_gone\""), "{line}");
}

#[tokio::test]
async fn a_share_of_the_traces_can_be_sent() {
    let collector = Collector::start("200 OK");
    for (lines, variable) in [("traces_sample_ratio = 0", None), ("", Some("parentbased_always_off"))] {
        let mut setup = traced_with(Setup::process(), &collector.url(), lines);
        if let Some(sampler) = variable {
            setup = setup.env("OTEL_TRACES_SAMPLER", sampler);
        }
        let mut gateway = setup.start();
        for _ in 0..20 {
            request(gateway.address(), "GET", "/version", &[], "").await;
        }
        // The client's decision counts.
        request(gateway.address(), "GET", "/version", &[PARENT], "").await;
        gateway.terminate();
        assert!(gateway.wait(Duration::from_secs(20)).success());
    }
    let spans: Vec<_> = collector.spans().into_iter().filter(is_of("/version")).collect();
    assert_eq!(spans.iter().map(|span| hex(&span.trace_id)).collect::<Vec<_>>(), [TRACE, TRACE]);
}

#[tokio::test]
async fn the_environment_names_the_collector_too() {
    let collector = Collector::start("200 OK");
    let setup = Setup::process().section("[otel]\ntraces = true").env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let url = format!("{}/own/v1/traces", collector.url());
    let setup = setup.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &url).env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a");
    let gateway = setup.start();
    request(gateway.address(), "GET", "/version", &[], "").await;
    collector.span("a span", is_of("/version")).await;
    let head = collector.received()[0].head.clone();
    assert_eq!(head[0], "POST /own/v1/traces HTTP/1.1");
    assert!(head.iter().any(|line| line.eq_ignore_ascii_case("x-team: a")), "{head:?}");
}

#[tokio::test]
async fn an_address_of_metrics_alone_is_said() {
    let gateway = traced(Setup::process(), "http://127.0.0.1:1/own?hunter2").start();
    gateway.says("otel.endpoint has a path of its own; set otel.traces_endpoint").await;
    assert_eq!(request(gateway.address(), "GET", "/version", &[], "").await.status(), 200);
    assert!(!gateway.output().contains("hunter2"), "{}", gateway.output());
}

#[tokio::test]
async fn a_collector_that_is_not_there_or_hangs_harms_nobody() {
    // A listener that takes connections, by way of the kernel, and never reads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for (address, says) in [(dead, true), (silent.local_addr().unwrap(), false)] {
        let mut gateway = traced(Setup::process(), &format!("http://me:hunter2@{address}")).start();
        let mut client = Client::connect(gateway.address()).await;
        // More than may wait.
        for _ in 0..3_000 {
            assert_eq!(client.request("GET", "/version", &[], "").await.status(), 200);
        }
        if says {
            gateway.says("traces cannot be delivered").await;
        }
        gateway.says("spans were lost").await;
        gateway.terminate();
        assert!(gateway.wait(Duration::from_secs(20)).success());
        let output = gateway.output();
        assert!(!output.contains("hunter2"), "{output}");
        assert!(output.matches("spans were lost").count() < 10, "{output}");
    }
}

/// A real collector: Rotel, which passes on what it receives.
struct Rotel(Child, #[expect(dead_code, reason = "its files")] tempfile::TempDir);

impl Rotel {
    fn start(port: u16, to: &Collector) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/collector"));
        command.args(["--", "start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"]);
        command.args(["--otlp-exporter-endpoint", &to.url()]);
        command.arg(format!("--otlp-http-endpoint=127.0.0.1:{port}"));
        command.arg(format!("--otlp-grpc-endpoint=127.0.0.1:{}", free_port()));
        command.arg(format!("--pid-file={}", dir.path().join("pid").display()));
        command.arg(format!("--log-file={}", dir.path().join("log").display()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self(child, dir)
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_real_collector_understands_them() {
    let (collector, port) = (Collector::start("200 OK"), free_port());
    let _rotel = Rotel::start(port, &collector);
    let pair = Pair::with(|setup| traced(setup, &format!("http://127.0.0.1:{port}")));
    // It may be installed only now. Until then spans are lost.
    let target = pair.log(Script::texts(["hello\n"]), "");
    let has_come = || collector.spans().iter().any(is_of(LOGS));
    let asked = async {
        while !has_come() {
            request(pair.address(), "GET", &target, &[PARENT, "tracestate: a=1"], "").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    crate::support::bounded("spans by way of Rotel", asked).await;
    let span = collector.span("the request's span", is_of(LOGS)).await;
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id), &*span.trace_state),
        (TRACE.into(), CALLER.into(), "a=1")
    );
    assert_eq!(attributes(&span, &["http.response.status_code", "opensandbox.end"]), ["200", "complete"]);
    let is_child = |other: &Span| other.name == "docker container_logs" && other.trace_id == span.trace_id;
    collector.span("its call's", is_child).await;
}
