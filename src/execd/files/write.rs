//! A file that is written beside its place, and put there when it is whole.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{
    change::{Rights, changed},
    info::is_special,
};
use crate::{
    error::Error,
    execd::error::{self, shown},
};

/// How many links are followed: as many as the kernel does.
const MAX_LINKS: usize = 40;

/// A file on its way. Dropped before it is finished, nothing of it remains.
#[derive(Debug)]
pub struct Upload {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl Upload {
    /// Begins a file that will be at `path`; directories above it that are missing are made. A link at its end is followed, so
    /// that what it leads to is written, or made where its directory is there.
    ///
    /// # Errors
    /// Something other than a file is there, it cannot be written there, or not given such rights.
    pub fn begin(path: &Path, rights: Rights) -> Result<Self, Error> {
        let failed = |error: io::Error| error::io("written", path, error);
        let (path, is_linked) = match fs::canonicalize(path) {
            Ok(real) => (real, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => linked(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(error::invalid(format!("{} is a directory.", shown(&path))));
            }
            Ok(metadata) if is_special(&metadata) => {
                return Err(error::invalid(format!("{} is no file: a device, a pipe or a socket.", shown(&path))));
            }
            Ok(_) | Err(_) => {}
        }
        let directory = path.file_name().and_then(|_| path.parent());
        let directory = directory.ok_or_else(|| error::invalid(format!("{} names no file.", shown(&path))))?;
        if !is_linked {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let file = tempfile::Builder::new().prefix(".execd-").tempfile_in(directory).map_err(failed)?;
        set(file.as_file(), rights).map_err(failed)?;
        Ok(Self { file: BufWriter::with_capacity(64 * 1024, file), path })
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// There is no room, or the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| error::io("written", &self.path, error))
    }

    /// Puts the file into its place.
    ///
    /// # Errors
    /// It cannot be written to its end, or not be put there.
    pub fn finish(self) -> Result<(), Error> {
        let Self { file, path } = self;
        let failed = |error: io::Error| error::io("written", &path, error);
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Where a file is made that is opened at `path`, and whether links lead there.
fn linked(path: &Path) -> io::Result<(PathBuf, bool)> {
    let mut at = path.to_owned();
    for followed in 0..MAX_LINKS {
        match fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or(Path::new("/")).join(to),
            // It is no link, or nothing.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok((at, followed > 0));
            }
            Err(error) => return Err(error),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Gives a new file away, and sets its permissions, in this order: the first may take some of them.
fn set(file: &File, rights: Rights) -> io::Result<()> {
    let metadata = file.metadata()?;
    let owners = changed(rights.owners, metadata.uid(), metadata.gid());
    if !owners.is_none() {
        fchown(file, owners.user, owners.group)?;
    }
    file.set_permissions(Permissions::from_mode(rights.mode))
}
