//! Reading the gateway's own small files: what is not there is told apart from what cannot be read.
//!
//! The difference decides over sandboxes: without a renewal's file a sandbox ends at its first time, and with one that
//! cannot be read it must not end yet. A file counts as not there only when nothing of its name is. Everything else is an
//! error: a failing disk, missing permissions, a link that leads nowhere (a volume that is not mounted), a directory, a
//! device or a pipe in the file's place, another user's file, or one that is too large.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
    process::geteuid,
};

use crate::regular_file;

/// How long nothing more is said of a file that was complained of.
const WARN_INTERVAL: Duration = Duration::from_mins(10);

/// Of how many files something is said in that time.
const MAX_WARNED_FILES: usize = 32;

/// The whole content of a regular file of at most `limit` bytes; nothing if there is no such file. Blocks.
///
/// # Errors
/// It is there, or may be, and cannot be read.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let content = peek(path, limit)?;
    if content.is_none() {
        missing(path)?;
    }
    Ok(content)
}

/// Whether the system knows, without asking a disk or a server, that there is no such file. Does not block: what it would have
/// to ask for (`RESOLVE_CACHED`, Linux 5.12) may be there.
pub fn is_known_missing(path: &Path) -> bool {
    let how = OFlags::PATH | OFlags::CLOEXEC;
    openat2(CWD, path, how, Mode::empty(), ResolveFlags::CACHED).is_err_and(|error| error == Errno::NOENT)
}

/// [`read`] for what is only shown: what lies behind a link that leads nowhere counts as not there, which spares the looks
/// at all folders above. Blocks.
///
/// # Errors
/// It is there, or may be, and cannot be read.
pub fn peek(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let (file, found) = match regular_file::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !is_trusted(found.uid(), geteuid().as_raw()) {
        return Err(io::Error::new(ErrorKind::PermissionDenied, format!("it belongs to user {}", found.uid())));
    }
    regular_file::read_all(file, limit).map(Some)
}

/// Root reads whatever a server that ran as another user has left; others trust their own files and root's.
fn is_trusted(owner: u32, user: u32) -> bool {
    user == 0 || owner == user || owner == 0
}

/// Fails if something of this name is there after all: a link on the way to it that leads nowhere.
fn missing(path: &Path) -> io::Result<()> {
    for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if found.is_symlink() && fs::metadata(path).is_err() => {
                return Err(io::Error::other(format!("the link {} leads nowhere", path.display())));
            }
            // The nearest folder that is there. If the missing file has come meanwhile, the next look finds it.
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Complaints about files, each file's only now and then: a file is read with every request, and a broken disk has many.
#[derive(Debug, Default)]
pub struct Complaints {
    told: Mutex<HashMap<PathBuf, Instant>>,
}

/// Whether a complaint is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// It is.
    Tell,
    /// It is, and nothing of other files will be said for a while.
    TellLast,
    /// It was made already.
    Hold,
}

impl Complaints {
    /// Whether something is to be said of a file now.
    pub fn about(&self, path: &Path) -> Complaint {
        self.about_at(path, Instant::now())
    }

    fn about_at(&self, path: &Path, now: Instant) -> Complaint {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(path).is_some_and(|last| now.duration_since(*last) < WARN_INTERVAL) {
            return Complaint::Hold;
        }
        if told.len() >= MAX_WARNED_FILES {
            told.retain(|_, last| now.duration_since(*last) < WARN_INTERVAL);
        }
        if told.len() >= MAX_WARNED_FILES {
            return Complaint::Hold;
        }
        told.insert(path.to_owned(), now);
        if told.len() == MAX_WARNED_FILES { Complaint::TellLast } else { Complaint::Tell }
    }

    /// A warning that a file cannot be read, and what follows from that, unless it was given lately.
    pub fn warn(&self, path: &Path, error: &io::Error, consequence: &str) {
        match self.about(path) {
            Complaint::Hold => {}
            Complaint::Tell => tracing::warn!(?path, %error, "a file cannot be read: {consequence}"),
            Complaint::TellLast => {
                tracing::warn!(?path, %error, "a file cannot be read: {consequence}; others are not told of for 10 minutes");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(read(&at("none"), 9).unwrap(), None);
        assert_eq!(read(&at("no/folder/none"), 9).unwrap(), None);
        fs::write(at("some"), "123456789").unwrap();
        assert_eq!(read(&at("some"), 9).unwrap().unwrap(), b"123456789");
        symlink("some", at("linked")).unwrap();
        assert!(read(&at("linked"), 9).unwrap().is_some());
    }

    /// Each of these was taken for a file that is not there, or would hang.
    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("large"), "1234567890").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("/proc/self/mem", at("fails with EIO")).unwrap();
        symlink("/dev/zero", at("endless")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
        for name in ["large", "folder", "fails with EIO", "endless", "dangling", "pipe", "large/in", "dangling/in/it"] {
            let read = read(&at(name), 9);
            assert!(read.is_err(), "{name}: {read:?}");
        }
    }

    #[test]
    fn another_user_s_file_is_not_trusted() {
        assert!(is_trusted(5, 5) && is_trusted(0, 5) && is_trusted(5, 0));
        assert!(!is_trusted(6, 5));
    }

    #[test]
    fn complaints_are_few() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let about = |name: usize, now| complaints.about_at(Path::new(&name.to_string()), now);
        assert_eq!((about(0, now), about(0, now)), (Complaint::Tell, Complaint::Hold));
        let later = now + WARN_INTERVAL;
        assert_eq!(about(0, later), Complaint::Tell);
        let told: Vec<Complaint> = (1..1000).map(|name| about(name, later)).collect();
        assert_eq!(told.iter().filter(|told| **told == Complaint::Tell).count(), MAX_WARNED_FILES - 2);
        assert_eq!(told[MAX_WARNED_FILES - 2], Complaint::TellLast);
        assert!(told[MAX_WARNED_FILES - 1..].iter().all(|told| *told == Complaint::Hold));
        assert_eq!(about(2000, later + WARN_INTERVAL), Complaint::Tell);
    }
}
