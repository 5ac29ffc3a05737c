//! The existing server's files beside the labels: renewed expiries and patched metadata (docker-runtime.md §13, §14).

mod write;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::model::{sandbox::Sandbox, timestamp::Timestamp};

use super::{describe::expiry_time, find::is_plausible_id};

/// The folder `metadata` below `~/.opensandbox`. All functions block.
#[derive(Debug, Clone)]
pub(super) struct Files {
    metadata: PathBuf,
    expirations: PathBuf,
}

/// What the files say in place of the labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Overlay {
    pub(super) expires_at: Option<Timestamp>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

impl Files {
    /// The files below `state_dir`, which is `~/.opensandbox` for an ordinary server.
    pub(super) fn new(state_dir: &Path) -> Self {
        let metadata = state_dir.join("metadata");
        Self { expirations: metadata.join("_expiration"), metadata }
    }

    /// What there is for one sandbox; nothing for ids that no file may be named after.
    pub(super) fn overlay(&self, id: &str) -> Overlay {
        if !is_plausible_id(id) {
            return Overlay::default();
        }
        let expires_at =
            read(&self.expirations, id).and_then(|object| expiry_time(object.get("expires_at")?.as_str()?));
        let metadata = read(&self.metadata, id).map(|object| object.into_iter().map(into_label).collect());
        Overlay { expires_at, metadata }
    }

    /// What there is for any sandbox: two folders are read, however many sandboxes there are.
    pub(super) fn overlays(&self) -> HashMap<String, Overlay> {
        let ids: HashSet<String> =
            [&self.metadata, &self.expirations].into_iter().flat_map(|folder| names(folder)).collect();
        ids.into_iter().map(|id| (self.overlay(&id), id)).map(|(overlay, id)| (id, overlay)).collect()
    }

    /// Removes a sandbox's files.
    pub(super) fn remove(&self, id: &str) {
        for folder in [&self.metadata, &self.expirations] {
            match fs::remove_file(path(folder, id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(id, %error, "a removed sandbox's file stays");
                }
                _ => {}
            }
        }
    }
}

impl Overlay {
    /// Puts what the files say in place of what the labels said.
    pub(super) fn apply(self, sandbox: &mut Sandbox) {
        sandbox.expires_at = self.expires_at.or(sandbox.expires_at);
        if let Some(metadata) = self.metadata {
            sandbox.metadata = metadata;
        }
    }
}

fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json"))
}

fn names(folder: &Path) -> Vec<String> {
    let name =
        |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    fs::read_dir(folder).map(|entries| entries.filter_map(name).collect()).unwrap_or_default()
}

fn read(folder: &Path, id: &str) -> Option<Map<String, Value>> {
    let text = match fs::read(path(folder, id)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(id, %error, "a sandbox's file cannot be read; its labels count");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::warn!(id, %error, "a sandbox's file is damaged; its labels count"))
        .ok()
}

fn into_label((key, value): (String, Value)) -> (String, String) {
    match value {
        Value::String(text) => (key, text),
        other => (key, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("metadata/_expiration")).unwrap();
        let files = Files::new(folder.path());
        (folder, files)
    }

    #[test]
    fn reads_both_files_of_a_sandbox() {
        let (_folder, files) = files();
        fs::write(files.metadata.join("a.json"), r#"{"owner":"bob"}"#).unwrap();
        fs::write(files.expirations.join("a.json"), r#"{"expires_at":"2026-12-02T00:00:00+00:00"}"#).unwrap();
        fs::write(files.expirations.join("b.json"), "{").unwrap();
        let overlays = files.overlays();
        assert_eq!(overlays["a"].expires_at.unwrap().to_string(), "2026-12-02T00:00:00Z");
        assert_eq!(overlays["a"].metadata.as_ref().unwrap()["owner"], "bob");
        assert_eq!(overlays["b"], Overlay::default());
        files.remove("a");
        assert_eq!(files.overlay("a"), Overlay::default());
    }

    #[test]
    fn an_id_is_no_path() {
        let (folder, files) = files();
        fs::write(folder.path().join("secret.json"), r#"{"a":"b"}"#).unwrap();
        assert_eq!(files.overlay("../secret"), Overlay::default());
    }
}
