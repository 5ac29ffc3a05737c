//! Where this server mounts buckets, noted for the next one.
//!
//! A server that is killed, or that cannot wait for a volume tool when it ends, leaves a bucket mounted, with a user's
//! credentials, that no container refers to. So each place has a note from before the tool is started until it is unmounted.
//! A note is locked while its server uses the place, so that no other server of the same home takes it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

use crate::regular_file;

/// The longest path of a note, in bytes (`PATH_MAX`).
const LONGEST: u64 = 4096;

/// How long a tool may outlive its server and still mount something.
const SETTLED: Duration = Duration::from_hours(1);

/// How often a note is opened that another server removes meanwhile.
const ATTEMPTS: usize = 8;

/// The folder of the notes. All functions block.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) folder: PathBuf,
}

/// The note of one place, held.
#[derive(Debug)]
pub(super) struct Record {
    note: PathBuf,
    lock: File,
}

impl Records {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("ossfs-mounts") }
    }

    /// Notes a place.
    ///
    /// # Errors
    /// It could not be noted, or another server has.
    pub(super) fn put(&self, place: &Path) -> io::Result<Record> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let name = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, place.as_os_str().as_bytes()));
        let note = self.folder.join(name);
        let held = || io::Error::other(format!("another server has noted {}", place.display()));
        for _ in 0..ATTEMPTS {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&note)?;
            if !regular_file::try_lock(&file)? {
                return Err(held());
            }
            if is_still(&file, &note)? {
                file.set_len(0)?;
                file.write_all(place.as_os_str().as_bytes())?;
                return Ok(Record { note, lock: file });
            }
        }
        Err(held())
    }

    /// The places with a note of an earlier server that no server holds. Other files are skipped.
    pub(super) fn left(&self) -> io::Result<Vec<(PathBuf, Record)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut left = Vec::new();
        for entry in entries {
            let note = entry?.path();
            match take(&note) {
                Ok(found) => left.extend(found),
                Err(error) => tracing::warn!(?note, %error, "where a bucket was mounted cannot be told"),
            }
        }
        Ok(left)
    }
}

impl Record {
    /// Whether what was noted is mounted by now, if it ever will be.
    pub(super) fn is_old(&self) -> io::Result<bool> {
        Ok(self.lock.metadata()?.modified()?.elapsed().is_ok_and(|age| age >= SETTLED))
    }

    /// Nothing is mounted at the place any more.
    pub(super) fn end(self) -> io::Result<()> {
        fs::remove_file(&self.note)
    }
}

/// Takes a note over; `None` if another server holds it or has removed it.
fn take(note: &Path) -> io::Result<Option<(PathBuf, Record)>> {
    let file = match regular_file::open(note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?.0,
    };
    if !regular_file::try_lock(&file)? || !is_still(&file, note)? {
        return Ok(None);
    }
    let mut place = Vec::new();
    (&file).take(LONGEST).read_to_end(&mut place)?;
    let place = PathBuf::from(std::ffi::OsString::from_vec(place));
    let record = Record { note: note.to_owned(), lock: file };
    if place.is_absolute() {
        return Ok(Some((place, record)));
    }
    // Its server was killed before it mounted anything.
    record.end().map(|()| None)
}

/// Whether a note that is open has not been removed.
fn is_still(file: &File, note: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(note) {
        Ok(found) => Ok(found.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_noted_until_nothing_is_mounted_there() {
        let home = tempfile::tempdir().unwrap();
        let records = Records::new(&home.path().join("new"));
        assert!(records.left().unwrap().is_empty());
        let held = records.put(Path::new("/m/a")).unwrap();
        assert!(records.put(Path::new("/m/a")).is_err() && records.left().unwrap().is_empty(), "it is held");
        drop(held);
        records.put(Path::new("/m/b")).unwrap().end().unwrap();
        fs::write(records.folder.join("begun"), "").unwrap();
        std::os::unix::fs::symlink("loop", records.folder.join("loop")).unwrap();
        let mut left = records.left().unwrap();
        assert_eq!(left.len(), 1);
        let (place, record) = left.remove(0);
        assert_eq!(place, Path::new("/m/a"));
        assert!(records.left().unwrap().is_empty(), "it is held again");
        assert!(!record.is_old().unwrap());
        record.lock.set_modified(std::time::SystemTime::now() - SETTLED).unwrap();
        assert!(record.is_old().unwrap());
        record.end().unwrap();
        assert_eq!(fs::read_dir(&records.folder).unwrap().count(), 1, "what cannot be opened");
    }
}
