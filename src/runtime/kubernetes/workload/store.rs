//! The sandboxes of a namespace: found and listed in the cache, changed and removed on the API server.

use std::{sync::Arc, time::Duration};

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Workload, labels, names};
use crate::{
    config::WorkloadProvider,
    runtime::kubernetes::{
        cache::{Cache, CacheSettings, Interest, Watched},
        client::{ApiFailure, Cluster},
        objects::{AgentSandbox, BatchSandbox},
    },
};

/// The sandboxes of a namespace, which are all of one kind.
pub(in crate::runtime::kubernetes) enum Workloads {
    Batch(Objects<BatchSandbox>),
    Agent(Objects<AgentSandbox>),
}

/// What became of an object that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::kubernetes) enum Deletion {
    /// It is gone, or goes when its finalizers are done.
    Begun,
    /// It was gone.
    Gone,
    /// It was gone, and there is another one with the same id.
    Replaced,
}

/// How strictly a sandbox is looked for.
#[derive(Clone, Copy)]
enum How {
    Strictly,
    OrKnown,
}

/// The objects of one kind in a namespace.
pub(in crate::runtime::kubernetes) struct Objects<K> {
    cluster: Cluster,
    namespace: Arc<str>,
    cache: Arc<Cache<K>>,
    names: Names,
}

/// The names that an object may have by its sandbox's id.
#[derive(Clone, Copy)]
struct Names {
    of: fn(&str) -> Vec<String>,
    /// Whether one is among them.
    has: fn(&str, &str) -> bool,
}

/// An object that is a sandbox.
pub(in crate::runtime::kubernetes) trait Object: Watched {
    fn wrap(this: Arc<Self>) -> Workload;
}

impl Object for BatchSandbox {
    fn wrap(this: Arc<Self>) -> Workload {
        Workload::Batch(this)
    }
}

impl Object for AgentSandbox {
    fn wrap(this: Arc<Self>) -> Workload {
        Workload::Agent(this)
    }
}

/// The same for each kind.
macro_rules! of_each {
    ($workloads:expr, $objects:ident => $body:expr) => {
        match $workloads {
            Workloads::Batch($objects) => $body,
            Workloads::Agent($objects) => $body,
        }
    };
}

impl Workloads {
    /// Watches the sandboxes of a namespace for as long as this lives.
    pub(in crate::runtime::kubernetes) fn start(
        cluster: &Cluster,
        namespace: &Arc<str>,
        provider: WorkloadProvider,
        settings: CacheSettings,
    ) -> Self {
        match provider {
            WorkloadProvider::BatchSandbox => {
                let names = Names { of: names::of_batch, has: names::is_of_batch };
                Self::Batch(Objects::start(cluster, namespace, names, settings))
            }
            WorkloadProvider::AgentSandbox => {
                let names = Names { of: names::of_agent, has: names::is_of_agent };
                Self::Agent(Objects::start(cluster, namespace, names, settings))
            }
        }
    }

