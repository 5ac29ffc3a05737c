//! Removing a snapshot: its state first, then its image, then its record.

use super::{Shared, reference_of};
use crate::{
    error::{Error, Family, Kind},
    error_chain,
    model::snapshot::{Snapshot, SnapshotState, SnapshotStatus},
    store::{Change, Record},
};

impl Shared {
    /// Removes a snapshot. One whose image is in use becomes again what it was.
    pub(super) async fn delete(&self, id: &str) -> Result<(), Error> {
        // Before the lock: that of a snapshot that is being made is held for long.
        refuse_creating(&self.find(id).await?)?;
        let _lock = self.snapshots.lock(id).await;
        let record = self.find(id).await?;
        refuse_creating(&record)?;
        let reference = reference_of(&record);
        let Record { snapshot, image, .. } = record;
        self.mark_deleting(&snapshot).await?;
        match self.remove_made(&reference, image.as_deref()).await {
            Ok(()) => {
                tracing::info!(snapshot = id, "removed a snapshot");
                self.forget(&snapshot).await?;
                Ok(())
            }
            Err(error) if error.key() == (Family::SnapshotRemoval, Kind::InUse) => {
                self.put_back(snapshot).await;
                Err(error)
            }
            // Half of it may be done: the recovery does the rest.
            Err(error) => Err(error),
        }
    }

    async fn mark_deleting(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let Snapshot { id, status, .. } = snapshot;
        if status.state == SnapshotState::Deleting {
            return Ok(());
        }
        let text = "Snapshot deletion requested.";
        let status_now = SnapshotStatus::now(SnapshotState::Deleting, "snapshot_delete_requested", text);
        let change = Change { status: status_now, image: None };
        if self.store.change(id, status.state, &change).await? {
            return Ok(());
        }
        let text = format!("Snapshot {id} changed state and cannot be deleted");
        Err(Error::new(Family::SnapshotRemoval, Kind::Conflict, text))
    }

    /// Makes a snapshot again what it was before its removal was asked for.
    async fn put_back(&self, snapshot: Snapshot) {
        if snapshot.status.state == SnapshotState::Deleting {
            return;
        }
        let change = Change { status: snapshot.status, image: None };
        if let Err(error) = self.store.change(&snapshot.id, SnapshotState::Deleting, &change).await {
            tracing::warn!(
                snapshot = snapshot.id,
                error = error_chain::text(&error),
                "a snapshot stays in the state Deleting and is removed later"
            );
        }
    }
}

fn refuse_creating(Record { snapshot, .. }: &Record) -> Result<(), Error> {
    if snapshot.status.state != SnapshotState::Creating {
        return Ok(());
    }
    let text = format!("Snapshot {} is still being created and cannot be deleted", snapshot.id);
    Err(Error::new(Family::SnapshotRemoval, Kind::Conflict, text))
}
