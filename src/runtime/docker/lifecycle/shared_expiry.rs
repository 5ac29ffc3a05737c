//! Renewed expiries that other gateways must know of, shared through the engine.
//!
//! Usually a moved expiry is in a file of this home, and nobody else ends the sandbox. If another gateway would, because
//! the engine is another home's ([`super::owner`]) or because another home created or renewed the sandbox, the expiry is
//! stored there too: as an empty volume whose labels hold the sandbox and the time. A gateway that is about to end a
//! sandbox looks for those, and lets it live to the latest time that it knows of. The Python server does not look.
//!
//! These volumes can be pruned. The gateway that made one makes it again, see [`Inner::share_again`]. Where calls on volumes
//! are refused, expiries are not shared ([`super::owner::permits`]).
//!
//! Each renewal makes a volume of its own before it removes those of renewals before, so that there is one at any time.

use std::collections::HashMap;

use bollard::{
    errors::Error as EngineError,
    models::{Volume, VolumeCreateRequest},
    query_parameters::ListVolumesOptions,
};
use futures_util::future::join_all;
use uuid::Uuid;

use super::owner::permits::Call;
use crate::runtime::docker::{
    Inner,
    engine::{Cause, is_missing, labels, names::EXPIRY_PREFIX, text},
    state::{find::query_failed, view::expiry_time},
};
use crate::{
    error::{Error, Family, Kind},
    model::timestamp::Timestamp,
};

/// The time of an expiry that is shared again: when it was shared first is no longer known.
const AGAIN: i64 = 0;

/// What stands between the sandbox and a random id in the name of such a volume.
const NAMED_AGAIN: &str = "-again-";

/// What one of the volumes says.
#[derive(Debug, PartialEq)]
struct SharedExpiry {
    volume: String,
    /// When it was shared first, in Unix milliseconds; or [`AGAIN`].
    at: i64,
    expires_at: Timestamp,
}

impl SharedExpiry {
    fn of(volume: &Volume) -> Option<Self> {
        Some(Self {
            volume: volume.name.clone(),
            at: labels::value(&volume.labels, labels::MOVED_AT)?.parse().ok()?,
            expires_at: expiry_time(labels::value(&volume.labels, labels::EXPIRES_AT)?)?,
        })
    }

    /// Whether this overrides `other`. An expiry that was shared again is overridden by any renewal.
    fn counts_before(&self, other: &Self) -> bool {
        (self.at, self.expires_at) > (other.at, other.expires_at)
    }
}

/// Whether a volume of this name was made by [`Inner::share_again`].
pub(in crate::runtime::docker) fn is_again(volume: &str) -> bool {
    volume.starts_with(EXPIRY_PREFIX) && volume.contains(NAMED_AGAIN)
}

impl Inner {
    /// The latest expiry of a sandbox that any gateway has shared.
    ///
    /// # Errors
    /// The engine cannot be asked, or a volume's labels cannot be understood.
    pub(super) async fn shared_expiry(&self, id: &str) -> Result<Option<Timestamp>, EngineError> {
        let mut newest: Option<SharedExpiry> = None;
        for volume in self.shared_volumes(Some(id)).await? {
            let shared = SharedExpiry::of(&volume).ok_or_else(|| {
                std::io::Error::other(format!("the labels of the volume '{}' cannot be understood", volume.name))
            })?;
            if newest.as_ref().is_none_or(|newest| shared.counts_before(newest)) {
                newest = Some(shared);
            }
        }
        Ok(newest.map(|shared| shared.expires_at))
    }

    /// Shares when a sandbox ends, if another gateway might end it before.
    ///
    /// # Errors
    /// [`Family::Expiry`] and [`Kind::Failed`]: the engine cannot be asked, or cannot make the volume.
    pub(super) async fn share_expiry(&self, id: &str, created_by: Option<&str>, time: Timestamp) -> Result<(), Error> {
        let failed = |error: EngineError| {
            let text = format!(
                "The expiry of sandbox {id} could not be told to other gateways, so it was not moved: {}",
                text(&error)
            );
            Error::new(Family::Expiry, Kind::Failed, text).caused_by(Cause(error))
        };
        let (before, is_alone) = tokio::join!(self.shared_volumes(Some(id)), self.is_alone_with(id, created_by));
        let before = before.map_err(failed)?;
        if is_alone && before.is_empty() {
            return Ok(());
        }
        let at = jiff::Timestamp::now().as_millisecond();
        // Later than all before, even if another machine's clock is ahead.
        let at =
            before.iter().filter_map(SharedExpiry::of).map(|shared| shared.at.saturating_add(1)).fold(at, i64::max);
        if self.make_shared(id, at, time).await.map_err(failed)? {
            self.remove_shared(id, &before).await;
        } else if self.owner.is_foreign() {
            let text = format!(
                "The expiry of sandbox {id} was not moved: another gateway's home owns the engine, and cannot be told since \
                 new volumes are refused here."
            );
            return Err(Error::new(Family::Expiry, Kind::Failed, text));
        }
        Ok(())
    }

