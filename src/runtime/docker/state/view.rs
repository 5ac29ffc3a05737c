//! From the engine's containers to the API's sandboxes.

use std::{collections::HashMap, time::Instant};

use bollard::models::{ContainerInspectResponse, ContainerSummary};

use crate::{
    model::{
        sandbox::{Image, Sandbox, Status},
        timestamp::Timestamp,
    },
    telemetry::rate_limit::{Due, RateLimit},
};

use super::status;
use crate::runtime::docker::{engine::labels, ports::container_addresses::ContainerAddresses};

/// A sandbox as its container showed it, and what tells whether that is still current.
#[derive(Debug, Clone)]
pub(in crate::runtime::docker) struct ContainerView {
    pub(in crate::runtime::docker) sandbox: Sandbox,
    /// The container bears the name that belongs to the sandbox's id.
    pub(in crate::runtime::docker) is_named: bool,
    /// The engine's name for the container's state.
    pub(in crate::runtime::docker) engine_state: String,
    /// The container's id on the engine.
    pub(in crate::runtime::docker) container: String,
    /// When the engine was asked.
    pub(super) seen: Instant,
    /// Where its ports are.
    pub(in crate::runtime::docker) addresses: ContainerAddresses,
    /// The seconds by which an access extends the sandbox's life, if it asked for that.
    pub(in crate::runtime::docker) renewal: Option<i64>,
    /// The sandbox was made to never end by itself.
    pub(in crate::runtime::docker) is_manual: bool,
    /// Which gateway created it, if that was one.
    pub(in crate::runtime::docker) created_by: Option<String>,
}

impl ContainerView {
    /// All that an inspection tells; nothing for a container without an id label.
    pub(in crate::runtime::docker) fn from_inspected(container: &ContainerInspectResponse) -> Option<Self> {
        let none = HashMap::new();
        let config = container.config.as_ref();
        let labels = config.and_then(|config| config.labels.as_ref()).unwrap_or(&none);
        let created = container.created.as_deref().and_then(status::time).unwrap_or_else(epoch);
        let state = container.state.clone().unwrap_or_default();
        let sandbox = Parts {
            labels,
            image: config.and_then(|config| config.image.as_deref()),
            command: config.and_then(|config| config.cmd.clone()).unwrap_or_default(),
            status: status::of_inspected(&state, created),
            created,
        }
        .into_sandbox()?;
        Some(Self {
            is_named: is_own_name(container.name.as_deref(), &sandbox.id),
            engine_state: state.status.map(|name| name.to_string()).unwrap_or_default(),
            container: container.id.clone().unwrap_or_default(),
            seen: Instant::now(),
            addresses: ContainerAddresses::of_inspected(container, labels),
            renewal: labels::renewal(labels),
            is_manual: labels::is_manual(labels),
            created_by: labels::value(labels, labels::CREATED_BY).map(str::to_owned),
            sandbox,
        })
    }

    /// What a list's summary tells, for a container that cannot be inspected: no command, times to the second.
    pub(super) fn from_summary(summary: &ContainerSummary) -> Option<Self> {
        let none = HashMap::new();
        let labels = summary.labels.as_ref().unwrap_or(&none);
        let seconds = summary.created.unwrap_or_default();
        let created = jiff::Timestamp::from_second(seconds).map_or_else(|_| epoch(), Timestamp::from);
        let engine_state = state_name(summary);
        let code = summary.status.as_deref().and_then(status::exit_code);
        let sandbox = Parts {
            labels,
            image: summary.image.as_deref(),
            command: Vec::new(),
            status: status::of_name(&engine_state, code, created),
            created,
        }
        .into_sandbox()?;
        let names = summary.names.iter().flatten();
        Some(Self {
            is_named: names.into_iter().any(|name| is_own_name(Some(name), &sandbox.id)),
            engine_state,
            container: summary.id.clone().unwrap_or_default(),
            seen: Instant::now(),
            addresses: ContainerAddresses::of_labels(labels),
            renewal: labels::renewal(labels),
            is_manual: labels::is_manual(labels),
            created_by: labels::value(labels, labels::CREATED_BY).map(str::to_owned),
            sandbox,
        })
    }
}

/// The engine's name for the state in a summary.
pub(in crate::runtime::docker) fn state_name(summary: &ContainerSummary) -> String {
    summary.state.map(|state| state.to_string()).unwrap_or_default()
}

