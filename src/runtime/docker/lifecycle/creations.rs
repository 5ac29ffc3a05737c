//! Unfinished creations: what the engine makes of them later is removed.
//!
//! An engine that was asked to create a container and did not answer in time may still do it. Nobody was told of such a
//! sandbox, and one without an expiry would stay for ever. So its id is remembered, and its containers are removed as soon as
//! they appear. For a server that is killed meanwhile each creation has a note, an empty file named after the sandbox: it is
//! there from before the engine is asked until just before the client is told, and whatever the next server finds is given
//! up. A note is locked while its server lives, so that no other server of the same home takes it: it has its lock before it has
//! its name, and is unlocked after it has lost that.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bollard::{errors::Error as EngineError, models::ContainerSummary};
use tokio::{sync::Notify, task::spawn_blocking};

use super::{leftovers, owner::Identity};
use crate::regular_file;
use crate::runtime::docker::{
    Inner,
    engine::{labels, names, text},
};

/// How long a container may take to appear.
const APPEAR_TIMEOUT: Duration = Duration::from_hours(24);

/// The interval of searches for containers of given-up creations, by how long ago the youngest was given up.
const SWEEP_INTERVALS: [(Duration, Duration); 3] = [
    (Duration::from_mins(1), Duration::from_secs(2)),
    (Duration::from_mins(10), Duration::from_secs(10)),
    (APPEAR_TIMEOUT, Duration::from_mins(1)),
];

/// How often orphans of sandboxes are removed that other programs removed.
const TIDY_INTERVAL: Duration = Duration::from_mins(10);

/// The beginning of the names of notes that have no lock yet. No sandbox has such an id.
const BESIDE: &str = ".creation-";

/// How old such a file of a server that was killed is.
const ABANDONED: Duration = Duration::from_hours(1);

/// The creations of this server, and those of earlier ones.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Creations {
    folder: PathBuf,
    /// The sandboxes whose creation was given up, and since when.
    given_up: Mutex<HashMap<String, SystemTime>>,
    woken: Notify,
}

/// Says that a sandbox is being created.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Note {
    path: PathBuf,
    _lock: File,
}

impl Creations {
    pub(in crate::runtime::docker) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("creations"), given_up: Mutex::default(), woken: Notify::new() }
    }

    /// Notes that the sandbox `id` is being created. A note that cannot be written is only missed after a kill.
    pub(in crate::runtime::docker) async fn begin(&self, id: &str) -> Option<Note> {
        let (folder, name) = (self.folder.clone(), id.to_owned());
        let written = spawn_blocking(move || Note::write(&folder, &name)).await.map_err(io::Error::other).flatten();
        written.inspect_err(|error| tracing::warn!(sandbox = id, %error, "a creation could not be noted")).ok()
    }

    /// Nothing that the engine makes for the sandbox `id` is wanted any more.
    pub(in crate::runtime::docker) fn give_up(&self, id: &str) {
        self.given_up().insert(id.to_owned(), SystemTime::now());
        self.woken.notify_one();
    }

    /// Whether a sandbox's creation was given up, so that lists leave it out.
    pub(in crate::runtime::docker) fn has_given_up(&self, id: &str) -> bool {
        self.given_up().contains_key(id)
    }

    /// The engine has made or started a container of this name.
    pub(in crate::runtime::docker) fn appeared(&self, container: &str) {
        if names::sandbox_of(container).is_some_and(|id| self.has_given_up(id)) {
            self.woken.notify_one();
        }
    }

    /// Takes over the notes of earlier servers of this home that no server holds. Blocks.
    fn recover(&self, home: &Identity) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(id) = entry.file_name().into_string() else { continue };
            if !names::is_plausible_id(&id) {
                if id.starts_with(BESIDE) {
                    remove_abandoned(&entry.path())?;
                }
                continue;
            }
            match left(&entry.path()) {
                // The home that this one is a copy of may have made the sandbox meanwhile.
                Ok(Some(since)) if home.is_before(since) => remove(&entry.path())?,
                Ok(Some(since)) => drop(self.given_up().insert(id, since)),
                Ok(None) => {}
                Err(error) => tracing::warn!(sandbox = id, %error, "the note of a creation cannot be taken over"),
            }
        }
        Ok(())
    }

    fn forget(&self, id: &str) {
        self.given_up().remove(id);
        if let Err(error) = remove(&self.folder.join(id)) {
            tracing::warn!(sandbox = id, %error, "the note of a creation that was given up stays");
        }
    }

    /// How long to wait until the next search; `None` if there is nothing to search for.
    fn pause(&self) -> Option<Duration> {
        let youngest = self.given_up().values().map(|since| age(*since)).min()?;
        SWEEP_INTERVALS.iter().find(|(until, _)| youngest < *until).or(SWEEP_INTERVALS.last()).map(|(_, pause)| *pause)
    }

    fn given_up(&self) -> MutexGuard<'_, HashMap<String, SystemTime>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Note {
    /// Blocks.
    fn write(folder: &Path, id: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(id);
        let file = tempfile::Builder::new().prefix(BESIDE).tempfile_in(folder)?;
        if !regular_file::try_lock(file.as_file())? {
            return Err(io::Error::other("another program has locked it"));
        }
        let file = file.persist_noclobber(&path).map_err(|error| error.error)?;
        Ok(Self { path, _lock: file })
    }

    /// The creation has ended, and what it made is wanted or gone. A sandbox whose note stays would be removed at the next
    /// start.
    ///
    /// # Errors
    /// The note could not be removed.
    pub(in crate::runtime::docker) async fn end(self) -> io::Result<()> {
        spawn_blocking(move || remove(&self.path)).await.map_err(io::Error::other).flatten()
    }
}

