//! The sandboxes of a namespace: found and listed in the cache, changed and removed on the API server.

use std::{fmt, sync::Arc, time::Duration};

use kube::{
    Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Workload, labels, names};
use crate::{
    config::WorkloadProvider,
    runtime::kubernetes::{
        cache::{Cache, CacheSettings},
        client::{ApiFailure, Cluster},
        objects::{AgentSandbox, BatchSandbox},
    },
};

/// The sandboxes of a namespace, which are all of one kind.
pub(in crate::runtime::kubernetes) enum Workloads {
    Batch(Objects<BatchSandbox>),
    Agent(Objects<AgentSandbox>),
}

/// The objects of one kind in a namespace.
pub(in crate::runtime::kubernetes) struct Objects<K> {
    cluster: Cluster,
    namespace: Arc<str>,
    cache: Arc<Cache<K>>,
    /// The names that an object may have by its sandbox's id.
    names: fn(&str) -> Vec<String>,
}

/// An object that is a sandbox.
pub(in crate::runtime::kubernetes) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
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
                Self::Batch(Objects::start(cluster, namespace, names::of_batch, settings))
            }
            WorkloadProvider::AgentSandbox => {
                Self::Agent(Objects::start(cluster, namespace, names::of_agent, settings))
            }
        }
    }

    /// The sandbox with an id, of whatever tenant. The label counts as well as the name: an object without it is no sandbox.
    pub(in crate::runtime::kubernetes) async fn find(&self, id: &str) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.find(id).await)
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

    /// Merges a patch into a sandbox's object, and gives what it is then; nothing if it is gone.
    pub(in crate::runtime::kubernetes) async fn merge(
        &self,
        workload: &Workload,
        patch: &Value,
    ) -> Result<Option<Workload>, ApiFailure> {
        of_each!(self, objects => objects.merge(workload, patch).await)
    }

    /// Deletes a sandbox's object; false if it was gone.
    pub(in crate::runtime::kubernetes) async fn delete(&self, workload: &Workload) -> Result<bool, ApiFailure> {
        of_each!(self, objects => objects.delete(workload).await)
    }

    /// The namespaces, of all that there are, in which an object is the sandbox with an id; two if there are more.
    pub(in crate::runtime::kubernetes) async fn namespaces_of(&self, id: &str) -> Result<Vec<Arc<str>>, ApiFailure> {
        of_each!(self, objects => objects.namespaces_of(id).await)
    }

    /// Whether [`Self::find`] asks nobody.
    pub(in crate::runtime::kubernetes) fn is_at_hand(&self, id: &str) -> bool {
        of_each!(self, objects => objects.is_at_hand(id))
    }

    /// How old what is known is; nothing before it was known.
    pub(in crate::runtime::kubernetes) fn age(&self) -> Option<Duration> {
        of_each!(self, objects => objects.cache.age())
    }
}

impl<K: Object> Objects<K> {
    fn start(cluster: &Cluster, namespace: &Arc<str>, names: fn(&str) -> Vec<String>, settings: CacheSettings) -> Self {
        let cache = Cache::start(cluster.clone(), namespace, labels::ID, settings);
        Self { cluster: cluster.clone(), namespace: Arc::clone(namespace), cache, names }
    }

    async fn find(&self, id: &str) -> Result<Option<Workload>, ApiFailure> {
        let names = (self.names)(id);
        // A name that is not in the cache is asked for, so the likely one of all is looked for there first.
        let known = names.iter().find(|name| self.cache.is_at_hand(name));
        let rest = names.iter().filter(|name| Some(*name) != known);
        for name in known.into_iter().chain(rest) {
            let found = self.cache.get(name).await?.map(K::wrap);
            if let Some(workload) = found.filter(|workload| workload.id() == id) {
                return Ok(Some(workload));
            }
        }
        Ok(None)
    }

    async fn read_anew(&self, workload: &Workload) -> Result<Option<Workload>, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        match self.cluster.read("get_sandbox", api.get(workload.name())).await {
            Ok(object) => Ok(Some(self.noted(object)).filter(|found| found.id() == workload.id())),
            Err(failure) if failure.is_missing() => {
                self.forget(workload);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn list(&self) -> Result<Vec<Workload>, ApiFailure> {
        let all = self.cache.list().await?.into_iter().map(K::wrap);
        Ok(all.filter(|workload| !workload.id().is_empty()).collect())
    }

    async fn merge(&self, workload: &Workload, patch: &Value) -> Result<Option<Workload>, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        match self.cluster.write("patch_sandbox", api.patch(workload.name(), &parameters, &patch)).await {
            Ok(object) => Ok(Some(self.noted(object))),
            Err(failure) if failure.is_missing() => {
                self.forget(workload);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn delete(&self, workload: &Workload) -> Result<bool, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        // Not another object that was made under the same name since.
        let uid = workload.uid().map(str::to_owned);
        let preconditions = Some(Preconditions { uid, resource_version: None });
        let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
        match self.cluster.write("delete_sandbox", api.delete(workload.name(), &parameters)).await {
            Ok(answer) => {
                match answer.left() {
                    // A finalizer holds it: it goes when the operator has done its part.
                    Some(object) => self.cache.note(object),
                    None => self.forget(workload),
                }
                Ok(true)
            }
            Err(failure) if failure.is_missing() => {
                self.forget(workload);
                Ok(false)
            }
            Err(failure) => {
                // Another object bears its name by now; the next request finds that one. It is not gone: its claims stay.
                if failure.is_conflict() {
                    self.forget(workload);
                }
                Err(failure)
            }
        }
    }

    async fn namespaces_of(&self, id: &str) -> Result<Vec<Arc<str>>, ApiFailure> {
        let api = self.cluster.api_of_all::<K>();
        let parameters = ListParams::default().labels(&format!("{}={id}", labels::ID)).limit(2);
        let found = self.cluster.read("find_sandbox", api.list(&parameters)).await?;
        Ok(found.items.into_iter().filter_map(|object| Some(object.meta().namespace.as_deref()?.into())).collect())
    }

    fn is_at_hand(&self, id: &str) -> bool {
        let names = (self.names)(id);
        // What can have no name is known not to be there.
        names.is_empty() || names.iter().any(|name| self.cache.is_at_hand(name))
    }

    /// An own write's answer, which is seen at once.
    fn noted(&self, object: K) -> Workload {
        self.cache.note(object.clone());
        K::wrap(Arc::new(object))
    }

    fn forget(&self, workload: &Workload) {
        if let Some(uid) = workload.uid() {
            self.cache.forget(workload.name(), uid);
        }
    }
}
