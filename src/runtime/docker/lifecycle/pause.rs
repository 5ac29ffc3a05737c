//! Pausing and resuming a sandbox with its egress sidecar (docker-runtime.md §12).
//!
//! Either all of a sandbox's containers change or, as far as the engine lets them, none: what was done is taken back. A
//! sidecar that should be there and is not is noticed before anything is done.

use bollard::errors::Error as EngineError;

use crate::error::{Error, Family, Kind};
use crate::runtime::docker::{
    Inner,
    engine::{Cause, is_missing, status, text},
    state::{
        find::query_failed,
        inspect::not_running,
        view::{ContainerView, state_name},
    },
};

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Pause,
    Resume,
}

impl Way {
    fn back(self) -> Self {
        match self {
            Self::Pause => Self::Resume,
            Self::Resume => Self::Pause,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    fn failed(self, message: String) -> Error {
        let family = match self {
            Self::Pause => Family::Pause,
            Self::Resume => Family::Resume,
        };
        Error::new(family, Kind::Failed, message)
    }

    /// The error for a sandbox that is not in the state that this starts from.
    fn refused(self) -> Error {
        match self {
            Self::Pause => not_running(),
            Self::Resume => Error::new(Family::Resume, Kind::Conflict, "Sandbox is not in a paused state."),
        }
    }

    /// The engine's name for the state that this starts from, and the words for one that is not in it.
    fn start(self) -> (&'static str, &'static str) {
        match self {
            Self::Pause => ("running", "is not in a running state."),
            Self::Resume => ("paused", "is not in a paused state."),
        }
    }
}

/// A sidecar by its container and the engine's name for its state.
struct Sidecar {
    container: String,
    state: String,
}

impl Inner {
    /// Pauses a sandbox. To be run to its end.
    pub(in crate::runtime::docker) async fn pause(&self, id: &str) -> Result<(), Error> {
        self.go(id, Way::Pause).await
    }

    /// Resumes a sandbox. To be run to its end.
    pub(in crate::runtime::docker) async fn resume(&self, id: &str) -> Result<(), Error> {
        self.go(id, Way::Resume).await
    }

    async fn go(&self, id: &str, way: Way) -> Result<(), Error> {
        // The engine pauses it while it is committed, and only the commit may end that.
        if self.commits.has(id) {
            return Err(way.refused());
        }
        // A lock of its own: an engine that cannot freeze a container must not hold up the removal of its sandbox.
        let _lock = self.pause_locks.lock(id).await;
        if self.commits.has(id) {
            return Err(way.refused());
        }
        let sandbox = self.inspect(id).await?;
        if sandbox.engine_state != way.start().0 {
            return Err(way.refused());
        }
        let sidecars = self.sidecars(id, &sandbox, way).await?;
        let main = sandbox.container.as_str();
        let mut order: Vec<&str> = sidecars.iter().map(|sidecar| sidecar.container.as_str()).collect();
        // The sandbox is never running while its sidecar is not.
        match way {
            Way::Pause => order.insert(0, main),
            Way::Resume => order.push(main),
        }
        let done = self.go_all(id, &order, main, way).await;
        self.cache.stale(main);
        done?;
        tracing::info!(sandbox = id, "{}d", way.verb());
        Ok(())
    }

    /// The sidecars that have to follow. Those that cannot are an error, before anything is done.
    async fn sidecars(&self, id: &str, sandbox: &ContainerView, way: Way) -> Result<Vec<Sidecar>, Error> {
        let found = self.engine.sidecars(Some(id)).await;
        let sidecars: Vec<Sidecar> = found.map_err(query_failed)?.into_iter().filter_map(Sidecar::of).collect();
        if sidecars.is_empty() && sandbox.addresses.egress_token.is_some() {
            let verb = way.verb();
            return Err(way.failed(format!("The expected egress sidecar was not found; nothing was {verb}d.")));
        }
        let (start, words) = way.start();
        // One that was left in the state that is wanted, by whomever, is as well.
        let wanted = way.back().start().0;
        match sidecars.iter().find(|sidecar| ![start, wanted].contains(&sidecar.state.as_str())) {
            Some(Sidecar { container, .. }) => {
                let verb = way.verb();
                Err(way.failed(format!("Failed to {verb} egress sidecar: Egress sidecar {container} {words}")))
            }
            None => Ok(sidecars.into_iter().filter(|sidecar| sidecar.state == start).collect()),
        }
    }

    async fn go_all(&self, id: &str, order: &[&str], main: &str, way: Way) -> Result<(), Error> {
        for (index, container) in order.iter().copied().enumerate() {
            let Err(error) = self.go_one(container, way).await else { continue };
            tracing::warn!(sandbox = id, container, %error, "could not {} a container", way.verb());
            self.take_back(id, &order[..index], way).await;
            return Err(failure(id, container == main, way, error));
        }
        Ok(())
    }

    async fn take_back(&self, id: &str, done: &[&str], way: Way) {
        for container in done.iter().copied().rev() {
            if let Err(error) = self.go_one(container, way.back()).await {
                tracing::error!(sandbox = id, container, %error, "could not take a {} back", way.verb());
            }
        }
    }

    async fn go_one(&self, container: &str, way: Way) -> Result<(), EngineError> {
        match way {
            Way::Pause => self.engine.pause(container).await,
            Way::Resume => self.engine.unpause(container).await,
        }
    }
}

impl Sidecar {
    fn of(summary: bollard::models::ContainerSummary) -> Option<Self> {
        let state = state_name(&summary);
        Some(Self { container: summary.id?, state })
    }
}

/// The sandbox may have gone, or changed its state, since it was inspected.
fn failure(id: &str, is_main: bool, way: Way, error: EngineError) -> Error {
    let verb = way.verb();
    match status(&error) {
        _ if is_main && is_missing(&error) => Error::not_found(id),
        Some(409) if is_main => way.refused(),
        _ => {
            let what = if is_main { "sandbox container" } else { "egress sidecar" };
            way.failed(format!("Failed to {verb} {what}: {}", text(&error))).caused_by(Cause(error))
        }
    }
}
