//! What the cluster knows of a sandbox's pod, as text for a person (kubernetes-runtime.md §16, logs.md §3).

mod text;

use std::sync::Arc;

use kube::api::ListParams;

use crate::{
    error::{Error, Family, Kind},
    runtime::kubernetes::{
        Inner, Scope,
        client::ApiFailure,
        objects::{Event, Pod},
        pods,
        workload::failed,
    },
};

/// How many events are read at once, and how often: the API server keeps them for an hour, and lists them in the order of their
/// names, so that the newest may come last (kubernetes-api.md L9).
const PAGE_SIZE: u32 = 500;
const MAX_PAGES: usize = 20;

impl Inner {
    /// A description of a sandbox's pod.
    pub(super) async fn inspect(&self, scope: &Scope, id: &str) -> Result<String, Error> {
        Ok(text::inspect(&*self.pod(scope, id).await?))
    }

    /// What happened to a sandbox's pod: the last `limit` of it, in the order of time.
    pub(super) async fn events(&self, scope: &Scope, id: &str, limit: usize) -> Result<String, Error> {
        let pod = self.pod(scope, id).await?;
        let events = self.events_of(scope, pod.name(), pod.metadata.uid.as_deref()).await;
        let events = events.map_err(|failure| refused(failure, "Failed to read the sandbox's events"))?;
        Ok(text::events(events, limit))
    }

    /// The events of an object, in any order. Without its UID those of its name.
    pub(super) async fn events_of(
        &self,
        scope: &Scope,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Vec<Event>, ApiFailure> {
        let fields = format!("involvedObject.name={name}");
        let mut parameters = ListParams::default().fields(&fields).limit(PAGE_SIZE);
        let api = self.cluster.api::<Event>(&scope.namespace);
        let mut events = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.cluster.observe("list_events", api.list(&parameters)).await?;
            events.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => break,
            }
        }
        // Those of an older object of the same name are not its.
        events.retain(|event| event.object_uid().is_none() || uid.is_none() || event.object_uid() == uid);
        Ok(events)
    }

    /// The pod that a sandbox is: the newest of those that it has.
    async fn pod(&self, scope: &Scope, id: &str) -> Result<Arc<Pod>, Error> {
        let unreadable = |failure| refused(failure, "Failed to read the sandbox's pod");
        let workload = self.find(scope, id).await?;
        let mut pods = self.pods_of(scope, &workload).await.map_err(unreadable)?;
        if pods.is_empty() {
            // Its pod is a pool's, or so new that the watch has not told of it.
            let found = pods::of(&self.cluster, &scope.namespace, &workload).await.map_err(unreadable)?;
            pods.extend(found.into_iter().map(Arc::new));
        }
        pods.into_iter()
            .max_by(|one, other| one.rank().cmp(&other.rank()))
            .ok_or_else(|| Error::new(Family::KubeSandbox, Kind::NotFound, format!("No pod found for sandbox '{id}'")))
    }
}

/// A failure as the existing server maps it here (§16): what is a bad request for the API server is one, and without valid
/// credentials it may not, either.
fn refused(failure: ApiFailure, what: &str) -> Error {
    let is_bad = failure.is_status() && failure.status == Some(400);
    if failure.status == Some(401) {
        let text = format!("{what}: the gateway has no valid credentials for the API server");
        return Error::new(Family::KubeAccess, Kind::Denied, text).caused_by(failure);
    }
    let mut error = failed(failure, what);
    if is_bad {
        error.kind = Kind::Invalid;
    }
    error
}
