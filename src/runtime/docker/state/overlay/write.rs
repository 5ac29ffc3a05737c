//! Writing the files, in the existing server's own form, so that it reads them after a step back.
//!
//! A file is there whole or not at all: it is written beside its place, brought to the disk and then renamed. The caller
//! holds the sandbox's lock, so that no two write one file at the same time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Files, LARGEST_EXPIRY, LARGEST_METADATA, path, set_aside};
use crate::model::{spelling::spelled, timestamp::Timestamp};

/// Permissions of folders that are made: metadata may be private.
const FOLDER_MODE: u32 = 0o700;

/// Permissions of files.
const FILE_MODE: u32 = 0o600;

impl Files {
    /// Stores a sandbox's metadata, which from then on counts instead of its labels.
    ///
    /// # Errors
    /// The file could not be written, or it could not be read again for its size; what was there before still is.
    pub(in crate::runtime::docker) fn store_metadata(&self, id: &str, metadata: &Map<String, Value>) -> io::Result<()> {
        store(&self.metadata, id, metadata, LARGEST_METADATA)
    }

    /// Keeps a damaged metadata file for a look, out of the way of a new one.
    pub(in crate::runtime::docker) fn set_metadata_aside(&self, id: &str) -> io::Result<()> {
        let (from, to) = (path(&self.metadata, id), set_aside(&self.metadata, id));
        fs::rename(&from, &to)?;
        tracing::warn!(?from, ?to, "a damaged file was set aside");
        Ok(())
    }

    /// Stores a sandbox's expiry, which from then on counts instead of its label.
    ///
    /// # Errors
    /// The file could not be written; what was there before still is.
    pub(in crate::runtime::docker) fn store_expiry(&self, id: &str, time: Timestamp) -> io::Result<()> {
        store(&self.expirations, id, &json!({"expires_at": time.to_label()}), LARGEST_EXPIRY)
    }
}

fn store(folder: &Path, id: &str, value: &impl Serialize, limit: u64) -> io::Result<()> {
    let text = spelled(value)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it would be larger than {limit} bytes")));
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    // Not a name that ends in `.json`, so that no server reads it; always the same, so that crashes leave one at most.
    let beside = folder.join(format!("{id}.json.tmp"));
    let stored = write_to_disk(&beside, text.as_bytes()).and_then(|()| fs::rename(&beside, path(folder, id)));
    if stored.is_err() {
        // It may not even have been made; the error of the writing is the one that counts.
        let _ = fs::remove_file(&beside);
    }
    stored?;
    File::open(folder)?.sync_all()
}

fn write_to_disk(path: &Path, text: &[u8]) -> io::Result<()> {
    // What a crash left may be anybody's to read.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// The bytes are those that the existing server wrote for the same requests.
    #[test]
    fn files_are_the_existing_server_s_to_the_byte() {
        let home = tempfile::tempdir().unwrap();
        let files = Files::new(&home.path().join(".opensandbox"));
        let pairs = [("alpha", "2"), ("zeta", "1"), ("new", "v1"), ("uml", "")];
        let metadata = pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
        files.store_metadata("x", &metadata).unwrap();
        let text = fs::read_to_string(files.metadata.join("x.json")).unwrap();
        assert_eq!(text, r#"{"alpha": "2", "zeta": "1", "new": "v1", "uml": ""}"#);
        assert_eq!(files.metadata("x").unwrap(), Some(metadata));
        files.store_metadata("x", &Map::new()).unwrap();
        assert_eq!(fs::read_to_string(files.metadata.join("x.json")).unwrap(), "{}");

        let time = Timestamp::from("2026-12-01T00:00:00.5Z".parse::<jiff::Timestamp>().unwrap());
        files.store_expiry("x", time).unwrap();
        let text = fs::read_to_string(files.expirations.join("x.json")).unwrap();
        assert_eq!(text, r#"{"expires_at": "2026-12-01T00:00:00.500000+00:00"}"#);
        assert_eq!(files.overlay("x").expires_at, Some(time));
        assert_eq!((mode(&files.metadata), mode(&files.expirations)), (0o700, 0o700));
        assert_eq!(mode(&files.metadata.join("x.json")), 0o600);
        files.remove("x");
        assert_eq!(fs::read_dir(&files.metadata).unwrap().count(), 1, "nothing but the other folder");
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let files = Files::new(home.path());
        let metadata = |value: &str| Map::from_iter([("a".to_owned(), Value::from(value))]);
        files.store_metadata("x", &metadata("1")).unwrap();
        // A folder in the file's place stops also root, whom permissions do not.
        fs::create_dir(files.metadata.join("x.json.tmp")).unwrap();
        assert!(files.store_metadata("x", &metadata("2")).is_err());
        assert_eq!(files.metadata("x").unwrap(), Some(metadata("1")));
        fs::create_dir_all(files.metadata.join("y.json")).unwrap();
        assert!(files.store_metadata("y", &metadata("1")).is_err());
        assert!(!files.metadata.join("y.json.tmp").exists(), "the half-made file is removed");
        let huge = "v".repeat(usize::try_from(LARGEST_METADATA).unwrap());
        assert!(files.store_metadata("z", &metadata(&huge)).is_err(), "nobody could read it");
        assert_eq!(files.metadata("z").unwrap(), None);
    }
}
