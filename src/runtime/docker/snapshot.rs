//! Snapshots as images of the engine (docker-runtime.md §15), without what belonged to the copied sandbox alone.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use bollard::{
    errors::Error as EngineError,
    models::{ContainerConfig, ContainerInspectResponse},
    query_parameters::{CommitContainerOptions, RemoveImageOptions},
};

use crate::{
    error::{Error, Family, Kind},
    model::sandbox::{Sandbox, State},
};

use crate::runtime::docker::{
    Inner,
    engine::{Cause, is_missing, mask::Mask, status, text},
    state::status,
};

/// The name of all snapshots' images; the tag is the snapshot's id.
const REPOSITORY: &str = "opensandbox-snapshots";

/// What a sandbox keeps of its environment when it cannot be told which of it is its image's.
const SAFE: &str = "PATH";

/// The sandboxes that are being committed. The engine pauses them meanwhile, which clients do not see.
#[derive(Debug, Default)]
pub(super) struct CommitsInProgress(Mutex<HashSet<String>>);

/// Marks a sandbox as being committed until it is dropped.
struct CommitGuard<'a> {
    commits: &'a CommitsInProgress,
    id: &'a str,
}

impl CommitsInProgress {
    fn begin<'a>(&'a self, id: &'a str) -> CommitGuard<'a> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        CommitGuard { commits: self, id }
    }

    /// Whether the sandbox is being committed.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Shows a sandbox that the engine paused for the commit as running.
    pub(super) fn mask(&self, sandbox: &mut Sandbox) {
        if sandbox.status.state == State::Paused && self.has(&sandbox.id) {
            sandbox.status = status::of_name("running", None, sandbox.created_at);
        }
    }
}

fn is_running(container: &ContainerInspectResponse) -> bool {
    let state = container.state.as_ref();
    state.is_some_and(|state| state.running == Some(true) && state.paused != Some(true))
}

impl Drop for CommitGuard<'_> {
    fn drop(&mut self) {
        self.commits.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

impl Inner {
    /// Copies a sandbox's file system to the image of `snapshot`. The caller takes care that there is one copy of a
    /// sandbox at a time.
    pub(super) async fn commit(&self, id: &str, snapshot: &str) -> Result<String, Error> {
        // First the mark, after which no pause begins; then the lock, so that one under way has ended.
        let _guard = self.commits.begin(id);
        let _lock = self.pause_locks.lock(id).await;
        let container = self.find(id).await?;
        if !is_running(&container) {
            return Err(Error::new(Family::Snapshot, Kind::Failed, "The sandbox is no longer running."));
        }
        let base = self.base_image(container.image.as_deref().unwrap_or_default()).await?;
        let config = container.config.unwrap_or_default();
        let mask = Mask::new(config.env.as_deref().unwrap_or_default(), config.labels.iter().flat_map(HashMap::values));
        let config = cleaned(config, base.as_ref());
        let options = CommitContainerOptions {
            container: container.id,
            repo: Some(REPOSITORY.to_owned()),
            tag: Some(snapshot.to_owned()),
            pause: true,
            ..Default::default()
        };
        match self.engine.within(self.engine.api.commit_container(options, config)).await {
            Ok(_) => Ok(image_of(snapshot)),
            Err(error) => Err(self.not_committed(id, mask.error(error))),
        }
    }

    /// The image of a snapshot, if it is there.
    pub(super) async fn committed(&self, snapshot: &str) -> Result<Option<String>, Error> {
        let image = image_of(snapshot);
        match self.engine.within(self.engine.api.inspect_image(&image)).await {
            Ok(_) => Ok(Some(image)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("Failed to inspect the snapshot image", error)),
        }
    }

    /// Removes a snapshot's image.
    pub(super) async fn remove_snapshot(&self, snapshot: &str, image: Option<&str>) -> Result<(), Error> {
        let image = image.map_or_else(|| image_of(snapshot), str::to_owned);
        let options = RemoveImageOptions::default();
        match self.engine.within(self.engine.api.remove_image(&image, Some(options), None)).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) if status(&error) == Some(409) => {
                tracing::info!(snapshot, error = text(&error), "a snapshot's image is in use");
                let text = "snapshot image cannot be deleted due to a conflict";
                Err(Error::new(Family::SnapshotRemoval, Kind::InUse, text).caused_by(Cause(error)))
            }
            Err(error) => {
                let text = format!("Failed to remove the snapshot image {image}: {}", text(&error));
                Err(Error::new(Family::SnapshotRemoval, Kind::Failed, text).caused_by(Cause(error)))
            }
        }
    }

    /// The configuration of the image that a sandbox was made from; `None` if it was removed.
    async fn base_image(&self, image: &str) -> Result<Option<Base>, Error> {
        match self.engine.within(self.engine.api.inspect_image(image)).await {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                Ok(Some(Base { env: config.env.unwrap_or_default(), labels: config.labels.unwrap_or_default() }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("Failed to inspect the sandbox's image", error)),
        }
    }

    fn not_committed(&self, id: &str, error: EngineError) -> Error {
        tracing::warn!(sandbox = id, error = text(&error), "a sandbox could not be copied");
        let (kind, text) = match &error {
            EngineError::RequestTimeoutError => {
                let seconds = self.engine.timeout.as_secs();
                let text = format!("Docker snapshot creation timed out after {seconds} seconds: {}", text(&error));
                (Kind::TimedOut, text)
            }
            other => (Kind::Failed, text(other)),
        };
        Error::new(Family::Snapshot, kind, text).caused_by(Cause(error))
    }
}

