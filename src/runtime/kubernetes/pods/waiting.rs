//! Why a container was not started yet, in words.

use super::instance::START_ERROR;
use crate::runtime::kubernetes::objects::{Pod, Terminated, Waiting, condition};

/// Most bytes of a message of the cluster that are told.
const MAX_MESSAGE: usize = 512;

/// What `container` waits for, as the end of a sentence.
pub(in crate::runtime::kubernetes) fn why_not_started(pod: &Pod, container: &str) -> String {
    if let Some(status) = pod.container_status(container) {
        // One that is to be tried again waits, too.
        let ended = [&status.state, &status.last_state].into_iter().find_map(|state| state.terminated.as_ref());
        if let Some(failed) = ended.filter(|ended| ended.reason.as_deref() == Some(START_ERROR)) {
            return why_failed(failed);
        }
        if let Some(waiting) = &status.state.waiting {
            return why_waiting(waiting);
        }
    }
    if pod.spec.node_name.as_deref().is_none_or(str::is_empty) {
        return why_unscheduled(pod);
    }
    "its node has not begun to start it".to_owned()
}

fn why_waiting(waiting: &Waiting) -> String {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let words = match reason {
        "ErrImagePull" => "its image cannot be pulled",
        "ImagePullBackOff" => "its image cannot be pulled, which is tried again",
        "ErrImageNeverPull" => "its image is not on the node and may not be pulled",
        "InvalidImageName" => "the name of its image is not valid",
        "ContainerCreating" => "it is being created",
        "PodInitializing" => "the init containers have not ended",
        "CreateContainerConfigError" => "its configuration cannot be used",
        "CreateContainerError" | "RunContainerError" => "it cannot be created",
        "CrashLoopBackOff" => "it has crashed and is to be started again",
        _ => "it waits",
    };
    let details = [reason, waiting.message.as_deref().unwrap_or_default()];
    with_details(words, &details)
}

/// Why its command could not be run.
fn why_failed(terminated: &Terminated) -> String {
    let details = [terminated.reason.as_deref(), terminated.message.as_deref()];
    with_details("its command cannot be run", &details.map(Option::unwrap_or_default))
}

/// Why a pod is on no node, if the scheduler has said so.
pub(in crate::runtime::kubernetes) fn unscheduled(pod: &Pod) -> Option<String> {
    let is_told =
        condition(&pod.status.conditions, "PodScheduled").is_some_and(|scheduled| scheduled.status == "False");
    is_told.then(|| why_unscheduled(pod))
}

fn why_unscheduled(pod: &Pod) -> String {
    let scheduled = condition(&pod.status.conditions, "PodScheduled");
    let reason = scheduled.and_then(|condition| condition.reason.as_deref()).unwrap_or_default();
    let message = scheduled.and_then(|condition| condition.message.as_deref()).unwrap_or_default();
    with_details("its pod is on no node yet", &[reason, message])
}

fn with_details(words: &str, details: &[&str]) -> String {
    let details: Vec<_> = details.iter().filter(|detail| !detail.is_empty()).map(|detail| cut(detail)).collect();
    if details.is_empty() { words.to_owned() } else { format!("{words} ({})", details.join(": ")) }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::runtime::kubernetes::pods::tests::pod;

    #[test]
    fn what_is_waited_for_is_told_in_words() {
        let waiting = |reason: &str, message: &str| {
            let state = json!({"waiting": {"reason": reason, "message": message}});
            why_not_started(&pod(json!({"status": {"containerStatuses": [{"name": "main", "state": state}]}})), "main")
        };
        let expected = "its image cannot be pulled (ErrImagePull: connection refused)";
        assert_eq!(waiting("ErrImagePull", "connection refused"), expected);
        assert_eq!(waiting("PodInitializing", ""), "the init containers have not ended (PodInitializing)");
        assert_eq!(waiting("SomethingNew", "why"), "it waits (SomethingNew: why)");
        assert!(waiting("ErrImagePull", &"é".repeat(1000)).len() < 600);
    }

    #[test]
    fn a_command_that_cannot_be_run_is_told() {
        let state = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}});
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        for status in
            [json!({"name": "main", "state": state}), json!({"name": "main", "state": waits, "lastState": state})]
        {
            let failed = pod(json!({"status": {"containerStatuses": [status]}}));
            assert_eq!(why_not_started(&failed, "main"), "its command cannot be run (StartError: no such file)");
        }
    }

    #[test]
    fn a_pod_may_be_on_no_node() {
        let message = "0/1 nodes are available: 1 Insufficient cpu.";
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        let unscheduled = pod(json!({"status": {"phase": "Pending", "conditions": [condition]}}));
        let expected = format!("its pod is on no node yet (Unschedulable: {message})");
        assert_eq!(why_not_started(&unscheduled, "main"), expected);
        let scheduled = pod(json!({"spec": {"nodeName": "n"}, "status": {"phase": "Pending"}}));
        assert_eq!(why_not_started(&scheduled, "main"), "its node has not begun to start it");
    }
}
