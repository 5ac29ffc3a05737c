//! One sandbox as it is now: from the cache when that is right, else from the engine.

use std::{sync::Arc, time::Duration};

use bollard::models::ContainerInspectResponse;

use super::{find::find, view::ContainerView};
use crate::runtime::docker::{Inner, engine::names};
use crate::{
    error::{Error, Family, Kind},
    model::sandbox::State,
};

/// The longest delay of an event that is waited for. It is some milliseconds in practice.
const EVENT_DELAY: Duration = Duration::from_millis(25);

/// For how long a view of a sandbox that does not run is used without another engine call.
const STOPPED_FOR: Duration = Duration::from_secs(1);

impl Inner {
    /// A sandbox as the cache or the engine shows it, without the overlay of the files. It costs no engine call if the cache
    /// has it, else one that concurrent callers share.
    pub(in crate::runtime::docker) async fn inspect_cached(&self, id: &str) -> Result<Arc<ContainerView>, Error> {
        match self.cache.of(id) {
            Some(view) => Ok(view),
            // Boxed, with the room for an engine call, which a proxied request seldom needs.
            None => Box::pin(self.inspect_shared(id)).await,
        }
    }

    async fn inspect_shared(&self, id: &str) -> Result<Arc<ContainerView>, Error> {
        self.check_known(id).await?;
        self.lookups.share(id, self.engine.timeout, || self.cache.of(id), || self.inspect(id)).await
    }

    /// The sandbox's container, inspected now.
    ///
    /// # Errors
    /// There is no such sandbox, which costs no engine call while the engine tells its events; or the engine fails.
    pub(in crate::runtime::docker) async fn find(&self, id: &str) -> Result<ContainerInspectResponse, Error> {
        self.check_known(id).await?;
        find(&self.engine, id).await
    }

    /// Fails if there certainly is no such sandbox.
    async fn check_known(&self, id: &str) -> Result<(), Error> {
        if !names::is_plausible_id(id) {
            return Err(Error::not_found(id));
        }
        if self.cache.lacks(id) {
            // A client of another server may use its new sandbox before the event has arrived here.
            tokio::time::sleep(EVENT_DELAY).await;
            if self.cache.lacks(id) {
                return Err(Error::not_found(id));
            }
        }
        Ok(())
    }

    /// A sandbox as the engine shows it now.
    pub(in crate::runtime::docker) async fn inspect(&self, id: &str) -> Result<Arc<ContainerView>, Error> {
        self.check_known(id).await?;
        let ticket = self.cache.begin_any();
        let container = find(&self.engine, id).await?;
        let view = ContainerView::from_inspected(&container).ok_or_else(|| Error::not_found(id))?;
        let view = Arc::new(view);
        self.cache.keep_found(&view.container, ticket, view.clone());
        Ok(view)
    }

    /// The view of a sandbox that can be connected to.
    pub(in crate::runtime::docker) async fn inspect_running(&self, id: &str) -> Result<Arc<ContainerView>, Error> {
        let view = self.inspect_cached(id).await?;
        if has_processes(&view) { Ok(view) } else { Box::pin(self.started_meanwhile(id)).await }
    }

    /// The same for a sandbox that did not run a moment ago: the event of its start may be on its way. Requests without an API
    /// key get here, so it waits for the event first, and asks the engine at most once in [`STOPPED_FOR`].
    async fn started_meanwhile(&self, id: &str) -> Result<Arc<ContainerView>, Error> {
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

/// The error for an operation that needs a running sandbox.
pub(in crate::runtime::docker) fn not_running() -> Error {
    Error::new(Family::Sandbox, Kind::Conflict, "Sandbox is not in a running state.")
}