/// When a sandbox with these labels ends by itself. A label that cannot be read counts as none, and is logged at a limited rate:
/// a container that bears another name is inspected with each request to it.
pub(in crate::runtime::docker) fn expiry(labels: &HashMap<String, String>) -> Option<Timestamp> {
    static WRITTEN: RateLimit = RateLimit::new();
    let text = labels::value(labels, labels::EXPIRES_AT)?;
    let time = expiry_time(text);
    if time.is_none()
        && let Some(Due { left_out }) = WRITTEN.due("expiry")
    {
        tracing::warn!(label = text, left_out, "a sandbox's expiry label cannot be read");
    }
    time
}

/// A time in the existing server's ISO form; one without an offset is in UTC.
pub(in crate::runtime::docker) fn expiry_time(text: &str) -> Option<Timestamp> {
    Timestamp::from_iso(text)
}

struct Parts<'a> {
    labels: &'a HashMap<String, String>,
    image: Option<&'a str>,
    command: Vec<String>,
    status: Status,
    created: Timestamp,
}

impl Parts<'_> {
    fn into_sandbox(self) -> Option<Sandbox> {
        let Self { labels, image, command, status, created } = self;
        let snapshot_id = labels::value(labels, labels::SNAPSHOT_ID).map(str::to_owned);
        let image = image.filter(|_| snapshot_id.is_none()).map(|uri| Image { uri: uri.to_owned() });
        Some(Sandbox {
            id: labels::value(labels, labels::ID)?.to_owned(),
            image,
            snapshot_id,
            platform: labels::platform(labels),
            status,
            metadata: labels::metadata(labels),
            extensions: labels::extensions(labels),
            allocation: None,
            entrypoint: command,
            expires_at: expiry(labels),
            created_at: created,
        })
    }
}

fn is_own_name(name: Option<&str>, id: &str) -> bool {
    name.and_then(|name| name.strip_prefix('/')?.strip_prefix("sandbox-")) == Some(id)
}

fn epoch() -> Timestamp {
    Timestamp::from(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerConfig, ContainerSummaryStateEnum};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn shows_the_requested_reference_and_the_command() {
        let config = ContainerConfig {
            image: Some("alias/busybox:9".to_owned()),
            cmd: Some(vec!["sleep".to_owned(), "9".to_owned()]),
            labels: labels(&[
                (labels::ID, "x"),
                ("owner", "alice"),
                (labels::EXPIRES_AT, "2026-11-23T02:11:21.821916+00:00"),
            ]),
            ..Default::default()
        };
        let container = ContainerInspectResponse {
            name: Some("/sandbox-x".to_owned()),
            created: Some("2026-11-23T02:01:21.828350863Z".to_owned()),
            config: Some(config),
            ..Default::default()
        };
        let view = ContainerView::from_inspected(&container).unwrap();
        assert!(view.is_named);
        assert_eq!(view.sandbox.image.unwrap().uri, "alias/busybox:9");
        assert_eq!(view.sandbox.entrypoint, ["sleep", "9"]);
        assert_eq!(view.sandbox.created_at.to_string(), "2026-11-23T02:01:21.828350Z");
        assert_eq!(view.sandbox.expires_at.unwrap().to_string(), "2026-11-23T02:11:21.821916Z");
    }

    #[test]
    fn garbage_becomes_what_is_known() {
        let container = ContainerInspectResponse {
            created: Some("yesterday".to_owned()),
            config: Some(ContainerConfig {
                labels: labels(&[(labels::ID, "x"), (labels::EXPIRES_AT, "soon")]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let view = ContainerView::from_inspected(&container).unwrap();
        assert_eq!(view.sandbox.expires_at, None);
        assert!(!view.is_named);
        assert!(ContainerView::from_inspected(&ContainerInspectResponse::default()).is_none());
    }

    #[test]
    fn a_summary_stands_in() {
        let summary = ContainerSummary {
            names: Some(vec!["/sandbox-x".to_owned()]),
            created: Some(1_800_000_000),
            state: Some(ContainerSummaryStateEnum::EXITED),
            status: Some("Exited (3) 2 seconds ago".to_owned()),
            labels: labels(&[(labels::ID, "x"), (labels::SNAPSHOT_ID, "s")]),
            image: Some("sha256:0".to_owned()),
            ..Default::default()
        };
        let view = ContainerView::from_summary(&summary).unwrap();
        assert!(view.is_named && view.sandbox.image.is_none());
        assert_eq!(view.sandbox.status.message.as_deref(), Some("Sandbox container exited with code 3."));
    }

    #[test]
    fn a_time_without_offset_is_utc() {
        assert_eq!(expiry_time("2026-11-23T02:11:21").unwrap().to_string(), "2026-11-23T02:11:21Z");
    }
}
