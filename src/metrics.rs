//! What is measured: sent to a collector ([`otlp`], [`traces`], `[otel]`), and scraped by Prometheus ([`prometheus`], `[metrics]`).
//!
//! All are off by default. Recording never waits: it is an addition to a counter that is looked up once a request, a connection
//! or a stream. The log path adds to counters of the stream's own ([`streams`]), which are summed at each scrape. Labels have
//! few values, none of which a client or a sandbox can make up: see [`labels`].

pub mod backend;
pub mod labels;
pub mod otlp;
pub mod process;
pub mod prometheus;
pub mod streams;
mod tls;
pub mod traces;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use jiff::Timestamp;

use self::{
    backend::BackendCalls,
    labels::{HandshakeFailure, Protocol, Rejection},
    otlp::Otlp,
    prometheus::{ConnectionGuard, Prometheus},
    streams::{LiveStreams, StreamGuard, StreamInfo},
    traces::Traces,
};
use crate::{
    client::ClientWatch,
    model::metrics::{CreateEvent, Sdk},
};

/// The exporters that are configured.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    otlp: Otlp,
    prometheus: Option<Arc<Prometheus>>,
    traces: Traces,
    runtime: &'static str,
}

/// Records how long a request waits for its answer's head. If it is dropped before, the client has left.
#[derive(Debug)]
pub struct RequestTimer {
    metrics: Metrics,
    method: &'static str,
    route: &'static str,
    start: Instant,
}

impl Metrics {
    /// Measures for `otlp`, and for `prometheus` if there is one.
    pub fn new(otlp: Otlp, prometheus: Option<Arc<Prometheus>>) -> Self {
        Self { otlp, prometheus, ..Self::default() }
    }

    /// The same, which makes spans in `traces` too. Those of calls name the `runtime`.
    pub fn traced(self, traces: Traces, runtime: &'static str) -> Self {
        Self { traces, runtime, ..self }
    }

    /// Where spans are made.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// What Prometheus scrapes, if anything.
    pub fn prometheus(&self) -> Option<&Arc<Prometheus>> {
        self.prometheus.as_ref()
    }

    /// Records how long a client's creation of a sandbox took.
    pub fn created(&self, event: CreateEvent, sdk: Sdk) {
        self.otlp.created(event, sdk);
    }

    /// A request has come, at `start`, whose path has the template `route`. Nothing when nothing is recorded.
    pub fn request(
        &self,
        method: &Method,
        route: impl FnOnce() -> &'static str,
        start: Instant,
    ) -> Option<RequestTimer> {
        let is_on = self.otlp.is_on() || self.prometheus.is_some();
        is_on.then(|| RequestTimer { metrics: self.clone(), method: labels::method(method), route: route(), start })
    }

    /// Counts a connection for as long as the guard lives.
    pub fn connection(&self, protocol: Protocol) -> Option<ConnectionGuard> {
        self.prometheus.as_ref().map(|prometheus| prometheus.connection(protocol))
    }

    /// Counts a handshake by TLS that failed.
    pub fn handshake_failed(&self, reason: HandshakeFailure) {
        if let Some(prometheus) = &self.prometheus {
            prometheus.handshake_failed(reason);
        }
    }

    /// Tells until when the certificate of new connections is valid; nothing when it does not say.
    pub fn set_certificate(&self, until: Option<Timestamp>) {
        if let Some(prometheus) = &self.prometheus {
            prometheus.set_certificate(until);
        }
    }

    /// Counts a log request that was refused.
    pub fn log_rejected(&self, reason: Rejection) {
        if let Some(prometheus) = &self.prometheus {
            prometheus.log_rejected(reason);
        }
    }

    /// Counts and lists a log stream to the client that `client` watches, for as long as the guard lives.
    pub fn log_stream(&self, info: StreamInfo, client: ClientWatch) -> Option<StreamGuard> {
        self.prometheus.as_ref().map(|prometheus| LiveStreams::open(prometheus.streams(), info, client))
    }

    /// Counts requests to the backend that sandboxes run on, and makes their spans.
    pub fn backend(&self) -> BackendCalls {
        let calls = self.prometheus.as_ref().map(|prometheus| prometheus.backend().clone()).unwrap_or_default();
        calls.traced(&self.traces, self.runtime)
    }

    /// Sends what has not been sent, for at most `timeout`.
    pub async fn shutdown(&self, timeout: Duration) {
        tokio::join!(self.otlp.shutdown(timeout), self.traces.shutdown(timeout));
    }
}

impl RequestTimer {
    /// The answer's head is there.
    pub fn answered(mut self, status: StatusCode) {
        let (metrics, time) = (std::mem::take(&mut self.metrics), self.start.elapsed());
        metrics.otlp.answered(self.method, self.route, status, time);
        if let Some(prometheus) = metrics.prometheus {
            prometheus.answered(self.method, self.route, Some(status), time);
        }
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        // Taken away with the answer.
        if let Some(prometheus) = &self.metrics.prometheus {
            prometheus.answered(self.method, self.route, None, self.start.elapsed());
        }
    }
}
