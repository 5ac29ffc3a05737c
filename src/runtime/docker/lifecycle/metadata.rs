//! Changing a sandbox's metadata (http-api.md §8, docker-runtime.md §14).

use std::{collections::BTreeMap, io};

use serde_json::{Map, Value};

use crate::runtime::docker::{Inner, state::overlay::Files};
use crate::{
    error::{Error, Family, Kind},
    model::{labels, sandbox::Sandbox},
};

impl Inner {
    /// Merges a patch into a sandbox's metadata. To be run to its end, which holds the sandbox's lock until then.
    pub(in crate::runtime::docker) async fn patch_metadata(
        &self,
        id: &str,
        patch: BTreeMap<String, Option<String>>,
    ) -> Result<Sandbox, Error> {
        let _lock = self.change_locks.lock(id).await;
        // Asked anew, so that no file is written for a sandbox that is gone.
        let mut sandbox = self.inspect(id).await?.sandbox.clone();
        labels::check_patch(&patch)?;
        let owner = id.to_owned();
        let shown = sandbox.metadata.clone();
        self.store(Family::Metadata, id, move |files| {
            let present = match files.metadata(&owner) {
                // What it said is lost; what cannot be read just now is not, and must not be written over.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    files.set_metadata_aside(&owner)?;
                    None
                }
                present => present?,
            };
            let present = present.unwrap_or_else(|| of_labels(shown));
            let merged = merged(present.clone(), patch);
            // A patch that changes nothing makes no file, so that a sandbox without one keeps to its labels.
            if merged == present { Ok(()) } else { files.store_metadata(&owner, &merged) }
        })
        .await?;
        self.overlay(id).await.apply(&mut sandbox);
        self.commits.mask(&mut sandbox);
        Ok(sandbox)
    }

    /// Writes a sandbox's file; what cannot be stored is refused, since a restart would undo it.
    pub(super) async fn store(
        &self,
        family: Family,
        id: &str,
        write: impl FnOnce(&Files) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let files = self.files.clone();
        let written = tokio::task::spawn_blocking(move || write(&files)).await.map_err(io::Error::other).flatten();
        written.map_err(|error| {
            tracing::error!(sandbox = id, %error, "a change of a sandbox could not be stored");
            let text = format!("The change of sandbox {id} could not be stored, so nothing was changed: {error}");
            Error::new(family, Kind::Failed, text).caused_by(error)
        })
    }
}

fn of_labels(metadata: BTreeMap<String, String>) -> Map<String, Value> {
    metadata.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}

/// What is there stays in its order, as the existing server has it; what is new comes after it.
fn merged(mut metadata: Map<String, Value>, patch: BTreeMap<String, Option<String>>) -> Map<String, Value> {
    for (key, value) in patch {
        match value {
            Some(value) => metadata.insert(key, Value::String(value)),
            None => metadata.shift_remove(&key),
        };
    }
    metadata
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_sets_and_removes_and_leaves_the_rest_in_its_order() {
        let present = json!({"z": "1", "b": "2", "a": "3"}).as_object().unwrap().clone();
        let patch = [("b", None), ("gone", None), ("z", Some("4")), ("n", Some(""))];
        let patch = patch.map(|(key, value)| (key.to_owned(), value.map(str::to_owned))).into();
        assert_eq!(serde_json::to_string(&merged(present, patch)).unwrap(), r#"{"z":"4","a":"3","n":""}"#);
    }
}
