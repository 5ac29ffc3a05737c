//! Snapshots that another program makes: asking for one, waiting for it, and what whoever reads a record finds out.
//!
//! The record is older than the request here too. A request without a record, which a server that ends in between would leave
//! the other way round, would be found by nobody; a record without a request is found by the recovery.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use super::{Shared, of, recovery::age};
use crate::{
    error::Error,
    error_chain,
    keyed_lock::KeyedGuard,
    model::snapshot::{Snapshot, SnapshotState, SnapshotStatus},
    runtime::{SnapshotMaker, SnapshotOf, SnapshotProgress, SnapshotRequests},
    store::{Change, Record, StoreError},
    telemetry::rate_limit::{Due, RateLimit},
};

/// How many snapshots are waited for at the same time; the rest is found out by those who read them and by the recovery.
pub(super) const MAX_FOLLOWED: usize = 1000;

/// How old a record must be that nobody was asked for, to be given up: another server may be about to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a reader waits for what became of snapshots; of a whole page, so long for all.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How many snapshots of a page are looked at together.
const LOOKS: usize = 16;

/// How long whoever asked in vain waits until nothing is left of it.
const WITHDRAWAL_PATIENCE: Duration = Duration::from_secs(2);

impl Shared {
    /// Records a snapshot and asks for it. What cannot be asked for leaves no record.
    pub(super) async fn request(
        self: Arc<Self>,
        requests: Arc<dyn SnapshotRequests>,
        record: Record,
    ) -> Result<Snapshot, Error> {
        let of = of(&record);
        requests.check(&of).await?;
        let lock = self.snapshots.lock(&of.id).await;
        self.store.insert(&record).await?;
        if let Err(error) = requests.request(&of).await {
            let work = Arc::clone(&self).withdraw(requests, of, lock);
            let withdrawn = self.tasks.spawn(work.in_current_span());
            // What takes longer goes on.
            let _ = timeout(WITHDRAWAL_PATIENCE, withdrawn).await;
            return Err(error);
        }
        drop(lock);
        tracing::info!(snapshot = of.id, sandbox = of.sandbox, "a snapshot was asked for");
        self.follow(&requests, of);
        Ok(record.snapshot)
    }

    /// Takes back what failed to be asked for: it may have been heard all the same. What is not done now the recovery does.
    async fn withdraw(self: Arc<Self>, requests: Arc<dyn SnapshotRequests>, of: SnapshotOf, _lock: KeyedGuard) {
        let work = async {
            let text = "Snapshot creation failed, and is taken back.";
            let status = SnapshotStatus::now(SnapshotState::Deleting, "snapshot_delete_requested", text);
            self.store.change(&of.id, SnapshotState::Creating, &Change { status, image: None }).await?;
            requests.withdraw(&of).await?;
            Ok::<_, Error>(self.store.remove(&of.id).await?)
        };
        let done = tokio::select! {
            done = work => done,
            () = self.stop.cancelled() => return,
        };
        if let Err(error) = done {
            let error = error_chain::text(&error);
            tracing::warn!(snapshot = of.id, error, "a snapshot that failed is removed later");
        }
    }

    /// Waits for a snapshot in a task of its own, and writes down how it ended; nothing if somebody does already.
    pub(super) fn follow(self: &Arc<Self>, requests: &Arc<dyn SnapshotRequests>, of: SnapshotOf) {
        let Some(lock) = self.followed.try_lock(&of.id) else { return };
        let Ok(permit) = Arc::clone(&self.followers).try_acquire_owned() else { return };
        let (shared, requests) = (Arc::clone(self), Arc::clone(requests));
        let work = async move {
            let _held = (lock, permit);
            let ended = tokio::select! {
                ended = requests.ended(&of) => ended,
                () = shared.stop.cancelled() => return,
            };
            match ended.map(change) {
                Ok(Some(change)) => {
                    tracing::info!(snapshot = of.id, state = change.status.state.name(), "a snapshot has ended");
                    shared.write_down(&of, &change).await;
                }
                Ok(None) => {}
                Err(error) => {
                    let error = error_chain::text(&error);
                    tracing::warn!(snapshot = of.id, error, "a snapshot cannot be waited for: it is looked at later");
                }
            }
        };
        self.tasks.spawn(work.in_current_span());
    }

