//! Removal of a sandbox and of what belongs to it (docker-runtime.md §11).

use std::time::Duration;

use bollard::{errors::Error as EngineError, models::ContainerInspectResponse};
use futures_util::future::join_all;

use crate::error::{Error, Family, Kind};

use crate::runtime::docker::{
    Inner,
    engine::{Cause, is_missing, labels, names, status, text},
    state::find::{find, is_named, label},
};

/// The longest wait for a removal that another caller began.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often such a removal is checked.
const REMOVAL_POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Inner {
    /// Removes the sandbox `id`. To be run to its end, so that nothing is left half removed.
    pub(in crate::runtime::docker) async fn delete(&self, id: &str) -> Result<(), Error> {
        // So that neither a patch nor a renewal writes a file for it after its files were removed.
        let _lock = self.change_locks.lock(id).await;
        match find(&self.engine, id).await {
            Ok(container) => self.remove(id, &container).await,
            Err(error) => {
                if error.key() == (Family::Sandbox, Kind::NotFound) && names::is_plausible_id(id) {
                    self.remove_orphaned(id).await;
                }
                Err(error)
            }
        }
    }

    /// Removes what is left of a sandbox whose container was removed by somebody else, as far as its id tells. The caller holds the
    /// sandbox's lock.
    pub(super) async fn remove_orphaned(&self, id: &str) {
        self.remove_sidecar(id).await;
        self.remove_runtime_volume(id).await;
        warn_unless_missing(id, "OEM volume", self.engine.remove_volume(&names::oem_volume(id)).await);
        self.forget_shared(id).await;
        self.unstage(id).await;
        self.remove_files(id).await;
    }

    /// Removes a sandbox whose container is known. The caller holds the sandbox's lock.
    ///
    /// # Errors
    /// The engine fails, or the container only carries the sandbox's label: under another name it may be anybody's, as one
    /// that was made with all the labels of another container.
    pub(in crate::runtime::docker) async fn remove(
        &self,
        id: &str,
        found: &ContainerInspectResponse,
    ) -> Result<(), Error> {
        if !is_named(found, id) {
            let name = found.name.as_deref().unwrap_or_default().trim_start_matches('/');
            tracing::warn!(sandbox = id, container = name, "not removed: it has the sandbox's label, but not its name");
            let text = format!(
                "Failed to delete sandbox container: the container '{name}' carries the sandbox's label, but not the \
                 name '{}', so it may be somebody else's. Remove it by hand, or give it that name.",
                names::sandbox(id)
            );
            return Err(Error::new(Family::Deletion, Kind::Failed, text));
        }
        let container = found.id.as_deref().unwrap_or_default();
        self.remove_container(container).await.map_err(|error| {
            // It may have been killed all the same.
            self.cache.stale(container);
            tracing::warn!(sandbox = id, %error, "a sandbox could not be removed");
            let text = format!("Failed to delete sandbox container: {}", text(&error));
            Error::new(Family::Deletion, Kind::Failed, text).caused_by(Cause(error))
        })?;
        self.cache.forget(container);
        self.expiry.forget(id);
        let belongings = Belongings::of(found);
        tokio::join!(self.remove_belongings(id, &belongings), self.forget_shared(id), self.remove_files(id));
        tracing::info!(sandbox = id, "removed");
        Ok(())
    }

    /// What the sandbox had beside its container. A failure is only logged: the sandbox itself is gone.
    async fn remove_belongings(&self, id: &str, belongings: &Belongings) {
        if belongings.sidecar {
            self.remove_sidecar(id).await;
            self.remove_runtime_volume(id).await;
        }
        if belongings.windows {
            warn_unless_missing(id, "OEM volume", self.engine.remove_volume(&names::oem_volume(id)).await);
        }
        self.unstage(id).await;
        self.release_buckets(id, &belongings.buckets).await;
        let is_gone = |name: &String| belongings.sidecar && *name == names::runtime_volume(id);
        let volumes = belongings.volumes.iter().filter(|name| !is_gone(name));
        join_all(volumes.map(|name| self.remove_managed_volume(id, name))).await;
    }

    /// The removal kills as well.
    async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        match self.engine.remove(container).await {
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) if is_under_way(&error) => self.wait_until_gone(container).await,
            removed => removed,
        }
    }

    async fn wait_until_gone(&self, container: &str) -> Result<(), EngineError> {
        let gone = async {
            loop {
                match self.engine.inspect(container).await {
                    Err(error) if is_missing(&error) => return Ok(()),
                    Err(error) => return Err(error),
                    Ok(_) => tokio::time::sleep(REMOVAL_POLL_INTERVAL).await,
                }
            }
        };
        tokio::time::timeout(REMOVAL_TIMEOUT, gone).await.unwrap_or(Err(EngineError::RequestTimeoutError))
    }

    /// Removes the container with a sidecar's name, if it is this sandbox's sidecar.
    async fn remove_sidecar(&self, id: &str) {
        let name = names::sidecar(id);
        let removed = match self.engine.inspect(&name).await {
            Ok(container) if label(&container, labels::SIDECAR_FOR) == Some(id) => self.engine.remove(&name).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        warn_unless_missing(id, "sidecar", removed);
    }

    pub(super) async fn remove_runtime_volume(&self, id: &str) {
        let removed = self.engine.remove_volume(&names::runtime_volume(id)).await;
        warn_unless_missing(id, "runtime volume", removed);
    }
}