/// Looks after what creations and removals leave, for as long as the process lives.
pub(in crate::runtime::docker) async fn run(inner: Arc<Inner>) {
    if let Err(error) = inner.recover_creations().await {
        tracing::warn!(%error, "what earlier servers did not finish to create cannot be told");
    }
    let mut tidied = tokio::time::Instant::now();
    loop {
        if let Err(error) = inner.sweep().await {
            tracing::debug!(error = text(&error), "containers of creations that were given up could not be looked for");
        }
        let pause = inner.creations.pause().unwrap_or(TIDY_INTERVAL).min(TIDY_INTERVAL);
        let _ = tokio::time::timeout(pause, inner.creations.woken.notified()).await;
        if tidied.elapsed() >= TIDY_INTERVAL {
            inner.clear_stage().await;
            inner.clear_buckets().await;
            leftovers::remove(&inner).await;
            tidied = tokio::time::Instant::now();
        }
    }
}

impl Inner {
    async fn recover_creations(&self) -> io::Result<()> {
        let (home, creations) = (self.find_identity().await?, self.creations.clone());
        spawn_blocking(move || creations.recover(&home)).await.map_err(io::Error::other).flatten()
    }

    /// Removes what has appeared of creations that were given up.
    async fn sweep(&self) -> Result<(), EngineError> {
        let given_up: HashMap<String, SystemTime> = self.creations.given_up().clone();
        if given_up.is_empty() {
            return Ok(());
        }
        // A part of all names that servers give, which the engine's filter finds.
        let containers = self.engine.containers("name", "sandbox-".to_owned()).await?;
        let mut there: HashMap<&str, Vec<Appeared<'_>>> = HashMap::new();
        for (id, appeared) in containers.iter().filter_map(of_creation).filter(|(id, _)| given_up.contains_key(*id)) {
            there.entry(id).or_default().push(appeared);
        }
        for (id, appeared) in &there {
            self.remove_unwanted(id, appeared).await;
        }
        for (id, _) in
            given_up.iter().filter(|(id, since)| age(**since) >= APPEAR_TIMEOUT && !there.contains_key(id.as_str()))
        {
            self.remove_orphaned(id).await;
            self.forget_creation(id).await;
        }
        Ok(())
    }

    /// Removes what has appeared of one creation. It is forgotten when the engine says that it has removed the sandbox's own
    /// container, which is the last that a creation makes. An engine that is about to make a container lists it and knows
    /// nothing of it yet when it is to be removed.
    async fn remove_unwanted(&self, id: &str, containers: &[Appeared<'_>]) {
        let _lock = self.change_locks.lock(id).await;
        for Appeared { container, .. } in containers {
            if let Err(error) = self.engine.remove(container).await {
                let error = text(&error);
                tracing::warn!(sandbox = id, error, "a container that nobody wants any more stays for now");
                return;
            }
            self.cache.forget(container);
        }
        self.remove_orphaned(id).await;
        if containers.iter().any(|appeared| !appeared.is_sidecar) {
            self.forget_creation(id).await;
        }
        tracing::info!(sandbox = id, "removed what the engine had made of a creation that was given up");
    }

    async fn forget_creation(&self, id: &str) {
        let (creations, id) = (self.creations.clone(), id.to_owned());
        // A task that was cancelled leaves the note for the next start.
        let _ = spawn_blocking(move || creations.forget(&id)).await;
    }
}

/// A container of a creation that was given up.
#[derive(Debug, PartialEq)]
struct Appeared<'a> {
    container: &'a str,
    is_sidecar: bool,
}

/// The sandbox that a container belongs to by its name and its label.
fn of_creation(container: &ContainerSummary) -> Option<(&str, Appeared<'_>)> {
    let labels = container.labels.as_ref()?;
    let id = labels::value(labels, labels::ID).or_else(|| labels::value(labels, labels::SIDECAR_FOR))?;
    let is_named = |own: &str| container.names.iter().flatten().any(|name| name.strip_prefix('/') == Some(own));
    let is_sidecar = is_named(&names::sidecar(id));
    let appeared = Appeared { container: container.id.as_deref()?, is_sidecar };
    (is_sidecar || is_named(&names::sandbox(id))).then_some((id, appeared))
}

