//! Places of the host's file system, found so that what is bound is what was checked.
//!
//! Sandboxes write to the directories that they mount, so a symbolic link below an allowed directory is untrusted
//! input. A path is first resolved, then compared with the allowed ones, and what it resolved to is walked again, each
//! step from the directory before it and through no link at all. Whatever changed in between ends the walk. The object
//! at its end is kept open: it is what [`super::stage`] mounts, and tells later whether a path still leads to the same.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, FileType, FsWord, Mode, OFlags, Stat, fstat, fstatfs, mkdirat, openat},
    io::Errno,
};

/// How a step is opened: for its identity only, and never what a link points to.
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `AUTOFS_SUPER_MAGIC` (statfs(2)).
const AUTOFS: FsWord = 0x0187;

/// What is told of a place of autofs.
const UNMOUNTED: &str = "an automount point (autofs) at which nothing is mounted";

/// A directory or a regular file.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Place {
    path: PathBuf,
    object: OwnedFd,
}

/// Why there is no such place.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The path leads here, which is below none of the roots.
    Outside(PathBuf),
    /// It cannot be opened or made.
    Unusable(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unusable(error)
    }
}

impl Place {
    /// The place that `path` leads to, at or below one of `roots`; directories that are missing are made. All are
    /// absolute paths without `..`. Blocks.
    pub(super) fn find(path: &Path, roots: &[PathBuf]) -> Result<Self, Refusal> {
        let resolved = resolve(path)?;
        if !resolved_roots(roots).iter().any(|root| resolved.starts_with(root)) {
            return Err(Refusal::Outside(resolved));
        }
        let object = walk(&resolved, Missing::Make).map_err(|error| match error.raw_os_error() {
            // Nothing of a resolved path is a link, unless it was made one just now or leads nowhere.
            Some(code) if code == Errno::LOOP.raw_os_error() => Refusal::Outside(resolved.clone()),
            _ => Refusal::Unusable(error),
        })?;
        match FileType::from_raw_mode(stat(&object)?.st_mode) {
            // What is mounted in it later, sandboxes would not see.
            FileType::Directory if is_automount(&object) => Err(io::Error::other(UNMOUNTED).into()),
            FileType::Directory | FileType::RegularFile => Ok(Self { path: resolved, object }),
            _ => Err(io::Error::other("neither a directory nor a regular file").into()),
        }
    }

    /// Its path, on which there was no symbolic link.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it, and through no link. Blocks.
    pub(super) fn is_still_there(&self) -> io::Result<bool> {
        match walk(&self.path, Missing::Fail) {
            Ok(object) => self.is(&object),
            Err(error) if is_a_change(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The object itself, opened for nothing but its identity.
    pub(super) fn object(&self) -> &OwnedFd {
        &self.object
    }

    /// Whether it is a directory; otherwise it is a regular file. Blocks.
    pub(super) fn is_directory(&self) -> io::Result<bool> {
        Ok(FileType::from_raw_mode(stat(&self.object)?.st_mode) == FileType::Directory)
    }

    /// Whether it is what is at the end of `path`, on which there is no link. Blocks.
    pub(super) fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.is(&walk_to(path)?)
    }

    fn is(&self, other: &OwnedFd) -> io::Result<bool> {
        let (own, other) = (stat(&self.object)?, stat(other)?);
        Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }
}

/// The roots as they are once every link on their way is followed.
pub(super) fn resolved_roots(roots: &[PathBuf]) -> Vec<PathBuf> {
    roots.iter().filter_map(|root| resolve(root).ok()).collect()
}

/// A path without `.`, `..`, doubled slashes and one at its end, by its text alone.
pub(in crate::runtime::docker) fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// Follows the links of what exists of a path; the rest is added as it is.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        resolved => return resolved,
    }
    // What is below something missing is missing too, so that a few looks find where that begins. The path itself is
    // missing, and its root is there.
    let ancestors: Vec<&Path> = path.ancestors().collect();
    let (mut missing, mut there) = (0, ancestors.len().saturating_sub(1));
    while there - missing > 1 {
        let middle = missing.midpoint(there);
        match fs::metadata(ancestors[middle]) {
            Ok(_) => there = middle,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing = middle,
            Err(error) => return Err(error),
        }
    }
    let rest = path.strip_prefix(ancestors[there]).map_err(io::Error::other)?;
    Ok(fs::canonicalize(ancestors[there])?.components().chain(rest.components()).collect())
}

/// Opens what is at the end of an absolute path, for its identity only. Fails on a link. Blocks.
pub(super) fn walk_to(path: &Path) -> io::Result<OwnedFd> {
    walk(path, Missing::Fail)
}

