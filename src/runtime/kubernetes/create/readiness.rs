//! Waiting until a sandbox is ready (kubernetes-runtime.md §5): woken by the watches of its object and of its pods.
//!
//! Only while the watch of the objects tells nothing, the object is asked for at intervals.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::refusal::{Refusal, over_quota};
use crate::{
    error::{Error, Family, Kind},
    model::sandbox::{Platform, State, Status},
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

/// How long after its time is over a sandbox may still be asked for.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// The most bytes of a message of the cluster that are told.
const MAX_MESSAGE: usize = 512;

/// Why a container waits that will not begin by itself. An image that could not be pulled once may be the registry's moment
/// (`ErrImagePull`), which the kubelet tries again after 10 s; when it says that it waits with that, the failure was no moment's:
/// of those that are left, most do not mend before the time is over, and who can wait longer creates again.
const BROKEN: [&str; 3] = [BACK_OFF, "ErrImageNeverPull", "InvalidImageName"];

/// An image could not be pulled, and is tried again later.
const BACK_OFF: &str = "ImagePullBackOff";

/// The same for what the kubelet tries again, and what is usual for a moment on a busy node.
const STUMBLING: [&str; 3] = ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

/// For how long a container may stumble.
const STUMBLES: Duration = Duration::from_secs(20);

/// Why a container waits whose turn has not come.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Why a container ended that never began: its command cannot be run.
const NOT_STARTED: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// How a sandbox does on its way.
enum Progress {
    Ready(Status),
    Failed(Error),
    Waits(Wait),
}

/// What a sandbox waits for.
struct Wait {
    state: State,
    /// For room in its pool.
    for_pool: bool,
    /// Why a container has not begun that may begin yet.
    stumbles: Option<String>,
    /// Why its pod is on no node.
    unscheduled: Option<String>,
    /// It is known to have no pod.
    has_no_pod: bool,
}

impl Wait {
    /// For nothing that is known, in this state.
    fn new(state: State) -> Self {
        Self { state, for_pool: false, stumbles: None, unscheduled: None, has_no_pod: false }
    }
}

/// How long a sandbox may wait, and for what.
struct Patience {
    begun: Instant,
    deadline: Instant,
    /// How long of that it may wait for its pool.
    for_pool: Duration,
    /// Since when a container stumbles.
    stumbles: Option<Instant>,
}

impl Patience {
    /// Until when the sandbox `id` may wait so.
    ///
    /// # Errors
    /// That it has waited too long.
    fn until(&mut self, id: &str, wait: &Wait, now: Instant, retry_after: Duration) -> Result<Instant, Error> {
        if now >= self.deadline {
            return Err(timed_out(id, wait, now - self.begun));
        }
        if wait.for_pool && self.for_pool.is_zero() {
            return Err(no_room(retry_after));
        }
        let mut until = self.deadline;
        if wait.for_pool {
            until = until.min(now + self.for_pool);
        }
        let Some(why) = &wait.stumbles else {
            self.stumbles = None;
            return Ok(until);
        };
        let end = *self.stumbles.get_or_insert(now) + STUMBLES;
        if now >= end { Err(failed(id, why)) } else { Ok(until.min(end)) }
    }
}

impl Inner {
    /// Waits until a sandbox is ready, and gives what it is doing then, and its platform. `changes` is woken when its object or its pods change.
    /// `may_be_late` if what its image is pulled with was made after it.
    ///
    /// # Errors
    /// ([`Family::KubePod`], [`Kind::TimedOut`]) when its time is over, ([`Family::KubePod`], [`Kind::Failed`]) when it will not
    /// be ready, ([`Family::Parameter`], [`Kind::Invalid`]) when no node has its platform, ([`Family::KubeQuota`],
    /// [`Kind::Denied`]), ([`Family::PoolCapacity`], [`Kind::Overloaded`]) when its pool had no room for too long.
    pub(super) async fn until_ready(
        &self,
        scope: &Scope,
        workload: Workload,
        changes: &Notify,
        may_be_late: bool,
    ) -> Result<(Status, Option<Platform>), Error> {
        let options = &self.options.creation;
        let begun = Instant::now();
        let deadline = begun + options.timeout;
        let patience = Patience { begun, deadline, for_pool: options.pool_timeout, stumbles: None };
        let id = workload.id().to_owned();
        let mut last = Wait::new(State::Pending);
        let waiting = self.wait(scope, workload.clone(), changes, may_be_late, patience, &mut last);
        // Also while the API server is asked and says nothing.
        let outcome = timeout_at(deadline + LAST_LOOK, waiting).await;
        let outcome = outcome.unwrap_or_else(|_| Err(timed_out(&id, &last, begun.elapsed())));
        match outcome {
            // Not before: pods of others make room for 30 s after their sandboxes are deleted, and the operator tries again.
            Err(error) if error.kind == Kind::TimedOut && last.has_no_pod => {
                Err(with_refusal(error, self.refusal(scope, &workload).await))
            }
            outcome => outcome,
        }
    }

    async fn wait(
        &self,
        scope: &Scope,
        mut workload: Workload,
        changes: &Notify,
        may_be_late: bool,
        mut patience: Patience,
        last: &mut Wait,
    ) -> Result<(Status, Option<Platform>), Error> {
        let options = &self.options.creation;
        let poll = options.poll_interval.max(MIN_POLL);
        let mut next_read = patience.begun + poll;
        let mut until = next_read;
        loop {
            let looked = Instant::now();
            if scope.workloads().is_told() {
                next_read = looked + poll;
            } else if looked >= until {
                // Before it is told that it has waited too long.
                next_read = looked;
            }
            match self.look(scope, &workload, looked >= next_read).await {
                Some(found) => workload = found,
                None => return Err(failed(workload.id(), "its object was deleted meanwhile")),
            }
            if looked >= next_read {
                next_read = Instant::now() + poll;
            }
            let pods = self.pods_at_hand(scope, &workload).await;
            *last = match progress(&workload, &pods, may_be_late) {
                Progress::Ready(status) => return Ok((status, workload.platform())),
                Progress::Failed(error) if workload.status(&pods).state == State::Failed => {
                    // What the pod says the operator has read, and its watch may be behind that of the object.
                    let limit = (Instant::now() + LAST_LOOK).min(patience.deadline + LAST_LOOK / 2);
                    let read = timeout_at(limit, pods::of(&self.cluster, &scope.namespace, &workload)).await;
                    let Ok(Ok(read)) = read else { return Err(error) };
                    let read: Vec<_> = read.into_iter().map(Arc::new).collect();
                    let again = (!read.is_empty()).then(|| progress(&workload, &read, may_be_late));
                    return Err(if let Some(Progress::Failed(again)) = again { again } else { error });
                }
                Progress::Failed(error) => return Err(error),
                Progress::Waits(wait) => wait,
            };
            // Pods of a pool do not bear its id.
            last.has_no_pod = pods.is_empty() && workload.allocated_pods().is_empty() && scope.pods().is_fresh();
            let now = Instant::now();
            until = patience.until(workload.id(), last, now, options.poll_interval)?;
            tokio::select! {
                () = changes.notified() => {}
                () = sleep_until(until.min(next_read)) => {}
            }
            if last.for_pool {
                patience.for_pool = patience.for_pool.saturating_sub(now.elapsed());
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

fn progress(workload: &Workload, pods: &[Arc<Pod>], may_be_late: bool) -> Progress {
    let status = workload.status(pods);
    let id = workload.id();
    let message = status.message.as_deref().unwrap_or_default();
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
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
        (_, Some("ReconcilerError")) if is_about_quota(message) => Progress::Failed(over_quota(message)),
        // The operator tells the kubelet's reason, and not its words.
        (State::Failed, _) => {
            let is_told = |why: &str| !STARTING.contains(&why);
            let why = pods.iter().find_map(|pod| stopped(pod, is_told, true));
            Progress::Failed(failed(id, &why.map_or(message.to_owned(), |why| format!("{message}; {why}"))))
        }
        (State::Terminated | State::Stopping, _) => Progress::Failed(failed(id, message)),
        (state, reason) => {
            let is_final = |why: &str| BROKEN.contains(&why) && !(may_be_late && why == BACK_OFF);
            if let Some(why) = pods.iter().find_map(|pod| stopped(pod, is_final, true)) {
                return Progress::Failed(failed(id, &why));
            }
            let is_passing = |why: &str| STUMBLING.contains(&why) || why == BACK_OFF;
            let stumbles = pods.iter().find_map(|pod| stopped(pod, is_passing, false));
            let for_pool = reason == Some("POOL_CAPACITY_EXHAUSTED");
            let unscheduled = pods.iter().find_map(|pod| pods::unscheduled(pod));
            Progress::Waits(Wait { for_pool, stumbles, unscheduled, ..Wait::new(state) })
        }
    }
}

/// Why a container of a pod has not begun, in words: one that waits for such a reason, or also one that ended without a beginning.
fn stopped(pod: &Pod, waits_so: impl Fn(&str) -> bool, or_ended: bool) -> Option<String> {
    let mut statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let stopped = statuses.find(|status| {
        let waits = status.state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        waits.is_some_and(&waits_so) || or_ended && never_began(status)
    })?;
    Some(format!("container '{}': {}", stopped.name, pods::why_not_started(pod, &stopped.name)))
}

fn never_began(status: &ContainerStatus) -> bool {
    let ended = [&status.state, &status.last_state].into_iter().filter_map(|state| state.terminated.as_ref());
    ended.filter_map(|ended| ended.reason.as_deref()).any(|reason| NOT_STARTED.contains(&reason))
}

fn failed(id: &str, why: &str) -> Error {
    Error::new(Family::KubePod, Kind::Failed, format!("Sandbox {id} failed: {why}"))
}

fn timed_out(id: &str, last: &Wait, elapsed: Duration) -> Error {
    let mut text = format!(
        "Timeout waiting for sandbox {id} to be Running with IP. Elapsed: {:.1}s, Last state: {}",
        elapsed.as_secs_f64(),
        last.state.name()
    );
    if let Some(why) = last.stumbles.as_ref().or(last.unscheduled.as_ref()) {
        text.push_str("; ");
        text.push_str(why);
    }
    Error::new(Family::KubePod, Kind::TimedOut, text)
}

/// The error for a sandbox whose time is over and that has no pod, with the operator's word on that.
fn with_refusal(mut error: Error, refusal: Option<Refusal>) -> Error {
    match refusal {
        Some(refusal) if refusal.is_about_quota() => refusal.over_quota(),
        Some(refusal) => {
            error.message = format!("{}; {}", error.message, refusal.words());
            error
        }
        None => error,
    }
}

fn no_room(retry_after: Duration) -> Error {
    let text = "No Pool capacity became available before the acquisition timeout.";
    let mut error = Error::new(Family::PoolCapacity, Kind::Overloaded, text);
    error.retry_after = Some(retry_after);
    error
}

#[cfg(test)]
mod tests;