    /// The sandbox with an id, of whatever tenant. The label counts as well as the name: an object without it is no sandbox.
    pub(in crate::runtime::kubernetes) async fn find(&self, id: &str) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.find(id, How::Strictly).await)
    }

    /// The same; while the API server cannot be asked, as it was known shortly before.
    pub(in crate::runtime::kubernetes) async fn find_or_known(&self, id: &str) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.find(id, How::OrKnown).await)
    }

    /// The same sandbox as it is now on the API server, past the cache.
    pub(in crate::runtime::kubernetes) async fn read_anew(
        &self,
        workload: &Workload,
    ) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.read_anew(workload).await)
    }

    /// All sandboxes, of whatever tenant.
    pub(in crate::runtime::kubernetes) async fn list(&self) -> Result<Vec<Workload>, ApiFailure> {
        of_each!(self, objects => objects.list().await)
    }

    /// The name that a new sandbox's object has.
    pub(in crate::runtime::kubernetes) fn name_of(&self, id: &str) -> Option<String> {
        of_each!(self, objects => (objects.names.of)(id).into_iter().next())
    }

    /// Creates a sandbox's object.
    pub(in crate::runtime::kubernetes) async fn create(&self, object: &Value) -> Result<Workload, ApiFailure> {
        of_each!(self, objects => objects.create(object).await)
    }

    /// The sandbox with this id and this name as it is now on the API server, past the cache.
    pub(in crate::runtime::kubernetes) async fn read_named(
        &self,
        id: &str,
        name: &str,
    ) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.read_named(id, name).await)
    }

    /// The same sandbox as far as is known; nothing if its object went, or was replaced by another.
    pub(in crate::runtime::kubernetes) fn known(&self, workload: &Workload) -> Option<Workload> {
        of_each!(self, objects => objects.known(workload))
    }

    /// Wakes `notify` at each change of the sandbox with this id, for as long as the answer lives.
    pub(in crate::runtime::kubernetes) fn wake(&self, id: &str, notify: &Arc<Notify>) -> Interest {
        of_each!(self, objects => objects.cache.wake(id, notify))
    }

    /// Whether the watch tells what happens.
    pub(in crate::runtime::kubernetes) fn is_told(&self) -> bool {
        of_each!(self, objects => objects.cache.is_told())
    }

    /// Waits until the API server answers again that did not.
    pub(in crate::runtime::kubernetes) async fn until_back(&self) {
        of_each!(self, objects => objects.cache.until_back().await);
    }

    /// Merges a patch into a sandbox's object, and gives what it is then; nothing if it is gone.
    pub(in crate::runtime::kubernetes) async fn merge(
        &self,
        workload: &Workload,
        patch: &Value,
    ) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.merge(workload, patch).await)
    }

    /// Deletes a sandbox's object.
    pub(in crate::runtime::kubernetes) async fn delete(&self, workload: &Workload) -> Result<Deletion, ApiFailure> {
        of_each!(self, objects => objects.delete(workload).await)
    }

    /// The namespaces, of all that there are, in which an object is the sandbox with an id; two if there are more.
    pub(in crate::runtime::kubernetes) async fn namespaces_of(&self, id: &str) -> Result<Vec<Arc<str>>, ApiFailure> {
        of_each!(self, objects => objects.namespaces_of(id).await)
    }

    /// What [`Self::find`] finds if it asks nobody for it.
    pub(in crate::runtime::kubernetes) fn at_hand(&self, id: &str) -> Option<Workload> {
        of_each!(self, objects => objects.at_hand(id))
    }

    /// Whether no object can have this id's name.
    pub(in crate::runtime::kubernetes) fn is_nameless(&self, id: &str) -> bool {
        of_each!(self, objects => (objects.names.of)(id).is_empty())
    }

    /// How the objects failed to be listed or watched, if they still do.
    pub(in crate::runtime::kubernetes) fn failure(&self) -> Option<ApiFailure> {
        of_each!(self, objects => objects.cache.failure())
    }

    /// How old what is known is; nothing before it was known.
    pub(in crate::runtime::kubernetes) fn age(&self) -> Option<Duration> {
        of_each!(self, objects => objects.cache.age())
    }
}

impl<K: Object> Objects<K> {
    fn start(cluster: &Cluster, namespace: &Arc<str>, names: Names, settings: CacheSettings) -> Self {
        let cache = Cache::start(cluster.clone(), namespace, labels::ID, settings);
        Self { cluster: cluster.clone(), namespace: Arc::clone(namespace), cache, names }
    }

    async fn find(&self, id: &str, how: How) -> Result<Option<Workload>, ApiFailure> {
        let names = (self.names.of)(id);
        // A name that is not in the cache is asked for, so the likely one of all is looked for there first.
        let known = names.iter().find(|name| self.cache.known(name).is_some());
        let rest = names.iter().filter(|name| Some(*name) != known);
        for name in known.into_iter().chain(rest) {
            let found = match how {
                How::Strictly => self.cache.get(name).await?,
                How::OrKnown => self.cache.get_or_known(name).await?,
            };
            if let Some(workload) = found.map(K::wrap).filter(|workload| workload.id() == id) {
                return Ok(Some(workload));
            }
        }
        Ok(None)
    }

    async fn create(&self, object: &Value) -> Result<Workload, ApiFailure> {
        let created = self.cluster.create::<K, K>("create_sandbox", &self.namespace, object).await?;
        let noted = self.cache.note(created.clone());
        // Another one may have its name already, which the watch has told before this answer came.
        let is_it = noted.meta().uid == created.meta().uid;
        Ok(K::wrap(if is_it { noted } else { Arc::new(created) }))
    }

    async fn read_named(&self, id: &str, name: &str) -> Result<Option<Workload>, ApiFailure> {
        Ok(self.fetch(name).await?.filter(|found| found.id() == id))
    }

