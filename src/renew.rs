//! Sandboxes that live longer while they are used (`[renew_intent]`, config.md §2).
//!
//! A request to a sandbox's own server is a sign of use, and so is an entry that an ingress gateway writes into a queue in
//! Redis. Either one moves the sandbox's expiry, if its creation asked for that, which the runtime knows.

pub mod cooldown;
pub mod queue;
mod search;

use std::{fmt, sync::Arc, time::Instant};

use self::{cooldown::Cooldown, search::Search};
use crate::{
    config::RenewIntent,
    error::Error,
    error_chain,
    model::{
        tenant::{Tenant, place},
        timestamp::Timestamp,
    },
    runtime::Runtime,
    tenants::Tenants,
};

/// Renews sandboxes that are used, if the configuration wants it.
#[derive(Clone)]
pub struct Renewer {
    enabled: Option<Arc<Enabled>>,
}

struct Enabled {
    runtime: Arc<dyn Runtime>,
    cooldown: Arc<Cooldown>,
    tenant: Option<Tenant>,
}

impl Renewer {
    /// A renewer as the configuration says. Begins to read the queue, if there is one, for as long as the process lives. What an
    /// entry of the queue names may be any tenant's.
    pub fn start(config: &RenewIntent, runtime: &Arc<dyn Runtime>, tenants: Option<&Arc<Tenants>>) -> Self {
        if !config.enabled {
            return Self { enabled: None };
        }
        let cooldown = Arc::new(Cooldown::new(config.min_interval));
        let enabled = Arc::new(Enabled { runtime: Arc::clone(runtime), cooldown, tenant: None });
        let renewer = Self { enabled: Some(enabled) };
        if let Some(redis) = &config.redis {
            tokio::spawn(queue::consume(redis.clone(), Search::new(Arc::clone(runtime), tenants.cloned())));
        }
        renewer
    }

    /// The same for a tenant's sandboxes, which are those of `runtime`.
    pub fn of_tenant(&self, runtime: &Arc<dyn Runtime>, tenant: &Tenant) -> Self {
        let enabled = self.enabled.as_ref().map(|enabled| {
            let cooldown = Arc::clone(&enabled.cooldown);
            Arc::new(Enabled { runtime: Arc::clone(runtime), cooldown, tenant: Some(tenant.clone()) })
        });
        Self { enabled }
    }

    /// Notes that a sandbox was used. Does not wait for the renewal, of which there is at most one in the configured time.
    pub fn touched(&self, id: &str) {
        let Some(enabled) = &self.enabled else { return };
        if enabled.cooldown.admits(&place(enabled.tenant.as_ref(), id), Instant::now()) {
            let (enabled, id) = (Arc::clone(enabled), id.to_owned());
            tokio::spawn(async move { renew(&*enabled.runtime, &id).await });
        }
    }
}

/// Renews one sandbox; a failure is only logged.
async fn renew(runtime: &dyn Runtime, id: &str) {
    tell(id, runtime.renew_on_access(id).await);
}

fn tell(id: &str, renewed: Result<Option<Timestamp>, Error>) {
    match renewed {
        Ok(Some(_)) => tracing::debug!(id, "renewed on access"),
        Ok(None) => {}
        Err(error) => tracing::warn!(id, error = error_chain::text(&error), "a sandbox in use could not be renewed"),
    }
}

impl fmt::Debug for Renewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewer").field("enabled", &self.enabled.is_some()).finish()
    }
}

#[cfg(test)]
mod tests;
