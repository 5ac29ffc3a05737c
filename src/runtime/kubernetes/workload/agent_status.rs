//! What an agent-sandbox is doing (kubernetes-runtime.md §6.2).

use std::{borrow::Cow, sync::Arc};

use super::{created_at, platform};
use crate::{
    model::{
        sandbox::{State, Status},
        timestamp::Timestamp,
    },
    runtime::kubernetes::objects::{AgentSandbox, Condition, Pod, condition},
};

/// The reason of a sandbox whose time is over.
const EXPIRED: &str = "SandboxExpired";

/// Whether its time is over.
pub(super) fn is_expired(sandbox: &AgentSandbox) -> bool {
    condition(&sandbox.status.conditions, "Ready").is_some_and(|ready| ready.reason.as_deref() == Some(EXPIRED))
}

/// Whether its pods have a say ([`of`]): the operator has said nothing yet, or not why it is not ready.
pub(super) fn needs_pods(sandbox: &AgentSandbox) -> bool {
    let is_suspended = sandbox.operating_mode() == Some("Suspended")
        || condition(&sandbox.status.conditions, "Suspended").is_some_and(Condition::is_true);
    let is_open = |ready: &Condition| {
        let is_final = matches!(ready.reason.as_deref(), Some(EXPIRED | "PodSucceeded" | "PodFailed"));
        !ready.is_true() && !is_final && platform::is_constrained(sandbox.pods())
    };
    let ready = condition(&sandbox.status.conditions, "Ready");
    sandbox.metadata.deletion_timestamp.is_none() && !is_suspended && ready.is_none_or(is_open)
}

/// Whether a pod that bears the sandbox's id has the labels that the operator selects by. Rules of another form than
/// equality and existence are passed over: the id has chosen already.
pub(super) fn selects(sandbox: &AgentSandbox, pod: &Pod) -> bool {
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let holds = |rule: &str| {
        let is_key = |key: &str| !key.is_empty() && !key.contains([' ', '(', ')', '!']);
        match rule.split_once('=').map(|(key, value)| (key.trim(), value.trim_start_matches('=').trim())) {
            Some((key, value)) if is_key(key) => label(key) == Some(value),
            None if is_key(rule) => label(rule).is_some(),
            Some(_) | None => true,
        }
    };
    let selector = sandbox.status.selector.as_deref().unwrap_or_default();
    // The commas of a set, `k in (a,b)`, divide it into texts that are no rule.
    selector.contains('(') || selector.split(',').map(str::trim).all(holds)
}

/// What it is doing, since the condition that says so, else since its creation.
pub(super) fn of(sandbox: &AgentSandbox, pods: &[Arc<Pod>]) -> Status {
    let conditions = &sandbox.status.conditions;
    let created = created_at(&sandbox.metadata);
    let ready = condition(conditions, "Ready");
    // First, also of one that a finalizer holds: what has ended is not ending.
    if let Some(ready) = ready.filter(|ready| ready.reason.as_deref() == Some(EXPIRED)) {
        return by_condition(State::Terminated, ready, created, None);
    }
    if let Some(deleted) = &sandbox.metadata.deletion_timestamp {
        return status(State::Stopping, Some("DELETING"), "Sandbox is being deleted", deleted.0.into());
    }
    if let Some(suspended) = condition(conditions, "Suspended").filter(|suspended| suspended.is_true()) {
        return if sandbox.operating_mode() == Some("Running") {
            status(State::Resuming, None, "Sandbox is resuming", since(suspended, created))
        } else {
            by_condition(State::Paused, suspended, created, Some("Sandbox is paused"))
        };
    }
    if sandbox.operating_mode() == Some("Suspended") {
        return status(State::Pausing, None, "Pausing sandbox", created);
    }
    let Some(ready) = ready else { return by_pods(pods, created) };
    if ready.is_true() {
        return by_condition(State::Running, ready, created, None);
    }
    match ready.reason.as_deref() {
        Some("PodSucceeded") => {
            by_condition(State::Terminated, ready, created, Some("Sandbox pod completed successfully."))
        }
        Some("PodFailed") => by_condition(State::Failed, ready, created, Some("Sandbox pod failed.")),
        _ => match unschedulable(sandbox, ready, pods) {
            Some(message) => status(State::Failed, Some("POD_PLATFORM_UNSCHEDULABLE"), message, since(ready, created)),
            None => by_condition(State::Pending, ready, created, None),
        },
    }
}

