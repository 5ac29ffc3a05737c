//! The directory on disk: one for this gateway, in it one for each sandbox; and what dead gateways left behind.
//!
//! ```text
//! <root>/gateway-<pid>-<start>-<boot>-<namespace>-<random>/<sandbox id>/{work,tmp,log,envs,sessions/,leaders/<pid>}
//! ```
//!
//! `start` is the process's start time from /proc, in clock ticks since boot: a process id that is used again has
//! another. `boot` begins the kernel's boot id, and `namespace` is the number of the namespace that process ids are of: a
//! container that shares the directory has ids of its own, of which nothing can be told here. A file in `leaders` holds the same two numbers for a process that leads a process group: the sandbox's own, and
//! those of commands that run in it.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal};

use crate::{
    children::{send, start_time},
    state_file,
};

const LEADERS: &str = "leaders";

/// How much of the kernel's boot id is in a name, and how much that is random, in characters. Sandboxes have long paths already,
/// and the path of a socket is short.
const BOOT: usize = 8;
const RANDOM: usize = 12;

/// The most bytes of a note with two numbers.
const LARGEST_NOTE: u64 = 4096;

/// This gateway's directory. Only its user can enter it.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Makes the directory in `root`, by default one of this user's below the system's temporary directory, and
    /// first removes what gateways that are no longer alive left there.
    pub(super) fn create(root: Option<PathBuf>) -> io::Result<Self> {
        let root = match root {
            Some(root) => root,
            None => default_root()?,
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        sweep(&root)?;
        let start = start_time(std::process::id())?.unwrap_or(0);
        let (Whereabouts { boot, namespace }, pid) = (Whereabouts::here(), std::process::id());
        let mut random = uuid::Uuid::new_v4().simple().to_string();
        random.truncate(RANDOM);
        let path = root.join(format!("gateway-{pid}-{start}-{boot}-{namespace}-{random}"));
        private_directory(&path)?;
        // Sandboxes get absolute paths, whatever the gateway was given.
        Ok(Self { path: fs::canonicalize(path)? })
    }

    /// The place of a sandbox's directory, which is yet to be made.
    pub(super) fn sandbox(&self, id: &str) -> SandboxDir {
        SandboxDir { path: self.path.join(id) }
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

/// A sandbox's directory.
#[derive(Debug)]
pub(super) struct SandboxDir {
    path: PathBuf,
}

impl SandboxDir {
    /// Makes the directory and those in it.
    pub(super) fn make(&self) -> io::Result<()> {
        [&self.path, &self.work(), &self.temporary(), &self.sessions(), &self.leaders()]
            .into_iter()
            .try_for_each(|path| private_directory(path))
    }

    /// The sandbox's working and home directory.
    pub(super) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The sandbox's directory for temporary files.
    pub(super) fn temporary(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// The log file's place.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where variables are that were added while the sandbox lives.
    pub(super) fn envs(&self) -> PathBuf {
        self.path.join("envs")
    }

    /// Where the shell sessions keep what is theirs.
    pub(super) fn sessions(&self) -> PathBuf {
        self.path.join("sessions")
    }

    /// Where leaders of process groups are noted, for a later gateway in case this one is killed.
    pub(super) fn leaders(&self) -> PathBuf {
        self.path.join(LEADERS)
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

/// A place that other users of the machine cannot have prepared for us.
fn default_root() -> io::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let root = std::env::temp_dir().join(format!("opensandbox-gateway-{user}"));
    match private_directory(&root) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made.map(|()| root),
    }
    let metadata = fs::symlink_metadata(&root)?;
    if metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o022 == 0 {
        return Ok(root);
    }
    Err(io::Error::new(ErrorKind::PermissionDenied, format!("{} is not this user's own directory", root.display())))
}

fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Ends and removes what dead gateways left in `root`.
fn sweep(root: &Path) -> io::Result<()> {
    if start_time(std::process::id())?.is_none() {
        // Without /proc the living cannot be told from the dead.
        return Ok(());
    }
    let here = Whereabouts::here();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let Some(Owner { pid, start, at }) = path.file_name().and_then(|name| Owner::of(name.to_str()?)) else {
            continue;
        };
        let directory = path.display();
        match at {
            Some(at) if at.boot != here.boot => {
                tracing::info!(%directory, "removing what a gateway left behind before the machine was started");
                if let Err(error) = remove_tree(&path) {
                    tracing::warn!(%error, %directory, "a directory of an earlier boot could not be removed");
                }
                continue;
            }
            Some(at) if at.namespace != here.namespace => {
                tracing::info!(%directory, "another container's: whether its gateway lives cannot be told; it is left alone");
                continue;
            }
            // Earlier versions name no whereabouts.
            Some(_) | None => {}
        }
        match start_time(pid) {
            Ok(found) if found == Some(start) => {}
            Ok(_) => {
                tracing::info!(%directory, "removing what a dead gateway left behind");
                // Another gateway that starts may be quicker.
                if let Err(error) = unless_gone(remove_left(&path)) {
                    tracing::warn!(%error, %directory, "a dead gateway's directory could not be removed; the next start tries");
                }
            }
            // It may be alive, and so may its sandboxes.
            Err(error) => {
                tracing::warn!(%error, %directory, "whether another gateway lives cannot be told; it is left alone")
            }
        }
    }
    Ok(())
}

/// Who made a gateway's directory: what its name says.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    start: u64,
    at: Option<Whereabouts>,
}

/// Where process ids mean what they do.
#[derive(Debug, PartialEq, Eq)]
struct Whereabouts {
    boot: String,
    namespace: u64,
}

impl Owner {
    fn of(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.strip_prefix("gateway-")?.split('-').collect();
        let (pid, start, at) = match parts.as_slice() {
            [pid, start, _random] => (pid, start, None),
            [pid, start, boot, namespace, _random] => {
                let at = Whereabouts { boot: (*boot).to_owned(), namespace: namespace.parse().ok()? };
                (pid, start, Some(at))
            }
            _ => return None,
        };
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()?, at })
    }
}

