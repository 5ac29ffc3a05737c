//! `[otel]`: metrics sent to a collector.

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
            service_name: section.text("service_name").unwrap_or_else(|| "opensandbox-server".to_owned()),
            export_interval: Duration::from_millis(millis),
        }
    }
}