/// The scheduler's words, by the condition or by a pod.
fn unschedulable<'a>(sandbox: &AgentSandbox, ready: &'a Condition, pods: &'a [Arc<Pod>]) -> Option<&'a str> {
    let own = platform::unschedulable(ready, sandbox.pods());
    own.or_else(|| pods.iter().find_map(|pod| platform::pod_unschedulable(pod, sandbox.pods())))
}

fn by_pods(pods: &[Arc<Pod>], created: Timestamp) -> Status {
    let is_running = |pod: &Arc<Pod>| pod.status.phase.as_deref() == Some("Running");
    let has_ip = |pod: &Arc<Pod>| pod.ip().is_some();
    if pods.iter().any(|pod| is_running(pod) && has_ip(pod)) {
        status(State::Running, Some("POD_READY"), "Pod is running with IP assigned", created)
    } else if pods.iter().any(has_ip) {
        status(State::Allocated, Some("IP_ASSIGNED"), "Pod has IP assigned but not running yet", created)
    } else if pods.is_empty() {
        status(State::Pending, Some("SANDBOX_PENDING"), "Sandbox is pending scheduling", created)
    } else {
        status(State::Pending, Some("POD_SCHEDULED"), "Pod is scheduled but waiting for IP assignment", created)
    }
}

/// A state in the words of a condition; `message` stands for those that it lacks, as the Python server has it.
fn by_condition(state: State, condition: &Condition, created: Timestamp, message: Option<&str>) -> Status {
    let words = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Status {
        state,
        reason: words(&condition.reason).map(Cow::Owned),
        message: words(&condition.message).or_else(|| message.map(str::to_owned)),
        last_transition_at: Some(since(condition, created)),
    }
}

fn since(condition: &Condition, created: Timestamp) -> Timestamp {
    condition.last_transition_time.map_or(created, Timestamp::from)
}

