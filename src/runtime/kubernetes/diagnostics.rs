//! What the cluster knows of a sandbox's pod, as text for a person (kubernetes-runtime.md §16, logs.md §3).

mod text;

use std::sync::Arc;

use kube::api::ListParams;

use crate::{
    error::{Error, Family, Kind},
    runtime::kubernetes::{
        Inner, Scope,
        objects::{Event, Pod},
        workload::failed,
    },
};

/// How many events of a pod are read: the API server keeps them for an hour, in the order of their names.
const MAX_EVENTS: u32 = 500;

impl Inner {
    /// A description of a sandbox's pod.
    pub(super) async fn inspect(&self, scope: &Scope, id: &str) -> Result<String, Error> {
        Ok(text::inspect(&*self.pod(scope, id).await?))
    }

    /// What happened to a sandbox's pod: the last `limit` of it, in the order of time.
    pub(super) async fn events(&self, scope: &Scope, id: &str, limit: usize) -> Result<String, Error> {
        let pod = self.pod(scope, id).await?;
        let fields = format!("involvedObject.name={}", pod.name());
        let parameters = ListParams::default().fields(&fields).limit(MAX_EVENTS);
        let api = self.cluster.api::<Event>(&scope.namespace);
        let events = self.cluster.read("list_events", api.list(&parameters)).await;
        let mut events = events.map_err(|failure| failed(failure, "Failed to read the sandbox's events"))?.items;
        // Those of an older pod of the same name are not its.
        let uid = pod.metadata.uid.as_deref();
        events.retain(|event| event.object_uid().is_none() || uid.is_none() || event.object_uid() == uid);
        Ok(text::events(events, limit))
    }

    /// The pod that a sandbox is: the newest of those that bear its id, else of those that it has of a pool.
    async fn pod(&self, scope: &Scope, id: &str) -> Result<Arc<Pod>, Error> {
        let unreadable = |failure| failed(failure, "Failed to read the sandbox's pod");
        let workload = self.find(scope, id).await?;
        let mut pods = self.pods_of(scope, &workload).await.map_err(unreadable)?;
        if pods.is_empty() {
            for name in workload.allocated_pods() {
                pods.extend(self.pods(scope).get(&name).await.map_err(unreadable)?);
            }
        }
        let created = |pod: &Arc<Pod>| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (pod.status.phase.as_deref() == Some("Running"), created)
        };
        pods.into_iter()
            .max_by_key(created)
            .ok_or_else(|| Error::new(Family::KubeSandbox, Kind::NotFound, format!("No pod found for sandbox '{id}'")))
    }
}