    /// A record as it is now: a snapshot that another program makes is looked at. What cannot be told soon stays as it was.
    /// None if the record is gone.
    pub(super) async fn refreshed(&self, record: Record) -> Result<Option<Record>, StoreError> {
        self.refreshed_by(record, Instant::now() + LOOK_TIMEOUT).await
    }

    /// The same of all records of a page, without those that are gone.
    pub(super) async fn refreshed_all(&self, records: Vec<Record>) -> Result<Vec<Snapshot>, StoreError> {
        let due = Instant::now() + LOOK_TIMEOUT;
        let all = stream::iter(records).map(|record| self.refreshed_by(record, due)).buffered(LOOKS);
        let all: Vec<_> = all.try_collect().await?;
        Ok(all.into_iter().flatten().map(|record| record.snapshot).collect())
    }

    async fn refreshed_by(&self, record: Record, due: Instant) -> Result<Option<Record>, StoreError> {
        let SnapshotMaker::Elsewhere(requests) = &self.maker else { return Ok(Some(record)) };
        if record.snapshot.status.state != SnapshotState::Creating {
            return Ok(Some(record));
        }
        let of = of(&record);
        let change = match timeout_at(due, requests.look(&of)).await {
            Ok(Ok(progress)) => certain(&record.snapshot, progress),
            Ok(Err(error)) => {
                tell_unseen(&error);
                None
            }
            Err(_) => None,
        };
        let Some(change) = change else { return Ok(Some(record)) };
        self.settle(&of, &change).await?;
        self.store.get(&of.id).await
    }

    /// Goes on with a snapshot that an earlier server, or another one, has asked for.
    pub(super) async fn recover_requested(
        self: &Arc<Self>,
        requests: &Arc<dyn SnapshotRequests>,
        record: Record,
    ) -> Result<(), StoreError> {
        let of = of(&record);
        match requests.look(&of).await {
            Ok(SnapshotProgress::UnderWay) => self.follow(requests, of),
            Ok(progress) => {
                if let Some(change) = certain(&record.snapshot, progress) {
                    let state = change.status.state.name();
                    tracing::info!(snapshot = of.id, state, "recovered an unfinished snapshot");
                    self.settle(&of, &change).await?;
                }
            }
            Err(error) => tell_unseen(&error),
        }
        Ok(())
    }
}

/// What a snapshot becomes by how far it is; nothing as long as that may change. One that is missing may be about to be asked
/// for, unless its record is old.
fn certain(snapshot: &Snapshot, progress: SnapshotProgress) -> Option<Change> {
    let may_come = matches!(progress, SnapshotProgress::Missing { .. }) && age(snapshot) < REQUEST_TIMEOUT;
    if may_come { None } else { change(progress) }
}

fn change(progress: SnapshotProgress) -> Option<Change> {
    let (state, reason, message, image) = match progress {
        SnapshotProgress::UnderWay => return None,
        SnapshotProgress::Ready { image, message } => {
            (SnapshotState::Ready, "snapshot_runtime_ready".to_owned(), message, Some(image))
        }
        SnapshotProgress::Failed { reason, message } => (SnapshotState::Failed, reason, message, None),
        SnapshotProgress::Missing { message } => {
            (SnapshotState::Failed, "snapshot_recovery_missing_snapshot".to_owned(), message, None)
        }
    };
    Some(Change { status: SnapshotStatus::now(state, &reason, message), image })
}

/// Tells the log that snapshots are shown as they were recorded: once in a while, since each reader finds it.
fn tell_unseen(error: &Error) {
    static TOLD: RateLimit = RateLimit::new();
    if let Some(Due { left_out }) = TOLD.due("snapshots") {
        let error = error_chain::text(error);
        tracing::warn!(error, left_out, "unfinished snapshots could not be looked at yet");
    }
}
