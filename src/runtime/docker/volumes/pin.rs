//! Pinning: which host paths are mounted on the stage, and the checks before a sandbox starts with them.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bollard::{
    errors::Error as EngineError,
    models::{ContainerInspectResponse, Mount, MountType},
    query_parameters::ListVolumesOptions,
};

use crate::{
    error::{Error, Family, Kind, VolumePart},
    model::volume::{Volume, fault, mount_path},
};

use super::{
    Found, Mounts, bind,
    claim::bound_device,
    fixed::{is_below, is_fixed},
    mount_table::MountTable,
    place::{Place, Refusal, plain},
};
use crate::runtime::docker::{
    Inner,
    engine::{Cause, endpoint::Endpoint, labels, status, text},
};

/// A mount that only an engine on this host sees, and the name of what is in it.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Probe {
    /// Where it is on this host.
    pub(in crate::runtime::docker) source: String,
    /// The file in it.
    pub(in crate::runtime::docker) token: String,
}

impl Inner {
    /// Has a place mounted on the stage for the sandbox `id`; `asked` is the path that it was found by. Where this server
    /// cannot mount, only a path that no sandbox can exchange is bound as it is.
    pub(super) async fn pin(
        &self,
        id: &str,
        volume: &Volume,
        place: Place,
        asked: &str,
        mounts: &mut Mounts,
    ) -> Result<(), Error> {
        let place = Arc::new(place);
        let cannot = self.cannot_stage().await;
        let source = match &cannot {
            None => self.staged_path(id, mounts).await.map_err(|error| unasked(&volume.mount_path, &error))?,
            Some(error) if self.is_fixed(&place, asked).await? => {
                tracing::debug!(%error, asked, "bound as it is, since nobody can exchange it");
                place.path().to_owned()
            }
            Some(error) => return Err(unavailable(&volume.mount_path, error)),
        };
        let source = source.to_str().ok_or_else(|| {
            let text = format!("Volume at '{}': its path is not UTF-8", volume.mount_path);
            fault(VolumePart::HostPath, Kind::Failed, text)
        })?;
        if cannot.is_none() {
            mounts.mounts.push(Mount {
                target: Some(volume.mount_path.clone()),
                source: Some(source.to_owned()),
                typ: Some(MountType::BIND),
                read_only: Some(volume.read_only),
                ..Default::default()
            });
        } else {
            mounts.binds.push(bind(source, volume, ""));
        }
        mounts.places.push(Found { path: volume.mount_path.clone(), place, is_staged: cannot.is_none() });
        Ok(())
    }

    /// Has those of the configured binds mounted on the stage whose source a sandbox could exchange.
    pub(super) async fn pin_configured(&self, id: &str, mounts: &mut Mounts) -> Result<(), Error> {
        let allowed = self.allowed();
        for text in &self.options.sandbox_binds {
            let Some((source, rest)) = text.split_once(':') else { continue };
            let path = plain(Path::new(source));
            if !path.is_absolute() || allowed.is_empty() {
                continue;
            }
            let target = rest.split(':').next().unwrap_or_default();
            let (below, roots) = (path.clone(), allowed.clone());
            let is_below = move || is_below(&below, &roots, &MountTable::default());
            let is_exposed = self.volumes.blocking.run(is_below).await.flatten();
            if !is_exposed.map_err(|error| unanswered(target, &error))? {
                continue;
            }
            let place = match self.volumes.blocking.find(path, allowed.clone()).await {
                Ok(place) => Arc::new(place),
                Err(Refusal::Outside(found)) => return Err(led_out(target, &found)),
                Err(Refusal::Unusable(error)) => return Err(unanswered(target, &error)),
            };
            if let Some(error) = self.cannot_stage().await {
                return Err(unavailable(target, &error));
            }
            let staged = self.staged_path(id, mounts).await.map_err(|error| unasked(target, &error))?;
            mounts.replaced.insert(text.clone(), format!("{}:{rest}", staged.display()));
            mounts.places.push(Found { path: target.to_owned(), place, is_staged: true });
        }
        Ok(())
    }

