//! The existing server's files beside the labels: renewed expiries and patched metadata (docker-runtime.md §13, §14).

mod write;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use serde_json::{Map, Value};

use crate::{
    model::{sandbox::Sandbox, timestamp::Timestamp},
    state_file::{self, Complaints},
};

use super::view::expiry_time;
use crate::runtime::docker::engine::names;

/// The most bytes of an expiry's file.
const LARGEST_EXPIRY: u64 = 64 * 1024;

/// The most bytes of a metadata file.
const LARGEST_METADATA: u64 = 8 << 20;

/// The folder `metadata` below `~/.opensandbox`. All functions block.
#[derive(Debug, Clone)]
pub(in crate::runtime::docker) struct Files {
    metadata: PathBuf,
    expirations: PathBuf,
    complaints: Arc<Complaints>,
}

/// What the files say in place of the labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::runtime::docker) struct Overlay {
    pub(in crate::runtime::docker) expires_at: Option<Timestamp>,
    pub(in crate::runtime::docker) metadata: Option<BTreeMap<String, String>>,
}

impl Files {
    /// The files below `state_dir`, which is `~/.opensandbox` for an ordinary server.
    pub(in crate::runtime::docker) fn new(state_dir: &Path) -> Self {
        let metadata = state_dir.join("metadata");
        Self { expirations: metadata.join("_expiration"), metadata, complaints: Arc::default() }
    }

    /// The moved expiry of a sandbox; nothing if its expiry was never moved.
    ///
    /// # Errors
    /// The file cannot be read now. This is logged at a limited rate.
    pub(in crate::runtime::docker) fn expiry(&self, id: &str) -> io::Result<Option<Timestamp>> {
        self.expiry_by(id, state_file::read)
    }

    /// When a sandbox's expiry was moved last.
    ///
    /// # Errors
    /// It was never, or that cannot be told now.
    pub(in crate::runtime::docker) fn moved_at(&self, id: &str) -> io::Result<SystemTime> {
        fs::metadata(path(&self.expirations, id))?.modified()
    }

    fn expiry_by(&self, id: &str, open: Open) -> io::Result<Option<Timestamp>> {
        let told = |error: &io::Error| {
            let consequence = "until it can be, or is removed by hand, the sandbox does not end by its time";
            self.complaints.warn(&path(&self.expirations, id), error, consequence);
        };
        let time = |object: Map<String, Value>| {
            let time = object.get("expires_at").and_then(Value::as_str).and_then(expiry_time);
            time.ok_or_else(|| damaged("it has no time `expires_at`"))
        };
        let read = read(&self.expirations, id, LARGEST_EXPIRY, open).and_then(|object| object.map(time).transpose());
        read.inspect_err(told)
    }

    /// A sandbox's patched metadata, in the file's order; nothing if it was never patched.
    ///
    /// # Errors
    /// There may be some, and it cannot be read now: [`io::ErrorKind::InvalidData`] for a file whose content is no metadata.
    pub(in crate::runtime::docker) fn metadata(&self, id: &str) -> io::Result<Option<Map<String, Value>>> {
        read(&self.metadata, id, LARGEST_METADATA, state_file::read)
    }

    /// What there is to show of one sandbox; nothing for ids that no file may be named after. What cannot be read is told,
    /// and left to the labels.
    pub(in crate::runtime::docker) fn overlay(&self, id: &str) -> Overlay {
        if !names::is_plausible_id(id) {
            return Overlay::default();
        }
        let told = |error: &io::Error| {
            self.complaints.warn(&path(&self.metadata, id), error, "the sandbox's labels are shown")
        };
        let metadata = read(&self.metadata, id, LARGEST_METADATA, state_file::peek).inspect_err(told).ok().flatten();
        Overlay {
            expires_at: self.expiry_by(id, state_file::peek).ok().flatten(),
            metadata: metadata.map(|object| object.into_iter().map(into_label).collect()),
        }
    }

    /// Whether there surely is nothing to show of a sandbox, as far as the system knows that without asking a disk or a server:
    /// so this does not block, and most sandboxes are never renewed nor patched.
    pub(in crate::runtime::docker) fn surely_none(&self, id: &str) -> bool {
        !names::is_plausible_id(id)
            || [&self.metadata, &self.expirations]
                .into_iter()
                .all(|folder| state_file::is_known_missing(&path(folder, id)))
    }

