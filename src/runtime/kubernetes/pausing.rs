//! Pauses and resumes sandboxes (kubernetes-runtime.md §9): writes the wish into the object; the operator fulfils it.
//!
//! A wish is written into the state that it was decided by, and into no other: the patch names the object's version, so what
//! memory did not know yet refuses it. A refusal is decided by what the API server has, never by memory alone.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{
    Inner, Kubernetes, Scope,
    client::ApiFailure,
    objects::Pod,
    pods,
    workload::{PauseChange, Workload, check_alive, failed, names},
};
use crate::{
    error::{Error, Family, Kind},
    runtime::Pausing,
};

/// How often a patch is tried that others come before, or that is one of several.
const MAX_ATTEMPTS: usize = 8;

impl Inner {
    async fn pause_or_resume(&self, scope: &Scope, id: &str, change: PauseChange) -> Result<(), Error> {
        let what = format!("Failed to {} sandbox", change.verb());
        let mut workload = self.find(scope, id).await?;
        let (mut is_read, mut is_cleared) = (false, false);
        for _ in 0..MAX_ATTEMPTS {
            check_alive(&workload)?;
            let pods = match &workload {
                // Its phase alone decides.
                Workload::Batch(_) => Vec::new(),
                Workload::Agent(_) if is_read => {
                    self.pods_read_anew(scope, &workload).await.map_err(|failure| failed(failure, &what))?
                }
                Workload::Agent(_) => self.pods_for_state(scope, &workload).await,
            };
            let step = match workload.next_step(&pods, change, is_cleared) {
                Ok(step) => Some(step),
                Err(why) if is_read => return Err(Error::new(Family::KubeSandbox, Kind::Conflict, why)),
                Err(_) => None,
            };
            if let Some(step) = step {
                let mut patch = step.patch;
                patch["metadata"] = json!({"resourceVersion": workload.resource_version()});
                match self.workloads(scope).merge(&workload, &patch).await {
                    Ok(Some(_)) if step.is_last => {
                        tracing::info!(sandbox = id, "asked the operator to {} it", change.verb());
                        return Ok(());
                    }
                    Ok(Some(patched)) => {
                        (workload, is_cleared) = (patched, true);
                        continue;
                    }
                    Ok(None) => return Err(names::not_found(id)),
                    Err(failure) if failure.is_conflict() => {}
                    Err(failure) => return Err(failed(failure, &what)),
                }
            }
            let found = self.workloads(scope).read_anew(&workload).await.map_err(|failure| failed(failure, &what))?;
            workload = found.filter(|found| scope.owns(found.tenant())).ok_or_else(|| names::not_found(id))?;
            is_read = true;
        }
        let text = format!("{what}: the object of sandbox {id} is changed all the time.");
        Err(Error::new(Family::KubeApi, Kind::Overloaded, text))
    }
}

impl Inner {
    /// The pods that a sandbox's state is told by, as they are on the API server.
    async fn pods_read_anew(&self, scope: &Scope, workload: &Workload) -> Result<Vec<Arc<Pod>>, ApiFailure> {
        if !workload.needs_pods() {
            return Ok(Vec::new());
        }
        let pods = pods::of(&self.cluster, &scope.namespace, workload).await?;
        Ok(pods.into_iter().map(Arc::new).collect())
    }
}

impl Kubernetes {
    async fn pause_or_resume(&self, id: &str, change: PauseChange) -> Result<(), Error> {
        let (Self { inner, scope }, id) = (self.clone(), id.to_owned());
        self.to_the_end(async move { inner.pause_or_resume(&scope, &id, change).await }).await
    }
}

#[async_trait]
impl Pausing for Kubernetes {
    async fn pause(&self, id: &str) -> Result<(), Error> {
        self.pause_or_resume(id, PauseChange::Pause).await
    }

    async fn resume(&self, id: &str) -> Result<(), Error> {
        self.pause_or_resume(id, PauseChange::Resume).await
    }
}
