//! Where a sandbox is that an entry of the queue names: it says an id, and perhaps a namespace (kubernetes-runtime.md §15).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::tell;
use crate::{
    error::{Error, Kind},
    model::timestamp::Timestamp,
    runtime::{Runtime, Tenancy},
    tenants::Tenants,
};

/// For how long it is not looked everywhere after that was refused.
const REFUSAL: Duration = Duration::from_secs(600);

/// Finds the sandboxes of all tenants.
pub(super) struct Search {
    runtime: Arc<dyn Runtime>,
    tenants: Option<Arc<Tenants>>,
    /// When looking everywhere was refused.
    refused: Mutex<Option<Instant>>,
}

impl Search {
    /// The server's own sandboxes are those of `runtime`.
    pub(super) fn new(runtime: Arc<dyn Runtime>, tenants: Option<Arc<Tenants>>) -> Self {
        Self { runtime, tenants, refused: Mutex::default() }
    }

    /// Renews a sandbox; `hint` is the namespace that it may be in. A failure is only logged.
    pub(super) async fn renew(&self, id: &str, hint: Option<&str>) {
        let mut renewed = self.runtime.renew_on_access(id).await;
        if let (Err(error), Some(tenants), Some(tenancy)) = (&renewed, &self.tenants, self.runtime.tenancy())
            && error.kind == Kind::NotFound
        {
            renewed = self.renew_elsewhere(id, hint, tenants, tenancy).await;
        }
        tell(id, renewed);
    }

    /// The namespaces of tenants that are known, the one that was named first; then all.
    async fn renew_elsewhere(
        &self,
        id: &str,
        hint: Option<&str>,
        tenants: &Tenants,
        tenancy: &dyn Tenancy,
    ) -> Result<Option<Timestamp>, Error> {
        let mut namespaces: Vec<Arc<str>> =
            tenants.known().iter().map(|tenant| Arc::clone(&tenant.namespace)).collect();
        namespaces.sort_by_key(|namespace| Some(&**namespace) != hint);
        let mut seen = HashSet::new();
        for namespace in namespaces {
            if !seen.insert(Arc::clone(&namespace)) {
                continue;
            }
            match tenancy.of_namespace(&namespace)?.renew_on_access(id).await {
                Err(error) if error.kind == Kind::NotFound => {}
                // That one namespace is closed says nothing of the others.
                Err(error) if error.kind == Kind::Denied => tell(id, Err(error)),
                renewed => return renewed,
            }
        }
        match self.everywhere(id, tenancy).await?.as_slice() {
            [namespace] => tenancy.of_namespace(namespace)?.renew_on_access(id).await,
            [] => Err(Error::not_found(id)),
            _ => {
                tracing::warn!(id, "several namespaces have a sandbox of this id: none is renewed");
                Ok(None)
            }
        }
    }

    async fn everywhere(&self, id: &str, tenancy: &dyn Tenancy) -> Result<Vec<Arc<str>>, Error> {
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused().is_some_and(|when| when.elapsed() < REFUSAL) {
            return Ok(Vec::new());
        }
        match tenancy.namespaces_of(id).await {
            Err(error) if error.kind == Kind::Denied => {
                tracing::info!("sandboxes are looked for only where tenants are known to have them: {error}");
                *refused() = Some(Instant::now());
                Ok(Vec::new())
            }
            found => found,
        }
    }
}
