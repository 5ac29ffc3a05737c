//! Volumes of the engine, by name.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    errors::Error as EngineError,
    models::{Mount, MountType, MountVolumeOptions, Volume as EngineVolume, VolumeCreateRequest},
};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    error::{Error, Kind, VolumePart},
    model::volume::{Claim, Source, Volume, fault},
};

use super::{
    Mounts, bind,
    fixed::is_below,
    mount_table::MountTable,
    place::{Refusal, plain},
};
use crate::runtime::docker::{
    Inner,
    engine::{Cause, is_missing, labels, names, text},
};

/// The longest that the removal of a volume is waited for, with a client that waits.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The value of [`labels::MANAGED_BY`] on a volume that a server created.
const SERVER: &str = "server";

/// The mode of a bind that the engine is not to fill.
const UNFILLED: &str = ",nocopy";

/// The first engine API version whose mounts take a part of a volume, which the engine opens itself so that no link leads
/// out of it (`VolumeOptions.Subpath`, API 1.45).
const SUBPATH_API: (u32, u32) = (1, 45);

impl Inner {
    /// Mounts a volume of the engine, which is created if need be. [`Inner::fill`] decides whether the engine may fill it.
    pub(super) async fn claim(
        &self,
        id: &str,
        volume: &Volume,
        claim: &Claim,
        mounts: &mut Mounts,
    ) -> Result<(), Error> {
        if claim.name == self.options.owner_mark || claim.name.starts_with(names::EXPIRY_PREFIX) {
            let text = format!("Volume '{}': the name '{}' is the gateway's own.", volume.name, claim.name);
            return Err(fault(VolumePart::Claim, Kind::NotFound, text));
        }
        let found = self.find_or_create(volume, claim, mounts).await?;
        self.check_device(volume, &found).await?;
        if let Some(part) = &volume.sub_path {
            return self.part(id, volume, &found, part, mounts).await;
        }
        mounts.binds.push(bind(&claim.name, volume, UNFILLED));
        Ok(())
    }

    /// Lets the engine fill those of the volumes that no container has. To be called when nothing but the container is still to
    /// be made: other creations that use one of them wait until `mounts` are dropped.
    ///
    /// The engine fills an empty volume with what the image has at its place, and follows links in the volume while it does so.
    /// It may do that only as long as no sandbox can put some there.
    pub(in crate::runtime::docker) async fn fill(&self, volumes: &[Volume], mounts: &mut Mounts) -> Result<(), Error> {
        let mut locks = self.filling_locks(volumes).await;
        for volume in volumes {
            let Source::Claim(claim) = &volume.source else { continue };
            let unfilled = bind(&claim.name, volume, UNFILLED);
            let Some(at) = mounts.binds.iter().position(|bind| *bind == unfilled) else { continue };
            if let Some(lock) = locks.remove(&claim.name)
                && self.is_idle(volume, claim).await?
            {
                // Gone with a creation that had made it and failed meanwhile.
                if claim.create_if_not_exists && !mounts.created.contains(&claim.name) {
                    self.find_or_create(volume, claim, mounts).await?;
                }
                mounts.fillings.insert(claim.name.clone(), lock);
            }
            if mounts.fillings.contains_key(&claim.name) {
                mounts.binds[at] = bind(&claim.name, volume, "");
            }
        }
        Ok(())
    }

    /// Removes the volumes that were created for a sandbox that came to nothing, unless another has one by now.
    pub(super) async fn remove_created(&self, id: &str, mounts: &Mounts) {
        let removals = mounts.created.iter().map(|name| async move {
            // Another creation may count on it.
            let _lock = match mounts.fillings.get(name) {
                Some(_) => None,
                None => Some(self.volumes.fillings.lock(name).await),
            };
            if timeout(REMOVE_TIMEOUT, self.remove_managed_volume(id, name)).await.is_err() {
                tracing::warn!(sandbox = id, name, "a volume may stay: the engine did not answer in time");
            }
        });
        join_all(removals).await;
    }

    /// Whether no container has a volume.
    async fn is_idle(&self, volume: &Volume, claim: &Claim) -> Result<bool, Error> {
        let users = self.engine.containers("volume", claim.name.clone()).await;
        Ok(users.map_err(|error| inspection_failed(volume, claim, error))?.is_empty())
    }

