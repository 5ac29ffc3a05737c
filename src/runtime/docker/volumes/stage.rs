//! Staging: objects of the host's file system, mounted where no sandbox can replace them.
//!
//! The engine takes a bind's source as a path and follows it when the container starts. On a path that leads through what
//! sandboxes write to, that may be another object than the one that was checked. So the object that was checked is itself
//! mounted, by its descriptor, in a folder that only root can enter, and the engine is given that path:
//!
//! ```text
//! /run/opensandbox-gateway/mounts/<engine>/<sandbox>/<number>
//! ```
//!
//! The folder is a file system of its own in memory, so that the engine finds the path only if it sees this server's
//! mounts. A mount there outlives the server and lasts until the sandbox is removed or the host is started anew; a
//! container that is started again therefore gets the same object. [`Stage::probe`] says how it is found out whether the
//! engine sees the mounts.

use std::{
    fs::{self, DirBuilder, DirEntry, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, open, openat, unlinkat},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount},
    process::geteuid,
};
use uuid::Uuid;

use super::{
    mount_table::MountTable,
    place::{Place, walk_to},
};
use crate::runtime::docker::engine::names;

/// What the probe of a sandbox's stage is called; [`Stage::put`] makes it.
const PROBE: &str = "probe";

/// How many mounts are removed at one path. There is more than one only if another program mounted there.
const LAYERS: usize = 16;

/// The folder. All functions block.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    root: PathBuf,
    table: MountTable,
}

/// A sandbox's part of the folder while the sandbox is being created. It is not cleared as long as this lives.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Staged {
    _lock: OwnedFd,
    /// The name of the file in the probe, and at no other place.
    pub(super) token: String,
}

