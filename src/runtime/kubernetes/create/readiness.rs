//! Waiting until a sandbox is ready (kubernetes-runtime.md §5): woken by the watches of its object and of its pods.
//!
//! Only while the watch of the objects tells nothing, the object is asked for at intervals.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::closing;
use crate::{
    error::{Error, Family, Kind},
    model::sandbox::{State, Status},
    runtime::kubernetes::{
        Inner, Scope,
        client::is_about_quota,
        objects::{ContainerStatus, Pod},
        pods,
        workload::Workload,
    },
};

/// The least time between two reads while the watch tells nothing.
const MIN_POLL: Duration = Duration::from_millis(100);

/// Why a container waits that will not begin by itself. An image that could not be pulled once may be the registry's moment
/// (`ErrImagePull`), which the kubelet tries again after 10 s; when it says that it waits with that, the failure was no moment's:
/// of those that are left, most do not mend before the time is over, and who can wait longer creates again.
const BROKEN: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Why a container ended that never began: its command cannot be run.
const NOT_STARTED: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// How a sandbox does on its way.
enum Progress {
    Ready(Status),
    Failed(Error),
    /// It is not ready; whether for want of room in its pool.
    Waits {
        state: State,
        for_pool: bool,
    },
}

impl Inner {
    /// Waits until a sandbox is ready, and gives what it is doing then. `changes` is woken when its object or its pods change.
    ///
    /// # Errors
    /// ([`Family::KubePod`], [`Kind::TimedOut`]) when its time is over, ([`Family::KubePod`], [`Kind::Failed`]) when it will not
    /// be ready, ([`Family::Parameter`], [`Kind::Invalid`]) when no node has its platform, ([`Family::KubeQuota`],
    /// [`Kind::Denied`]), ([`Family::PoolCapacity`], [`Kind::Overloaded`]) when its pool had no room for too long; [`closing`].
    pub(super) async fn until_ready(
        &self,
        scope: &Scope,
        mut workload: Workload,
        changes: &Arc<Notify>,
    ) -> Result<Status, Error> {
        let options = &self.options.creation;
        let begun = Instant::now();
        let deadline = begun + options.timeout;
        let poll = options.poll_interval.max(MIN_POLL);
        let mut next_read = begun + poll;
        let mut pool_left = options.pool_timeout;
        loop {
            let looked = Instant::now();
            if scope.workloads().is_told() {
                next_read = looked + poll;
            }
            match self.look(scope, &workload, looked >= next_read).await {
                Some(found) => workload = found,
                None => return Err(failed(workload.id(), "its object was deleted meanwhile")),
            }
            if looked >= next_read {
                next_read = Instant::now() + poll;
            }
            let pods = self.pods_at_hand(scope, &workload).await;
            let (state, for_pool) = match progress(&workload, &pods) {
                Progress::Ready(status) => return Ok(status),
                Progress::Failed(error) => return Err(error),
                Progress::Waits { state, for_pool } => (state, for_pool),
            };
            let now = Instant::now();
            if now >= deadline {
                return Err(timed_out(workload.id(), state, now - begun));
            }
            let until = deadline.min(next_read).min(if for_pool { now + pool_left } else { deadline });
            tokio::select! {
                () = changes.notified() => {}
                () = sleep_until(until) => {}
                () = self.creations.closing.cancelled() => return Err(closing()),
            }
            if for_pool {
                pool_left = pool_left.saturating_sub(now.elapsed());
                if pool_left.is_zero() {
                    return Err(no_room(options.poll_interval));
                }
            }
        }
    }

    /// The sandbox as it is now; asked for if `is_due` or if it seems to be gone. None if it is gone, or another has its name.
    async fn look(&self, scope: &Scope, workload: &Workload, is_due: bool) -> Option<Workload> {
        if let Some(known) = scope.workloads().known(workload).filter(|_| !is_due) {
            return Some(known);
        }
        match scope.workloads().read_anew(workload).await {
            Ok(found) => found.filter(|found| found.uid() == workload.uid()),
            Err(failure) => {
                tracing::debug!(sandbox = workload.id(), %failure, "a sandbox that is being created cannot be read");
                Some(workload.clone())
            }
        }
    }