impl Whereabouts {
    /// This process's. What the kernel does not tell is the same for all.
    fn here() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.chars().filter(char::is_ascii_hexdigit).take(BOOT).collect();
        let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
        Self { boot, namespace }
    }
}

fn remove_left(gateway: &Path) -> io::Result<()> {
    for sandbox in fs::read_dir(gateway)? {
        let leaders = match fs::read_dir(sandbox?.path().join(LEADERS)) {
            Ok(leaders) => leaders,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(error),
        };
        for note in leaders {
            let note = note?;
            // A note that was not finished has another name, and its process was not told of.
            let is_note = note.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
            if is_note && let Some(note) = state_file::read(&note.path(), LARGEST_NOTE)? {
                kill_left(&note)?;
            }
        }
    }
    remove_tree(gateway)
}

/// Kills a noted process group if its leader is still the same process.
///
/// # Errors
/// Who it was cannot be told: it may still be running, so that its directory must stay.
fn kill_left(note: &[u8]) -> io::Result<()> {
    let damaged = || io::Error::new(ErrorKind::InvalidData, "the note of a sandbox's process is damaged");
    let (pid, start) =
        str::from_utf8(note).ok().and_then(|note| note.trim_end().split_once(' ')).ok_or_else(damaged)?;
    let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else { return Err(damaged()) };
    let is_same = start_time(pid)? == Some(start);
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(group) = group.filter(|_| is_same) {
        send(group, Signal::KILL);
    }
    Ok(())
}

/// Removes a directory, also one whose owner took its own rights away. What is not there is removed already.
fn remove_tree(path: &Path) -> io::Result<()> {
    let result = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            allow_all(path)?;
            fs::remove_dir_all(path)
        }
        result => result,
    };
    unless_gone(result)
}