    /// Mounts on the stage what is to be there.
    pub(in crate::runtime::docker) async fn stage(&self, id: &str, mounts: &mut Mounts) -> Result<(), Error> {
        let Some(first) = mounts.places.iter().find(|found| found.is_staged) else { return Ok(()) };
        let engine = self.stage_key().await.map_err(|error| unasked(&first.path, &error))?.to_owned();
        let places = mounts.places.iter().filter(|found| found.is_staged).map(|found| found.place.clone());
        let (stage, id, places) = (self.volumes.stage.clone(), id.to_owned(), places.collect::<Vec<_>>());
        let staged = self.volumes.blocking.run(move || stage.put(&engine, &id, &places)).await.flatten();
        mounts.staged = Some(staged.map_err(|error| unanswered(&first.path, &error))?);
        Ok(())
    }

    /// What the engine must see of the stage before the sandbox is created; nothing if there is nothing on it.
    pub(in crate::runtime::docker) async fn probe(
        &self,
        id: &str,
        mounts: &Mounts,
    ) -> Result<Option<Probe>, EngineError> {
        let Some(staged) = &mounts.staged else { return Ok(None) };
        let source = self.volumes.stage.probe(self.stage_key().await?, id).display().to_string();
        Ok(Some(Probe { source, token: staged.token.clone() }))
    }

    /// Unmounts the probe of a sandbox that was created. A failure is only logged: the probe goes with the sandbox.
    pub(in crate::runtime::docker) async fn clear_probe(&self, id: &str, mounts: &Mounts) {
        if mounts.staged.is_none() {
            return;
        }
        let clear = async {
            let engine = self.stage_key().await.map_err(io::Error::other)?.to_owned();
            let (stage, id) = (self.volumes.stage.clone(), id.to_owned());
            self.volumes.blocking.run(move || stage.clear_probe(&engine, &id)).await.flatten()
        };
        if let Err(error) = clear.await {
            tracing::warn!(sandbox = id, %error, "the probe of a sandbox's mounts stays for now");
        }
    }

    /// Unmounts what the sandbox `id` has on the stage. A failure is only logged, and tried again by
    /// [`Inner::clear_stage`].
    pub(in crate::runtime::docker) async fn unstage(&self, id: &str) {
        if let Err(error) = self.try_unstage(id).await {
            tracing::warn!(sandbox = id, %error, "mounts of a sandbox that is gone stay for now");
        }
    }

    async fn try_unstage(&self, id: &str) -> io::Result<()> {
        let (stage, id) = (self.volumes.stage.clone(), id.to_owned());
        if !self.volumes.blocking.run(move || stage.is_there()).await? {
            return Ok(());
        }
        let engine = self.stage_key().await.map_err(io::Error::other)?.to_owned();
        let stage = self.volumes.stage.clone();
        self.volumes.blocking.run(move || stage.clear(&engine, &id)).await?
    }

    /// Unmounts what is on the stage for sandboxes that are gone: removed by another program, or left by a server that was
    /// killed. A failure is only logged.
    pub(in crate::runtime::docker) async fn clear_stage(&self) {
        if let Err(error) = self.try_clear_stage().await {
            tracing::warn!(%error, "mounts of sandboxes that are gone could not be looked for");
        }
    }

    async fn try_clear_stage(&self) -> io::Result<()> {
        let stage = self.volumes.stage.clone();
        if !self.volumes.blocking.run(move || stage.is_there()).await? {
            return Ok(());
        }
        let engine = self.stage_key().await.map_err(io::Error::other)?.to_owned();
        let (stage, key) = (self.volumes.stage.clone(), engine.clone());
        let staged = self.volumes.blocking.run(move || stage.ids(&key)).await.flatten()?;
        if staged.is_empty() {
            return Ok(());
        }
        let sandboxes = self.engine.sandboxes(None).await.map_err(io::Error::other)?;
        let labels = sandboxes.iter().filter_map(|sandbox| sandbox.labels.as_ref());
        let there: HashSet<&str> = labels.filter_map(|all| labels::value(all, labels::ID)).collect();
        for id in staged.into_iter().filter(|id| !there.contains(id.as_str())) {
            // One that cannot be cleared is in no other's way.
            if let Err(error) = self.clear_if_gone(&engine, &id).await {
                tracing::warn!(sandbox = id, %error, "mounts of a sandbox that is gone stay for now");
            }
        }
        Ok(())
    }