impl Stage {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, table: MountTable::default() }
    }

    /// The path of a sandbox's mount.
    pub(super) fn path(&self, engine: &str, id: &str, number: usize) -> PathBuf {
        self.folder(engine, id).join(number.to_string())
    }

    /// The path of a sandbox's probe: a file system in memory with one file, named [`Staged::token`]. In what it is mounted
    /// over there is none. An engine that sees the file sees what is mounted here.
    pub(super) fn probe(&self, engine: &str, id: &str) -> PathBuf {
        self.folder(engine, id).join(PROBE)
    }

    /// Whether there is anything to be cleared at all.
    pub(super) fn is_there(&self) -> bool {
        self.root.exists()
    }

    /// Whether this process may mount, which takes more than to be root: CAP_SYS_ADMIN, and the folder.
    ///
    /// # Errors
    /// Why not, in words for an operator.
    pub(super) fn check(&self) -> io::Result<()> {
        self.prepare().map(drop)
    }

    /// Mounts `places` for the sandbox `id`, numbered from 0, and its probe.
    ///
    /// # Errors
    /// Something could not be mounted; nothing is left.
    pub(super) fn put(&self, engine: &str, id: &str, places: &[Arc<Place>]) -> io::Result<Staged> {
        // Held until the sandbox's own lock is, so that no other server takes the new folder for a forgotten one.
        let _root = self.prepare()?;
        let staged = self.fill(engine, id, places);
        if staged.is_err()
            && let Err(error) = self.clear(engine, id)
        {
            tracing::warn!(sandbox = id, %error, "mounts of a sandbox that could not be created stay");
        }
        staged
    }

    fn fill(&self, engine: &str, id: &str, places: &[Arc<Place>]) -> io::Result<Staged> {
        let folder = self.folder(engine, id);
        DirBuilder::new().recursive(true).mode(0o700).create(self.root.join(engine))?;
        DirBuilder::new().mode(0o700).create(&folder)?;
        let at = directory(&folder)?;
        flock(&at, FlockOperation::NonBlockingLockExclusive)?;
        for (number, place) in places.iter().enumerate() {
            let name = number.to_string();
            if place.is_directory()? {
                mkdirat(&at, &name, Mode::RWXU)?;
            } else {
                openat(&at, &name, OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::RUSR)?;
            }
            let target = folder.join(name);
            bind(place.object(), &target)?;
            if !place.is_at(&target)? {
                return Err(io::Error::other("another object was mounted than the one that was checked"));
            }
        }
        let (token, probe) = (Uuid::new_v4().to_string(), folder.join(PROBE));
        mkdirat(&at, PROBE, Mode::RWXU)?;
        mount("opensandbox", &probe, "tmpfs", MEMORY, Some(c"mode=0700,size=4k"))?;
        File::create_new(probe.join(&token))?;
        Ok(Staged { _lock: at, token })
    }

    /// Unmounts what a sandbox had; nothing is left of it. Only what this server made itself is removed: a directory that is
    /// still mounted cannot be.
    pub(super) fn clear(&self, engine: &str, id: &str) -> io::Result<()> {
        let folder = self.folder(engine, id);
        let at = match directory(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            at => at?,
        };
        // Another server of this host may clear it as well.
        for entry in fs::read_dir(&folder)? {
            unless_gone(entry.and_then(|entry| clear_one(&at, &entry)))?;
        }
        unless_gone(fs::remove_dir(&folder))
    }

    /// Unmounts the probe once the engine has seen it. A mount namespace that was copied from this server's keeps it.
    pub(super) fn clear_probe(&self, engine: &str, id: &str) -> io::Result<()> {
        let probe = self.probe(engine, id);
        unmount_all(&probe)?;
        fs::remove_dir(&probe)
    }

    /// The sandboxes of an engine that have something here.
    pub(super) fn ids(&self, engine: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(engine)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.retain(|name| names::is_plausible_id(name));
        Ok(names)
    }

    /// Holds a sandbox's part, so that it can be cleared; nothing if the sandbox is just being created, or has none any more.
    pub(super) fn hold(&self, engine: &str, id: &str) -> io::Result<Option<OwnedFd>> {
        let _root = self.prepare()?;
        let at = match directory(&self.folder(engine, id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            at => at?,
        };
        match flock(&at, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(at)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn folder(&self, engine: &str, id: &str) -> PathBuf {
        self.root.join(engine).join(id)
    }

    /// Makes the folder, once for all servers of the host and until it is started anew. Gives what keeps the others out.
    fn prepare(&self) -> io::Result<OwnedFd> {
        if !geteuid().is_root() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this server does not run as root"));
        }
        let parent = self.root.parent().ok_or(io::ErrorKind::InvalidInput)?;
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let parent = own(parent, 0o022)?;
        flock(&parent, FlockOperation::LockExclusive)?;
        match DirBuilder::new().mode(0o700).create(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // An operator whose server runs in a container has mounted the host's folder here, shared with the host.
        if !self.table.is_mounted(&self.root)? {
            mount("opensandbox", &self.root, "tmpfs", MEMORY, Some(c"mode=0700,size=16m"))?;
            // What is mounted above is not to be found again here when it is mounted with all that is below it.
            mount_change(&self.root, MountPropagationFlags::UNBINDABLE)?;
        }
        fchmod(directory(&self.root)?, Mode::RWXU)?;
        own(&self.root, 0o077)?;
        Ok(parent)
    }
}

/// How the folder's own file system is mounted. It does not bear on what is mounted in it.
const MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts an object with what is mounted below it. `target` is a path that only this user can change.
fn bind(object: &OwnedFd, target: &Path) -> io::Result<()> {
    // The kernel takes such a link for the object itself, wherever that is by now (proc_pid_fd(5)).
    mount_bind_recursive(format!("/proc/self/fd/{}", object.as_raw_fd()), target)?;
    // What is mounted later at the object's old place does not appear here.
    Ok(mount_change(target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// Unmounts and removes one thing in the folder `at`.
fn clear_one(at: &OwnedFd, entry: &DirEntry) -> io::Result<()> {
    unmount_all(&entry.path())?;
    let flags = if entry.file_type()?.is_dir() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    Ok(unlinkat(at, entry.file_name(), flags)?)
}

/// Unmounts whatever is mounted at a path.
fn unmount_all(path: &Path) -> io::Result<()> {
    for _ in 0..LAYERS {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there any more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Passes over that something is not there any more.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// A directory that belongs to this user and of whose permissions none is in `forbidden`, on a path without links.
fn own(path: &Path, forbidden: u32) -> io::Result<OwnedFd> {
    let found = walk_to(path)?;
    let stat = fstat(&found)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !is_directory || stat.st_uid != geteuid().as_raw() || stat.st_mode & forbidden != 0 {
        return Err(io::Error::other(format!("{} is not a directory of this server's alone", path.display())));
    }
    directory(path)
}

/// Opens a directory in the folder, whose paths only this user can change.
fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A stage in a folder of its own, which is unmounted at the end.
    struct Rig {
        folder: tempfile::TempDir,
        stage: Stage,
    }

    impl Rig {
        fn new() -> Self {
            assert!(geteuid().is_root(), "this test mounts: run the tests as root");
            let folder = tempfile::tempdir().unwrap();
            let stage = Stage::new(folder.path().join("run/mounts"));
            Self { folder, stage }
        }

        fn place(&self, name: &str) -> Arc<Place> {
            Arc::new(Place::find(&self.folder.path().join(name), &[self.folder.path().to_owned()]).unwrap())
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = unmount(&self.stage.root, UnmountFlags::DETACH);
        }
    }

    #[test]
    fn what_is_mounted_is_the_object_whatever_its_path_leads_to() {
        let rig = Rig::new();
        let path = rig.folder.path();
        let places = [rig.place("a/b")];
        fs::write(path.join("a/b/inside"), "").unwrap();
        fs::write(path.join("file"), "inside").unwrap();
        let places = [places[0].clone(), rig.place("file")];
        fs::rename(path.join("a"), path.join("old")).unwrap();
        symlink("/etc", path.join("a")).unwrap();
        fs::rename(path.join("file"), path.join("old/file")).unwrap();
        symlink("/etc/passwd", path.join("file")).unwrap();

        let staged = rig.stage.put("e", "x", &places).unwrap();
        assert!(rig.stage.path("e", "x", 0).join("inside").exists());
        assert_eq!(fs::read_to_string(rig.stage.path("e", "x", 1)).unwrap(), "inside");
        assert!(rig.stage.probe("e", "x").join(&staged.token).exists());
        assert!(rig.stage.put("e", "x", &places).is_err(), "one sandbox, once");
    }

    #[test]
    fn what_was_mounted_goes_and_its_content_stays() {
        let rig = Rig::new();
        let place = rig.place("a");
        fs::write(rig.folder.path().join("a/precious"), "").unwrap();
        let staged = rig.stage.put("e", "x", &[place]).unwrap();
        assert_eq!(rig.stage.ids("e").unwrap(), ["x"]);
        assert!(rig.stage.hold("e", "x").unwrap().is_none(), "it is being created");
        drop(staged);
        assert!(rig.stage.hold("e", "x").unwrap().is_some() && rig.stage.hold("e", "gone").unwrap().is_none());
        rig.stage.clear_probe("e", "x").unwrap();
        assert_eq!(rig.stage.table.within(&rig.stage.root).unwrap().len(), 2, "the folder and the place");
        rig.stage.clear("e", "x").unwrap();
        assert!(rig.stage.ids("e").unwrap().is_empty() && rig.stage.ids("other").unwrap().is_empty());
        assert!(rig.folder.path().join("a/precious").exists());
        rig.stage.clear("e", "x").unwrap();
        assert_eq!(rig.stage.table.within(&rig.stage.root).unwrap(), std::slice::from_ref(&rig.stage.root));
    }

    #[test]
    fn a_folder_that_others_could_change_will_not_do() {
        let rig = Rig::new();
        let parent = rig.stage.root.parent().unwrap();
        fs::create_dir(parent).unwrap();
        fs::set_permissions(parent, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let error = rig.stage.check().unwrap_err();
        assert!(error.to_string().ends_with("is not a directory of this server's alone"), "{error}");
        fs::remove_dir(parent).unwrap();
        symlink("/tmp", parent).unwrap();
        rig.stage.check().unwrap_err();
        fs::remove_file(parent).unwrap();
        rig.stage.check().unwrap();
        rig.stage.check().unwrap();
        assert_eq!(rig.stage.table.within(&rig.stage.root).unwrap().len(), 1, "mounted once");
    }

    /// An allowed path may be above the folder.
    #[test]
    fn a_mount_of_what_is_above_does_not_contain_the_folder() {
        let rig = Rig::new();
        rig.stage.put("e", "x", &[rig.place(".")]).unwrap();
        let seen = rig.stage.path("e", "x", 0).join("run/mounts");
        assert_eq!(fs::read_dir(seen).unwrap().count(), 0);
        rig.stage.clear("e", "x").unwrap();
    }
}
