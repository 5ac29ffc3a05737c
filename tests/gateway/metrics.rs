//! Metrics, as a collector gets them (`[otel]`, config.md).

use std::time::{Duration, Instant};

use crate::{
    Gateway, Setup,
    support::{
        client::{get_once, request},
        collector::{Collector, Delivery, attribute},
        eventually,
        gateway::free_port,
    },
};

const EVENT: &str = r#"{"eventType":"sandbox.create","createDurationMs":300,"success":true}"#;
const REQUESTS: &str = "server.http.request.duration";
const CREATIONS: &str = "opensandbox.sandbox.create.duration";

fn otel(lines: &str) -> Setup {
    Setup::process().section(&format!("[otel]\nenabled = true\n{lines}"))
}

/// Ends a gateway and gives what it sent last.
fn last_of(mut gateway: Gateway, collector: &Collector) -> Delivery {
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
    collector.received().pop().unwrap_or_else(|| panic!("nothing was sent: {}", gateway.output()))
}

#[tokio::test]
async fn what_was_measured_is_sent_at_the_end() {
    let collector = Collector::start("200 OK");
    let gateway = otel(&format!("endpoint = '{}'\nservice_name = 'mine'", collector.url())).start();
    let lines = ["Content-Type: application/json", "User-Agent: x OpenSandbox-Python-SDK/1.1.1"];
    assert_eq!(request(gateway.address(), "POST", "/v1/metrics/events", &lines, EVENT).await.status(), 204);
    assert_eq!(get_once(gateway.address(), "/v1/sandboxes/nobody").await.status(), 404);
    assert_eq!(get_once(gateway.address(), "/nowhere").await.status(), 404);
    let sent = last_of(gateway, &collector);
    assert_eq!(sent.head[0], "POST /v1/metrics HTTP/1.1");
    assert!(sent.head.iter().any(|line| line.eq_ignore_ascii_case("content-type: application/x-protobuf")));
    assert_eq!(sent.resource("service.name"), "mine");
    let created = &sent.points(CREATIONS)[0];
    assert_eq!((created.count, created.sum, created.explicit_bounds.first()), (1, Some(300.0), Some(&100.0)));
    let named = ["sdk.language", "sdk.version", "success"].map(|key| attribute(&created.attributes, key));
    assert_eq!(named, ["python", "1.1.1", "true"]);
    let mut seen: Vec<_> = sent
        .points(REQUESTS)
        .iter()
        .map(|point| {
            ["http_method", "http_route", "http_status_code"].map(|key| attribute(&point.attributes, key)).join(" ")
        })
        .filter(|point| !point.contains("/health"))
        .collect();
    seen.sort();
    let expected = ["GET /sandboxes/{sandbox_id} 404", "GET unknown 404", "POST /metrics/events 204"];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn they_are_sent_again_and_again() {
    let collector = Collector::start("200 OK");
    let _gateway = otel(&format!("endpoint = '{}'\nexport_interval_millis = 1000", collector.url())).start();
    eventually("two deliveries", Duration::from_secs(10), || collector.received().len() >= 2).await;
}

#[tokio::test]
async fn the_environment_names_the_collector_too() {
    let collector = Collector::start("200 OK");
    let gateway = otel("").env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()).start();
    let sent = last_of(gateway, &collector);
    assert_eq!(
        (sent.head[0].as_str(), sent.resource("service.name").as_str()),
        ("POST /v1/metrics HTTP/1.1", "opensandbox-server")
    );
    let gateway = otel("")
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &format!("{}/own", collector.url()))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a")
        .start();
    let sent = last_of(gateway, &collector);
    assert_eq!(sent.head[0], "POST /own HTTP/1.1");
    assert!(sent.head.iter().any(|line| line.eq_ignore_ascii_case("x-team: a")), "{:?}", sent.head);
}

#[tokio::test]
async fn a_collector_that_is_not_there_harms_nobody() {
    let port = free_port();
    let lines = format!("endpoint = 'http://me:hunter2@127.0.0.1:{port}'\nexport_interval_millis = 1000");
    let mut gateway = otel(&lines).start();
    let said = || gateway.output().contains("metrics cannot be delivered");
    eventually("a warning", Duration::from_secs(10), said).await;
    assert_eq!(get_once(gateway.address(), "/health").await.status(), 200);
    let start = Instant::now();
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert!(!gateway.output().contains("hunter2"), "{}", gateway.output());
    assert_eq!(gateway.output().matches("metrics cannot be delivered").count(), 1);
}

#[tokio::test]
async fn an_address_that_is_none_is_said_and_not_shown() {
    let gateway = otel("endpoint = 'grpc://hunter2'").start();
    let said = || gateway.output().contains("otel.endpoint is not an http or https URL");
    eventually("it is said", Duration::from_secs(10), said).await;
    let output = gateway.output();
    assert!(!output.contains("hunter2"), "{output}");
}
