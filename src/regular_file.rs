//! Opening files whose names come from elsewhere: an operator, a variable, a folder that others write to.
//!
//! A pipe without a writer holds up whoever opens it, for ever and without a word, and a device never ends. So everything
//! that is read as a file is opened here: it is a regular file of a bounded length, or an error says that it is not.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

/// Makes opening a pipe or a terminal return at once.
pub fn at_once(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
}

/// Opens a regular file with these options. What is told of it is the open file's: the name may be another's by now.
///
/// # Errors
/// It cannot be opened, or is not a regular file.
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<(File, Metadata)> {
    let file = at_once(options).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Opens a regular file for reading.
///
/// # Errors
/// It cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    open_with(OpenOptions::new().read(true), path)
}

/// Takes an open file's lock (`flock(2)`), which is given back when the file is closed. `false` if another program or another
/// open file has it.
///
/// # Errors
/// The file system has no locks, or does not answer.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// All of a regular file.
///
/// # Errors
/// It cannot be read, is not a regular file, or has more than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    read_all(file, limit)
}

/// All of an open file.
///
/// # Errors
/// It cannot be read, or has more than `limit` bytes.
pub fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn only_a_regular_file_of_a_bounded_length_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "123").unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(read(&at("file"), 3).unwrap(), b"123");
        assert_eq!(read(&at("file"), 2).unwrap_err().to_string(), "it is larger than 2 bytes");
        assert_eq!(read(&at("none"), 2).unwrap_err().kind(), ErrorKind::NotFound);
        for path in [at("pipe"), at(""), "/dev/zero".into()] {
            assert_eq!(read(&path, 3).unwrap_err().to_string(), "it is not a regular file", "{}", path.display());
        }
        assert!(open_with(OpenOptions::new().append(true), &at("pipe")).is_err());
    }

    #[test]
    fn one_open_file_at_a_time_has_the_lock() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (open(path.path()).unwrap().0, open(path.path()).unwrap().0);
        assert!(try_lock(&first).unwrap() && !try_lock(&second).unwrap());
        drop(first);
        assert!(try_lock(&second).unwrap());
    }
}