    async fn clear_if_gone(&self, engine: &str, id: &str) -> io::Result<()> {
        let (stage, key, held) = (self.volumes.stage.clone(), engine.to_owned(), id.to_owned());
        let Some(_lock) = self.volumes.blocking.run(move || stage.hold(&key, &held)).await.flatten()? else {
            return Ok(());
        };
        // Its creation may have ended since the list was made. With the lock held, no creation of it is under way.
        if self.engine.sandboxes(Some(id)).await.map_err(io::Error::other)?.is_empty() {
            let (stage, key, gone) = (self.volumes.stage.clone(), engine.to_owned(), id.to_owned());
            self.volumes.blocking.run(move || stage.clear(&key, &gone)).await.flatten()?;
            tracing::info!(sandbox = id, "unmounted what a sandbox that is gone had left");
        }
        Ok(())
    }

    /// Whether the container that was created is to mount what was checked, and all of that still is where it was found.
    /// If that cannot be determined, it is a failure.
    pub(in crate::runtime::docker) async fn check_mounts(&self, container: &str, mounts: &Mounts) -> Result<(), Error> {
        // Another server knows of this sandbox only now, and may have taken it for the last but one.
        for path in &mounts.buckets {
            match self.volumes.buckets.is_still_mounted(Path::new(path)).await {
                Ok(true) => {}
                Ok(false) => return Err(unmounted(path, &"it was unmounted while the sandbox was created")),
                Err(error) => return Err(unmounted(path, &error)),
            }
        }
        if mounts.places.is_empty() && mounts.mounts.is_empty() {
            return Ok(());
        }
        let failed = |error: EngineError| {
            let text = format!("The mounts of the new container could not be checked: {}", text(&error));
            Error::new(Family::Creation, Kind::Failed, text).caused_by(Cause(error))
        };
        let created = self.engine.inspect(container).await.map_err(failed)?;
        for wanted in &mounts.mounts {
            check_mount(&created, wanted)?;
        }
        for found in &mounts.places {
            match self.volumes.blocking.check(&found.place, Place::is_still_there).await {
                Ok(true) => {}
                Ok(false) => return Err(exchanged(&found.path)),
                Err(error) => return Err(unanswered(&found.path, &error)),
            }
        }
        Ok(())
    }

    /// Why nothing can be mounted on the stage; nothing if it can.
    async fn cannot_stage(&self) -> Option<io::Error> {
        let stage = self.volumes.stage.clone();
        self.volumes.blocking.run(move || stage.check()).await.flatten().err()
    }

    /// The path of the next place on the stage.
    async fn staged_path(&self, id: &str, mounts: &Mounts) -> Result<PathBuf, EngineError> {
        let number = mounts.places.iter().filter(|found| found.is_staged).count();
        Ok(self.volumes.stage.path(self.stage_key().await?, id, number))
    }

    /// The engine's own name, for its part of the stage: two engines of one host do not clear each other's.
    async fn stage_key(&self) -> Result<&str, EngineError> {
        Ok(self.engine.id().await?.ok_or_else(|| io::Error::other("the engine does not tell its ID"))?)
    }

    /// The paths of the host that sandboxes may mount, in plain form.
    pub(super) fn allowed(&self) -> Vec<PathBuf> {
        self.options.allowed_host_paths.iter().map(|path| plain(Path::new(path))).collect()
    }