#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Make,
    Fail,
}

fn walk(path: &Path, missing: Missing) -> io::Result<OwnedFd> {
    let mut at = openat(CWD, "/", STEP | OFlags::DIRECTORY, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => at = step(&at, name.as_ref(), missing)?,
            Component::Prefix(_) | Component::CurDir | Component::ParentDir => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(at)
}

fn step(at: &OwnedFd, name: &Path, missing: Missing) -> io::Result<OwnedFd> {
    let opened = match openat(at, name, STEP, Mode::empty()) {
        Err(Errno::NOENT) if missing == Missing::Make => {
            match mkdirat(at, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
                Ok(()) | Err(Errno::EXIST) => openat(at, name, STEP, Mode::empty())?,
                Err(error) => return Err(failed(at, error)),
            }
        }
        opened => opened?,
    };
    // Opened in this way a link is itself.
    match FileType::from_raw_mode(stat(&opened)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP.into()),
        // So is what is mounted when it is first used (autofs, a file system within one of NFS): only if it is opened as a
        // directory is it used, and what is mounted is what is opened.
        FileType::Directory => {
            openat(at, name, STEP | OFlags::DIRECTORY, Mode::empty()).map_err(|error| failed(&opened, error))
        }
        _ => Ok(opened),
    }
}

/// What went wrong with a directory, in words if it is autofs's own.
fn failed(directory: &OwnedFd, error: Errno) -> io::Error {
    if is_automount(directory) { io::Error::other(format!("{UNMOUNTED}: {error}")) } else { error.into() }
}

/// Whether a directory is autofs's own, at which or in which other things are mounted when they are used.
fn is_automount(directory: &OwnedFd) -> bool {
    fstatfs(directory).is_ok_and(|found| found.f_type == AUTOFS)
}

fn stat(object: impl AsFd) -> io::Result<Stat> {
    Ok(fstat(object)?)
}

