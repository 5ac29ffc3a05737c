//! Text in a file that is replaced by other text.

use std::{fs, io::Read, os::unix::fs::MetadataExt};

use memchr::memmem;
use serde::Deserialize;

use super::{change::Rights, owner::Owners, write::Upload};
use crate::{
    error::Error,
    execd::{
        Execd,
        error::{self, shown},
    },
    regular_file,
};

/// The longest file, before and after, in bytes: it is read as a whole.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// What is to be replaced by what.
#[derive(Debug, Clone, Deserialize)]
pub struct Replacement {
    /// The text that goes; not empty.
    pub old: String,
    /// The text that comes.
    pub new: String,
}

impl Execd {
    /// Replaces a text everywhere in a file, whose owner and permissions stay, and returns how often it occurred. The file is
    /// exchanged atomically.
    ///
    /// # Errors
    /// There is no such file, it is too long, or nothing is to be looked for.
    pub fn replace(&self, path: &str, replacement: &Replacement) -> Result<usize, Error> {
        let path = self.path(path)?;
        let failed = |error: std::io::Error| error::io("changed", &path, error);
        if replacement.old.is_empty() {
            return Err(error::invalid("old: it must not be empty."));
        }
        let too_long = || error::invalid(format!("{} would be longer than {MAX_FILE} bytes.", shown(&path)));
        let metadata = fs::metadata(&path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(error::invalid(format!("{} is no file.", shown(&path))));
        }
        if metadata.len() > MAX_FILE {
            return Err(too_long());
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // A pipe may have come into its place.
        let (file, _) = regular_file::open(&path).map_err(failed)?;
        file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
        // Looked for twice rather than kept: each byte of the file may be a place.
        let finder = memmem::Finder::new(&replacement.old);
        let count = finder.find_iter(&content).count();
        if count == 0 {
            return Ok(0);
        }
        let less = (content.len() - count * replacement.old.len()) as u64;
        if less.saturating_add(count as u64 * replacement.new.len() as u64) > MAX_FILE {
            return Err(too_long());
        }
        let owners = Owners { user: Some(metadata.uid()), group: Some(metadata.gid()) };
        let mut upload = Upload::begin(&path, Rights { mode: metadata.mode() & 0o7777, owners })?;
        let mut at = 0;
        for begin in finder.find_iter(&content) {
            upload.write(&content[at..begin])?;
            upload.write(replacement.new.as_bytes())?;
            at = begin + replacement.old.len();
        }
        upload.write(&content[at..])?;
        upload.finish()?;
        Ok(count)
    }
}