    /// The sandbox's pods from memory; asked for only where its state cannot be told without them.
    async fn pods_at_hand(&self, scope: &Scope, workload: &Workload) -> Vec<Arc<Pod>> {
        if !scope.pods().is_fresh() && !workload.needs_pods() {
            return Vec::new();
        }
        self.pods_of(scope, workload).await.unwrap_or_default()
    }
}

fn progress(workload: &Workload, pods: &[Arc<Pod>]) -> Progress {
    let status = workload.status(pods);
    let id = workload.id();
    let message = status.message.as_deref().unwrap_or_default();
    match (status.state, status.reason.as_deref()) {
        (State::Running, _) => Progress::Ready(status),
        (State::Allocated, _) => {
            let message = Some("Pod has IP assigned and sandbox is ready for requests".to_owned());
            Progress::Ready(Status { state: State::Running, message, ..status })
        }
        (State::Failed, Some("POD_PLATFORM_UNSCHEDULABLE")) => {
            let text = format!("Sandbox {id} is unschedulable: {message}");
            Progress::Failed(Error::new(Family::Parameter, Kind::Invalid, text))
        }
        // Of the agent-sandbox operator.
        (_, Some("ReconcilerError")) if is_about_quota(message) => {
            let text = format!("Namespace ResourceQuota exceeded: {message}");
            Progress::Failed(Error::new(Family::KubeQuota, Kind::Denied, text))
        }
        (State::Failed | State::Terminated | State::Stopping, _) => Progress::Failed(failed(id, message)),
        (state, reason) => match pods.iter().find_map(|pod| broken(pod)) {
            Some(why) => Progress::Failed(failed(id, &why)),
            None => Progress::Waits { state, for_pool: reason == Some("POOL_CAPACITY_EXHAUSTED") },
        },
    }
}

/// Why a pod will not be ready by itself, in words.
fn broken(pod: &Pod) -> Option<String> {
    let mut statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let broken = statuses.find(|status| is_broken(status))?;
    Some(format!("container '{}': {}", broken.name, pods::why_not_started(pod, &broken.name)))
}

fn is_broken(status: &ContainerStatus) -> bool {
    let waits = status.state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    let ended = [&status.state, &status.last_state].into_iter().filter_map(|state| state.terminated.as_ref());
    waits.is_some_and(|reason| BROKEN.contains(&reason))
        || ended.filter_map(|ended| ended.reason.as_deref()).any(|reason| NOT_STARTED.contains(&reason))
}

fn failed(id: &str, why: &str) -> Error {
    Error::new(Family::KubePod, Kind::Failed, format!("Sandbox {id} failed: {why}"))
}

fn timed_out(id: &str, last: State, elapsed: Duration) -> Error {
    let text = format!(
        "Timeout waiting for sandbox {id} to be Running with IP. Elapsed: {:.1}s, Last state: {}",
        elapsed.as_secs_f64(),
        last.name()
    );
    Error::new(Family::KubePod, Kind::TimedOut, text)
}