fn is_a_change(error: &io::Error) -> bool {
    let changes = [Errno::LOOP, Errno::NOENT, Errno::NOTDIR];
    changes.iter().any(|change| error.raw_os_error() == Some(change.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::CString,
        os::{
            fd::AsRawFd,
            unix::{fs::symlink, process::CommandExt},
        },
        process::{Child, Command},
    };

    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    use super::*;

    /// A folder with the roots `a` and `b` and a place `out` that is below neither.
    fn folder() -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "out"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let roots = vec![folder.path().join("a"), folder.path().join("b")];
        (folder, roots)
    }

    fn outside(path: &Path, roots: &[PathBuf]) -> PathBuf {
        match Place::find(path, roots) {
            Err(Refusal::Outside(path)) => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_made() {
        let (_folder, roots) = folder();
        let place = Place::find(&roots[0].join("x/y"), &roots).unwrap();
        assert_eq!(place.path(), roots[0].join("x/y"));
        assert!(roots[0].join("x/y").is_dir() && place.is_still_there().unwrap());
        fs::write(roots[0].join("file"), "").unwrap();
        Place::find(&roots[0].join("file"), &roots).unwrap();
        assert!(matches!(Place::find(&roots[0].join("file/x"), &roots), Err(Refusal::Unusable(_))));
    }

    #[test]
    fn links_may_lead_to_a_root_and_nowhere_else() {
        let (folder, roots) = folder();
        symlink(folder.path().join("b"), roots[0].join("good")).unwrap();
        symlink("../out", roots[0].join("bad")).unwrap();
        symlink(folder.path().join("nowhere"), roots[0].join("dangling")).unwrap();
        assert_eq!(Place::find(&roots[0].join("good/x"), &roots).unwrap().path(), roots[1].join("x"));
        assert_eq!(outside(&roots[0].join("bad/x"), &roots), folder.path().join("out/x"));
        assert!(!folder.path().join("out/x").exists());
        outside(&roots[0].join("dangling"), &roots);
        outside(&roots[0].join("dangling/x"), &roots);
        assert!(!folder.path().join("nowhere").exists());
        outside(&folder.path().join("ab"), &roots);
    }

    #[test]
    fn the_beginning_that_is_there_is_found_however_much_is_missing() {
        let (folder, roots) = folder();
        symlink(folder.path().join("b"), roots[0].join("link")).unwrap();
        fs::create_dir_all(roots[1].join("x/y")).unwrap();
        for (asked, found) in [("", ""), ("x", "x"), ("x/y", "x/y"), ("x/y/1", "x/y/1"), ("x/1/2/3/4", "x/1/2/3/4")] {
            assert_eq!(resolve(&roots[0].join("link").join(asked)).unwrap(), roots[1].join(found), "{asked}");
        }
        let endless = format!("{}/new{}", roots[0].display(), "/a".repeat(300_000));
        assert!(matches!(Place::find(Path::new(&endless), &roots), Err(Refusal::Unusable(_))));
        assert!(!roots[0].join("new").exists(), "nothing is made of what cannot be");
    }

    #[test]
    fn a_root_may_be_a_link_itself() {
        let (folder, _) = folder();
        let root = folder.path().join("link");
        symlink(folder.path().join("out"), &root).unwrap();
        let place = Place::find(&root.join("x"), std::slice::from_ref(&root)).unwrap();
        assert_eq!(place.path(), folder.path().join("out/x"));
    }

    #[test]
    fn a_place_that_was_exchanged_is_another() {
        let (folder, roots) = folder();
        let place = Place::find(&roots[0].join("x/y"), &roots).unwrap();
        fs::rename(roots[0].join("x"), roots[0].join("old")).unwrap();
        assert!(!place.is_still_there().unwrap());
        symlink(folder.path().join("out"), roots[0].join("x")).unwrap();
        fs::create_dir(folder.path().join("out/y")).unwrap();
        assert!(!place.is_still_there().unwrap());
        fs::remove_file(roots[0].join("x")).unwrap();
        fs::create_dir_all(roots[0].join("x/y")).unwrap();
        assert!(!place.is_still_there().unwrap(), "the same path, another directory");
        fs::remove_dir_all(roots[0].join("x")).unwrap();
        fs::rename(roots[0].join("old"), roots[0].join("x")).unwrap();
        assert!(place.is_still_there().unwrap());
        assert!(place.is_at(&roots[0].join("x/y")).unwrap() && !place.is_at(&roots[0]).unwrap());
    }

    /// Mounts something at the path that it is given whenever the kernel asks for it, and says so (`AUTOFS_IOC_READY`).
    const DAEMON: &str = r#"
        while (sysread(STDIN, my $packet, 304)) {
            open(my $root, "<", $ARGV[0]) or die "open: $!";
            system("mount", "-t", "tmpfs", "none", $ARGV[0]) == 0 or die "mount";
            ioctl($root, 0x9360, unpack("x8 L", $packet) + 0) or die "ready: $!";
        }"#;

    /// A place at which something is mounted when it is used, or is to be, but nobody does it.
    struct Automount {
        path: PathBuf,
        daemon: Child,
    }

    impl Automount {
        fn new(path: PathBuf, is_answered: bool) -> Self {
            assert!(rustix::process::geteuid().is_root(), "this test mounts: run the tests as root");
            fs::create_dir(&path).unwrap();
            let (questions, writer) = io::pipe().unwrap();
            let mut command = if is_answered { Command::new("perl") } else { Command::new("sleep") };
            if is_answered {
                command.args(["-e", DAEMON]).arg(&path).stdin(questions);
            } else {
                drop(questions);
                command.arg("1000");
            }
            // Its own processes the kernel does not ask for anything.
            let daemon = command.process_group(0).spawn().unwrap();
            let options = format!("fd={},pgrp={},minproto=5,maxproto=5,direct", writer.as_raw_fd(), daemon.id());
            let options = CString::new(options).unwrap();
            mount("test", &path, "autofs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
            Self { path, daemon }
        }
    }

    impl Drop for Automount {
        fn drop(&mut self) {
            while unmount(&self.path, UnmountFlags::DETACH).is_ok() {}
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }

    #[test]
    fn what_is_mounted_when_it_is_used_is_what_is_found() {
        let (_folder, roots) = folder();
        let _automount = Automount::new(roots[0].join("auto"), true);
        let place = Place::find(&roots[0].join("auto"), &roots).unwrap();
        assert_eq!(fstatfs(place.object()).unwrap().f_type, 0x0102_1994, "TMPFS_MAGIC");
        assert!(place.is_still_there().unwrap());
        Place::find(&roots[0].join("auto/x/y"), &roots).unwrap();
    }

    #[test]
    fn a_place_at_which_nobody_mounts_what_should_be_is_none() {
        let (_folder, roots) = folder();
        let _automount = Automount::new(roots[0].join("auto"), false);
        for path in ["auto", "auto/x"] {
            match Place::find(&roots[0].join(path), &roots) {
                Err(Refusal::Unusable(error)) => assert!(error.to_string().starts_with(UNMOUNTED), "{path}: {error}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn sockets_and_devices_are_no_places() {
        let (_folder, roots) = folder();
        let _socket = std::os::unix::net::UnixListener::bind(roots[0].join("s")).unwrap();
        assert!(matches!(Place::find(&roots[0].join("s"), &roots), Err(Refusal::Unusable(_))));
    }
}
