//! Files and directories. All of it blocks. Paths are the machine's; a relative one begins at the sandbox's working directory.

pub mod change;
pub mod info;
pub mod owner;
pub mod read;
pub mod replace;
pub mod walk;
pub mod write;

use std::path::PathBuf;

use super::{Execd, error};
use crate::error::Error;

impl Execd {
    /// The path that a client means.
    ///
    /// # Errors
    /// It is blank, or holds a NUL.
    pub fn path(&self, path: &str) -> Result<PathBuf, Error> {
        match path {
            _ if path.trim().is_empty() => Err(error::invalid("A path must not be blank.")),
            _ if path.contains('\0') => Err(error::invalid("A path must not hold a NUL.")),
            // An absolute one stays as it is, but for what means nothing: `.` and doubled slashes.
            _ => Ok(self.environment.work.join(path).components().collect()),
        }
    }

    /// The user and the group as which everything is done.
    pub fn identity() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }
}
