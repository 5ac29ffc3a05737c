//! TLS on the gateway's own port: handshakes that failed, and until when the certificate is valid.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::labels::{HandshakeFailure, OfReason};

/// What is told of TLS.
#[derive(Debug, Default)]
pub(super) struct TlsMetrics {
    failures: Family<OfReason, Counter>,
    not_after: NotAfter,
}

/// Until when the certificate is valid; nothing where there is none.
#[derive(Debug, Clone, Default)]
struct NotAfter(Arc<Mutex<Option<Timestamp>>>);

impl TlsMetrics {
    /// Shows them in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in HandshakeFailure::ALL {
            drop(metrics.failures.get_or_create(&OfReason { reason: reason.label() }));
        }
        let help = "TLS handshakes that failed; connections that sent nothing are not counted";
        registry.register("tls_handshake_failures", help, Family::clone(&metrics.failures));
        registry.register_collector(Box::new(metrics.not_after.clone()));
        metrics
    }

    pub(super) fn failed(&self, reason: HandshakeFailure) {
        self.failures.get_or_create(&OfReason { reason: reason.label() }).inc();
    }

    pub(super) fn set_not_after(&self, until: Option<Timestamp>) {
        *self.not_after.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Collector for NotAfter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(until) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) else { return Ok(()) };
        let gauge = ConstGauge::new(until.as_second());
        let (name, help) =
            ("tls_certificate_not_after_timestamp", "Until when the certificate of new connections is valid");
        gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), gauge.metric_type())?)
    }
}