    /// Whether no other gateway ends this sandbox: this home owns the engine, and no other created the sandbox.
    async fn is_alone_with(&self, id: &str, created_by: Option<&str>) -> bool {
        !self.is_another_s(id, created_by) && self.stand().await.ends_all()
    }

    fn is_another_s(&self, id: &str, created_by: Option<&str>) -> bool {
        created_by.is_some() && !self.owner.has_created(id, created_by)
    }

    /// Makes the volume of an expiry; `at` is [`AGAIN`] for one that was shared before. Returns whether calls on volumes are
    /// permitted.
    async fn make_shared(&self, id: &str, at: i64, time: Timestamp) -> Result<bool, EngineError> {
        let name = match at {
            AGAIN => format!("{EXPIRY_PREFIX}{id}{NAMED_AGAIN}{}", Uuid::new_v4()),
            at => format!("{EXPIRY_PREFIX}{id}-{at}"),
        };
        let shared = [
            (labels::EXPIRY_OF, id.to_owned()),
            (labels::EXPIRES_AT, time.to_label()),
            (labels::MOVED_AT, at.to_string()),
        ];
        let request = VolumeCreateRequest {
            name: Some(name),
            labels: Some(shared.map(|(key, value)| (key.to_owned(), value)).into()),
            ..Default::default()
        };
        let made = self.engine.within(self.engine.api.create_volume(request)).await;
        Ok(self.owner.permits.judge(Call::Create, made)?.is_some())
    }

    /// Shares again the expiries of this home whose volumes are gone from the engine. Of several homes that moved the expiry
    /// of one sandbox, the latest time then counts.
    ///
    /// # Errors
    /// The engine cannot be asked, or a volume could not be made.
    pub(super) async fn share_again(&self) -> Result<(), Error> {
        let Some(volumes) = self.listed(None).await.map_err(query_failed)? else { return Ok(()) };
        let mut shared: HashMap<&str, SharedExpiry> = HashMap::new();
        for volume in &volumes {
            if let (Some(id), Some(next)) = (labels::value(&volume.labels, labels::EXPIRY_OF), SharedExpiry::of(volume))
                && shared.get(id).is_none_or(|before| next.counts_before(before))
            {
                shared.insert(id, next);
            }
        }
        let ends_all = self.stand().await.ends_all();
        for (id, overlay) in self.overlays().await {
            let shared = shared.get(id.as_str());
            let is_due = |time: Timestamp| shared.is_none_or(|shared| shared.at == AGAIN && shared.expires_at < time);
            let is_moved = overlay.expires_at.is_some_and(|time| time > Timestamp::now() && is_due(time));
            if !is_moved || self.cache.lacks(&id) {
                continue;
            }
            let created_by = match self.inspect_cached(&id).await {
                Ok(view) => view.created_by.clone(),
                Err(error) if error.key() == (Family::Sandbox, Kind::NotFound) => continue,
                Err(error) => return Err(error),
            };
            if shared.is_none() && ends_all && !self.is_another_s(&id, created_by.as_deref()) {
                continue;
            }
            let _lock = self.change_locks.lock(&id).await;
            // Gone with the sandbox, if that was removed meanwhile.
            if let Ok(Some(time)) = self.moved_expiry(&id).await
                && self.has_moved(&id).await
                && self.make_shared(&id, AGAIN, time).await.map_err(query_failed)?
            {
                tracing::info!(sandbox = id, "told the sandbox's moved expiry again, which was gone from the engine");
            }
        }
        Ok(())
    }

    /// Removes the volumes of a sandbox that is gone. A failure is only logged.
    pub(super) async fn forget_shared(&self, id: &str) {
        match self.shared_volumes(Some(id)).await {
            Ok(volumes) => self.remove_shared(id, &volumes).await,
            Err(error) => {
                tracing::warn!(sandbox = id, %error, "volumes that tell of a removed sandbox's expiry may stay")
            }
        }
    }

    async fn remove_shared(&self, id: &str, volumes: &[Volume]) {
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

    /// The volumes of one sandbox, or of all; none where calls on volumes are refused.
    pub(super) async fn shared_volumes(&self, id: Option<&str>) -> Result<Vec<Volume>, EngineError> {
        Ok(self.listed(id).await?.unwrap_or_default())
    }

    /// The same; `None` where calls on volumes are refused.
    async fn listed(&self, id: Option<&str>) -> Result<Option<Vec<Volume>>, EngineError> {
        let key = labels::EXPIRY_OF;
        let filter = id.map_or_else(|| key.to_owned(), |id| format!("{key}={id}"));
        let options = ListVolumesOptions { filters: Some([("label".to_owned(), vec![filter])].into()) };
        let found = self.engine.within(self.engine.api.list_volumes(Some(options))).await;
        let Some(found) = self.owner.permits.judge(Call::List, found)? else { return Ok(None) };
        let mut volumes = found.volumes.unwrap_or_default();
        // A volume of another name is not a gateway's.
        volumes.retain(|volume| volume.name.starts_with(EXPIRY_PREFIX));
        Ok(Some(volumes))
    }
}
