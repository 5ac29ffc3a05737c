//! What Prometheus scrapes (`[metrics]`): names after prometheus.io, all with `opensandbox_gateway_` in front but the process's.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{
    backend::BackendCalls,
    labels::{Code, HandshakeFailure, OfProtocol, OfReason, OfSandboxes, Protocol, Rejection, Request},
    process::ProcessCollector,
    streams::LiveStreams,
    tls::TlsMetrics,
};
use crate::{
    accept,
    model::sandbox::{Sandbox, State},
    router::LOGS,
};

/// What stands in front of all names.
const PREFIX: &str = "opensandbox_gateway";

/// Bounds of the buckets for requests, in seconds.
const REQUESTS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 180.0];

/// A form in which metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// The program's metrics.
#[derive(Debug)]
pub struct Prometheus {
    registry: Registry,
    runtime: &'static str,
    requests: Family<Request, Counter>,
    durations: Family<Request, Histogram, fn() -> Histogram>,
    connections: Family<OfProtocol, Gauge>,
    rejected: Family<OfReason, Counter>,
    sandboxes: Family<OfSandboxes, Gauge>,
    drain: Gauge,
    streams: Arc<LiveStreams>,
    backend: BackendCalls,
    tls: TlsMetrics,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    revision: &'static str,
    rustc: &'static str,
}