    /// Refuses a volume that is itself a bind of what sandboxes can exchange: the engine follows its path at the start.
    async fn check_device(&self, volume: &Volume, found: &EngineVolume) -> Result<(), Error> {
        let Some(device) = bound_device(found) else { return Ok(()) };
        let (allowed, path) = (self.allowed(), device.clone());
        let is_exposed = self.volumes.blocking.run(move || is_below(&path, &allowed, &MountTable::default()));
        let what = match is_exposed.await.flatten() {
            Ok(false) => return Ok(()),
            Ok(true) => {
                "which sandboxes can exchange, since it is below one of storage.allowed_host_paths; mount it by its \
                         path instead"
                    .to_owned()
            }
            Err(error) => format!("which cannot be checked: {error}"),
        };
        let (name, claim, device) = (&volume.name, &found.name, device.display());
        let text = format!("Volume '{name}': the Docker named volume '{claim}' is a bind of '{device}', {what}.");
        Err(fault(VolumePart::Mount, Kind::Unsupported, text))
    }

    /// Creates a volume that is a server's to remove.
    pub(in crate::runtime::docker) async fn create_volume(&self, name: &str) -> Result<EngineVolume, EngineError> {
        let labels = [(labels::MANAGED_BY.to_owned(), SERVER.to_owned())];
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels.into()), ..Default::default() };
        self.engine.within(self.engine.api.create_volume(request)).await
    }

    /// Removes a volume if a server created it. A failure is only logged, for example that another sandbox uses it.
    pub(in crate::runtime::docker) async fn remove_managed_volume(&self, id: &str, name: &str) {
        let removed = match self.engine.within(self.engine.api.inspect_volume(name)).await {
            Ok(volume) if volume.labels.get(labels::MANAGED_BY).is_some_and(|by| by == SERVER) => {
                self.engine.remove_volume(name).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if !is_missing(&error) => tracing::warn!(sandbox = id, name, %error, "a volume stays"),
            _ => {}
        }
    }

    async fn find_or_create(&self, volume: &Volume, claim: &Claim, mounts: &mut Mounts) -> Result<EngineVolume, Error> {
        let failed = |error: EngineError| inspection_failed(volume, claim, error);
        let inspect = async || match self.engine.within(self.engine.api.inspect_volume(&claim.name)).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => found.map(Some),
        };
        if let Some(found) = inspect().await.map_err(failed)? {
            return Ok(found);
        }
        if !claim.create_if_not_exists {
            return Err(missing(volume, claim));
        }
        let _creation = self.volumes.creation.lock(&claim.name).await;
        if let Some(found) = inspect().await.map_err(failed)? {
            return Ok(found);
        }
        let created = self.create_volume(&claim.name).await.map_err(failed)?;
        mounts.created.push(claim.name.clone());
        if claim.delete_on_termination {
            mounts.managed.push(claim.name.clone());
        }
        Ok(created)
    }

    /// Mounts a part of a volume; directories that are missing are made.
    async fn part(
        &self,
        id: &str,
        volume: &Volume,
        found: &EngineVolume,
        part: &str,
        mounts: &mut Mounts,
    ) -> Result<(), Error> {
        let EngineVolume { name: claim, driver, mountpoint, .. } = found;
        if driver != "local" || mountpoint.is_empty() {
            let text = format!(
                "Volume '{}': subPath needs a Docker named volume of the driver 'local', and '{claim}' is of '{driver}'.",
                volume.name
            );
            return Err(fault(VolumePart::SubPath, Kind::Unsupported, text));
        }
        let is_engine_s = takes_subpath(&self.engine.api_version);
        // Sandboxes write to it. Links in it that cannot be seen from here could lead anywhere.
        let unseen = |cause: &dyn std::fmt::Display| {
            let text =
                format!("Volume '{}': subPath of '{claim}' cannot be checked for symbolic links: {cause}", volume.name);
            fault(VolumePart::Claim, Kind::Failed, text)
        };
        let root = PathBuf::from(mountpoint);
        let seen = root.clone();
        let seen = self.volumes.blocking.run(move || seen.read_dir().map(drop)).await.flatten();
        let path = plain(&Path::new(mountpoint).join(part));
        match seen {
            // An engine that is elsewhere looks itself; what is missing cannot be made there.
            Err(error) if is_engine_s => tracing::debug!(%error, claim, part, "left to the engine to find"),
            Err(error) => return Err(unseen(&error)),
            Ok(()) => match self.volumes.blocking.find(path.clone(), vec![root]).await {
                Ok(_) if is_engine_s => {}
                Ok(place) => {
                    let asked = path.to_str().ok_or_else(|| unseen(&"it is not UTF-8"))?;
                    return self.pin(id, volume, place, asked, mounts).await;
                }
                Err(Refusal::Outside(_)) => {
                    let what = "resolved subPath escapes the volume mountpoint after symlink resolution.";
                    return Err(fault(VolumePart::SubPath, Kind::Invalid, format!("Volume '{}': {what}", volume.name)));
                }
                Err(Refusal::Unusable(error)) => return Err(unseen(&error)),
            },
        }
        mounts.mounts.push(Mount {
            target: Some(volume.mount_path.clone()),
            source: Some(claim.clone()),
            typ: Some(MountType::VOLUME),
            read_only: Some(volume.read_only),
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(true),
                subpath: Some(inside(part)),
                ..Default::default()
            }),
            ..Default::default()
        });
        Ok(())
    }
}

