//! `[otel]`: metrics and spans sent to a collector.

use std::time::Duration;

use super::section::Section;
use crate::secret::Secret;

/// `[otel]`.
#[derive(Debug, Clone)]
pub struct Otel {
    /// Send metrics. Default false.
    pub enabled: bool,
    /// The collector's URL, hidden since it may hold a password; without a
    /// path, that of OTLP (`/v1/metrics`) is meant. Default: what the
    /// `OTEL_EXPORTER_OTLP_*` variables say.
    pub endpoint: Option<Secret>,
    /// Send spans of requests and of backend calls. Default false.
    pub traces: bool,
    /// Where spans are sent, if not to `endpoint` with the path
    /// `/v1/traces` in place of `/v1/metrics`. Hidden as that is.
    pub traces_endpoint: Option<Secret>,
    /// `traces_sample_ratio`, the share of traces that are sent, of those
    /// whose client has not decided it; 0 to 1. Default: what
    /// `OTEL_TRACES_SAMPLER` says, else all.
    pub traces_sample_ratio: Option<f64>,
    /// The name the metrics are sent under. Default `opensandbox-server`.
    pub service_name: String,
    /// `export_interval_millis`, the time between two deliveries; at least
    /// 1000 ms. Default 60000 ms.
    pub export_interval: Duration,
}

impl Otel {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let millis = section.integer("export_interval_millis", 60_000, 1_000..=i64::from(u32::MAX));
        Self {
            enabled: section.boolean("enabled", false),
            endpoint: section.secret("endpoint"),
            traces: section.boolean("traces", false),
            traces_endpoint: section.secret("traces_endpoint"),
            traces_sample_ratio: section.share("traces_sample_ratio"),
            service_name: section.text("service_name").unwrap_or_else(|| "opensandbox-server".to_owned()),
            export_interval: Duration::from_millis(millis),
        }
    }
}