impl Prometheus {
    /// Metrics of a program whose sandboxes run on `runtime`, whose logs it reads from `source`.
    pub fn new(runtime: &'static str, source: &'static str) -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(ProcessCollector));
        let registry = root.sub_registry_with_prefix(PREFIX);
        let build = Family::<Build, Gauge>::default();
        let [version, revision, rustc] = [env!("CARGO_PKG_VERSION"), env!("GATEWAY_REVISION"), env!("GATEWAY_RUSTC")];
        build.get_or_create(&Build { version, revision, rustc }).set(1);
        registry.register("build_info", "What is running", build);
        let requests = Family::default();
        registry.register(
            "http_requests",
            "Requests, by their answer's status; code '0' is a client that left before",
            Family::clone(&requests),
        );
        let durations: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(REQUESTS));
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's head to its answer's; without log streams",
            Unit::Seconds,
            Family::clone(&durations),
        );
        let connections = Family::default();
        for protocol in Protocol::ALL {
            drop(connections.get_or_create(&OfProtocol { protocol: protocol.label() }));
        }
        registry.register("http_connections", "Connections of clients that are open", Family::clone(&connections));
        let rejected = Family::default();
        for reason in Rejection::ALL {
            drop(rejected.get_or_create(&OfReason { reason: reason.label() }));
        }
        registry.register("log_rejected", "Log requests that were refused", Family::clone(&rejected));
        let streams = LiveStreams::register(registry, runtime, source);
        let backend = BackendCalls::register(registry, runtime);
        let tls = TlsMetrics::register(registry);
        let sandboxes = Family::default();
        let help = "Sandboxes, by state; nothing while the runtime cannot be asked";
        registry.register("sandboxes", help, Family::clone(&sandboxes));
        let drain = Gauge::default();
        registry.register("drain_state", "Whether the program is ending", drain.clone());
        Self {
            registry: root,
            runtime,
            requests,
            durations,
            connections,
            rejected,
            sandboxes,
            drain,
            streams,
            backend,
            tls,
        }
    }

    /// The open log streams.
    pub fn streams(&self) -> &Arc<LiveStreams> {
        &self.streams
    }

    /// Writes all metrics in `format`.
    pub fn encode(&self, format: Format) -> String {
        let mut text = String::new();
        let written = match format {
            Format::Text => prometheus_text::encode(&mut text, &self.registry),
            Format::OpenMetrics => text::encode(&mut text, &self.registry),
        };
        // Neither a string nor our labels and collectors can fail.
        if let Err(error) = written {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }

    /// Tells whether the program is ending.
    pub fn set_draining(&self, is_draining: bool) {
        self.drain.set(i64::from(is_draining));
    }

    /// Tells what sandboxes there are; nothing when that is not known.
    pub fn set_sandboxes(&self, sandboxes: Option<&[Sandbox]>) {
        let Some(sandboxes) = sandboxes else { return self.sandboxes.clear() };
        for state in State::ALL {
            let labels = OfSandboxes { runtime: self.runtime, state: state.name() };
            let count = sandboxes.iter().filter(|sandbox| sandbox.status.state == state).count();
            self.sandboxes.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn backend(&self) -> &BackendCalls {
        &self.backend
    }

    pub(super) fn answered(
        &self,
        method: &'static str,
        route: &'static str,
        status: Option<StatusCode>,
        time: Duration,
    ) {
        let labels = Request { route, method, code: Code::of(status) };
        self.requests.get_or_create(&labels).inc();
        // An answered log request has only begun.
        if route != LOGS || status != Some(StatusCode::OK) {
            self.durations.get_or_create(&labels).observe(time.as_secs_f64());
        }
    }

    pub(super) fn connection(&self, protocol: Protocol) -> ConnectionGuard {
        let gauge = self.connections.get_or_create_owned(&OfProtocol { protocol: protocol.label() });
        gauge.inc();
        ConnectionGuard(gauge)
    }

    pub(super) fn handshake_failed(&self, reason: HandshakeFailure) {
        self.tls.failed(reason);
    }

    pub(super) fn set_certificate(&self, until: Option<Timestamp>) {
        self.tls.set_not_after(until);
    }

    pub(super) fn log_rejected(&self, reason: Rejection) {
        self.rejected.get_or_create(&OfReason { reason: reason.label() }).inc();
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Format {
    /// The form that an `Accept` header (RFC 9110 §12.5.1) likes best: OpenMetrics 1.0.0 when it is named and nothing is
    /// preferred to it, else Prometheus' own text, which every scraper takes.
    pub fn accepted(accept: &str) -> Self {
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        for range in accept::ranges(accept) {
            let version = range.param("version");
            match range.kind.as_str() {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    open = open.max(range.quality);
                }
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => text = text.max(range.quality),
                "text/*" | "*/*" => text = text.max(range.quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of this form.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_negotiated() {
        for (accept, format) in [
            // Prometheus 2.42, 2.53 and 3.5.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format::Text),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html", Format::Text),
            ("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=nan, text/plain", Format::Text),
            ("text/plain, application/openmetrics-text;q=0.9", Format::Text),
            (";;;=,q=,,", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn both_forms_have_their_marks() {
        let metrics = Prometheus::new("docker", "engine");
        metrics.answered("GET", "/health", Some(StatusCode::OK), Duration::from_millis(2));
        metrics.answered("GET", LOGS, Some(StatusCode::OK), Duration::from_millis(2));
        let connection = metrics.connection(Protocol::Http1);
        let open = metrics.encode(Format::OpenMetrics);
        let text = metrics.encode(Format::Text);
        drop(connection);
        assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"), "{text}");
        assert!(open.contains("# TYPE opensandbox_gateway_http_requests counter\n"), "{open}");
        assert!(text.contains("# TYPE opensandbox_gateway_http_requests_total counter\n"), "{text}");
        for written in [open, text] {
            for line in [
                "opensandbox_gateway_http_requests_total{route=\"/health\",method=\"GET\",code=\"200\"} 1\n",
                "opensandbox_gateway_http_request_duration_seconds_count{route=\"/health\",method=\"GET\",code=\"200\"} 1\n",
                "opensandbox_gateway_http_connections{protocol=\"http/1.1\"} 1\n",
                "opensandbox_gateway_log_streams_total{runtime=\"docker\",format=\"text\",end=\"ended_by_admin\"} 0\n",
                "opensandbox_gateway_log_rejected_total{reason=\"global_limit\"} 0\n",
                "opensandbox_gateway_drain_state 0\n",
                "process_open_fds ",
                "process_cpu_seconds_total ",
            ] {
                assert!(written.contains(line), "{line}{written}");
            }
            assert!(!written.contains("duration_seconds_count{route=\"/sandboxes/{sandbox_id}/logs\""), "{written}");
            assert!(!written.contains("opensandbox_gateway_sandboxes{"), "nobody was asked: {written}");
        }
        assert!(metrics.encode(Format::Text).contains("http_connections{protocol=\"http/1.1\"} 0\n"));
    }
}
