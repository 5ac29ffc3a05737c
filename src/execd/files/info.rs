//! What is told of a file or directory.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt},
    path::Path,
    time::SystemTime,
};

use serde::Serialize;

use super::owner::Names;
use crate::{
    error::Error,
    execd::{Execd, error},
    model::timestamp::Timestamp,
};

/// A file or directory as clients are told of it.
#[derive(Debug, Serialize)]
pub struct Info {
    /// Its path.
    pub path: String,
    /// What it is; a link is not followed.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its length in bytes; 0 unless it is a file.
    pub size: u64,
    /// When it was written last.
    pub modified_at: Timestamp,
    /// When it was made; where that is not recorded, when it was changed last.
    pub created_at: Timestamp,
    /// Its user's name, or number.
    pub owner: String,
    /// Its group's name, or number.
    pub group: String,
    /// Its permissions: the octal digits, read as a decimal number (755).
    pub mode: u32,
}

/// Kinds of what a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Other,
}

impl Execd {
    /// What is told of a path.
    ///
    /// # Errors
    /// There is nothing, or it may not be looked at.
    pub fn info(&self, path: &str, names: &mut Names) -> Result<Info, Error> {
        let path = self.path(path)?;
        let metadata = fs::symlink_metadata(&path).map_err(|error| error::io("looked at", &path, error))?;
        Ok(Info::new(&path, &metadata, names))
    }
}

impl Info {
    /// What is told of a path with this metadata.
    pub fn new(path: &Path, metadata: &Metadata, names: &mut Names) -> Self {
        let kind = Kind::of(metadata);
        let modified = time(metadata.modified());
        Self {
            path: path.to_string_lossy().into_owned(),
            kind,
            size: if kind == Kind::File { metadata.len() } else { 0 },
            modified_at: modified,
            created_at: metadata.created().map_or(changed(metadata), |created| time(Ok(created))),
            owner: names.user(metadata.uid()),
            group: names.group(metadata.gid()),
            mode: digits(metadata.mode()),
        }
    }
}

impl Kind {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        match () {
            () if kind.is_symlink() => Self::Symlink,
            () if kind.is_dir() => Self::Directory,
            () if kind.is_file() => Self::File,
            () => Self::Other,
        }
    }
}

/// Whether it is what may be read and written as a file: nothing that waits, or does something else when it is opened.
pub(super) fn is_special(metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
}

/// Permissions as clients write them: the octal digits, read as a decimal number.
fn digits(mode: u32) -> u32 {
    (0..4).map(|place| (mode >> (3 * place) & 7) * 10_u32.pow(place)).sum()
}

/// Reads permissions that were written so.
///
/// # Errors
/// A digit above 7, or more than four digits.
pub fn mode(digits: u32) -> Result<u32, Error> {
    let mode = u32::from_str_radix(&digits.to_string(), 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| error::invalid(format!("mode: {digits} are no permissions: write octal digits, such as 644.")))
}

fn time(time: io::Result<SystemTime>) -> Timestamp {
    // A file's time may lie outside of what can be written.
    let time = time.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).into()
}

fn changed(metadata: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    jiff::Timestamp::new(metadata.ctime(), nanoseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal_digits() {
        for (text, bits) in [(755, 0o755), (644, 0o644), (0, 0), (4755, 0o4755), (7777, 0o7777)] {
            assert_eq!((mode(text).unwrap(), digits(bits | 0o100_000)), (bits, text));
        }
        for wrong in [8, 789, 10_000, u32::MAX] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
