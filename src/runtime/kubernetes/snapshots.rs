//! Snapshots as `SandboxSnapshot` objects (kubernetes-runtime.md §10), which the operator makes images of.
//!
//! | | |
//! |---|---|
//! | check | the BatchSandbox, a pod of it that runs, and that its runtime class is none whose file systems cannot be copied |
//! | request | the object, whose name follows from the snapshot's id: made twice it is one |
//! | ended | one watch a namespace, for as long as somebody waits for a snapshot there |
//!
//! Only BatchSandboxes can be copied; the operator takes them by the name that is their id.

mod progress;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::{
    Resource as _,
    api::{DeleteParams, Preconditions},
};
use serde_json::json;
use tokio::{runtime::Handle, sync::Notify, time::timeout};

use super::{
    Inner, Kubernetes, Scope,
    cache::{Cache, CacheSettings},
    client::ApiFailure,
    objects::{Pod, SandboxSnapshot},
    pods,
    workload::{Workload, failed, labels},
};
use crate::{
    error::{Error, Family, Kind},
    runtime::{RequestFailure, SnapshotProgress, SnapshotRef, SnapshotRequests},
};

/// The label of all snapshots' objects: the snapshot's id.
const ID: &str = "opensandbox.io/snapshot-id";

/// The label with the id of the sandbox that a snapshot is of.
const SOURCE: &str = "opensandbox.io/source-sandbox-id";

/// Says that a snapshot is a client's, and none that the operator made to pause a sandbox.
const SCOPE: (&str, &str) = ("opensandbox.io/snapshot-scope", "public");

/// The handler of the runtime whose containers' file systems cannot be copied, and the prefix of its variants.
const UNSUPPORTED_HANDLER: &str = "runsc";

/// How often a snapshot is looked at whose watch says nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What failed when a snapshot could not be asked for.
const CREATE: &str = "Failed to create snapshot";

/// The watches of snapshots, by namespace. Each lasts as long as somebody waits for one there.
pub(super) struct SnapshotWatches {
    /// Requests come on threads that end before this does.
    tasks: Handle,
    settings: CacheSettings,
    caches: Mutex<HashMap<Arc<str>, Weak<Cache<SandboxSnapshot>>>>,
}

impl SnapshotWatches {
    /// None yet.
    pub(super) fn new(settings: CacheSettings) -> Self {
        Self { tasks: Handle::current(), settings, caches: Mutex::default() }
    }
}

impl Inner {
    /// Where a snapshot's object is.
    fn namespace_of<'a>(&'a self, reference: &'a SnapshotRef) -> &'a Arc<str> {
        reference.namespace.as_ref().unwrap_or(&self.options.namespace)
    }

    /// The watch of a namespace's snapshots, if there is one.
    fn watched(&self, namespace: &str) -> Option<Arc<Cache<SandboxSnapshot>>> {
        let caches = self.snapshots.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.get(namespace)?.upgrade()
    }

