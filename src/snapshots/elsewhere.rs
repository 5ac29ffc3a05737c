//! Snapshots that another program makes: asking for one, waiting for it, and what whoever reads a record finds out.
//!
//! The record is older than the request here too. A request without a record, which a server that ends in between would leave
//! the other way round, would be found by nobody; a record without a request is found by the recovery. So a record whose
//! request may be heard late outlives it, and readers of this process leave what is being asked for alone.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Instrument;

use super::{Shared, acceptance, recovery::age, reference_of};
use crate::{
    error::{Error, Family, Kind},
    error_chain,
    keyed_lock::KeyedGuard,
    model::snapshot::{Snapshot, SnapshotState, SnapshotStatus},
    runtime::{RequestFailure, SnapshotMaker, SnapshotProgress, SnapshotRef, SnapshotRequests},
    store::{Change, Record, StoreError},
    telemetry::rate_limit::{Due, RateLimit},
};

/// How many snapshots are waited for at the same time; the rest is found out by those who read them and by the recovery.
pub(super) const MAX_FOLLOWED: usize = 1000;

/// How old a record must be that nobody was asked for, to be given up: a server may be about to ask. A call of the API server
/// takes 40 s at most, the wait for its turn included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a reader waits for what became of snapshots; of a whole page, so long for all.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How many snapshots of a page are looked at together.
const LOOKS: usize = 16;

/// How long whoever asked in vain waits until nothing is left of it.
const WITHDRAWAL_PATIENCE: Duration = Duration::from_secs(2);

/// The reason of a record that is being removed and whose request may be heard yet.
pub(super) const UNCONFIRMED: &str = "snapshot_request_unconfirmed";

impl Shared {
    /// Records a snapshot and asks for it. What cannot be asked for leaves no record, or one that is being removed.
    pub(super) async fn request(
        self: Arc<Self>,
        requests: Arc<dyn SnapshotRequests>,
        mut record: Record,
    ) -> Result<Snapshot, Error> {
        record.owner.namespace.get_or_insert_with(|| requests.home());
        let reference = reference_of(&record);
        requests.check(&reference).await?;
        // Not before the check, which may take long: others tell by a record's age whether it was asked for.
        (record.snapshot.status, record.snapshot.created_at) = acceptance();
        let lock = self.snapshots.lock(&reference.id).await;
        self.store.insert(&record).await?;
        if let Err(RequestFailure { error, may_be_heard }) = requests.request(&reference).await {
            let work = Arc::clone(&self).withdraw(requests, reference, may_be_heard, lock);
            let withdrawn = self.tasks.spawn(work.in_current_span());
            // What takes longer goes on.
            let _ = timeout(WITHDRAWAL_PATIENCE, withdrawn).await;
            return Err(error);
        }
        drop(lock);
        tracing::info!(snapshot = reference.id, sandbox = reference.sandbox, "a snapshot was asked for");
        self.follow(&requests, reference);
        Ok(record.snapshot)
    }

    /// Takes back what failed to be asked for. What is not done now the recovery does.
    async fn withdraw(
        self: Arc<Self>,
        requests: Arc<dyn SnapshotRequests>,
        reference: SnapshotRef,
        may_be_heard: bool,
        _lock: KeyedGuard,
    ) {
        let work = async {
            let reason = if may_be_heard { UNCONFIRMED } else { "snapshot_delete_requested" };
            let text = "Snapshot creation failed, and is taken back.";
            let change = Change { status: SnapshotStatus::now(SnapshotState::Deleting, reason, text), image: None };
            if !self.store.change(&reference.id, SnapshotState::Creating, &change).await? {
                // Another server has found that it was heard, and written down what became of it.
                return Ok::<_, Error>(());
            }
            if may_be_heard {
                // The record stays: the request may come behind its withdrawal.
                return requests.withdraw(&reference).await;
            }
            Ok(self.store.remove(&reference.id).await?)
        };
        let done = tokio::select! {
            done = work => done,
            () = self.stop.cancelled() => return,
        };
        if let Err(error) = done {
            let error = error_chain::text(&error);
            tracing::warn!(snapshot = reference.id, error, "a snapshot that failed is removed later");
        }
    }

