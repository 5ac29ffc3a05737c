//! What is sent to a collector if the configuration has one (`[otel]`, config.md).
//!
//! Names, units and bounds are those of the existing server, so that its dashboards keep working. Recording is an addition
//! under a lock. A thread of the SDK sends; a failure of it is only logged.

pub(super) mod export;

use std::{fmt, sync::Arc, thread, time::Duration};

use http::StatusCode;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{Histogram, MeterProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use tokio::sync::oneshot;

use crate::{
    config,
    model::metrics::{CreateEvent, Sdk},
};

/// Bounds of the buckets for creations, in milliseconds.
const CREATE_BOUNDS: [f64; 9] = [100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4];

/// Bounds of the buckets for requests, in milliseconds.
const REQUEST_BOUNDS: [f64; 14] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4];

/// The instruments, or none of them.
#[derive(Debug, Clone, Default)]
pub struct Otlp(Option<Arc<Instruments>>);

struct Instruments {
    provider: SdkMeterProvider,
    created: Histogram<f64>,
    requests: Histogram<f64>,
}

/// What this process is called where its metrics and spans go.
pub fn resource(otel: &config::Otel) -> Resource {
    Resource::builder()
        .with_service_name(otel.service_name.clone())
        .with_attribute(KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()))
        .build()
}

impl Otlp {
    /// Starts measuring and sending as `resource`, if `otel` says so. Needs the tokio runtime that is to do the sending.
    ///
    /// # Errors
    /// The collector's address cannot be understood; the text holds nothing of it.
    pub fn start(otel: &config::Otel, resource: Resource) -> Result<Self, String> {
        if !otel.enabled {
            return Ok(Self::default());
        }
        let reader = PeriodicReader::builder(export::metrics(otel)?).with_interval(otel.export_interval).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
        Ok(Self(Some(Arc::new(Instruments::new(provider)))))
    }

    /// Records how long a client's creation of a sandbox took.
    pub fn created(&self, event: CreateEvent, sdk: Sdk) {
        let Some(instruments) = &self.0 else { return };
        let attributes = [
            KeyValue::new("sdk.language", sdk.language),
            KeyValue::new("sdk.version", sdk.version),
            KeyValue::new("success", event.success),
        ];
        instruments.created.record(event.duration_ms as f64, &attributes);
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records how long a request waited for its answer's head. `method` is a known one, `route` the path's template.
    pub fn answered(&self, method: &'static str, route: &'static str, status: StatusCode, time: Duration) {
        let Some(instruments) = &self.0 else { return };
        let attributes = [
            KeyValue::new("http_method", method),
            KeyValue::new("http_route", route),
            KeyValue::new("http_status_code", i64::from(status.as_u16())),
        ];
        instruments.requests.record(time.as_secs_f64() * 1e3, &attributes);
    }

    /// Sends what has not been sent, for at most `timeout`.
    pub async fn shutdown(&self, timeout: Duration) {
        let Some(instruments) = self.0.clone() else { return };
        let (done, sent) = oneshot::channel();
        // A thread of its own, which the end of the program need not wait for.
        thread::spawn(move || {
            // The receiver is gone if its wait timed out.
            let _ = done.send(instruments.provider.shutdown());
        });
        match tokio::time::timeout(timeout, sent).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => tracing::warn!("the last metrics could not be sent"),
            Err(_) => tracing::warn!("the last metrics were not sent within {} s", timeout.as_secs()),
        }
    }
}

impl Instruments {
    fn new(provider: SdkMeterProvider) -> Self {
        let scope = InstrumentationScope::builder("opensandbox.server").build();
        let meter = provider.meter_with_scope(scope);
        let created = meter
            .f64_histogram("opensandbox.sandbox.create.duration")
            .with_unit("ms")
            .with_description("Sandbox creation latency from SDK create start until ready or failure")
            .with_boundaries(CREATE_BOUNDS.to_vec())
            .build();
        let requests = meter
            .f64_histogram("server.http.request.duration")
            .with_unit("ms")
            .with_description("Server HTTP request duration by method, route template, and status code")
            .with_boundaries(REQUEST_BOUNDS.to_vec())
            .build();
        Self { provider, created, requests }
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_measured_without_a_collector() {
        let metrics = Otlp::default();
        metrics.answered("GET", "/health", StatusCode::OK, Duration::ZERO);
        metrics.shutdown(Duration::ZERO).await;
        assert!(metrics.0.is_none());
    }
}