/// The time of a note that no server holds; `None` if one does, or the creation has ended.
fn left(note: &Path) -> io::Result<Option<SystemTime>> {
    let (file, found) = match regular_file::open(note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if is_left(&file)? { found.modified().map(Some) } else { Ok(None) }
}

/// Locks an opened note, unless another server holds it. A note that was removed meanwhile is of a creation that has ended
/// well: its sandbox is in use.
fn is_left(file: &File) -> io::Result<bool> {
    Ok(regular_file::try_lock(file)? && file.metadata()?.nlink() > 0)
}

/// Removes a file that was to become a note, of a server that was killed before.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let since = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.modified()?,
    };
    if age(since) >= ABANDONED { remove(path) } else { Ok(()) }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A clock that was set back makes nothing old.
fn age(since: SystemTime) -> Duration {
    SystemTime::now().duration_since(since).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn own_home() -> Identity {
        serde_json::from_str(r#"{"id":"x","is_heir":false}"#).unwrap()
    }

    #[tokio::test]
    async fn a_copied_note_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let creations = Creations::new(folder.path());
        drop(creations.begin("left").await.unwrap());
        let copy = serde_json::from_str(r#"{"id":"x","is_heir":false,"copied":99999999999999}"#).unwrap();
        creations.recover(&copy).unwrap();
        assert!(!creations.has_given_up("left") && fs::read_dir(&creations.folder).unwrap().count() == 0);
    }

    #[tokio::test]
    async fn a_note_is_taken_over_when_nobody_holds_it() {
        let home = tempfile::tempdir().unwrap();
        let creations = Creations::new(home.path());
        creations.recover(&own_home()).unwrap();
        let held = creations.begin("held").await.unwrap();
        drop(creations.begin("left").await.unwrap());
        creations.begin("ended").await.unwrap().end().await.unwrap();
        // What cannot be opened is in nobody's way.
        std::os::unix::fs::symlink("loop", creations.folder.join("loop")).unwrap();
        let next = Creations::new(home.path());
        next.recover(&own_home()).unwrap();
        assert!(next.has_given_up("left") && !next.has_given_up("held") && !next.has_given_up("ended"));
        next.forget("left");
        next.forget("loop");
        held.end().await.unwrap();
        assert_eq!(fs::read_dir(&next.folder).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_takes_a_note_that_is_being_written_or_has_ended() {
        let home = tempfile::tempdir().unwrap();
        let (creations, is_done) = (Creations::new(home.path()), Arc::new(AtomicBool::new(false)));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (other, is_done) = (Creations::new(home.path()), is_done.clone());
                spawn_blocking(move || {
                    while !is_done.load(Ordering::Relaxed) {
                        other.recover(&own_home()).unwrap();
                    }
                    other.given_up().len()
                })
            })
            .collect();
        for number in 0..2000 {
            let note = creations.begin(&number.to_string()).await.expect("nobody takes it before it is locked");
            note.end().await.unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        for other in others {
            assert_eq!(other.await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_note_that_ends_while_it_is_looked_at_is_not_left() {
        let home = tempfile::tempdir().unwrap();
        let creations = Creations::new(home.path());
        let note = creations.begin("x").await.unwrap();
        let opened = File::open(&note.path).unwrap();
        assert!(!is_left(&opened).unwrap(), "it is held");
        note.end().await.unwrap();
        assert!(!is_left(&opened).unwrap());
        let abandoned = creations.folder.join(format!("{BESIDE}x"));
        fs::write(&abandoned, "").unwrap();
        creations.recover(&own_home()).unwrap();
        assert!(abandoned.exists(), "it may be in use");
        File::open(&abandoned).unwrap().set_modified(SystemTime::now() - ABANDONED).unwrap();
        creations.recover(&own_home()).unwrap();
        assert!(!abandoned.exists() && creations.given_up().is_empty());
    }

    #[test]
    fn looks_become_rare() {
        let creations = Creations::new(Path::new("/nowhere"));
        assert_eq!(creations.pause(), None);
        let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        for (seconds, pause) in [(90_000, 60), (3600, 60), (300, 10), (5, 2)] {
            creations.given_up().insert(seconds.to_string(), ago(seconds));
            assert_eq!(creations.pause(), Some(Duration::from_secs(pause)), "{seconds}");
        }
    }

    #[test]
    fn containers_are_known_by_name_and_label() {
        let container = |name: &str, label: &str, id: &str| ContainerSummary {
            id: Some("c".to_owned()),
            names: Some(vec![name.to_owned()]),
            labels: Some([(label.to_owned(), id.to_owned())].into()),
            ..Default::default()
        };
        let appeared = |is_sidecar| Some(("x", Appeared { container: "c", is_sidecar }));
        assert_eq!(of_creation(&container("/sandbox-x", labels::ID, "x")), appeared(false));
        assert_eq!(of_creation(&container("/sandbox-egress-x", labels::SIDECAR_FOR, "x")), appeared(true));
        assert_eq!(of_creation(&container("/sandbox-y", labels::ID, "x")), None);
        assert_eq!(of_creation(&container("/sandbox-x", "other", "x")), None);
        assert_eq!(
            (names::sandbox_of("sandbox-x"), names::sandbox_of("sandbox-egress-x"), names::sandbox_of("x")),
            (Some("x"), Some("x"), None)
        );
    }
}
