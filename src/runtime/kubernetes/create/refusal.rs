//! Why an operator makes no pod: it warns of that in events of the sandbox's object, and says nothing in the object itself.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    error::{Error, Family, Kind},
    runtime::kubernetes::{
        Inner, Scope,
        client::is_about_quota,
        objects::{Event, bounded},
        workload::Workload,
    },
};

/// How long the events may take when the sandbox's time is over already.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most characters of an event's words that are told.
const MAX_MESSAGE: usize = 512;

/// The most characters of an event's reason, a word such as `FailedCreate`.
const MAX_REASON: usize = 128;

/// An operator's last warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    reason: String,
    message: String,
}

impl Refusal {
    /// The newest warning among the events of a sandbox's object.
    fn of(events: &[Event]) -> Option<Self> {
        let warnings = events.iter().filter(|event| event.kind.as_deref() == Some("Warning"));
        let last = warnings.max_by_key(|event| event.moment())?;
        let [reason, message] = [&last.reason, &last.message].map(|text| text.as_deref().unwrap_or_default());
        Some(Self::new(reason, message))
    }

    /// A warning of these words, cut and in one line.
    pub(super) fn new(reason: &str, message: &str) -> Self {
        let told = |text: &str, most| bounded(text.trim(), most).replace(['\n', '\t'], " ");
        Self { reason: told(reason, MAX_REASON), message: told(without_objects(message), MAX_MESSAGE) }
    }

    /// The namespace may have no more pods, or its pods no more of something.
    pub(super) fn is_about_quota(&self) -> bool {
        is_about_quota(&self.message)
    }

    /// In words, for behind an error.
    pub(super) fn words(&self) -> String {
        format!("the operator makes no pod ({}: {})", self.reason, self.message)
    }

    /// The error for a sandbox that there is no quota for.
    pub(super) fn over_quota(&self) -> Error {
        over_quota(&self.message)
    }
}

/// A message up to the first object that it quotes: operators append the whole pod, with the variables and so the secrets of the
/// sandbox (`…, pod: {"metadata":…`), and the API server the values that it refuses.
fn without_objects(message: &str) -> &str {
    let Some((before, _)) = message.split_once('{') else { return message };
    let plain = |text: &str| text.trim_end_matches([' ', ',', ':']).len();
    let before = &before[..plain(before)];
    before.strip_suffix("pod").map_or(before, |rest| &rest[..plain(rest)])
}

/// A namespace may have no more, in the cluster's words, without the objects that they quote.
pub(super) fn over_quota(words: &str) -> Error {
    let words = without_objects(words);
    Error::new(Family::KubeQuota, Kind::Denied, format!("Namespace ResourceQuota exceeded: {words}"))
}

impl Inner {
    /// Why the operator makes no pod for a sandbox; none if it has not warned of anything, or if that cannot be told now.
    pub(super) async fn refusal(&self, scope: &Scope, workload: &Workload) -> Option<Refusal> {
        let events = self.events_of(scope, workload.name(), workload.uid());
        match timeout(PATIENCE, events).await {
            Ok(Ok(events)) => Refusal::of(&events),
            Ok(Err(failure)) => {
                tracing::debug!(sandbox = workload.id(), %failure, "the events of a sandbox without a pod cannot be read");
                None
            }
            Err(_) => {
                tracing::debug!(
                    sandbox = workload.id(),
                    "the events of a sandbox without a pod are not read in {PATIENCE:?}"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(kind: &str, reason: &str, message: &str, second: u32) -> Value {
        json!({"type": kind, "reason": reason, "message": message,
            "lastTimestamp": format!("2026-11-26T13:08:{second:02}Z")})
    }

    fn of(events: &[Value]) -> Option<Refusal> {
        let read = |event: &Value| serde_json::from_value::<Event>(event.clone()).unwrap();
        Refusal::of(&events.iter().map(read).collect::<Vec<_>>())
    }

    #[test]
    fn the_last_warning_counts() {
        let quota = "Error creating: pods \"x-0\" is forbidden: exceeded quota: q, requested: pods=1";
        let events = [
            event("Warning", "FailedCreate", quota, 9),
            event("Warning", "FailedCreate", "Error creating: timed out", 3),
            event("Normal", "SuccessfulCreate", "Created pod: x-0", 20),
        ];
        let refusal = of(&events).unwrap();
        assert!(refusal.is_about_quota());
        assert_eq!(refusal.words(), format!("the operator makes no pod (FailedCreate: {quota})"));
        assert_eq!(refusal.over_quota().key(), (Family::KubeQuota, Kind::Denied));
        assert!(!of(&events[1..]).unwrap().is_about_quota());
        assert_eq!((of(&events[2..]), of(&[])), (None, None));
    }

    /// As a cluster was seen to say it.
    #[test]
    fn the_pod_in_it_is_left_out() {
        let words =
            "failed to create pod: pods \"x-0\" is forbidden: exceeded quota: q, requested: pods=1, limited: pods=1";
        let event = |message: &str| of(&[event("Warning", "FailedCreate", message, 1)]).unwrap().message;
        assert_eq!(event(&format!("{words}, pod: {{\"spec\":{{\"env\":[\"SECRET")), words);
        assert_eq!(event("Invalid value: core.Container{Env: SECRET}: no"), "Invalid value: core.Container");
        assert_eq!(event("{SECRET}"), "");
        assert_eq!(event(words), words);
    }

    #[test]
    fn its_words_are_cut_and_cleaned() {
        let refusal = of(&[event("Warning", &"r".repeat(500), &format!("a\u{1b}[2J\r\nb{}", "é".repeat(2000)), 1)]);
        let words = refusal.unwrap().words();
        assert!(words.contains("a [2J  b") && !words.contains(char::is_control), "{words}");
        assert!(words.chars().count() < 700, "{}", words.len());
    }
}