/// Passes over that something is not there any more.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn allow_all(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unless_gone(allow_all(&entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    #[test]
    fn everything_is_private_and_goes() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::create(Some(root.path().join("a/b"))).unwrap();
        let sandbox = state.sandbox("id");
        sandbox.make().unwrap();
        for path in [&state.path, &sandbox.path, &sandbox.work(), &sandbox.temporary()] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        fs::set_permissions(sandbox.work(), fs::Permissions::from_mode(0o000)).unwrap();
        sandbox.remove().unwrap();
        sandbox.remove().unwrap();
        state.remove().unwrap();
        assert_eq!(fs::read_dir(root.path().join("a/b")).unwrap().count(), 0);
    }

    #[test]
    fn a_living_gateways_directory_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDir::create(Some(root.path().to_owned())).unwrap();
        fs::create_dir(root.path().join("other")).unwrap();
        StateDir::create(Some(root.path().to_owned())).unwrap();
        assert!(first.path.exists() && root.path().join("other").exists());
    }

    /// It is in another PID namespace: by their numbers its processes seem dead, or seem to be other processes.
    #[test]
    fn what_another_container_has_in_the_same_directory_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let Whereabouts { boot, namespace } = Whereabouts::here();
        assert!(boot.len() == BOOT && namespace > 0);
        let left = |boot: &str, namespace: u64| {
            let path = root.path().join(format!("gateway-4194305-1-{boot}-{namespace}-x"));
            fs::create_dir_all(path.join("a").join(LEADERS)).unwrap();
            path
        };
        let (here, elsewhere, before) = (left(&boot, namespace), left(&boot, namespace + 1), left("x", namespace + 1));
        // Nothing of an earlier boot runs. Its process ids may be in use by others.
        let mut other = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (pid, start) = (other.id(), start_time(other.id()).unwrap().unwrap());
        fs::write(before.join("a").join(LEADERS).join(pid.to_string()), format!("{pid} {start}\n")).unwrap();
        let state = StateDir::create(Some(root.path().to_owned())).unwrap();
        assert_eq!((here.exists(), elsewhere.exists(), before.exists()), (false, true, false));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        let owner = Owner::of(state.path.file_name().unwrap().to_str().unwrap()).unwrap();
        assert_eq!((owner.pid, owner.at), (std::process::id(), Some(Whereabouts { boot, namespace })));
        for nobodys in ["gateway-", "gateway-1-2", "gateway-1-2-b-x-r", "gateway-1-2-b-3-r-s", "other", "gateway-x-1-r"]
        {
            assert_eq!(Owner::of(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn a_dead_gateways_processes_end() {
        let root = tempfile::tempdir().unwrap();
        let mut left = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut other = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let dead = root.path().join("gateway-4194305-1-x");
        for (id, pid, start) in [("a", left.id(), start_time(left.id()).unwrap().unwrap()), ("b", other.id(), 1)] {
            let leaders = dead.join(id).join(LEADERS);
            fs::create_dir_all(&leaders).unwrap();
            fs::write(leaders.join(pid.to_string()), format!("{pid} {start}\n")).unwrap();
        }
        StateDir::create(Some(root.path().to_owned())).unwrap();
        assert!(!dead.exists());
        assert!(!left.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "its start time is another");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// It is unknown whether its processes still run, and only the directory has their ids.
    #[test]
    fn a_note_that_cannot_be_read_keeps_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let note = root.path().join("gateway-4194305-1-x/a").join(LEADERS).join("7");
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        for damaged in ["", "12", "x y", "1 2 3"] {
            fs::write(&note, damaged).unwrap();
            StateDir::create(Some(root.path().to_owned())).unwrap();
            assert!(note.exists(), "{damaged:?}");
        }
        fs::remove_file(&note).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", &note).unwrap();
        StateDir::create(Some(root.path().to_owned())).unwrap();
        assert!(note.is_symlink(), "EIO");
        fs::remove_file(&note).unwrap();
        StateDir::create(Some(root.path().to_owned())).unwrap();
        assert!(!note.parent().unwrap().exists(), "no process was ever noted");
    }
}