    /// Whether a path is one that the operator allows by its very text, and no sandbox can exchange a part of it.
    async fn is_fixed(&self, place: &Arc<Place>, asked: &str) -> Result<bool, Error> {
        // Elsewhere, paths lead to other things than here.
        if self.is_contained || !matches!(self.engine.endpoint, Endpoint::Unix(_)) {
            return Ok(false);
        }
        let allowed = self.allowed();
        let asked = plain(Path::new(asked));
        if !allowed.contains(&asked) {
            return Ok(false);
        }
        let failed = |error: &dyn std::fmt::Display| unanswered(&asked.display().to_string(), error);
        let sandboxes = self.engine.sandboxes(None).await.map_err(|error| failed(&text(&error)))?;
        let mounted = sandboxes.into_iter().filter_map(|sandbox| sandbox.mounts).flatten();
        let mounted = mounted.filter(|mount| mount.typ.as_deref() == Some("bind")).filter_map(|mount| mount.source);
        let volumes = self.engine.within(self.engine.api.list_volumes(None::<ListVolumesOptions>)).await;
        let volumes = volumes.map_err(|error| failed(&text(&error)))?.volumes.unwrap_or_default();
        let mounted = mounted.map(PathBuf::from).chain(volumes.iter().filter_map(bound_device));
        let configured = self.options.sandbox_binds.iter().filter_map(|bind| bind.split(':').next()).map(PathBuf::from);
        let mut writable: Vec<PathBuf> = mounted.chain(configured.filter(|source| source.is_absolute())).collect();
        writable.push(self.options.ossfs_mount_root.clone());
        // The volumes, and the sandboxes' own files.
        let engine = self.engine.within(self.engine.api.info()).await.map_err(|error| failed(&text(&error)))?;
        writable.extend(engine.docker_root_dir.map(PathBuf::from).filter(|path| path.is_absolute()));
        writable.extend(allowed.into_iter().filter(|root| *root != asked));
        let look = move |place: &Place| is_fixed(place.path(), &writable, &MountTable::default());
        self.volumes.blocking.check(place, look).await.map_err(|error| failed(&error))
    }
}

/// Whether the engine took a mount as it was meant.
fn check_mount(created: &ContainerInspectResponse, wanted: &Mount) -> Result<(), Error> {
    let target = wanted.target.as_deref().unwrap_or_default();
    let at = mount_path::plain(target);
    let mut seen = created
        .mounts
        .iter()
        .flatten()
        .filter(|seen| seen.destination.as_deref().is_some_and(|destination| mount_path::plain(destination) == at));
    let is_meant = seen.next().is_some_and(|seen| {
        let source = if wanted.typ == Some(MountType::VOLUME) { &seen.name } else { &seen.source };
        source == &wanted.source && seen.rw == wanted.read_only.map(|read_only| !read_only)
    });
    if is_meant && seen.next().is_none() {
        return Ok(());
    }
    let text = format!("Volume at '{target}': the engine would mount something else than it was told.");
    Err(fault(VolumePart::Mount, Kind::Unsupported, text))
}

/// The error for an engine that does not see what is mounted on the stage.
pub(in crate::runtime::docker) fn unseen(path: &str, cause: &str) -> Error {
    unavailable(path, &format!("the engine does not see this server's mounts ({cause})"))
}

/// Whether the engine refused a mount since it does not find the source.
pub(in crate::runtime::docker) fn is_unseen(error: &EngineError) -> bool {
    status(error) == Some(400) && text(error).contains("bind source path does not exist")
}

fn unavailable(path: &str, cause: &dyn std::fmt::Display) -> Error {
    tracing::warn!(path, %cause, "a volume cannot be mounted safely");
    let text = format!(
        "Volume at '{path}': {cause}. Parts of volumes and paths of the host, which sandboxes could exchange while they \
         are mounted, need a server that is root with CAP_SYS_ADMIN and has the mounts of the engine's host."
    );
    fault(VolumePart::Mount, Kind::Unsupported, text)
}

fn exchanged(path: &str) -> Error {
    tracing::error!(path, "what a volume was checked to be was exchanged while its sandbox was created");
    let text = format!("The volume at '{path}' was exchanged while the sandbox was created.");
    fault(VolumePart::HostPath, Kind::Denied, text)
}

/// The error for a configured bind whose path sandboxes can exchange, and that leads elsewhere.
fn led_out(target: &str, found: &Path) -> Error {
    tracing::error!(target, ?found, "a configured bind leads through what sandboxes can exchange to elsewhere");
    let text = format!(
        "The configured bind at '{target}' leads through a directory that sandboxes can exchange to '{}', which is below \
         none of storage.allowed_host_paths.",
        found.display()
    );
    fault(VolumePart::HostPath, Kind::Denied, text)
}

fn unanswered(path: &str, error: &dyn std::fmt::Display) -> Error {
    fault(VolumePart::HostPath, Kind::Failed, format!("Volume at '{path}': {error}"))
}

fn unmounted(path: &str, cause: &dyn std::fmt::Display) -> Error {
    fault(VolumePart::OssfsMount, Kind::Failed, format!("The OSSFS bucket at '{path}': {cause}"))
}

fn unasked(path: &str, error: &EngineError) -> Error {
    unanswered(path, &text(error))
}