    /// What there is to show of any sandbox: two folders are read, however many sandboxes there are.
    pub(in crate::runtime::docker) fn overlays(&self) -> HashMap<String, Overlay> {
        let names = |folder: &PathBuf| {
            names(folder).unwrap_or_else(|error| {
                self.complaints.warn(folder, &error, "the sandboxes' labels are shown");
                Vec::new()
            })
        };
        let ids: HashSet<String> = [&self.metadata, &self.expirations].into_iter().flat_map(names).collect();
        ids.into_iter().map(|id| (self.overlay(&id), id)).map(|(overlay, id)| (id, overlay)).collect()
    }

    /// Tells that the files do not answer.
    pub(in crate::runtime::docker) fn unanswered(&self, error: &io::Error) {
        self.complaints.warn(&self.metadata, error, "the sandboxes' labels are shown");
    }

    /// Removes a sandbox's files.
    pub(in crate::runtime::docker) fn remove(&self, id: &str) {
        for path in [path(&self.metadata, id), set_aside(&self.metadata, id), path(&self.expirations, id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(id, ?path, %error, "a removed sandbox's file stays");
                }
                _ => {}
            }
        }
    }
}

impl Overlay {
    /// Puts what the files say in place of what the labels said.
    pub(in crate::runtime::docker) fn apply(self, sandbox: &mut Sandbox) {
        sandbox.expires_at = self.expires_at.or(sandbox.expires_at);
        if let Some(metadata) = self.metadata {
            sandbox.metadata = metadata;
        }
    }
}

fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json"))
}

/// Where a damaged file goes when there is a new one for its place.
fn set_aside(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json.damaged"))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
    }
    Ok(names)
}

/// How a file is read: as closely as a decision needs, or as quickly as a look.
type Open = fn(&Path, u64) -> io::Result<Option<Vec<u8>>>;

fn read(folder: &Path, id: &str, limit: u64, open: Open) -> io::Result<Option<Map<String, Value>>> {
    let text = open(&path(folder, id), limit)?;
    text.map(|text| serde_json::from_slice(&text).map_err(damaged)).transpose()
}

fn damaged(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is damaged: {why}"))
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
        fs::write(files.metadata.join("b.json"), "[]").unwrap();
        let overlays = files.overlays();
        assert_eq!(overlays["a"].expires_at.unwrap().to_string(), "2026-12-02T00:00:00Z");
        assert_eq!(overlays["a"].metadata.as_ref().unwrap()["owner"], "bob");
        assert_eq!(overlays["b"], Overlay::default());
        assert!(!files.surely_none("a") && !files.surely_none("b"));
        files.remove("a");
        assert_eq!(files.overlay("a"), Overlay::default());
        // A look makes the system know it.
        assert!(files.surely_none("a") && files.surely_none("../secret"));
        fs::write(files.expirations.join("a.json"), "{}").unwrap();
        assert!(!files.surely_none("a"));
    }

    /// Only a file that is not there means that an expiry was never moved.
    #[test]
    fn an_expiry_that_cannot_be_read_is_no_missing_one() {
        let (_folder, files) = files();
        assert_eq!(files.expiry("a").unwrap(), None);
        let file = files.expirations.join("a.json");
        for content in
            ["", "{", "{}", "[]", "null", r#"{"expires_at":5}"#, r#"{"expires_at":null}"#, r#"{"expires_at":"x"}"#]
        {
            fs::write(&file, content).unwrap();
            assert_eq!(files.expiry("a").unwrap_err().kind(), io::ErrorKind::InvalidData, "{content}");
        }
        fs::write(&file, format!(r#"{{"expires_at":"2026-12-02T00:00:00Z"{}}}"#, " ".repeat(1 << 20))).unwrap();
        assert!(files.expiry("a").is_err(), "too large");
        fs::remove_dir_all(&files.metadata).unwrap();
        fs::write(&files.metadata, "a file in the folder's place").unwrap();
        assert!(files.expiry("a").is_err() && files.metadata("a").is_err());
        assert_eq!(files.overlays(), HashMap::new());
    }

    #[test]
    fn an_id_is_no_path() {
        let (folder, files) = files();
        fs::write(folder.path().join("secret.json"), r#"{"a":"b"}"#).unwrap();
        assert_eq!(files.overlay("../secret"), Overlay::default());
    }
}
