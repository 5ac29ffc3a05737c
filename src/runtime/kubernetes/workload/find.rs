//! Finding a sandbox and its pods for a request, in the scope that it is allowed.

use std::sync::Arc;

use super::{Workload, names};
use crate::{
    error::{Error, Family, Kind},
    runtime::kubernetes::{Inner, Scope, client::ApiFailure, objects::Pod},
    telemetry::rate_limit::{Due, RateLimit},
};

impl Inner {
    /// A sandbox by its id, of this scope's tenant.
    ///
    /// # Errors
    /// ([`Family::KubeSandbox`], [`Kind::NotFound`]) and ([`Family::FastSandbox`], [`Kind::NotFound`]); [`failed`] if the
    /// cluster cannot be asked.
    pub(in crate::runtime::kubernetes) async fn find(&self, scope: &Scope, id: &str) -> Result<Workload, Error> {
        names::check(id)?;
        let found = self.workloads(scope).find(id).await.map_err(|failure| failed(failure, "Failed to get sandbox"))?;
        found.filter(|workload| scope.owns(workload.tenant())).ok_or_else(|| names::not_found(id))
    }

    /// The pods that bear a sandbox's id; not those of a pool.
    pub(in crate::runtime::kubernetes) async fn pods_of(
        &self,
        scope: &Scope,
        workload: &Workload,
    ) -> Result<Vec<Arc<Pod>>, ApiFailure> {
        Ok(own(self.pods(scope).labelled(workload.id()).await?, workload))
    }

    /// The same, and the sandbox, for the proxy: what was known shortly before the API server failed is better than to cut off
    /// a pod that runs on.
    ///
    /// # Errors
    /// As [`Self::find`], and [`failed`] if the pods are not known.
    pub(in crate::runtime::kubernetes) async fn find_to_reach(
        &self,
        scope: &Scope,
        id: &str,
    ) -> Result<(Workload, Vec<Arc<Pod>>), Error> {
        names::check(id)?;
        let found = self.workloads(scope).find_or_known(id).await;
        let found = found.map_err(|failure| failed(failure, "Failed to get sandbox"))?;
        let workload = found.filter(|found| scope.owns(found.tenant())).ok_or_else(|| names::not_found(id))?;
        if workload.has_host(&self.options.pod_networks) {
            return Ok((workload, Vec::new()));
        }
        let pods = self.pods(scope).labelled_or_known(id).await;
        let pods = own(pods.map_err(|failure| failed(failure, "Failed to find the sandbox's pod"))?, &workload);
        Ok((workload, pods))
    }

    /// The pods that a sandbox's state is told by; none where they are not needed, or cannot be read.
    pub(in crate::runtime::kubernetes) async fn pods_for_state(
        &self,
        scope: &Scope,
        workload: &Workload,
    ) -> Vec<Arc<Pod>> {
        if !workload.needs_pods() {
            return Vec::new();
        }
        self.pods_of(scope, workload).await.unwrap_or_else(|failure| {
            tell_without_pods(&failure);
            Vec::new()
        })
    }
}

/// Tells the log that states are told without the pods that have a say: once in a while, since each request finds it.
pub(in crate::runtime::kubernetes) fn tell_without_pods(failure: &ApiFailure) {
    static TOLD: RateLimit = RateLimit::new();
    if let Some(Due { left_out }) = TOLD.due("pods") {
        tracing::warn!(%failure, left_out, "sandboxes' pods cannot be read: some states are told without them");
    }
}

/// A sandbox that is being deleted is not changed any more.
///
/// # Errors
/// ([`Family::KubeSandbox`], [`Kind::Conflict`]).
pub(in crate::runtime::kubernetes) fn check_alive(workload: &Workload) -> Result<(), Error> {
    if !workload.is_deleting() {
        return Ok(());
    }
    let text = format!("Sandbox {} is being deleted.", workload.id());
    Err(Error::new(Family::KubeSandbox, Kind::Conflict, text))
}

fn own(mut pods: Vec<Arc<Pod>>, workload: &Workload) -> Vec<Arc<Pod>> {
    pods.retain(|pod| workload.selects(pod));
    pods
}

/// A call that failed, as clients are told it: `what` was to be done.
pub(in crate::runtime::kubernetes) fn failed(failure: ApiFailure, what: &str) -> Error {
    if !failure.is_forbidden() {
        return failure.into_error(what);
    }
    let text = format!("{what}: the cluster does not allow it to the gateway: {}", failure.for_client());
    Error::new(Family::KubeAccess, Kind::Denied, text).caused_by(failure)
}
