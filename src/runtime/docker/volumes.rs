//! The volumes of sandboxes: prepared before the container is created, given back when it goes (docker-runtime.md §8).

mod checks;
mod claim;
mod marks;
mod ossfs;
mod place;
mod tools;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::join_all;

use crate::{
    model::volume::{
        Source, Volume, VolumeFault,
        check::{fault, joined, not_allowed},
    },
    runtime::RuntimeError,
};

use super::{DockerOptions, Inner};

pub(super) use self::{checks::Checks, place::plain};
use self::{
    ossfs::Buckets,
    place::{Place, Refusal},
};

/// What the volumes of all sandboxes share.
#[derive(Debug)]
pub(super) struct Volumes {
    /// Held while a volume is created, so that one of two creators knows that it was the other.
    creation: tokio::sync::Mutex<()>,
    /// Not those of buckets, which hang more easily.
    checks: Checks,
    buckets: Buckets,
}

impl Volumes {
    pub(super) fn new(options: &DockerOptions) -> Self {
        let buckets = Buckets::new(options.ossfs_mount_root.clone(), options.tool_path.clone(), &options.state_dir);
        Self { creation: tokio::sync::Mutex::default(), checks: Checks::default(), buckets }
    }
}

/// What a sandbox's volumes are to the engine, and what was made for them.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// In the engine's form, in the client's order.
    pub(super) binds: Vec<String>,
    /// The engine's volumes that go with the sandbox.
    pub(super) managed: Vec<String>,
    /// The mounted buckets that the sandbox uses, by their paths.
    pub(super) buckets: Vec<String>,
    /// What tells after a restart which credentials those were mounted with, in no order.
    pub(super) marks: Vec<String>,
    /// The engine's volumes that were created.
    pub(super) created: Vec<String>,
    /// The places of the host, by where they are in the sandbox.
    pub(super) places: Vec<(String, Arc<Place>)>,
}

impl Inner {
    /// Prepares the volumes of the sandbox `id`. What was made so far is in `mounts`, also after a failure.
    pub(super) async fn mount(&self, id: &str, volumes: &[Volume], mounts: &mut Mounts) -> Result<(), RuntimeError> {
        for volume in volumes {
            let source = match &volume.source {
                Source::Host(path) => self.host_place(volume, path, mounts).await?,
                Source::Claim(claim) => self.claim(volume, claim, mounts).await?,
                Source::Ossfs(ossfs) => {
                    let (path, mark) = self.volumes.buckets.acquire(&self.engine, id, volume, ossfs).await?;
                    if !mounts.buckets.contains(&path) {
                        mounts.buckets.push(path.clone());
                        mounts.marks.extend(mark);
                    }
                    path
                }
            };
            let mode = if volume.read_only { "ro" } else { "rw" };
            mounts.binds.push(format!("{source}:{}:{mode}", volume.mount_path));
        }
        Ok(())
    }

    /// Takes back what [`Inner::mount`] made, after the sandbox could not be created.
    pub(super) async fn unmount(&self, id: &str, mounts: &Mounts) {
        self.release_buckets(id, &mounts.buckets).await;
        join_all(mounts.created.iter().map(|name| self.remove_managed_volume(id, name))).await;
    }

    /// The sandbox `id` uses these mounted buckets no more.
    pub(super) async fn release_buckets(&self, id: &str, paths: &[String]) {
        for path in paths {
            self.volumes.buckets.release(&self.engine, id, Path::new(path)).await;
        }
    }

    /// Whether all places still are what was checked, so that the engine will bind the same.
    pub(super) async fn check_places(&self, mounts: &Mounts) -> Result<(), RuntimeError> {
        for (path, place) in &mounts.places {
            match self.volumes.checks.look(place, Place::is_still_there).await {
                Ok(true) => {}
                Ok(false) => return Err(exchanged(path)),
                Err(error) => return Err(unanswered(path, &error)),
            }
        }
        Ok(())
    }

    /// Whether the started container has mounted what was checked. Where this server cannot look into the container (it
    /// is not root, the engine is elsewhere, a secure runtime hides it), that cannot be told.
    pub(super) async fn check_mounted(&self, container: &str, mounts: &Mounts) -> Result<(), RuntimeError> {
        if mounts.places.is_empty() || self.options.secure_runtime.is_some() {
            return Ok(());
        }
        let state = self.engine.inspect(container).await.ok().and_then(|inspected| inspected.state);
        let Some(pid) = state.and_then(|state| state.pid).filter(|pid| *pid > 0) else { return Ok(()) };
        for (path, place) in &mounts.places {
            let (at, of) = (path.clone(), container.to_owned());
            let seen = self.volumes.checks.look(place, move |place| {
                check_process(pid, &of)?;
                place.is_seen_by(pid, &at)
            });
            match seen.await {
                Ok(true) => {}
                Ok(false) => return Err(exchanged(path)),
                // What hangs may be what was put in the place of what was checked.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(unanswered(path, &error)),
                Err(error) => tracing::debug!(container, path, %error, "a mount cannot be looked at"),
            }
        }
        Ok(())
    }

    async fn host_place(&self, volume: &Volume, path: &str, mounts: &mut Mounts) -> Result<String, RuntimeError> {
        let path = joined(path, volume.sub_path.as_deref());
        let allowed: Vec<PathBuf> = self.options.allowed_host_paths.iter().map(PathBuf::from).collect();
        let failed = |path: &Path, cause: &dyn std::fmt::Display| {
            let (name, path) = (&volume.name, path.display());
            let text = format!("Volume '{name}': could not ensure host path directory exists at '{path}': {cause}");
            fault(VolumeFault::HostPathCreateFailed, text)
        };
        let place = match self.volumes.checks.find(PathBuf::from(&path), allowed.clone()).await {
            Ok(place) => place,
            Err(Refusal::Outside(found)) => {
                let resolved = self.volumes.checks.run(move || place::resolved_roots(&allowed)).await;
                let resolved = resolved.map_err(|error| failed(Path::new(&path), &error))?;
                let allowed: Vec<String> = resolved.iter().map(|root| root.display().to_string()).collect();
                return Err(not_allowed(&found.display().to_string(), allowed.iter().map(String::as_str)));
            }
            Err(Refusal::Unusable(error)) => return Err(failed(Path::new(&path), &error)),
        };
        let source = place.path().to_str().ok_or_else(|| failed(place.path(), &"it is not UTF-8"))?.to_owned();
        mounts.places.push((volume.mount_path.clone(), Arc::new(place)));
        Ok(source)
    }
}

/// Fails unless `pid` is a process of the container here: in a container of its own a server sees other processes.
fn check_process(pid: i64, container: &str) -> io::Result<()> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    if groups.contains(container) { Ok(()) } else { Err(io::Error::other("it has another process here")) }
}

fn exchanged(path: &str) -> RuntimeError {
    tracing::error!(path, "what a volume was checked to be was exchanged while its sandbox was created");
    let text = format!("The volume at '{path}' was exchanged while the sandbox was created.");
    fault(VolumeFault::HostPathNotAllowed, text)
}

fn unanswered(path: &str, error: &io::Error) -> RuntimeError {
    fault(VolumeFault::HostPathCreateFailed, format!("Volume at '{path}': {error}"))
}