    /// Removes the record of a snapshot of which nothing is left, unless its request may be heard yet; answers whether.
    pub(super) async fn forget(&self, snapshot: &Snapshot) -> Result<bool, StoreError> {
        if snapshot.status.reason.as_deref() == Some(UNCONFIRMED) && age(snapshot) < REQUEST_TIMEOUT {
            return Ok(false);
        }
        self.store.remove(&snapshot.id).await?;
        Ok(true)
    }

    /// Waits for a snapshot in a task of its own, and writes down how it ended; nothing if somebody does already.
    pub(super) fn follow(self: &Arc<Self>, requests: &Arc<dyn SnapshotRequests>, reference: SnapshotRef) {
        let Some(lock) = self.followed.try_lock(&reference.id) else { return };
        let Ok(permit) = Arc::clone(&self.followers).try_acquire_owned() else { return };
        let (shared, requests) = (Arc::clone(self), Arc::clone(requests));
        let work = async move {
            let _held = (lock, permit);
            let ended = tokio::select! {
                ended = requests.ended(&reference) => ended,
                () = shared.left_creating(&reference.id) => return,
                () = shared.stop.cancelled() => return,
            };
            match ended {
                // The recovery asks again.
                Ok(SnapshotProgress::Missing { .. }) if shared.options.asks_again => {}
                Ok(progress) => {
                    let Some(change) = change(progress) else { return };
                    // Who removed the record has seen to the rest.
                    if matches!(shared.store.get(&reference.id).await, Ok(None)) {
                        return;
                    }
                    tracing::info!(snapshot = reference.id, state = change.status.state.name(), "a snapshot has ended");
                    shared.write_down(&reference, &change).await;
                }
                Err(error) => {
                    let error = error_chain::text(&error);
                    tracing::warn!(
                        snapshot = reference.id,
                        error,
                        "a snapshot cannot be waited for: it is looked at later"
                    );
                }
            }
        };
        self.tasks.spawn(work.in_current_span());
    }

    /// Waits until a snapshot's record says that it has ended, which others may have found out, or is gone.
    async fn left_creating(&self, id: &str) {
        loop {
            sleep(self.options.interval).await;
            match self.store.get(id).await {
                Ok(Some(record)) if record.snapshot.status.state == SnapshotState::Creating => {}
                Ok(_) => return,
                // The recovery, which looks as often, tells that the store cannot be used.
                Err(_) => {}
            }
        }
    }

    /// A record as it is now: a snapshot that another program makes is looked at. What cannot be told soon stays as it was.
    /// None if the record is gone.
    pub(super) async fn refreshed(&self, record: Record) -> Option<Record> {
        self.refreshed_by(record, Instant::now() + LOOK_TIMEOUT).await
    }

    /// The same of all records of a page, without those that are gone, or are now in a state that is not wanted.
    pub(super) async fn refreshed_all(
        &self,
        records: Vec<Record>,
        is_wanted: impl Fn(SnapshotState) -> bool,
    ) -> Vec<Snapshot> {
        let due = Instant::now() + LOOK_TIMEOUT;
        let refreshed = |record: Record| async move {
            let before = record.snapshot.status.state;
            Some((before, self.refreshed_by(record, due).await?.snapshot))
        };
        let all: Vec<_> = stream::iter(records).map(refreshed).buffered(LOOKS).collect().await;
        let is_shown = |(before, snapshot): &(SnapshotState, Snapshot)| {
            let now = snapshot.status.state;
            now == *before || is_wanted(now)
        };
        all.into_iter().flatten().filter(is_shown).map(|(_, snapshot)| snapshot).collect()
    }

