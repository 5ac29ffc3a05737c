//! Notes of the leaders that live, for a later gateway in case this one is killed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::start_time;

/// A note of a leader; dropping it takes the note away.
#[derive(Debug)]
pub struct Note(PathBuf);

impl Note {
    /// Notes a leader in `directory`: its process id, and its start time, by which a later process of the same number is told
    /// from it.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn write(directory: &Path, pid: u32) -> io::Result<Self> {
        let path = directory.join(pid.to_string());
        // Half a note would tell nobody whom it is of.
        let unfinished = directory.join(format!("{pid}.new"));
        fs::write(&unfinished, format!("{pid} {}\n", start_time(pid)?.unwrap_or(0)))?;
        fs::rename(unfinished, &path)?;
        Ok(Self(path))
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // The sandbox's directory may be gone already, and a note too many is of no harm: its start time fits nobody.
        let _ = fs::remove_file(&self.0);
    }
}
