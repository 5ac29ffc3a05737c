//! The instances of a container, which a kubelet makes one after the other: which one it is, and how it does.

use jiff::Timestamp;

use crate::{
    logs::backend::{Exit, Start, State},
    runtime::kubernetes::objects::{ContainerStatus, Pod, Terminated},
};

/// The reason of an end by the kernel for want of memory.
const OOM_KILLED: &str = "OOMKilled";

/// The reason of an end without a beginning: the command could not be run. Its log is answered as an empty one.
pub(super) const START_ERROR: &str = "StartError";

/// The reason of a pod's end that its node has ended for want of memory or room: the kubelet removes what it has left soon after.
const EVICTED: &str = "Evicted";

/// The reason of an end that the kubelet did not see: when the pod ended, there was no such container any more.
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// An instance whose log the kubelet gives now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runtime::kubernetes) struct Instance {
    /// Its number: how often the container was restarted before it.
    pub number: u64,
    /// When it was started, in nanoseconds since 1970, of whole seconds.
    pub started_at: Option<i64>,
    /// How it ended, if it has.
    pub ended: Option<Exit>,
    /// Its command could not be run: it has printed nothing, and never will.
    pub start_failed: bool,
}

impl Instance {
    /// The instance whose log `pods/log` gives: the present one, or the last if the next is waited for. `None` if none was
    /// started yet.
    pub(in crate::runtime::kubernetes) fn present(pod: &Pod, container: &str) -> Option<Self> {
        let Some(status) = pod.container_status(container) else { return without_status(pod) };
        let number = u64::try_from(status.restart_count).unwrap_or_default();
        if let Some(running) = &status.state.running {
            let ended = is_over(pod).then(Exit::default);
            let started_at = running.started_at.and_then(nanoseconds);
            return Some(Self { number, started_at, ended, start_failed: false });
        }
        if let Some(terminated) = &status.state.terminated {
            return Some(Self::of_terminated(terminated, number));
        }
        let last = status.last_state.terminated.as_ref();
        last.map(|terminated| Self::of_terminated(terminated, number)).or_else(|| without_status(pod))
    }

    /// The instance before the one that runs or has ended; of a container that waits to be started again, the last.
    pub(in crate::runtime::kubernetes) fn previous(pod: &Pod, container: &str) -> Option<Self> {
        let status = pod.container_status(container)?;
        let terminated = status.last_state.terminated.as_ref()?;
        let is_there = status.state.running.is_some() || status.state.terminated.is_some();
        let number = u64::try_from(status.restart_count).unwrap_or_default();
        Some(Self::of_terminated(terminated, number.saturating_sub(u64::from(is_there))))
    }

    fn of_terminated(terminated: &Terminated, number: u64) -> Self {
        let exit = Exit {
            code: Some(terminated.exit_code),
            oom: terminated.reason.as_deref() == Some(OOM_KILLED),
            finished_at: terminated.finished_at.and_then(nanoseconds),
        };
        Self {
            number,
            started_at: terminated.started_at.and_then(nanoseconds),
            ended: Some(exit),
            start_failed: terminated.reason.as_deref() == Some(START_ERROR),
        }
    }

    /// How it does, when it was started at `start`.
    pub(in crate::runtime::kubernetes) fn state(&self, start: Option<Start>) -> State {
        match self.ended {
            Some(exit) => State::Ended { exit, started: start },
            None => State::Running { started: start },
        }
    }
}

/// Whether no container of the pod runs any more, whatever a kubelet that is gone said last.
fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// Whether the log of this container is gone for good if its node says that it does not have it. Else it may be the node's
/// runtime that does not answer at the moment.
pub(in crate::runtime::kubernetes) fn is_log_lost(pod: &Pod, container: &str) -> bool {
    let is_evicted = pod.status.reason.as_deref() == Some(EVICTED);
    let is_unknown = |status: &ContainerStatus| {
        status.state.terminated.as_ref().is_some_and(|ended| ended.reason.as_deref() == Some(STATUS_UNKNOWN))
    };
    is_over(pod) && (is_evicted || pod.container_status(container).is_none_or(is_unknown))
}

