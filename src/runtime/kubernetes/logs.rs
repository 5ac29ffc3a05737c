//! Reading a sandbox's log: the pod and the container whose log it is, and what refusals mean (kubernetes-api.md §3).

mod backend;
mod lease;
mod looks;
mod owner;
mod reader;
mod streams;
mod target;

use std::sync::{Arc, Mutex, atomic::AtomicI64};

use self::{
    backend::{Place, PodLog},
    lease::Lease,
    owner::Owner,
};
pub(super) use self::{looks::Looks, streams::Streams};
use super::{
    Inner, Scope,
    client::LogFailure,
    objects::Pod,
    pods::{self, Instance},
    workload::failed,
};
use crate::{
    error::{Error, Family, Kind},
    logs::{
        LogQuery, OpenedLog, backend::Backend as _, cursor::RunId, piece::Notice, record::Stream,
        record_source::RecordSource,
    },
};

/// Most instances before the present one whose tokens are known for those of this container.
const MAX_INSTANCES: u64 = 1000;

/// What whoever reads the log of a sandbox in a pool's pod is to know.
const POOL_TASK_OUTPUT: Notice = Notice {
    code: "POOL_TASK_OUTPUT",
    message: "This sandbox runs in a pod of a pool. The output of its entrypoint is in files of the pod below \
              /var/lib/sandbox/tasks, which are not part of this log. What the pod printed before it was this sandbox's is.",
};

impl Inner {
    /// Opens the log of the sandbox `id`.
    ///
    /// # Errors
    /// There is no such sandbox, container or instance, it was not started yet, or the cluster does not give the log.
    pub(super) async fn open_logs(
        self: &Arc<Self>,
        scope: &Scope,
        id: &str,
        query: &LogQuery,
    ) -> Result<OpenedLog, Error> {
        let sandbox = match self.find(scope, id).await {
            // An end that was told stays one, also when the sandbox is gone.
            Err(error) if error.kind == Kind::NotFound && query.after.is_some_and(|after| after.ended) => {
                return Ok(OpenedLog::Ended);
            }
            found => found?,
        };
        let found = pods::of(&self.cluster, &scope.namespace, &sandbox).await;
        let found = found.map_err(|failure| failed(failure, "Failed to read the sandbox's pod"))?;
        let pod = pods::present(found).ok_or_else(|| not_started("it has no pod yet"))?;
        let container = pods::container(&pod, query.container.as_deref());
        let container = container.ok_or_else(|| no_container(&pod, query.container.as_deref()))?.to_owned();
        let stream = match (query.stdout, query.stderr) {
            (true, false) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            _ => None,
        };
        let owner = Owner { inner: Arc::clone(self), scope: scope.clone(), id: id.to_owned() };
        let mut log = self.pod_log(owner, &pod, container, stream, query)?;
        if sandbox.is_pooled() {
            log.lease = Some(Lease::new(Arc::clone(self), scope.clone(), id.to_owned(), pod.name().to_owned()));
        }
        if let Some(stream) = stream {
            self.streams.check(&self.cluster, &scope.namespace, pod.name(), &log.container, stream).await?;
        }
        let state = match log.previous {
            Some(state) => state,
            None => log.state_of(&pod),
        };
        let log = Arc::new(log);
        if query.after.is_some_and(|after| RecordSource::is_over(&after, log.run(), state)) {
            return Ok(OpenedLog::Ended);
        }
        let restarts = query.restarts && !query.previous;
        let query = LogQuery { restarts, ..query.clone() };
        let source = Box::pin(RecordSource::open(log, &query, state, self.options.log_reconnect)).await?;
        let is_begun = query.after.is_some();
        let with_notice = sandbox.is_pooled() && !is_begun;
        Ok(OpenedLog::Records(if with_notice { source.with_notice(POOL_TASK_OUTPUT) } else { source }))
    }

