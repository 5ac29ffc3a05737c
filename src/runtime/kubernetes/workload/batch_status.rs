//! What a BatchSandbox is doing (kubernetes-runtime.md §6.1).

use std::{borrow::Cow, sync::Arc};

use super::{address, created_at, platform};
use crate::{
    model::sandbox::{State, Status},
    runtime::kubernetes::objects::{BatchSandbox, BatchStatus, Pod, condition},
};

/// The conditions that say why an operation failed, the one that counts first.
const FAILURES: [&str; 3] = ["PodFailed", "ResumeFailed", "PauseFailed"];

/// Whether only its pods can tell: without a phase, the scheduler's words are theirs alone.
pub(super) fn needs_pods(sandbox: &BatchSandbox) -> bool {
    Phase::of(sandbox).is_none() && address::of_batch(sandbox).is_none() && platform::is_constrained(sandbox.pods())
}

/// What it is doing, since its creation: the object tells no other time.
pub(super) fn of(sandbox: &BatchSandbox, pods: &[Arc<Pod>]) -> Status {
    let deleted = sandbox.metadata.deletion_timestamp.as_ref().map(|time| time.0.into());
    let since = deleted.unwrap_or_else(|| created_at(&sandbox.metadata));
    let (state, reason, message) = state_of(sandbox, pods);
    Status { state, reason: Some(Cow::Borrowed(reason)), message, last_transition_at: Some(since) }
}

/// The operator's phases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Pending,
    Running,
    Pausing,
    Paused,
    Resuming,
    Failed,
}

impl Phase {
    /// Nothing for an operator that tells none, or one that is not known here.
    fn of(sandbox: &BatchSandbox) -> Option<Self> {
        match sandbox.status.phase.as_deref()? {
            "Pending" => Some(Self::Pending),
            "Succeed" | "Running" => Some(Self::Running),
            "Pausing" => Some(Self::Pausing),
            "Paused" => Some(Self::Paused),
            "Resuming" => Some(Self::Resuming),
            "Failed" => Some(Self::Failed),
            _ => None,
        }
    }

    /// Whether its tasks were meant to run on, so that one that failed is the sandbox's failure.
    fn is_at_work(phase: Option<Self>) -> bool {
        matches!(phase, None | Some(Self::Pending | Self::Running))
    }
}

fn state_of(sandbox: &BatchSandbox, pods: &[Arc<Pod>]) -> (State, &'static str, Option<String>) {
    let status = &sandbox.status;
    let text = |text: &str| Some(text.to_owned());
    if sandbox.metadata.deletion_timestamp.is_some() {
        return (State::Stopping, "DELETING", text("Sandbox is being deleted"));
    }
    let phase = Phase::of(sandbox);
    if let Some(failed) = status.task_failed.filter(|failed| *failed > 0 && Phase::is_at_work(phase)) {
        let why = status.task_last_error_message.clone().filter(|why| !why.trim().is_empty());
        return (State::Failed, "TASK_FAILED", why.or_else(|| Some(format!("{failed} sandbox task(s) failed"))));
    }
    match phase {
        Some(Phase::Running) => (State::Running, "RUNNING", text("Sandbox is running")),
        Some(Phase::Pausing) => (State::Pausing, "PAUSING", text("Pausing sandbox")),
        Some(Phase::Paused) => (State::Paused, "PAUSED", text("Sandbox is paused")),
        Some(Phase::Resuming) => (State::Resuming, "RESUMING", text("Resuming sandbox")),
        Some(Phase::Failed) => (State::Failed, "FAILED", Some(failure(status))),
        Some(Phase::Pending) | None => pending(sandbox, pods, phase.is_some()),
    }
}

fn failure(status: &BatchStatus) -> String {
    let failed = FAILURES.iter().filter_map(|kind| condition(&status.conditions, kind)).find(|failed| failed.is_true());
    let message = failed.and_then(|failed| failed.message.clone()).filter(|message| !message.is_empty());
    message.unwrap_or_else(|| "Operation failed".to_owned())
}