/// A part's path as the engine wants it: relative, without `.` and slashes that say nothing.
fn inside(part: &str) -> String {
    plain(Path::new(part)).display().to_string()
}

/// Whether an engine with this API version mounts parts of volumes by itself.
fn takes_subpath(api_version: &str) -> bool {
    let (major, minor) = api_version.split_once('.').unwrap_or((api_version, "0"));
    let version = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
    version >= SUBPATH_API
}

/// The directory of the host that a volume is a bind of.
pub(super) fn bound_device(found: &EngineVolume) -> Option<PathBuf> {
    let options = (found.driver == "local").then_some(&found.options)?;
    let is_bind = options.get("o")?.split(',').any(|option| ["bind", "rbind"].contains(&option.trim()));
    let device = options.get("device").filter(|device| is_bind && device.starts_with('/'))?;
    Some(plain(Path::new(device)))
}

fn inspection_failed(volume: &Volume, claim: &Claim, error: EngineError) -> Error {
    tracing::warn!(volume = claim.name, %error, "the engine could not be asked about a volume");
    let text =
        format!("Volume '{}': failed to inspect Docker named volume '{}': {}", volume.name, claim.name, text(&error));
    fault(VolumePart::Claim, Kind::Failed, text).caused_by(Cause(error))
}

fn missing(volume: &Volume, claim: &Claim) -> Error {
    let text = format!(
        "Volume '{}': Docker named volume '{}' does not exist. Named volumes must be created before sandbox creation \
         (e.g., 'docker volume create <name>').",
        volume.name, claim.name
    );
    fault(VolumePart::Claim, Kind::NotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_mount_parts_from_api_1_45_on() {
        for (version, is_new) in [("1.41", false), ("1.44", false), ("1.45", true), ("1.100", true), ("2.0", true)] {
            assert_eq!(takes_subpath(version), is_new, "{version}");
        }
        assert!(!takes_subpath("") && !takes_subpath("x.y"));
        assert_eq!(inside("a/./b//c/"), "a/b/c");
    }

    #[test]
    fn a_volume_may_be_a_bind_of_the_host() {
        let volume = |driver: &str, options: &[(&str, &str)]| EngineVolume {
            driver: driver.to_owned(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Default::default()
        };
        let device = |options: &[(&str, &str)]| bound_device(&volume("local", options));
        assert_eq!(device(&[("type", "none"), ("o", "ro, bind"), ("device", "/srv//x/../y")]), Some("/srv/y".into()));
        assert_eq!(device(&[("type", "nfs"), ("o", "addr=1.2.3.4"), ("device", ":/x")]), None);
        assert_eq!(device(&[("o", "bind")]), None);
        assert_eq!(bound_device(&volume("other", &[("o", "bind"), ("device", "/srv")])), None);
    }
}