    async fn refreshed_by(&self, record: Record, due: Instant) -> Option<Record> {
        let SnapshotMaker::Elsewhere(requests) = &self.maker else { return Some(record) };
        if record.snapshot.status.state != SnapshotState::Creating || Instant::now() >= due {
            return Some(record);
        }
        let reference = reference_of(&record);
        let progress = match timeout_at(due, requests.look(&reference)).await {
            Ok(Ok(progress)) => progress,
            Ok(Err(error)) => {
                tell_unseen(&error);
                return Some(record);
            }
            Err(_) => return Some(record),
        };
        let lock = self.snapshots.try_lock(&reference.id);
        // It is being asked for by this process.
        if lock.is_none() && matches!(progress, SnapshotProgress::Missing { .. }) {
            return Some(record);
        }
        let Some(change) = self.certain(&record.snapshot, progress) else { return Some(record) };
        let settled = async {
            self.settle(&reference, &change).await?;
            self.store.get(&reference.id).await
        };
        settled.await.unwrap_or_else(|error| {
            tell_unseen(&error.into());
            Some(record)
        })
    }

    /// Goes on with a snapshot that an earlier server, or another one, has asked for.
    pub(super) async fn recover_requested(
        self: &Arc<Self>,
        requests: &Arc<dyn SnapshotRequests>,
        record: Record,
    ) -> Result<(), StoreError> {
        let reference = reference_of(&record);
        match requests.look(&reference).await {
            Ok(SnapshotProgress::UnderWay) => self.follow(requests, reference),
            Ok(SnapshotProgress::Missing { .. }) if self.options.asks_again => {
                if age(&record.snapshot) >= REQUEST_TIMEOUT {
                    self.ask_again(requests, reference).await?;
                }
            }
            Ok(progress) => {
                if let Some(change) = self.certain(&record.snapshot, progress) {
                    let state = change.status.state.name();
                    tracing::info!(snapshot = reference.id, state, "recovered an unfinished snapshot");
                    self.settle(&reference, &change).await?;
                }
            }
            Err(error) => tell_unseen(&error),
        }
        Ok(())
    }

    /// Asks for a snapshot that was recorded long ago, and for which there is no request.
    async fn ask_again(
        self: &Arc<Self>,
        requests: &Arc<dyn SnapshotRequests>,
        reference: SnapshotRef,
    ) -> Result<(), StoreError> {
        match requests.request(&reference).await {
            Ok(()) => {
                tracing::info!(
                    snapshot = reference.id,
                    sandbox = reference.sandbox,
                    "an unfinished snapshot was asked for again"
                );
                if self.store.get(&reference.id).await?.is_some() {
                    self.follow(requests, reference);
                } else if let Err(error) = requests.withdraw(&reference).await {
                    let error = error_chain::text(&error);
                    tracing::warn!(snapshot = reference.id, error, "a snapshot without a record stays");
                }
            }
            Err(RequestFailure { error, may_be_heard: false }) if error.key() == (Family::Snapshot, Kind::Failed) => {
                let status =
                    SnapshotStatus::now(SnapshotState::Failed, "snapshot_runtime_create_failed", error.message);
                self.settle(&reference, &Change { status, image: None }).await?;
            }
            Err(RequestFailure { error, .. }) => tell_unseen(&error),
        }
        Ok(())
    }

    /// What a snapshot becomes by how far it is; nothing as long as that may change. One that is missing may be about to be
    /// asked for, unless its record is old, or it is asked for again.
    fn certain(&self, snapshot: &Snapshot, progress: SnapshotProgress) -> Option<Change> {
        let is_missing = matches!(progress, SnapshotProgress::Missing { .. });
        let may_come = self.options.asks_again || age(snapshot) < REQUEST_TIMEOUT;
        if is_missing && may_come { None } else { change(progress) }
    }
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