fn status(state: State, reason: Option<&'static str>, message: &str, since: Timestamp) -> Status {
    let (reason, message) = (reason.map(Cow::Borrowed), Some(message.to_owned()));
    Status { state, reason, message, last_transition_at: Some(since) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CREATED: &str = "2026-11-23T02:13:13Z";
    const CHANGED: &str = "2026-11-23T02:00:00Z";

    fn sandbox(mode: Option<&str>, conditions: Value) -> AgentSandbox {
        let object = json!({
            "metadata": {"name": "a", "creationTimestamp": CREATED},
            "spec": {"operatingMode": mode, "podTemplate": {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}},
            "status": {"conditions": conditions},
        });
        serde_json::from_value(object).unwrap()
    }

    fn pod(status: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"status": status})).unwrap())
    }

    fn texts(status: Status) -> (State, Option<String>, String, String) {
        let since = status.last_transition_at.unwrap().to_string();
        (status.state, status.reason.map(Cow::into_owned), status.message.unwrap_or_default(), since)
    }

    fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": CHANGED})
    }

    #[test]
    fn conditions_are_states() {
        let expired = condition("Ready", "False", "SandboxExpired", "over");
        let suspended = condition("Suspended", "True", "Susp", "");
        let resumed = condition("Suspended", "False", "x", "y");
        let ready = condition("Ready", "True", "DependenciesReady", "ok");
        let not_ready = |reason: &str, message: &str| condition("Ready", "False", reason, message);
        let mismatch = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        let running = Some("Running");
        for (mode, conditions, state, reason, message, since) in [
            (running, json!([expired, suspended]), State::Terminated, Some("SandboxExpired"), "over", CHANGED),
            (running, json!([suspended, ready]), State::Resuming, None, "Sandbox is resuming", CHANGED),
            (Some("Suspended"), json!([suspended]), State::Paused, Some("Susp"), "Sandbox is paused", CHANGED),
            (None, json!([suspended]), State::Paused, Some("Susp"), "Sandbox is paused", CHANGED),
            (Some("Suspended"), json!([ready, resumed]), State::Pausing, None, "Pausing sandbox", CREATED),
            (Some("Suspended"), json!([]), State::Pausing, None, "Pausing sandbox", CREATED),
            (running, json!([ready, resumed]), State::Running, Some("DependenciesReady"), "ok", CHANGED),
            (
                running,
                json!([not_ready("PodSucceeded", "done")]),
                State::Terminated,
                Some("PodSucceeded"),
                "done",
                CHANGED,
            ),
            (running, json!([not_ready("PodFailed", "bad")]), State::Failed, Some("PodFailed"), "bad", CHANGED),
            (
                running,
                json!([not_ready("Unschedulable", mismatch)]),
                State::Failed,
                Some("POD_PLATFORM_UNSCHEDULABLE"),
                mismatch,
                CHANGED,
            ),
            (
                running,
                json!([not_ready("Unschedulable", "Insufficient cpu")]),
                State::Pending,
                Some("Unschedulable"),
                "Insufficient cpu",
                CHANGED,
            ),
            (
                running,
                json!([not_ready("DependenciesNotReady", "wait")]),
                State::Pending,
                Some("DependenciesNotReady"),
                "wait",
                CHANGED,
            ),
            (running, json!([{"type": "Ready", "status": 5}]), State::Pending, None, "", CREATED),
        ] {
            let expected = (state, reason.map(str::to_owned), message.to_owned(), since.to_owned());
            assert_eq!(texts(of(&sandbox(mode, conditions.clone()), &[])), expected, "{mode:?} {conditions}");
        }
    }

    #[test]
    fn without_a_word_of_the_operator_the_pods_tell() {
        let waiting = sandbox(Some("Running"), json!([]));
        assert!(needs_pods(&waiting) && !needs_pods(&sandbox(None, json!([condition("Ready", "True", "", "")]))));
        for (pods, state, reason) in [
            (vec![], State::Pending, "SANDBOX_PENDING"),
            (vec![pod(json!({"phase": "Pending"}))], State::Pending, "POD_SCHEDULED"),
            (vec![pod(json!({"phase": "Pending", "podIP": "10.0.0.1"}))], State::Allocated, "IP_ASSIGNED"),
            (vec![pod(json!({"phase": "Running", "podIP": ""}))], State::Pending, "POD_SCHEDULED"),
            (vec![pod(json!({"phase": "Running", "podIP": "10.0.0.1"}))], State::Running, "POD_READY"),
        ] {
            let (shown, told, _, since) = texts(of(&waiting, &pods));
            assert_eq!((shown, told.as_deref(), since.as_str()), (state, Some(reason), CREATED));
        }
    }

    #[test]
    fn the_pods_are_asked_where_they_have_a_say() {
        let mismatch = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        let pod = pod(
            json!({"phase": "Pending", "conditions": [condition("PodScheduled", "False", "Unschedulable", mismatch)]}),
        );
        for (reason, expected) in [
            ("DependenciesNotReady", State::Failed),
            ("", State::Failed),
            ("PodFailed", State::Failed),
            ("PodSucceeded", State::Terminated),
            ("SandboxExpired", State::Terminated),
        ] {
            let sandbox = sandbox(Some("Running"), json!([condition("Ready", "False", reason, "m")]));
            let pods = if needs_pods(&sandbox) { vec![Arc::clone(&pod)] } else { Vec::new() };
            assert_eq!(of(&sandbox, &pods).state, expected, "{reason}");
        }
    }

    #[test]
    fn a_deletion_goes_first_but_for_what_has_ended() {
        for (reason, state) in [("r", State::Stopping), ("SandboxExpired", State::Terminated)] {
            let mut deleted = sandbox(Some("Running"), json!([condition("Ready", "True", reason, "m")]));
            deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
            assert_eq!(of(&deleted, &[]).state, state);
            assert!(!needs_pods(&deleted));
        }
    }

    #[test]
    fn a_selector_chooses_among_the_pods_of_the_id() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"labels": {"a": "1", "b": ""}}})).unwrap();
        let selects = |selector: Value| {
            let sandbox: AgentSandbox = serde_json::from_value(json!({"status": {"selector": selector}})).unwrap();
            super::selects(&sandbox, &pod)
        };
        for selector in ["", "a=1", "a==1, b=", "a", "a in (1,2)", "a notin (1)", "!c", "a!=2"] {
            assert!(selects(json!(selector)), "{selector}");
        }
        for selector in ["a=2", "c", "c=1", "a=1,c=2"] {
            assert!(!selects(json!(selector)), "{selector}");
        }
        assert!(selects(json!(5)));
    }
}
