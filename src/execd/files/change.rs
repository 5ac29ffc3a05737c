//! Changing permissions, moving, and removing.

use std::{
    fs::{self, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::{info::mode, owner::Owners};
use crate::{
    error::{Error, Family, Kind},
    execd::{
        Execd,
        error::{self, shown},
    },
};

/// What a client wants of a file's or directory's permissions.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Attributes {
    /// Octal digits, read as a decimal number; 755 without.
    pub mode: Option<u32>,
    /// A user's name or number; without, the present one.
    pub owner: Option<String>,
    /// A group's name or number; without, the present one.
    pub group: Option<String>,
}

/// The permissions that a client asked for, with the numbers of user and group.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    pub(super) mode: u32,
    pub(super) owners: Owners,
}

/// How much of what `mv` complains of is read, in bytes.
const MAX_WHY: u64 = 4096;

/// The permissions when a client names none (execd's description).
const DEFAULT_MODE: u32 = 755;

impl Attributes {
    /// Looks up the user and the group.
    ///
    /// # Errors
    /// There is no such user or group, or the mode has digits that are not octal.
    pub fn rights(&self) -> Result<Rights, Error> {
        let owners = Owners::find(self.owner.as_deref(), self.group.as_deref())?;
        Ok(Rights { mode: mode(self.mode.unwrap_or(DEFAULT_MODE))?, owners })
    }
}

impl Execd {
    /// Changes permissions; a link is followed.
    ///
    /// # Errors
    /// The attributes cannot be set.
    pub fn set_rights(&self, path: &str, attributes: &Attributes) -> Result<(), Error> {
        set(&self.path(path)?, attributes.rights()?)
    }

    /// Makes a directory, and those above it that are missing. One that is there gets the permissions.
    ///
    /// # Errors
    /// Something else is there, or it cannot be made.
    pub fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<(), Error> {
        let (path, rights) = (self.path(path)?, attributes.rights()?);
        fs::create_dir_all(&path).map_err(|error| error::io("made", &path, error))?;
        set(&path, rights)
    }

    /// Removes a file or a link, and no directory. What is not there is removed already.
    ///
    /// # Errors
    /// It is a directory, or cannot be removed.
    pub fn remove_file(&self, path: &str) -> Result<(), Error> {
        let path = self.path(path)?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(error::invalid(format!(
                    "{} is a directory: DELETE /directories removes it.",
                    shown(&path)
                )));
            }
            Ok(_) | Err(_) => {}
        }
        gone(&path, fs::remove_file(&path))
    }

    /// Removes a directory with all that is in it; links in it are not followed. What is not there is removed already.
    ///
    /// # Errors
    /// It is no directory, is the root, or cannot be removed.
    pub fn remove_directory(&self, path: &str) -> Result<(), Error> {
        let path = self.path(path)?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(error::invalid(format!("{} is no directory: DELETE /files removes it.", shown(&path))));
            }
            Ok(_) | Err(_) => {}
        }
        // Whatever way leads there: `/.`, `/tmp/..`.
        if fs::canonicalize(&path).is_ok_and(|real| real == Path::new("/")) {
            return Err(error::invalid("The root of this machine's files is not removed."));
        }
        gone(&path, fs::remove_dir_all(&path))
    }

    /// Moves or renames a file or directory. A file at its destination is replaced, and a directory only if it is empty.
    ///
    /// # Errors
    /// There is nothing to move, or no directory to move it to.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => move_across(&from, &to),
            renamed => renamed.map_err(|error| error::io(&format!("moved to {}", shown(&to)), &from, error)),
        }
    }
}

/// Moves to another file system, which is to copy and to remove: what `mv` is for.
fn move_across(from: &Path, to: &Path) -> Result<(), Error> {
    let verb = format!("moved to {}", shown(to));
    let failed = |error: io::Error| error::io(&verb, from, error);
    let mut command = Command::new("mv");
    command.args(["-f", "-T", "--"]).args([from, to]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut mv = command.spawn().map_err(failed)?;
    let mut why = Vec::new();
    if let Some(mut stderr) = mv.stderr.take() {
        // Of a tree there may be a complaint for each file; the first is enough.
        (&mut stderr).take(MAX_WHY).read_to_end(&mut why).map_err(failed)?;
        io::copy(&mut stderr, &mut io::sink()).map_err(failed)?;
    }
    if mv.wait().map_err(failed)?.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&why);
    let text = format!("{} cannot be {verb}: {}", shown(from), why.lines().next().unwrap_or_default());
    Err(Error::new(Family::Execd, Kind::Failed, text))
}

fn gone(path: &Path, removed: io::Result<()>) -> Result<(), Error> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error::io("removed", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Changes a path's owner, if it is another one, and its permissions.
fn set(path: &Path, rights: Rights) -> Result<(), Error> {
    let failed = |error: io::Error| error::io("given these permissions", path, error);
    let metadata = fs::metadata(path).map_err(failed)?;
    let owners = changed(rights.owners, metadata.uid(), metadata.gid());
    if !owners.is_none() {
        chown(path, owners.user, owners.group).map_err(failed)?;
    }
    fs::set_permissions(path, Permissions::from_mode(rights.mode)).map_err(failed)
}

/// The owner to set, if it is another than the present one: changing it takes a privilege.
pub(super) fn changed(owners: Owners, user: u32, group: u32) -> Owners {
    Owners { user: owners.user.filter(|id| *id != user), group: owners.group.filter(|id| *id != group) }
}
