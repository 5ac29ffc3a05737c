//! Removal of a sandbox and of what belongs to it (docker-runtime.md §11).

use std::time::Duration;

use bollard::errors::Error;

use crate::runtime::{ErrorKind, RuntimeError};

use super::{
    Inner,
    engine::{is_missing, status, text},
    find::{find, is_plausible_id, label},
    labels,
};

/// The longest wait for a removal that another caller began.
const REMOVAL: Duration = Duration::from_secs(30);

/// Between two looks at such a removal.
const LOOK: Duration = Duration::from_millis(100);

impl Inner {
    /// Removes the sandbox `id`. To be run to its end, so that nothing is left half removed.
    pub(super) async fn delete(&self, id: &str) -> Result<(), RuntimeError> {
        // So that neither a patch nor a renewal writes a file for it after its files were removed.
        let _turn = self.turns.turn(id).await;
        let found = find(&self.engine, id).await;
        let container = match found {
            Ok(container) => container.id.unwrap_or_default(),
            Err(error) => {
                if error.kind == ErrorKind::SandboxNotFound && is_plausible_id(id) {
                    self.remove_sidecar(id).await;
                }
                return Err(error);
            }
        };
        self.remove(id, &container).await
    }

    /// Removes a sandbox whose container is known. The caller holds the sandbox's lock.
    pub(super) async fn remove(&self, id: &str, container: &str) -> Result<(), RuntimeError> {
        self.remove_container(container).await.map_err(|error| {
            // It may have been killed all the same.
            self.cache.stale(container);
            tracing::warn!(sandbox = id, %error, "a sandbox could not be removed");
            RuntimeError::new(ErrorKind::DeleteFailed, format!("Failed to delete sandbox container: {}", text(&error)))
        })?;
        self.cache.forget(container);
        self.expiry.forget(id);
        self.remove_sidecar(id).await;
        self.remove_runtime_volume(id).await;
        self.remove_files(id).await;
        tracing::info!(sandbox = id, "removed");
        Ok(())
    }

    async fn remove_container(&self, container: &str) -> Result<(), Error> {
        if let Err(error) = self.engine.kill(container).await {
            tracing::debug!(container, %error, "the kill failed; the removal kills as well");
        }
        match self.engine.remove(container).await {
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) if is_under_way(&error) => self.wait_until_gone(container).await,
            removed => removed,
        }
    }

    async fn wait_until_gone(&self, container: &str) -> Result<(), Error> {
        let gone = async {
            loop {
                match self.engine.inspect(container).await {
                    Err(error) if is_missing(&error) => return Ok(()),
                    Err(error) => return Err(error),
                    Ok(_) => tokio::time::sleep(LOOK).await,
                }
            }
        };
        tokio::time::timeout(REMOVAL, gone).await.unwrap_or(Err(Error::RequestTimeoutError))
    }

    /// Removes the container with a sidecar's name, if it is this sandbox's sidecar.
    async fn remove_sidecar(&self, id: &str) {
        let name = format!("sandbox-egress-{id}");
        let removed = match self.engine.inspect(&name).await {
            Ok(container) if label(&container, labels::SIDECAR_FOR) == Some(id) => self.engine.remove(&name).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        warn_unless_missing(id, "sidecar", removed);
    }

    pub(super) async fn remove_runtime_volume(&self, id: &str) {
        let removed = self.engine.remove_volume(&format!("opensandbox-runtime-{id}")).await;
        warn_unless_missing(id, "runtime volume", removed);
    }
}

fn is_under_way(error: &Error) -> bool {
    status(error) == Some(409) && text(error).contains("already in progress")
}

fn warn_unless_missing(id: &str, what: &str, removed: Result<(), Error>) {
    match removed {
        Err(error) if !is_missing(&error) => tracing::warn!(sandbox = id, %error, "a removed sandbox's {what} stays"),
        _ => {}
    }
}
