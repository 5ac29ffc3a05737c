//! Volumes of the engine, by name.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bollard::{
    errors::Error,
    models::{Volume as EngineVolume, VolumeCreateRequest},
};

use crate::{
    model::volume::{Claim, Volume, VolumeFault, check::fault},
    runtime::RuntimeError,
};

use super::{
    super::{
        Inner,
        engine::{is_missing, text},
        labels,
    },
    Mounts,
    place::{Refusal, plain},
};

/// The value of [`labels::MANAGED_BY`] on a volume that a server created.
const SERVER: &str = "server";

impl Inner {
    /// The source of a bind for a volume of the engine, which is created if need be.
    pub(super) async fn claim(
        &self,
        volume: &Volume,
        claim: &Claim,
        mounts: &mut Mounts,
    ) -> Result<String, RuntimeError> {
        let (found, is_new) = self.find_or_create(volume, claim).await?;
        if is_new {
            mounts.created.push(claim.name.clone());
        }
        if is_new && claim.delete_on_termination {
            mounts.managed.push(claim.name.clone());
        }
        match &volume.sub_path {
            Some(part) => self.part(volume, &found, part, mounts).await,
            None => Ok(claim.name.clone()),
        }
    }

    /// Creates a volume that is a server's to remove.
    pub(in crate::runtime::docker) async fn create_volume(&self, name: &str) -> Result<EngineVolume, Error> {
        let labels = [(labels::MANAGED_BY.to_owned(), SERVER.to_owned())];
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels.into()), ..Default::default() };
        self.engine.within(self.engine.api.create_volume(request)).await
    }

    /// Removes a volume if a server created it. Trouble is only logged, as that another sandbox uses it.
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

    async fn find_or_create(&self, volume: &Volume, claim: &Claim) -> Result<(EngineVolume, bool), RuntimeError> {
        let failed = |error: &Error| {
            tracing::warn!(volume = claim.name, %error, "the engine could not be asked about a volume");
            let text = format!(
                "Volume '{}': failed to inspect Docker named volume '{}': {}",
                volume.name,
                claim.name,
                text(error)
            );
            fault(VolumeFault::ClaimInspectFailed, text)
        };
        let inspect = async || match self.engine.within(self.engine.api.inspect_volume(&claim.name)).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => found.map(Some),
        };
        if let Some(found) = inspect().await.map_err(|error| failed(&error))? {
            return Ok((found, false));
        }
        if !claim.create_if_not_exists {
            return Err(missing(volume, claim));
        }
        let _creation = self.volumes.creation.lock().await;
        if let Some(found) = inspect().await.map_err(|error| failed(&error))? {
            return Ok((found, false));
        }
        let created = self.create_volume(&claim.name).await.map_err(|error| failed(&error))?;
        Ok((created, true))
    }

    /// A part of a volume, by its path on the host.
    async fn part(
        &self,
        volume: &Volume,
        found: &EngineVolume,
        part: &str,
        mounts: &mut Mounts,
    ) -> Result<String, RuntimeError> {
        let EngineVolume { name: claim, driver, mountpoint, .. } = found;
        if driver != "local" || mountpoint.is_empty() {
            let text = format!(
                "Volume '{}': subPath needs a Docker named volume of the driver 'local', and '{claim}' is of '{driver}'.",
                volume.name
            );
            return Err(fault(VolumeFault::SubPathUnsupportedDriver, text));
        }
        // Sandboxes write to it. Links in it that cannot be seen from here could lead anywhere.
        let unseen = |cause: &dyn std::fmt::Display| {
            let text =
                format!("Volume '{}': subPath of '{claim}' cannot be checked for symbolic links: {cause}", volume.name);
            fault(VolumeFault::ClaimInspectFailed, text)
        };
        let root = PathBuf::from(mountpoint);
        let seen = root.clone();
        let seen = self.volumes.checks.run(move || seen.read_dir().map(drop)).await;
        seen.flatten().map_err(|error| unseen(&error))?;
        let place = match self.volumes.checks.find(plain(&Path::new(mountpoint).join(part)), vec![root]).await {
            Ok(place) => place,
            Err(Refusal::Outside(_)) => {
                let what = "resolved subPath escapes the volume mountpoint after symlink resolution.";
                return Err(fault(VolumeFault::InvalidSubPath, format!("Volume '{}': {what}", volume.name)));
            }
            Err(Refusal::Unusable(error)) => return Err(unseen(&error)),
        };
        let source = place.path().to_str().ok_or_else(|| unseen(&"it is not UTF-8"))?.to_owned();
        mounts.places.push((volume.mount_path.clone(), Arc::new(place)));
        Ok(source)
    }
}

fn missing(volume: &Volume, claim: &Claim) -> RuntimeError {
    let text = format!(
        "Volume '{}': Docker named volume '{}' does not exist. Named volumes must be created before sandbox creation \
         (e.g., 'docker volume create <name>').",
        volume.name, claim.name
    );
    fault(VolumeFault::ClaimNotFound, text)
}
