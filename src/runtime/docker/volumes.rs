//! The volumes of sandboxes: prepared before the container is created, given back when it goes (docker-runtime.md §8).
//!
//! A host path that a sandbox could replace between check and mount is not mounted by its path: see [`stage`].

mod blocking;
mod claim;
mod fixed;
mod mount_table;
mod ossfs;
mod pin;
mod place;
mod stage;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use bollard::models::Mount;

use crate::{
    error::{Error, Kind, VolumePart},
    keyed_lock::{KeyedGuard, KeyedLock},
    model::volume::{
        Source, Volume,
        check::{joined, not_allowed},
        fault,
    },
};

use crate::runtime::docker::{DockerOptions, Inner};

pub(super) use self::{
    blocking::BlockingTasks,
    pin::{Probe, is_unseen, unseen},
    place::plain,
};
use self::{
    ossfs::Buckets,
    place::{Place, Refusal},
    stage::{Stage, Staged},
};

/// What the volumes of all sandboxes share.
#[derive(Debug)]
pub(super) struct Volumes {
    /// By a volume's name, held while it is created, so that of two concurrent creators one finds it existing.
    creation: KeyedLock,
    /// By a volume's name, held while the engine may fill it from an image. No other sandbox may mount it meanwhile.
    fillings: KeyedLock,
    /// Without those of buckets, which hang more easily and have their own.
    blocking: BlockingTasks,
    buckets: Buckets,
    stage: Stage,
}

impl Volumes {
    pub(super) fn new(options: &DockerOptions) -> Self {
        Self {
            creation: KeyedLock::default(),
            fillings: KeyedLock::default(),
            blocking: BlockingTasks::default(),
            buckets: Buckets::new(options),
            stage: Stage::new(options.stage_root.clone()),
        }
    }
}

/// What a sandbox's volumes are to the engine, and what was made for them.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Binds by a volume's name or by a path that no sandbox can replace, in the engine's form and the client's order.
    pub(super) binds: Vec<String>,
    /// The others.
    pub(super) mounts: Vec<Mount>,
    /// Replacements for configured binds, by their text.
    pub(super) replaced: HashMap<String, String>,
    /// The engine's volumes that go with the sandbox.
    pub(super) managed: Vec<String>,
    /// The mounted buckets that the sandbox uses, by their paths.
    pub(super) buckets: Vec<String>,
    /// Marks by which a later server can verify the credentials of those mounts, unordered.
    pub(super) marks: Vec<String>,
    /// The engine's volumes that were created.
    pub(super) created: Vec<String>,
    /// The places of the host.
    pub(super) places: Vec<Found>,
    /// The volumes that the engine may fill from the image.
    pub(super) fillings: BTreeMap<String, KeyedGuard>,
    /// What was mounted on the stage.
    pub(super) staged: Option<Staged>,
}

/// A place of the host that a volume is.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is in the sandbox.
    path: String,
    place: Arc<Place>,
    /// It is mounted on the stage, at the number that it has among those.
    is_staged: bool,
}

impl Inner {
    /// Prepares the volumes of the sandbox `id`. What was made so far is in `mounts`, also after a failure.
    pub(super) async fn mount(&self, id: &str, volumes: &[Volume], mounts: &mut Mounts) -> Result<(), Error> {
        for volume in volumes {
            match &volume.source {
                Source::Host(path) => self.host_place(id, volume, path, mounts).await?,
                Source::Claim(claim) => self.claim(id, volume, claim, mounts).await?,
                Source::Ossfs(ossfs) => {
                    let (path, mark) = self.volumes.buckets.acquire(&*self.engine, id, volume, ossfs).await?;
                    mounts.binds.push(bind(&path, volume, ""));
                    if !mounts.buckets.contains(&path) {
                        mounts.buckets.push(path);
                        mounts.marks.extend(mark);
                    }
                }
            }
        }
        self.pin_configured(id, mounts).await
    }

    /// Takes back what [`Inner::mount`] and [`Inner::stage`] made, after the sandbox could not be created.
    pub(super) async fn unmount(&self, id: &str, mounts: &Mounts) {
        self.unstage(id).await;
        self.release_buckets(id, &mounts.buckets).await;
        self.remove_created(id, mounts).await;
    }

    /// The sandbox `id` uses these mounted buckets no more.
    pub(super) async fn release_buckets(&self, id: &str, paths: &[String]) {
        for path in paths {
            self.volumes.buckets.release(&*self.engine, id, Path::new(path)).await;
        }
    }

    /// The sandbox `id` has been created with these mounts.
    pub(super) async fn settle_buckets(&self, id: &str, mounts: &Mounts) {
        for path in &mounts.buckets {
            self.volumes.buckets.settle(id, Path::new(path)).await;
        }
    }

    /// Unmounts the buckets that an earlier server mounted, or this one could not unmount, and no sandbox uses. A failure is only logged.
    pub(super) async fn clear_buckets(&self) {
        self.volumes.buckets.clear(&*self.engine).await;
    }

    /// The locks of all volumes of the engine that are wanted, by their names; taken in order, so that no two creations
    /// wait for each other.
    async fn filling_locks(&self, volumes: &[Volume]) -> BTreeMap<String, KeyedGuard> {
        let name = |volume: &Volume| match &volume.source {
            Source::Claim(claim) => Some(claim.name.clone()),
            Source::Host(_) | Source::Ossfs(_) => None,
        };
        let names: BTreeSet<String> = volumes.iter().filter_map(name).collect();
        let mut locks = BTreeMap::new();
        for name in names {
            let lock = self.volumes.fillings.lock(&name).await;
            locks.insert(name, lock);
        }
        locks
    }

    async fn host_place(&self, id: &str, volume: &Volume, path: &str, mounts: &mut Mounts) -> Result<(), Error> {
        let path = joined(path, volume.sub_path.as_deref());
        let allowed: Vec<PathBuf> = self.options.allowed_host_paths.iter().map(PathBuf::from).collect();
        let failed = |path: &Path, cause: &dyn std::fmt::Display| {
            let (name, path) = (&volume.name, path.display());
            let text = format!("Volume '{name}': could not ensure host path directory exists at '{path}': {cause}");
            fault(VolumePart::HostPath, Kind::Failed, text)
        };
        let place = match self.volumes.blocking.find(PathBuf::from(&path), allowed.clone()).await {
            Ok(place) => place,
            Err(Refusal::Outside(found)) => {
                let resolved = self.volumes.blocking.run(move || place::resolved_roots(&allowed)).await;
                let resolved = resolved.map_err(|error| failed(Path::new(&path), &error))?;
                let allowed: Vec<String> = resolved.iter().map(|root| root.display().to_string()).collect();
                return Err(not_allowed(&found.display().to_string(), allowed.iter().map(String::as_str)));
            }
            Err(Refusal::Unusable(error)) => return Err(failed(Path::new(&path), &error)),
        };
        self.pin(id, volume, place, &path, mounts).await
    }
}

/// A volume in the engine's form for binds. `more` are further modes, each after a comma.
fn bind(source: &str, volume: &Volume, more: &str) -> String {
    let mode = if volume.read_only { "ro" } else { "rw" };
    format!("{source}:{}:{mode}{more}", volume.mount_path)
}
