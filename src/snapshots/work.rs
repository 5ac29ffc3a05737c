//! Making a snapshot: the record, the wait for a worker, the copy, and what is written down of it.

use std::sync::Arc;

use tracing::Instrument;

use super::{Shared, reference_of};
use crate::{
    error::{Error, Family, Kind},
    error_chain,
    keyed_lock::KeyedGuard,
    model::snapshot::{Snapshot, SnapshotState, SnapshotStatus},
    runtime::{SnapshotImages, SnapshotMaker, SnapshotRef},
    store::{Change, Record, StoreError},
};

impl Shared {
    /// Records a snapshot and sets out to make it.
    pub(super) async fn begin(self: Arc<Self>, record: Record) -> Result<Snapshot, Error> {
        let images = match self.maker.clone() {
            SnapshotMaker::Here(images) => images,
            SnapshotMaker::Elsewhere(requests) => return self.request(requests, record).await,
        };
        let reference = reference_of(&record);
        let lock = self.snapshots.lock(&reference.id).await;
        self.store.insert(&record).await?;
        tracing::info!(snapshot = reference.id, sandbox = reference.sandbox, "a snapshot was asked for");
        let work = Arc::clone(&self).make(images, reference, lock);
        self.tasks.spawn(work.in_current_span());
        Ok(record.snapshot)
    }

    /// Makes a snapshot when its turn comes. A shutdown before that leaves it to the recovery.
    async fn make(self: Arc<Self>, images: Arc<dyn SnapshotImages>, reference: SnapshotRef, _lock: KeyedGuard) {
        let made = {
            // The sandbox first: a second snapshot of it must not keep a worker from others.
            let source = tokio::select! {
                source = self.sources.lock(&reference.sandbox) => source,
                () = self.stop.cancelled() => return,
            };
            let Ok(worker) = self.workers.acquire().await else { return };
            let made = images.commit(&reference.sandbox, &reference.id).await;
            drop((worker, source));
            made
        };
        let change = outcome(made);
        tracing::info!(snapshot = reference.id, state = change.status.state.name(), "a snapshot's work has ended");
        self.write_down(&reference, &change).await;
    }

    /// Writes down how a snapshot ended, however long that takes: until a shutdown, after which the recovery finds out.
    pub(super) async fn write_down(&self, reference: &SnapshotRef, change: &Change) {
        while let Err(error) = self.settle(reference, change).await {
            tracing::warn!(
                snapshot = reference.id,
                error = error_chain::text(&error),
                "how a snapshot ended cannot be recorded yet"
            );
            tokio::select! {
                () = tokio::time::sleep(self.options.interval) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Ends the state Creating. If the record is gone, so must be the image.
    pub(super) async fn settle(&self, reference: &SnapshotRef, change: &Change) -> Result<(), StoreError> {
        let id = reference.id.as_str();
        if self.store.change(id, SnapshotState::Creating, change).await? || self.store.get(id).await?.is_some() {
            return Ok(());
        }
        tracing::warn!(snapshot = id, "a snapshot's record vanished while it was made; its image is removed");
        if let Err(error) = self.remove_made(reference, change.image.as_deref()).await {
            tracing::warn!(
                snapshot = id,
                error = error_chain::text(&error),
                "the image of a snapshot without a record stays"
            );
        }
        Ok(())
    }
}

/// What a snapshot becomes.
fn outcome(made: Result<String, Error>) -> Change {
    let failed = |reason, error: Error| Change {
        status: SnapshotStatus::now(SnapshotState::Failed, reason, error.message),
        image: None,
    };
    match made {
        Ok(image) => {
            let text = "Docker snapshot image created successfully.";
            let status = SnapshotStatus::now(SnapshotState::Ready, "snapshot_runtime_ready", text);
            Change { status, image: Some(image) }
        }
        Err(error) if error.key() == (Family::Snapshot, Kind::TimedOut) => failed("snapshot_runtime_timeout", error),
        Err(error) => failed("snapshot_runtime_failed", error),
    }
}