/// A pod that has ended without telling of the container: it was evicted, or its node is gone.
fn without_status(pod: &Pod) -> Option<Instance> {
    let ended = Some(Exit::default());
    is_over(pod).then_some(Instance { number: 0, started_at: None, ended, start_failed: false })
}

/// A time in nanoseconds since 1970. The year 1970 itself is that of a start that failed.
fn nanoseconds(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok().filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime::kubernetes::pods::tests::pod;

    const STARTED: i64 = 1_795_399_281_000_000_000;

    fn with(phase: &str, status: Value) -> Pod {
        pod(json!({"status": {"phase": phase, "containerStatuses": [status]}}))
    }

    fn terminated(id: &str, reason: &str) -> Value {
        let (started, finished) = ("2026-11-23T02:01:21Z", "2026-11-23T02:01:22Z");
        let (code, id) = (137, format!("containerd://{id}"));
        json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": finished, "containerID": id}})
    }

    fn ended(number: u64, oom: bool) -> Instance {
        let exit = Exit { code: Some(137), oom, finished_at: Some(STARTED + 1_000_000_000) };
        Instance { number, started_at: Some(STARTED), ended: Some(exit), start_failed: false }
    }

    #[test]
    fn the_kubelet_gives_the_present_instance_s_log_or_the_last_s() {
        let running = json!({"running": {"startedAt": "2026-11-23T02:01:21Z"}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let present = |status: Value| Instance::present(&with("Running", status), "main");
        let runs = Instance { number: 2, started_at: Some(STARTED), ended: None, start_failed: false };
        let status = json!({"name": "main", "restartCount": 2, "containerID": "containerd://b", "state": running, "lastState": terminated("a", "Error")});
        assert_eq!(present(status.clone()), Some(runs));
        assert_eq!(Instance::previous(&with("Running", status), "main"), Some(ended(1, false)));
        let status = json!({"name": "main", "state": terminated("a", "OOMKilled"), "lastState": {}});
        assert_eq!(present(status.clone()), Some(ended(0, true)));
        assert_eq!(Instance::previous(&with("Running", status), "main"), None);
        let status =
            json!({"name": "main", "restartCount": 2, "state": waiting, "lastState": terminated("a", "Error")});
        assert_eq!(present(status.clone()), Some(ended(2, false)));
        assert_eq!(Instance::previous(&with("Running", status), "main"), Some(ended(2, false)));
        assert_eq!(present(json!({"name": "main", "state": waiting})), None);
        assert_eq!(present(json!({"name": "other", "state": running})), None);
    }

    #[test]
    fn nothing_runs_in_a_pod_that_has_ended() {
        let running = json!({"name": "main", "state": {"running": {"startedAt": "2026-11-23T02:01:21Z"}}});
        for pod in [with("Failed", running), with("Failed", json!({"name": "main"})), with("Failed", json!({}))] {
            let instance = Instance::present(&pod, "main").unwrap();
            assert_eq!(instance.ended, Some(Exit::default()));
        }
    }

    #[test]
    fn the_log_of_an_evicted_pod_or_an_unknown_container_is_not_to_come_back() {
        let lost = |phase: &str, status: Value, reason: Option<&str>| {
            let mut pod = with(phase, status);
            pod.status.reason = reason.map(str::to_owned);
            is_log_lost(&pod, "main")
        };
        let ended = |reason: &str| json!({"name": "main", "state": terminated("a", reason)});
        assert!(lost("Failed", ended("Error"), Some("Evicted")));
        assert!(lost("Failed", ended("ContainerStatusUnknown"), None));
        assert!(lost("Failed", json!({"name": "other"}), None));
        // The runtime may be down, or the pod is not over.
        assert!(!lost("Failed", ended("Error"), None));
        assert!(!lost("Succeeded", ended("Completed"), None));
        assert!(!lost("Running", ended("ContainerStatusUnknown"), None));
    }

    #[test]
    fn a_start_that_failed_has_no_time() {
        let state =
            json!({"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}});
        let instance = Instance::present(&with("Failed", json!({"name": "main", "state": state})), "main").unwrap();
        assert_eq!((instance.started_at, instance.ended.map(|ended| ended.code)), (None, Some(Some(128))));
        assert!(instance.start_failed);
    }
}