fn image_of(snapshot: &str) -> String {
    format!("{REPOSITORY}:{snapshot}")
}

fn failed(what: &str, error: EngineError) -> Error {
    Error::new(Family::Snapshot, Kind::Failed, format!("{what}: {}", text(&error))).caused_by(Cause(error))
}

/// What a sandbox has from its image.
struct Base {
    env: Vec<String>,
    labels: HashMap<String, String>,
}

/// A container's configuration without what its creator added to the image's: labels (metadata, expiry, tokens) and
/// variables (secrets).
///
/// The engine puts whatever a commit leaves out back in from the container, so that nothing can be left out. A label is
/// blanked instead, and for a variable its bare name stands: in a container of the image that unsets it.
fn cleaned(mut config: ContainerConfig, base: Option<&Base>) -> ContainerConfig {
    let none = Base { env: Vec::new(), labels: HashMap::new() };
    let known = base.unwrap_or(&none);
    for (key, value) in config.labels.iter_mut().flatten() {
        *value = known.labels.get(key).cloned().unwrap_or_default();
    }
    for entry in config.env.iter_mut().flatten() {
        let name = name_of(entry).to_owned();
        let keeps = base.is_none() && name == SAFE;
        if !keeps {
            *entry = known.env.iter().find(|own| name_of(own) == name).cloned().unwrap_or(name);
        }
    }
    config
}

fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ContainerConfig {
        let labels = [("opensandbox.io/egress-auth-token", "t"), ("owner", "alice"), ("maintainer", "m")];
        ContainerConfig {
            env: Some(["SECRET=s3cr", "PATH=/mine", "LANG=C", "OPENSANDBOX_ID=x"].map(str::to_owned).to_vec()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            stop_signal: Some("SIGINT".to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn a_copy_keeps_what_is_the_image_s() {
        let base = Base {
            env: ["PATH=/bin", "LANG=C"].map(str::to_owned).to_vec(),
            labels: [("maintainer".to_owned(), "m".to_owned())].into(),
        };
        let config = cleaned(config(), Some(&base));
        assert_eq!(config.env.unwrap(), ["SECRET", "PATH=/bin", "LANG=C", "OPENSANDBOX_ID"]);
        let labels = config.labels.unwrap();
        assert_eq!((labels["maintainer"].as_str(), labels["owner"].as_str()), ("m", ""));
        assert_eq!(labels["opensandbox.io/egress-auth-token"], "");
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
    }

    #[test]
    fn without_its_image_a_copy_keeps_only_the_path() {
        let config = cleaned(config(), None);
        assert_eq!(config.env.unwrap(), ["SECRET", "PATH=/mine", "LANG", "OPENSANDBOX_ID"]);
        assert!(config.labels.unwrap().values().all(String::is_empty));
    }
}
