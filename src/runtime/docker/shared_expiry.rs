//! Moved expiries that other gateways must know of, on the engine.
//!
//! Usually a moved expiry is in a file of this home, and nobody else ends the sandbox. Where somebody else would, because
//! the engine is another home's ([`super::owner`]) or because another home created or renewed the sandbox, it is told
//! there too: by a volume without content, whose labels have the sandbox and the time. A gateway that is about to end a
//! sandbox looks for those, and lets it live to the latest time that it knows of. The Python server does not look.
//!
//! Each renewal makes a volume of its own before it removes those of renewals before, so that there is one at any time.

use bollard::{
    errors::Error,
    models::{Volume, VolumeCreateRequest},
    query_parameters::ListVolumesOptions,
};
use futures_util::future::join_all;

use super::{
    Inner,
    describe::expiry_time,
    engine::{is_missing, text},
    labels,
};
use crate::{
    model::timestamp::Timestamp,
    runtime::{ErrorKind, RuntimeError},
};

/// The beginning of the names of these volumes.
pub(super) const PREFIX: &str = "opensandbox-expiry-";

/// What one of the volumes says.
#[derive(Debug, PartialEq)]
struct Told {
    volume: String,
    /// When it was told, in Unix milliseconds.
    at: i64,
    expires_at: Timestamp,
}

impl Told {
    fn of(volume: &Volume) -> Option<Self> {
        Some(Self {
            volume: volume.name.clone(),
            at: labels::value(&volume.labels, labels::MOVED_AT)?.parse().ok()?,
            expires_at: expiry_time(labels::value(&volume.labels, labels::EXPIRES_AT)?)?,
        })
    }
}

impl Inner {
    /// The latest time that was told of a sandbox by any gateway.
    ///
    /// # Errors
    /// The engine cannot be asked, or what was told cannot be understood.
    pub(super) async fn told_expiry(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        let mut newest: Option<Told> = None;
        for volume in self.told_volumes(Some(id)).await? {
            let told = Told::of(&volume).ok_or_else(|| {
                std::io::Error::other(format!("the labels of the volume '{}' cannot be understood", volume.name))
            })?;
            if newest.as_ref().is_none_or(|newest| told.at > newest.at) {
                newest = Some(told);
            }
        }
        Ok(newest.map(|told| told.expires_at))
    }

    /// Tells other gateways when a sandbox ends, if one of them might end it before.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFailed`]: the engine cannot be asked, or cannot make the volume.
    pub(super) async fn tell_expiry(
        &self,
        id: &str,
        created_by: Option<&str>,
        time: Timestamp,
    ) -> Result<(), RuntimeError> {
        let failed = |error: Error| {
            let text = format!(
                "The expiry of sandbox {id} could not be told to other gateways, so it was not moved: {}",
                text(&error)
            );
            RuntimeError::new(ErrorKind::StoreFailed, text)
        };
        let (before, is_alone) = tokio::join!(self.told_volumes(Some(id)), self.is_alone_with(id, created_by));
        let before = before.map_err(failed)?;
        if is_alone && before.is_empty() {
            return Ok(());
        }
        let at = jiff::Timestamp::now().as_millisecond();
        // Later than any before, whatever other machines' clocks say.
        let at = before.iter().filter_map(Told::of).map(|told| told.at.saturating_add(1)).fold(at, i64::max);
        let told = [
            (labels::EXPIRY_OF, id.to_owned()),
            (labels::EXPIRES_AT, time.to_label()),
            (labels::MOVED_AT, at.to_string()),
        ];
        let request = VolumeCreateRequest {
            name: Some(format!("{PREFIX}{id}-{at}")),
            labels: Some(told.map(|(key, value)| (key.to_owned(), value)).into()),
            ..Default::default()
        };
        self.engine.within(self.engine.api.create_volume(request)).await.map_err(failed)?;
        self.remove_told(id, &before).await;
        Ok(())
    }

    /// Whether no other gateway ends this sandbox: this home owns the engine, and no other created the sandbox.
    async fn is_alone_with(&self, id: &str, created_by: Option<&str>) -> bool {
        let is_another_s = created_by.is_some() && !self.owner.has_created(id, created_by);
        !is_another_s && self.stand().await == super::owner::Standing::Owner
    }

    /// Removes what was told of a sandbox that is gone. Trouble is only logged.
    pub(super) async fn forget_told(&self, id: &str) {
        match self.told_volumes(Some(id)).await {
            Ok(volumes) => self.remove_told(id, &volumes).await,
            Err(error) => {
                tracing::warn!(sandbox = id, %error, "volumes that tell of a removed sandbox's expiry may stay")
            }
        }
    }

    async fn remove_told(&self, id: &str, volumes: &[Volume]) {
        let removals = volumes.iter().map(|volume| async {
            match self.engine.remove_volume(&volume.name).await {
                Err(error) if !is_missing(&error) => {
                    tracing::warn!(sandbox = id, volume = volume.name, %error, "a volume that tells of an expiry stays");
                }
                _ => {}
            }
        });
        join_all(removals).await;
    }

    /// The volumes that tell of one sandbox, or of all.
    pub(super) async fn told_volumes(&self, id: Option<&str>) -> Result<Vec<Volume>, Error> {
        let key = labels::EXPIRY_OF;
        let filter = id.map_or_else(|| key.to_owned(), |id| format!("{key}={id}"));
        let options = ListVolumesOptions { filters: Some([("label".to_owned(), vec![filter])].into()) };
        let found = self.engine.within(self.engine.api.list_volumes(Some(options))).await?;
        let mut volumes = found.volumes.unwrap_or_default();
        // A volume of another name is not a gateway's.
        volumes.retain(|volume| volume.name.starts_with(PREFIX));
        Ok(volumes)
    }
}