    /// The watch of a namespace's snapshots, which begins if there is none.
    fn watch(&self, namespace: &Arc<str>) -> Arc<Cache<SandboxSnapshot>> {
        let SnapshotWatches { tasks, settings, caches } = &self.snapshots;
        let mut caches = caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|_, cache| cache.strong_count() > 0);
        if let Some(cache) = caches.get(namespace).and_then(Weak::upgrade) {
            return cache;
        }
        let _entered = tasks.enter();
        let cache = Cache::start(self.cluster.clone(), namespace, ID, settings.clone());
        caches.insert(Arc::clone(namespace), Arc::downgrade(&cache));
        cache
    }

    async fn check_snapshot(&self, reference: &SnapshotRef) -> Result<(), Error> {
        // Of whatever tenant: whose the sandbox is was found out before.
        let scope = self.namespaces.scope(self.namespace_of(reference), None)?;
        let what = "Failed to verify snapshot runtime";
        let to_error = |failure: ApiFailure| failed(failure, what);
        let found = self.workloads(&scope).find(&reference.sandbox).await.map_err(to_error)?;
        let is_copied =
            |workload: &Workload| matches!(workload, Workload::Batch(_)) && workload.name() == reference.sandbox;
        let Some(workload) = found.filter(is_copied) else {
            return Err(unverified(reference, ": BatchSandbox was not found."));
        };
        let Some(pod) = self.running_pod(&scope, &workload).await.map_err(to_error)? else {
            return Err(unverified(reference, ": no running source Pod was found."));
        };
        let Some(class) = pod.spec.runtime_class_name.filter(|class| !class.is_empty()) else { return Ok(()) };
        let api = self.cluster.api_of_all::<RuntimeClass>();
        let handler = match self.cluster.read("get_runtime_class", api.get(&class)).await {
            Ok(found) => found.handler,
            Err(failure) if failure.is_missing() => return Err(unverified(reference, ".").caused_by(failure)),
            Err(failure) => return Err(to_error(failure)),
        };
        if handler.is_empty() {
            return Err(unverified(reference, &format!(": RuntimeClass '{class}' has no handler.")));
        }
        let rest = handler.strip_prefix(UNSUPPORTED_HANDLER);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
            let text = format!(
                "gVisor RuntimeClass '{class}' (handler '{handler}') does not support the built-in rootfs snapshot committer."
            );
            return Err(Error::new(Family::SnapshotSource, Kind::Unsupported, text));
        }
        Ok(())
    }

    /// The pod of a sandbox that runs, if one does.
    async fn running_pod(&self, scope: &Scope, workload: &Workload) -> Result<Option<Pod>, ApiFailure> {
        let runs = |pod: &Pod| pod.status.phase.as_deref() == Some("Running");
        let pods = pods::of(&self.cluster, &scope.namespace, workload).await?;
        if let Some(pod) = pods::present(pods).filter(runs) {
            return Ok(Some(pod));
        }
        // Of an object whose template does not say the sandbox's id.
        let made = |pod: &Pod| runs(pod) && workload.made(pod);
        let mut pods = pods::made_by(&self.cluster, &scope.namespace, workload.name()).await?;
        pods.retain(made);
        if let Some(pod) = pods::present(pods) {
            return Ok(Some(pod));
        }
        let first = pods::named(&self.cluster, &scope.namespace, &format!("{}-0", workload.name())).await?;
        Ok(first.filter(made))
    }

    async fn request_snapshot(&self, reference: &SnapshotRef) -> Result<(), RequestFailure> {
        let (namespace, name) = (self.namespace_of(reference), name(reference));
        let object = json!({
            "apiVersion": SandboxSnapshot::api_version(&()), "kind": SandboxSnapshot::kind(&()),
            "metadata": {"name": name, "namespace": &**namespace,
                "labels": {ID: reference.id, SOURCE: reference.sandbox, SCOPE.0: SCOPE.1}},
            "spec": {"sandboxName": reference.sandbox},
        });
        let created =
            self.cluster.create::<SandboxSnapshot, SandboxSnapshot>("create_snapshot", namespace, &object).await;
        match created {
            Ok(created) => {
                if let Some(cache) = self.watched(namespace) {
                    cache.note(created);
                }
                Ok(())
            }
            Err(failure) if failure.is_conflict() => self.requested_before(reference, failure).await,
            Err(failure) => {
                let may_be_heard = failure.leaves_open();
                let error = failed(failure.clone(), CREATE);
                if error.kind != Kind::Failed {
                    return Err(RequestFailure { error, may_be_heard });
                }
                let why = format!("Failed to create Kubernetes SandboxSnapshot {name}: {}", failure.for_client());
                let error = rejected("snapshot_runtime_create_failed", &why).caused_by(failure);
                Err(RequestFailure { error, may_be_heard })
            }
        }
    }

    /// What was asked for before, by this server or by another one that recovers it, is the same.
    async fn requested_before(&self, reference: &SnapshotRef, taken: ApiFailure) -> Result<(), RequestFailure> {
        let error = match self.read_snapshot(self.namespace_of(reference), &name(reference)).await {
            Ok(Some(found)) if is_request_of(&found, reference) => return Ok(()),
            Ok(Some(_)) => {
                let text = format!("{CREATE}: its object exists already, and is another one.");
                Error::new(Family::Snapshot, Kind::InUse, text)
            }
            // It was there a moment ago.
            Ok(None) => rejected("snapshot_recovery_missing_snapshot", &missing_text(reference)),
            Err(failure) => return Err(RequestFailure { error: failed(failure, CREATE), may_be_heard: true }),
        };
        Err(RequestFailure { error: error.caused_by(taken), may_be_heard: false })
    }

    async fn read_snapshot(&self, namespace: &str, name: &str) -> Result<Option<SandboxSnapshot>, ApiFailure> {
        let api = self.cluster.api::<SandboxSnapshot>(namespace);
        match self.cluster.read("get_snapshot", api.get(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_missing() || failure.is_missing_kind() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// By the watch where there is one, else by the API server.
    async fn look_at_snapshot(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error> {
        let (namespace, name) = (self.namespace_of(reference), name(reference));
        if let Some(known) = self.watched(namespace).and_then(|cache| cache.at_hand(&name)) {
            return Ok(progress_by(&known, reference));
        }
        let found = self.read_snapshot(namespace, &name).await;
        let found = found.map_err(|failure| failed(failure, "Failed to read snapshot"))?;
        Ok(found.map_or_else(|| missing(reference), |found| progress_by(&found, reference)))
    }

    async fn snapshot_ended(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error> {
        let name = name(reference);
        let cache = self.watch(self.namespace_of(reference));
        let changes = Arc::new(Notify::new());
        let _interest = cache.wake(&reference.id, &changes);
        let mut is_silent = false;
        loop {
            let progress = match cache.known(&name) {
                // What the watch knows may be old.
                _ if is_silent => self.look_at_snapshot(reference).await?,
                Some(known) => progress_by(&known, reference),
                // Before everything is listed nothing is known of any; then it may have lost its label.
                None if cache.age().is_some() => self.look_at_snapshot(reference).await?,
                None => SnapshotProgress::UnderWay,
            };
            if progress != SnapshotProgress::UnderWay {
                return Ok(progress);
            }
            is_silent = timeout(LOOK_INTERVAL, changes.notified()).await.is_err();
        }
    }

    async fn withdraw_snapshot(&self, reference: &SnapshotRef) -> Result<(), Error> {
        let (namespace, name) = (self.namespace_of(reference), name(reference));
        let to_error = |failure| failed(failure, "Failed to delete snapshot");
        let found = self.read_snapshot(namespace, &name).await.map_err(to_error)?;
        let Some(found) = found.filter(|found| is_request_of(found, reference)) else { return Ok(()) };
        // Not another object that was made under the name since.
        let preconditions = Some(Preconditions { uid: found.metadata.uid, resource_version: None });
        let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
        let deletion = self.cluster.delete::<SandboxSnapshot>(namespace, &name, &parameters);
        match self.cluster.write("delete_snapshot", deletion).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_missing() || failure.is_missing_kind() => Ok(()),
            Err(failure) => Err(to_error(failure)),
        }
    }
}

#[async_trait]
impl SnapshotRequests for Kubernetes {
    fn home(&self) -> Arc<str> {
        Arc::clone(&self.inner.options.namespace)
    }

    async fn check(&self, reference: &SnapshotRef) -> Result<(), Error> {
        self.inner.check_snapshot(reference).await
    }

    async fn request(&self, reference: &SnapshotRef) -> Result<(), RequestFailure> {
        self.inner.request_snapshot(reference).await
    }

    async fn look(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error> {
        self.inner.look_at_snapshot(reference).await
    }

    async fn ended(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error> {
        self.inner.snapshot_ended(reference).await
    }

    async fn withdraw(&self, reference: &SnapshotRef) -> Result<(), Error> {
        self.inner.withdraw_snapshot(reference).await
    }
}

/// The name of a snapshot's object.
fn name(reference: &SnapshotRef) -> String {
    format!("osb-snap-{}", reference.id.replace('-', ""))
}

/// Whether an object is this snapshot's request.
fn is_request_of(object: &SandboxSnapshot, reference: &SnapshotRef) -> bool {
    labels::of(&object.metadata, ID) == Some(reference.id.as_str()) && object.spec.sandbox_name == reference.sandbox
}

/// How far a snapshot is by the object of its name; another's is none.
fn progress_by(object: &SandboxSnapshot, reference: &SnapshotRef) -> SnapshotProgress {
    if is_request_of(object, reference) { progress::of(object) } else { missing(reference) }
}

fn missing(reference: &SnapshotRef) -> SnapshotProgress {
    SnapshotProgress::Missing { message: missing_text(reference) }
}

fn missing_text(reference: &SnapshotRef) -> String {
    format!("Kubernetes SandboxSnapshot {} was not found.", name(reference))
}

/// A request that was refused, with the reason that its record would have.
fn rejected(reason: &str, why: &str) -> Error {
    let text = format!("Snapshot runtime rejected creation ({reason}): {why}");
    Error::new(Family::Snapshot, Kind::Failed, text)
}

/// `why` goes on behind the sandbox's id.
fn unverified(reference: &SnapshotRef, why: &str) -> Error {
    let text = format!("Cannot verify snapshot runtime for sandbox {}{why}", reference.sandbox);
    Error::new(Family::SnapshotSource, Kind::Conflict, text)
}