    async fn read_anew(&self, workload: &Workload) -> Result<Option<Workload>, ApiFailure> {
        let found = self.fetch(workload.name()).await?;
        if found.is_none() {
            self.forget(workload);
        }
        Ok(found.filter(|found| found.id() == workload.id()))
    }

    /// Whatever has this name.
    async fn fetch(&self, name: &str) -> Result<Option<Workload>, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        match self.cluster.read("get_sandbox", api.get(name)).await {
            Ok(object) => Ok(Some(K::wrap(self.cache.note(object)))),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn known(&self, workload: &Workload) -> Option<Workload> {
        self.cache.known(workload.name()).map(K::wrap).filter(|found| found.uid() == workload.uid())
    }

    async fn list(&self) -> Result<Vec<Workload>, ApiFailure> {
        let all = self.cache.list().await?.into_iter().map(K::wrap);
        // Also of a list no one is shown that no other route would find.
        let is_found = |workload: &Workload| {
            let (id, name) = (workload.id(), workload.name());
            names::check(id).is_ok() && (self.names.has)(id, name)
        };
        let mut all: Vec<_> = all.filter(is_found).collect();
        if self.cache.has_doubles() {
            all.retain(|workload| self.is_first(workload));
        }
        Ok(all)
    }

    /// Whether no other object stands before it by whose name the same id is looked for first.
    fn is_first(&self, workload: &Workload) -> bool {
        let id = workload.id();
        let before = (self.names.of)(id).into_iter().take_while(|name| name != workload.name());
        !before.filter_map(|name| self.cache.known(&name)).any(|other| K::wrap(other).id() == id)
    }

    async fn merge(&self, workload: &Workload, patch: &Value) -> Result<Option<Workload>, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        let mut patch = patch.clone();
        if let Some(uid) = workload.uid() {
            // Not another object that was made under the same name since: the API server refuses to change a UID.
            patch["metadata"]["uid"] = uid.into();
        }
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        match self.cluster.write("patch_sandbox", api.patch(workload.name(), &parameters, &patch)).await {
            Ok(object) => {
                let patched = K::wrap(self.cache.note(object));
                let is_same = patched.id() == workload.id() && patched.tenant() == workload.tenant();
                Ok(Some(patched).filter(|_| is_same))
            }
            Err(failure) if failure.is_missing() || failure.is_about("metadata.uid") => {
                self.forget(workload);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn delete(&self, workload: &Workload) -> Result<Deletion, ApiFailure> {
        // Not another object that was made under the same name since.
        let uid = workload.uid().map(str::to_owned);
        let preconditions = Some(Preconditions { uid, resource_version: None });
        let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
        let deletion = self.cluster.delete::<K>(&self.namespace, workload.name(), &parameters);
        match self.cluster.write("delete_sandbox", deletion).await {
            Ok(left) => {
                match left {
                    // A finalizer holds it: it goes when the operator has done its part.
                    Some(object) => drop(self.cache.note(object)),
                    None => self.forget(workload),
                }
                Ok(Deletion::Begun)
            }
            Err(failure) if failure.is_missing() => {
                self.forget(workload);
                Ok(Deletion::Gone)
            }
            // Of another object, or of an admission webhook.
            Err(failure) if failure.is_conflict() => match self.read_anew(workload).await? {
                Some(found) if found.uid() == workload.uid() => Err(failure),
                found => {
                    self.forget(workload);
                    Ok(if found.is_some() { Deletion::Replaced } else { Deletion::Gone })
                }
            },
            Err(failure) => Err(failure),
        }
    }

    async fn namespaces_of(&self, id: &str) -> Result<Vec<Arc<str>>, ApiFailure> {
        let api = self.cluster.api_of_all::<K>();
        let parameters = ListParams::default().labels(&format!("{}={id}", labels::ID)).limit(2);
        let found = self.cluster.read("find_sandbox", api.list(&parameters)).await?;
        Ok(found.items.into_iter().filter_map(|object| Some(object.meta().namespace.as_deref()?.into())).collect())
    }

    fn at_hand(&self, id: &str) -> Option<Workload> {
        let found = (self.names.of)(id).iter().find_map(|name| self.cache.at_hand(name));
        found.map(K::wrap).filter(|workload| workload.id() == id)
    }

    fn forget(&self, workload: &Workload) {
        if let Some(uid) = workload.uid() {
            self.cache.forget(workload.name(), uid);
        }
    }
}
