//! Sandboxes that live longer while they are used (`[renew_intent]`, config.md §2).
//!
//! A request to a sandbox's own server is a sign of use, and so is an entry that an ingress gateway writes into a queue in
//! Redis. Either one moves the sandbox's expiry, if its creation asked for that, which the runtime knows.

pub mod cooldown;
pub mod queue;

use std::{fmt, sync::Arc, time::Instant};

use self::cooldown::Cooldown;
use crate::{config::RenewIntent, error_chain, runtime::Runtime};

/// Renews sandboxes that are used, if the configuration wants it.
#[derive(Clone)]
pub struct Renewer {
    enabled: Option<Arc<Enabled>>,
}

struct Enabled {
    runtime: Arc<dyn Runtime>,
    cooldown: Cooldown,
}

impl Renewer {
    /// A renewer as the configuration says. Begins to read the queue, if there is one, for as long as the process lives.
    pub fn start(config: &RenewIntent, runtime: &Arc<dyn Runtime>) -> Self {
        if !config.enabled {
            return Self { enabled: None };
        }
        let enabled = Arc::new(Enabled { runtime: Arc::clone(runtime), cooldown: Cooldown::new(config.min_interval) });
        let renewer = Self { enabled: Some(enabled) };
        if let Some(redis) = &config.redis {
            tokio::spawn(queue::consume(redis.clone(), Arc::clone(runtime)));
        }
        renewer
    }

    /// Notes that a sandbox was used. Does not wait for the renewal, of which there is at most one in the configured time.
    pub fn touched(&self, id: &str) {
        let Some(enabled) = &self.enabled else { return };
        if enabled.cooldown.admits(id, Instant::now()) {
            let (enabled, id) = (Arc::clone(enabled), id.to_owned());
            tokio::spawn(async move { renew(&*enabled.runtime, &id).await });
        }
    }
}

/// Renews one sandbox; a failure is only logged.
async fn renew(runtime: &dyn Runtime, id: &str) {
    match runtime.renew_on_access(id).await {
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