    /// The log of a container, of the instance that is asked for.
    fn pod_log(
        &self,
        owner: Owner,
        pod: &Pod,
        container: String,
        stream: Option<Stream>,
        query: &LogQuery,
    ) -> Result<PodLog, Error> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let instance = if query.previous {
            let previous = Instance::previous(pod, &container).filter(|instance| !instance.start_failed);
            previous.ok_or_else(|| no_previous(&container))?
        } else {
            let waits = || not_started(&pods::why_not_started(pod, &container));
            let instance = Instance::present(pod, &container).ok_or_else(waits)?;
            // Kubernetes answers with an empty log.
            if instance.start_failed {
                return Err(waits());
            }
            instance
        };
        let number = begun_with(&uid, &container, instance.number, query);
        Ok(PodLog {
            cluster: self.cluster.clone(),
            namespace: Arc::clone(&owner.scope.namespace),
            owner,
            lease: None,
            run: RunId::of_instance(&uid, &container, number),
            stream,
            previous: query.previous.then(|| instance.state(None)),
            buffer: self.options.log_buffer,
            place: Mutex::new(Place::of(pod, &container, number, &instance)),
            container,
            newest: Arc::new(AtomicI64::new(0)),
        })
    }
}

/// The number of the instance whose log was read before, if that was one of this container's; else of the present one.
fn begun_with(uid: &str, container: &str, present: u64, query: &LogQuery) -> u64 {
    let Some(after) = query.after.filter(|_| !query.previous) else { return present };
    let mut earlier = (present.saturating_sub(MAX_INSTANCES)..present).rev();
    earlier.find(|number| RunId::of_instance(uid, container, *number) == after.run).unwrap_or(present)
}

fn not_started(why: &str) -> Error {
    Error::new(Family::LogStart, Kind::Conflict, format!("The sandbox's container was not started yet: {why}."))
}

fn no_container(pod: &Pod, wanted: Option<&str>) -> Error {
    let names: Vec<_> = pods::containers(pod).collect();
    let text = match wanted {
        Some(wanted) => format!("There is no container {wanted:?} in the sandbox's pod. It has: {}.", names.join(", ")),
        None => "The sandbox's pod has no container.".to_owned(),
    };
    Error::new(Family::LogContainer, Kind::NotFound, text)
}

fn no_previous(container: &str) -> Error {
    let text = format!(
        "There is no log of an instance of the container {container} before the present one. A node keeps one, until the \
         present one has ended."
    );
    Error::new(Family::PreviousLog, Kind::NotFound, text)
}

fn no_log() -> Error {
    let text = "The sandbox's pod has ended, and its node does not have the container's log any more.";
    Error::new(Family::Logs, Kind::NotFound, text)
}

/// What a refusal of the log of `pod` means whose log the node has removed for good, as far as the pod tells.
fn gone(failure: LogFailure, pod: &str, previous: bool) -> Error {
    match failure {
        // The kubelet knows of no container, or the node itself is gone.
        LogFailure::Refused(failure)
            if !previous
                && failure.is_status()
                && (failure.status == Some(400) || failure.is_missing() && !failure.is_missing_named(pod)) =>
        {
            no_log().caused_by(failure)
        }
        failure => refused(failure, pod, previous),
    }
}

/// What a refusal of the log of `pod` means.
fn refused(failure: LogFailure, pod: &str, previous: bool) -> Error {
    let what = "Failed to read the sandbox's log";
    let unavailable = |why: String| Error::new(Family::KubeApi, Kind::Unavailable, format!("{what}: {why}"));
    let failure = match failure {
        LogFailure::Io(error) => return unavailable("the API server broke off".to_owned()).caused_by(error),
        LogFailure::Protocol(why) => return unavailable(format!("the API server's answer is no HTTP: {why}")),
        LogFailure::Refused(failure) => failure,
    };
    match failure.status {
        Some(204) => not_started("its pod is on no node yet"),
        Some(404) if failure.is_missing_named(pod) => {
            Error::new(Family::KubeSandbox, Kind::NotFound, "The sandbox's pod is gone.").caused_by(failure)
        }
        // The kubelet does not know the pod yet, or the node is gone.
        Some(404) => unavailable("its node does not know the pod at the moment".to_owned()).caused_by(failure),
        Some(400 | 500) if !failure.is_status() => failed(failure, what),
        Some(400) if previous => Error::new(Family::PreviousLog, Kind::NotFound, failure.for_client()),
        Some(400) => not_started(&failure.for_client()),
        // What failed behind the API server has no reason.
        Some(500) if failure.reason.is_empty() => {
            unavailable("the API server cannot reach the pod's node".to_owned()).caused_by(failure)
        }
        _ => failed(failure, what),
    }
}
