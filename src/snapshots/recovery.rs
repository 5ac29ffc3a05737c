//! What an earlier server has left unfinished, and what could not be finished at first (docker-runtime.md §15).

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};

use super::{Shared, reference_of};
use crate::{
    error::{Family, Kind},
    error_chain,
    model::{
        sandbox::State,
        snapshot::{Snapshot, SnapshotState, SnapshotStatus},
        timestamp::Timestamp,
    },
    runtime::{SnapshotImages, SnapshotMaker},
    store::{Change, Record, StoreError},
};

/// How many snapshots that another program makes are looked at together: an API server that hangs holds each up for 40 s.
const LOOKS: usize = 8;

/// Looks for unfinished snapshots until the shutdown.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        if let Err(error) = shared.recover_all().await {
            tracing::warn!(
                error = error_chain::text(&error),
                "unfinished snapshots could not be looked for; trying again"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(shared.options.interval) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

impl Shared {
    async fn recover_all(self: &Arc<Self>) -> Result<(), StoreError> {
        let ids = self.store.unfinished([SnapshotState::Creating, SnapshotState::Deleting]).await?;
        let together = match self.maker {
            SnapshotMaker::Here(_) => 1,
            SnapshotMaker::Elsewhere(_) => LOOKS,
        };
        let each = |id: String| async move {
            if self.stop.is_cancelled() {
                return;
            }
            // One that fails keeps none of the others from being finished.
            if let Err(error) = self.recover_one(&id).await {
                let error = error_chain::text(&error);
                tracing::warn!(snapshot = id, error, "an unfinished snapshot's record could not be used yet");
            }
        };
        stream::iter(ids).for_each_concurrent(together, each).await;
        Ok(())
    }

    async fn recover_one(self: &Arc<Self>, id: &str) -> Result<(), StoreError> {
        // Somebody in this process works on it otherwise.
        let Some(_lock) = self.snapshots.try_lock(id) else { return Ok(()) };
        // Again, since only under the lock it stays as it is.
        let Some(record) = self.store.get(id).await? else { return Ok(()) };
        match self.maker {
            SnapshotMaker::Here(_) => self.recover(record).await,
            // Nothing of it is done half, and the end of the program does not wait for an API server.
            SnapshotMaker::Elsewhere(_) => tokio::select! {
                done = self.recover(record) => done,
                () = self.stop.cancelled() => Ok(()),
            },
        }
    }

    async fn recover(self: &Arc<Self>, record: Record) -> Result<(), StoreError> {
        match record.snapshot.status.state {
            SnapshotState::Creating => match &self.maker {
                SnapshotMaker::Here(images) => self.recover_creating(&**images, record).await,
                SnapshotMaker::Elsewhere(requests) => self.recover_requested(requests, record).await,
            },
            SnapshotState::Deleting => self.recover_deleting(record).await,
            SnapshotState::Ready | SnapshotState::Failed => Ok(()),
        }
    }

    async fn recover_creating(&self, images: &dyn SnapshotImages, record: Record) -> Result<(), StoreError> {
        let reference = reference_of(&record);
        let snapshot = record.snapshot;
        if !self.is_left_over(&snapshot) {
            return Ok(());
        }
        // Before the image is looked for: it appears before the sandbox goes on.
        let is_under_way = self.may_be_under_way(&snapshot).await;
        let change = match images.committed(&snapshot.id).await {
            Ok(Some(image)) => recovered(image),
            Ok(None) if is_under_way => return Ok(()),
            Ok(None) => interrupted(),
            Err(error) => {
                tracing::warn!(
                    snapshot = snapshot.id,
                    error = error_chain::text(&error),
                    "an unfinished snapshot could not be looked at yet"
                );
                return Ok(());
            }
        };
        tracing::info!(snapshot = snapshot.id, state = change.status.state.name(), "recovered an unfinished snapshot");
        self.settle(&reference, &change).await
    }

    /// Whether the snapshot is no living server's: begun before this one, or so long ago that its time is over.
    fn is_left_over(&self, snapshot: &Snapshot) -> bool {
        snapshot.created_at < self.started || age(snapshot) > self.options.timeout
    }

    /// Whether the runtime may still be making what an earlier server asked for: it keeps the sandbox paused meanwhile.
    async fn may_be_under_way(&self, snapshot: &Snapshot) -> bool {
        if age(snapshot) > self.options.timeout {
            return false;
        }
        match self.runtime.get(&snapshot.sandbox_id).await {
            Ok(source) => source.status.state == State::Paused,
            Err(error) if error.is_sandbox_missing() => false,
            // That it cannot be told now is no reason to give the snapshot up.
            Err(error) => {
                tracing::warn!(
                    snapshot = snapshot.id,
                    error = error_chain::text(&error),
                    "an unfinished snapshot's sandbox could not be looked at yet"
                );
                true
            }
        }
    }

    async fn recover_deleting(&self, record: Record) -> Result<(), StoreError> {
        let reference = reference_of(&record);
        let id = &reference.id;
        match self.remove_made(&reference, record.image.as_deref()).await {
            Ok(()) => {
                if self.forget(&record.snapshot).await? {
                    tracing::info!(snapshot = id, "finished the removal of a snapshot");
                }
                Ok(())
            }
            Err(error) if error.key() == (Family::SnapshotRemoval, Kind::InUse) => {
                tracing::debug!(snapshot = id, "a snapshot that is to be removed is still in use");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(snapshot = id, error = error_chain::text(&error), "a snapshot could not be removed yet");
                Ok(())
            }
        }
    }
}

/// How long ago the snapshot was asked for.
pub(super) fn age(snapshot: &Snapshot) -> Duration {
    let age = Timestamp::now().to_jiff().duration_since(snapshot.created_at.to_jiff());
    Duration::try_from(age).unwrap_or_default()
}

fn recovered(image: String) -> Change {
    let text = "Recovered snapshot image after server restart.";
    let status = SnapshotStatus::now(SnapshotState::Ready, "snapshot_recovery_ready", text);
    Change { status, image: Some(image) }
}

fn interrupted() -> Change {
    let text = "Snapshot creation was interrupted and no snapshot image was found.";
    let status = SnapshotStatus::now(SnapshotState::Failed, "snapshot_recovery_missing_image", text);
    Change { status, image: None }
}