/// What a sandbox has beside its container, by its labels.
#[derive(Debug, Default, PartialEq)]
struct Belongings {
    sidecar: bool,
    windows: bool,
    /// Mounted buckets, by their paths.
    buckets: Vec<String>,
    /// The engine's volumes that go with it.
    volumes: Vec<String>,
}

impl Belongings {
    fn of(container: &ContainerInspectResponse) -> Self {
        let Some(all) = container.config.as_ref().and_then(|config| config.labels.as_ref()) else {
            return Self::default();
        };
        Self {
            sidecar: labels::value(all, labels::EGRESS_TOKEN).is_some(),
            windows: labels::value(all, labels::PLATFORM_OS) == Some("windows"),
            buckets: labels::list(all, labels::BUCKETS),
            volumes: labels::list(all, labels::MANAGED_BY),
        }
    }
}

fn is_under_way(error: &EngineError) -> bool {
    status(error) == Some(409) && text(error).contains("already in progress")
}

fn warn_unless_missing(id: &str, what: &str, removed: Result<(), EngineError>) {
    match removed {
        Err(error) if !is_missing(&error) => tracing::warn!(sandbox = id, %error, "a removed sandbox's {what} stays"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::ContainerConfig;

    use super::*;

    fn belongings(pairs: &[(&str, &str)]) -> Belongings {
        let labels: HashMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = Some(ContainerConfig { labels: Some(labels), ..Default::default() });
        Belongings::of(&ContainerInspectResponse { config, ..Default::default() })
    }

    #[test]
    fn a_plain_sandbox_has_nothing_beside_its_container() {
        assert_eq!(belongings(&[(labels::ID, "x")]), Belongings::default());
        assert_eq!(belongings(&[(labels::EGRESS_TOKEN, ""), (labels::MANAGED_BY, "server")]), Belongings::default());
    }

    #[test]
    fn what_belongs_to_a_sandbox_is_in_its_labels() {
        let found = belongings(&[
            (labels::EGRESS_TOKEN, "t"),
            (labels::PLATFORM_OS, "windows"),
            (labels::BUCKETS, r#"["/mnt/ossfs/b"]"#),
            (labels::MANAGED_BY, r#"["a","b"]"#),
        ]);
        assert!(found.sidecar && found.windows);
        assert_eq!(
            (found.buckets, found.volumes),
            (vec!["/mnt/ossfs/b".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
    }
}