fn no_room(retry_after: Duration) -> Error {
    let text = "No Pool capacity became available before the acquisition timeout.";
    let mut error = Error::new(Family::PoolCapacity, Kind::Overloaded, text);
    error.retry_after = Some(retry_after);
    error
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn batch(status: Value, spec: Value) -> Workload {
        let metadata = json!({"name": "x", "labels": {"opensandbox.io/id": "x"}, "uid": "u",
            "creationTimestamp": "2026-11-26T13:08:58Z"});
        let object = json!({"metadata": metadata, "spec": spec, "status": status});
        Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()))
    }

    fn shown(workload: &Workload, pods: &[Value]) -> String {
        let pods: Vec<_> = pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
        match progress(workload, &pods) {
            Progress::Ready(status) => {
                format!("{} {}: {}", status.state.name(), status.reason.unwrap(), status.message.unwrap())
            }
            Progress::Failed(error) => format!("{:?} {:?}: {}", error.family, error.kind, error.message),
            Progress::Waits { state, for_pool } => format!("{} {for_pool}", state.name()),
        }
    }

    fn pod(container: &str, status: Value) -> Value {
        let mut status = status;
        status["name"] = "sandbox".into();
        json!({"status": {container: [status]}})
    }

    #[test]
    fn states_are_outcomes() {
        let selector = json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}});
        let mismatch = "3 node(s) didn't match Pod's node affinity/selector";
        let unschedulable =
            json!([{"type": "Ready", "status": "False", "reason": "Unschedulable", "message": mismatch}]);
        let pool = json!([{"type": "PoolAllocationPending", "status": "True", "message": "no pods left"}]);
        for (status, expected) in [
            (json!({"phase": "Succeed"}), "Running RUNNING: Sandbox is running".to_owned()),
            (json!({"phase": "Failed"}), "KubePod Failed: Sandbox x failed: Operation failed".to_owned()),
            (json!({"phase": "Pending"}), "Pending false".to_owned()),
            (json!({"phase": "Pending", "conditions": pool}), "Pending true".to_owned()),
            (json!({}), "Pending false".to_owned()),
            (
                json!({"conditions": unschedulable}),
                format!("Parameter Invalid: Sandbox x is unschedulable: {mismatch}"),
            ),
        ] {
            assert_eq!(shown(&batch(status, selector.clone()), &[]), expected);
        }
    }

    /// "Running or Allocated (reported as Running …)".
    #[test]
    fn an_address_is_enough() {
        let object = json!({"metadata": {"name": "x", "labels": {"opensandbox.io/id": "x"},
            "annotations": {"sandbox.opensandbox.io/endpoints": "[\"10.0.0.1\"]"}}, "status": {"allocated": 1}});
        let workload = Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()));
        let expected = "Running IP_ASSIGNED: Pod has IP assigned and sandbox is ready for requests";
        assert_eq!(shown(&workload, &[]), expected);
    }

    #[test]
    fn a_quota_of_the_agent_sandbox_operator_is_told() {
        let ready = json!({"type": "Ready", "status": "False", "reason": "ReconcilerError",
            "message": "pods \"x\" is forbidden: exceeded quota: q"});
        let object = json!({"metadata": {"name": "x", "labels": {"opensandbox.io/id": "x"}},
            "status": {"conditions": [ready]}});
        let workload = Workload::Agent(Arc::new(serde_json::from_value(object).unwrap()));
        let expected = "KubeQuota Denied: Namespace ResourceQuota exceeded: pods \"x\" is forbidden: exceeded quota: q";
        assert_eq!(shown(&workload, &[]), expected);
    }

    #[test]
    fn what_cannot_begin_is_told_at_once_and_what_may_is_waited_for() {
        let workload = batch(json!({"phase": "Pending"}), json!({}));
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason, "message": "why"}}});
        for reason in BROKEN {
            for list in ["initContainerStatuses", "containerStatuses"] {
                let text = shown(&workload, &[pod(list, waiting(reason))]);
                assert!(text.starts_with("KubePod Failed: Sandbox x failed: container 'sandbox': "), "{text}");
                assert!(text.ends_with(&format!("({reason}: why)")), "{text}");
            }
        }
        for reason in ["ErrImagePull", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"] {
            assert_eq!(shown(&workload, &[pod("containerStatuses", waiting(reason))]), "Pending false", "{reason}");
        }
        let ended = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}});
        let expected = "KubePod Failed: Sandbox x failed: container 'sandbox': its command cannot be run (StartError: no such file)";
        assert_eq!(shown(&workload, &[pod("containerStatuses", json!({"state": ended}))]), expected);
        let again = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended});
        assert_eq!(shown(&workload, &[pod("containerStatuses", again)]), expected);
    }

    #[test]
    fn a_time_is_told_to_a_tenth() {
        let error = timed_out("x", State::Pending, Duration::from_millis(4004));
        let expected = "Timeout waiting for sandbox x to be Running with IP. Elapsed: 4.0s, Last state: Pending";
        assert_eq!(error.message, expected);
    }
}
