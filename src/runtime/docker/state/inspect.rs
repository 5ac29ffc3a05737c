//! One sandbox as it is now: from the cache when that is right, else from the engine.

use std::{sync::Arc, time::Duration};

use bollard::models::ContainerInspectResponse;

use super::{find::find, view::ContainerView};
use crate::runtime::docker::{Inner, engine::names};
use crate::{
    error::{ErrorKind, RuntimeError},
    model::sandbox::State,
};

/// How late an event of the engine may be; some milliseconds in truth.
const EVENT_DELAY: Duration = Duration::from_millis(25);

/// How long a sandbox that does not run is believed not to, whatever asks for it.
const STOPPED_FOR: Duration = Duration::from_secs(1);

impl Inner {
    /// A sandbox as the cache or the engine shows it, but for the files. No engine call while the cache knows it; one of
    /// all who ask at the same time makes it otherwise.
    pub(in crate::runtime::docker) async fn inspect_cached(
        &self,
        id: &str,
    ) -> Result<Arc<ContainerView>, RuntimeError> {
        match self.cache.of(id) {
            Some(view) => Ok(view),
            // Boxed, with the room for an engine call, which a proxied request seldom needs.
            None => Box::pin(self.inspect_shared(id)).await,
        }
    }

    async fn inspect_shared(&self, id: &str) -> Result<Arc<ContainerView>, RuntimeError> {
        self.check_known(id).await?;
        self.lookups.share(id, self.engine.timeout, || self.cache.of(id), || self.inspect(id)).await
    }

    /// The sandbox's container, inspected now.
    ///
    /// # Errors
    /// There is no such sandbox, which costs no engine call while the engine tells its events; or the engine fails.
    pub(in crate::runtime::docker) async fn find(&self, id: &str) -> Result<ContainerInspectResponse, RuntimeError> {
        self.check_known(id).await?;
        find(&self.engine, id).await
    }

    /// Fails for what surely is no sandbox.
    async fn check_known(&self, id: &str) -> Result<(), RuntimeError> {
        if !names::is_plausible_id(id) {
            return Err(RuntimeError::not_found(id));
        }
        if self.cache.lacks(id) {
            // One that another server has just created may be known to its client before the event is here.
            tokio::time::sleep(EVENT_DELAY).await;
            if self.cache.lacks(id) {
                return Err(RuntimeError::not_found(id));
            }
        }
        Ok(())
    }

    /// A sandbox as the engine shows it now.
    pub(in crate::runtime::docker) async fn inspect(&self, id: &str) -> Result<Arc<ContainerView>, RuntimeError> {
        self.check_known(id).await?;
        let ticket = self.cache.begin_any();
        let container = find(&self.engine, id).await?;
        let view = ContainerView::from_inspected(&container).ok_or_else(|| RuntimeError::not_found(id))?;
        let view = Arc::new(view);
        self.cache.keep_found(&view.container, ticket, view.clone());
        Ok(view)
    }

    /// A sandbox that can be connected to.
    pub(in crate::runtime::docker) async fn inspect_running(
        &self,
        id: &str,
    ) -> Result<Arc<ContainerView>, RuntimeError> {
        let view = self.inspect_cached(id).await?;
        if has_processes(&view) { Ok(view) } else { Box::pin(self.started_meanwhile(id)).await }
    }

    /// The same for one that did not run a moment ago: the cache may not have heard of a start yet. Requests without a key
    /// come here, so that they wait for the event, and ask the engine only once in a while.
    async fn started_meanwhile(&self, id: &str) -> Result<Arc<ContainerView>, RuntimeError> {
        tokio::time::sleep(EVENT_DELAY).await;
        let mut view = self.inspect_cached(id).await?;
        if !has_processes(&view) && view.seen.elapsed() >= STOPPED_FOR {
            view = self.lookups.share(id, self.engine.timeout, || None, || self.inspect(id)).await?;
        }
        if has_processes(&view) { Ok(view) } else { Err(not_running()) }
    }
}

fn has_processes(view: &ContainerView) -> bool {
    matches!(view.sandbox.status.state, State::Running | State::Paused)
}

/// The error for a sandbox that does not run and would have to.
pub(in crate::runtime::docker) fn not_running() -> RuntimeError {
    RuntimeError::new(ErrorKind::NotRunning, "Sandbox is not in a running state.")
}