/// One that is not ready as far as its phase tells, or that has none.
fn pending(sandbox: &BatchSandbox, pods: &[Arc<Pod>], has_phase: bool) -> (State, &'static str, Option<String>) {
    let status = &sandbox.status;
    let waiting = condition(&status.conditions, "PoolAllocationPending").filter(|waiting| waiting.is_true());
    if let Some(waiting) = waiting {
        return (State::Pending, "POOL_CAPACITY_EXHAUSTED", waiting.message.clone());
    }
    if has_phase {
        return (State::Pending, "CREATING", Some("Sandbox is being created".to_owned()));
    }
    let replicas = status.replicas.unwrap_or_else(|| sandbox.replicas());
    let (allocated, ready) = (status.allocated.unwrap_or_default(), status.ready.unwrap_or_default());
    let counts = format!("({allocated}/{replicas} allocated, {ready} ready)");
    if address::of_batch(sandbox).is_some() {
        return if ready == 1 {
            (State::Running, "POD_READY_WITH_IP", Some(format!("Pod is ready with IP ({ready}/{replicas} ready)")))
        } else {
            (State::Allocated, "IP_ASSIGNED", Some(format!("Pod has IP assigned but not ready {counts}")))
        };
    }
    let own = status.conditions.iter().filter(|condition| !condition.is_true());
    let own = own.filter_map(|condition| platform::unschedulable(condition, sandbox.pods()));
    let of_pods = pods.iter().filter_map(|pod| platform::pod_unschedulable(pod, sandbox.pods()));
    if let Some(message) = own.chain(of_pods).next() {
        return (State::Failed, "POD_PLATFORM_UNSCHEDULABLE", Some(message.to_owned()));
    }
    if allocated > 0 {
        return (State::Pending, "POD_SCHEDULED", Some(format!("Pod is scheduled but waiting for IP {counts}")));
    }
    (State::Pending, "BATCHSANDBOX_PENDING", Some("BatchSandbox is pending allocation".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The state, the reason and the message of a BatchSandbox with a status and annotations.
    fn shown(status: Value, endpoints: Option<&str>, spec: Value, pods: &[Arc<Pod>]) -> (State, String, String) {
        let annotations = endpoints.map(|endpoints| json!({"sandbox.opensandbox.io/endpoints": endpoints}));
        let object = json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-11-26T13:08:58Z", "annotations": annotations},
            "spec": spec, "status": status,
        });
        let sandbox: BatchSandbox = serde_json::from_value(object).unwrap();
        let Status { state, reason, message, last_transition_at } = of(&sandbox, pods);
        assert_eq!(last_transition_at.unwrap().to_string(), "2026-11-26T13:08:58Z");
        (state, reason.unwrap().into_owned(), message.unwrap_or_default())
    }

    fn is(status: Value, endpoints: Option<&str>, state: State, reason: &str, message: &str) {
        let expected = (state, reason.to_owned(), message.to_owned());
        assert_eq!(shown(status.clone(), endpoints, json!({"replicas": 1}), &[]), expected, "{status}");
    }

    #[test]
    fn phases_are_states() {
        for (phase, state, reason, message) in [
            ("Succeed", State::Running, "RUNNING", "Sandbox is running"),
            ("Running", State::Running, "RUNNING", "Sandbox is running"),
            ("Pausing", State::Pausing, "PAUSING", "Pausing sandbox"),
            ("Paused", State::Paused, "PAUSED", "Sandbox is paused"),
            ("Resuming", State::Resuming, "RESUMING", "Resuming sandbox"),
            ("Failed", State::Failed, "FAILED", "Operation failed"),
            ("Pending", State::Pending, "CREATING", "Sandbox is being created"),
        ] {
            is(json!({"phase": phase}), None, state, reason, message);
            // Addresses and counts change nothing of what a phase says.
            is(json!({"phase": phase, "ready": 1, "allocated": 1}), Some(r#"["10.0.0.1"]"#), state, reason, message);
        }
    }

    #[test]
    fn a_deletion_goes_first_and_has_its_own_time() {
        let object = json!({
            "metadata": {"creationTimestamp": "2026-11-26T13:08:58Z", "deletionTimestamp": "2026-11-26T13:10:00Z"},
            "status": {"phase": "Failed", "taskFailed": 1},
        });
        let status = of(&serde_json::from_value(object).unwrap(), &[]);
        assert_eq!((status.state, status.reason.as_deref()), (State::Stopping, Some("DELETING")));
        assert_eq!(status.message.as_deref(), Some("Sandbox is being deleted"));
        assert_eq!(status.last_transition_at.unwrap().to_string(), "2026-11-26T13:10:00Z");
    }

    #[test]
    fn a_failed_task_fails_the_sandbox_unless_it_is_paused_or_has_failed() {
        for phase in [None, Some("Pending"), Some("Succeed"), Some("Running"), Some("Weird")] {
            let status = json!({"phase": phase, "taskFailed": 2});
            is(status, None, State::Failed, "TASK_FAILED", "2 sandbox task(s) failed");
            let status = json!({"phase": phase, "taskFailed": 2, "taskLastErrorMessage": "exit code 3"});
            is(status, None, State::Failed, "TASK_FAILED", "exit code 3");
        }
        let status = json!({"taskFailed": 1, "taskLastErrorMessage": " "});
        is(status, None, State::Failed, "TASK_FAILED", "1 sandbox task(s) failed");
        for (phase, reason) in
            [("Pausing", "PAUSING"), ("Paused", "PAUSED"), ("Resuming", "RESUMING"), ("Failed", "FAILED")]
        {
            assert_eq!(shown(json!({"phase": phase, "taskFailed": 2}), None, json!({}), &[]).1, reason);
        }
        is(json!({"phase": "Succeed", "taskFailed": 0}), None, State::Running, "RUNNING", "Sandbox is running");
    }

    #[test]
    fn a_failure_has_the_words_of_the_first_condition_that_holds() {
        let condition =
            |kind: &str, status: &str| json!({"type": kind, "status": status, "message": format!("{kind} it")});
        let failed =
            |conditions: Value| shown(json!({"phase": "Failed", "conditions": conditions}), None, json!({}), &[]).2;
        let [pause, resume, pod] = ["PauseFailed", "ResumeFailed", "PodFailed"].map(|kind| condition(kind, "True"));
        assert_eq!(failed(json!([pause, resume, pod])), "PodFailed it");
        assert_eq!(failed(json!([pause, resume, condition("PodFailed", "False")])), "ResumeFailed it");
        assert_eq!(failed(json!([pause])), "PauseFailed it");
        assert_eq!(failed(json!([condition("Ready", "True")])), "Operation failed");
        assert_eq!(failed(json!([{"type": "PodFailed", "status": "True"}])), "Operation failed");
    }

    #[test]
    fn a_pool_without_room_is_told() {
        let waiting =
            |status: &str| json!([{"type": "PoolAllocationPending", "status": status, "message": "no pods left"}]);
        for phase in [None, Some("Pending")] {
            let status = json!({"phase": phase, "conditions": waiting("True")});
            is(status, None, State::Pending, "POOL_CAPACITY_EXHAUSTED", "no pods left");
        }
        let status = json!({"phase": "Pending", "conditions": waiting("False")});
        is(status, None, State::Pending, "CREATING", "Sandbox is being created");
        let status = json!({"phase": "Succeed", "conditions": waiting("True")});
        is(status, None, State::Running, "RUNNING", "Sandbox is running");
    }

    #[test]
    fn without_a_phase_addresses_and_counts_tell() {
        let ip = Some(r#"["10.0.0.1"]"#);
        let status = json!({"replicas": 1, "allocated": 1, "ready": 1});
        is(status.clone(), ip, State::Running, "POD_READY_WITH_IP", "Pod is ready with IP (1/1 ready)");
        let message = "Pod is scheduled but waiting for IP (1/1 allocated, 1 ready)";
        is(status, None, State::Pending, "POD_SCHEDULED", message);
        let message = "Pod has IP assigned but not ready (1/1 allocated, 0 ready)";
        is(json!({"replicas": 1, "allocated": 1, "ready": 0}), ip, State::Allocated, "IP_ASSIGNED", message);
        let message = "BatchSandbox is pending allocation";
        for status in [Value::Null, json!({}), json!({"allocated": 0}), json!({"phase": "Weird"}), json!({"phase": 5})]
        {
            is(status, None, State::Pending, "BATCHSANDBOX_PENDING", message);
        }
        for endpoints in ["", "[]", "[5]", "{}", "[\"\"]", "not JSON", "[\"evil.example/x\"]"] {
            is(json!({}), Some(endpoints), State::Pending, "BATCHSANDBOX_PENDING", message);
        }
    }

    #[test]
    fn no_node_with_the_platform_is_a_failure() {
        let spec = json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}});
        let message = "3 node(s) didn't match Pod's node affinity/selector";
        let condition =
            |kind: &str| json!([{"type": kind, "status": "False", "reason": "Unschedulable", "message": message}]);
        let failed = (State::Failed, "POD_PLATFORM_UNSCHEDULABLE".to_owned(), message.to_owned());
        assert_eq!(shown(json!({"conditions": condition("Ready")}), None, spec.clone(), &[]), failed);
        let pod: Pod = serde_json::from_value(json!({"status": {"conditions": condition("PodScheduled")}})).unwrap();
        assert_eq!(shown(json!({"allocated": 1}), None, spec.clone(), &[Arc::new(pod)]), failed);
        assert_eq!(shown(json!({"allocated": 1}), None, spec, &[]).1, "POD_SCHEDULED");
    }
}
