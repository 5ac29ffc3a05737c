//! Snapshots: what the API asks for, the work behind it, and what goes on after a restart.
//!
//! ```text
//! create ─▶ record: Creating ─▶ (one of two workers) images.commit ─▶ record: Ready or Failed
//!                            └▶ (where another program makes them) requests.request ─▶ requests.ended ─┘
//! delete ─▶ record: Deleting ─▶ images.remove_snapshot ─▶ no record;  image in use: the record becomes what it was
//! recovery, at start and again and again: records that are Creating or Deleting and that nobody works on
//! ```
//!
//! The record comes first and goes last, so that whatever breaks off in between is found again by the recovery. Whoever
//! works on a snapshot holds its lock; a change names the state that it starts from.

mod delete;
mod elsewhere;
mod recovery;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{
    error::{Error, Family, Kind},
    error_chain,
    keyed_lock::KeyedLock,
    model::{
        create::{CreateRequest, ImageSource},
        extensions::Extensions,
        page::Page,
        sandbox::State,
        snapshot::{Snapshot, SnapshotOwner, SnapshotQuery, SnapshotState, SnapshotStatus},
        tenant::Tenant,
        timestamp::Timestamp,
    },
    runtime::{Runtime, SnapshotMaker, SnapshotRef},
    store::{Record, SnapshotStore},
};

/// How many snapshots are made at the same time; the rest wait in the state Creating.
const WORKERS: usize = 2;

/// What a restored sandbox runs when its creator does not say.
const DEFAULT_ENTRYPOINT: [&str; 3] = ["tail", "-f", "/dev/null"];

/// The snapshots of a runtime, as far as they are somebody's. Clones are the same.
#[derive(Clone)]
pub struct Snapshots {
    runtime: Arc<dyn Runtime>,
    owner: SnapshotOwner,
    /// Nothing for a runtime that makes none.
    shared: Option<Arc<Shared>>,
}

/// Times that the work keeps to.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotOptions {
    /// Between two recoveries, and between two tries to write down how a snapshot ended.
    pub interval: Duration,
    /// The longest that the runtime works on one snapshot: before that, one of an earlier server may still be finished.
    pub timeout: Duration,
    /// Whether what another program was asked for and has no more is asked for again; else the snapshot has failed.
    pub asks_again: bool,
}

/// What requests, workers and recovery share.
struct Shared {
    runtime: Arc<dyn Runtime>,
    maker: SnapshotMaker,
    store: Arc<dyn SnapshotStore>,
    options: SnapshotOptions,
    started: Timestamp,
    workers: Semaphore,
    /// Held by whoever works on a snapshot, by its id.
    snapshots: KeyedLock,
    /// Held while a sandbox is copied: a second copy would be broken by the end of the first one's pause.
    sources: KeyedLock,
    /// Held by whoever waits for a snapshot that another program makes, by its id.
    followed: KeyedLock,
    followers: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Snapshots {
    /// Snapshots of `runtime`, made by `maker` and recorded in `store`; goes on with what an earlier server has left.
    pub fn start(
        runtime: Arc<dyn Runtime>,
        maker: SnapshotMaker,
        store: Arc<dyn SnapshotStore>,
        options: SnapshotOptions,
    ) -> Self {
        let shared = Arc::new(Shared {
            runtime: Arc::clone(&runtime),
            maker,
            store,
            options,
            started: Timestamp::now(),
            workers: Semaphore::new(WORKERS),
            snapshots: KeyedLock::default(),
            sources: KeyedLock::default(),
            followed: KeyedLock::default(),
            followers: Arc::new(Semaphore::new(elsewhere::MAX_FOLLOWED)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(recovery::run(Arc::clone(&shared)));
        Self { runtime, owner: SnapshotOwner::default(), shared: Some(shared) }
    }

    /// For a runtime that makes no snapshots: there are none.
    pub fn none(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, owner: SnapshotOwner::default(), shared: None }
    }

    /// Those of a tenant, whose sandboxes `runtime` has.
    #[must_use]
    pub fn of_tenant(&self, runtime: Arc<dyn Runtime>, tenant: &Tenant) -> Self {
        let Tenant { name, namespace } = tenant;
        let owner = SnapshotOwner { namespace: Some(Arc::clone(namespace)), tenant: Some(Arc::clone(name)) };
        Self { runtime, owner, shared: self.shared.clone() }
    }

    /// Begins a snapshot of the sandbox `sandbox`. Goes on also when the caller leaves.
    ///
    /// # Errors
    /// The sandbox does not exist or does not run, the runtime makes no snapshots, or the store cannot be written.
    pub async fn create(&self, sandbox: &str, name: Option<String>) -> Result<Snapshot, Error> {
        let source = self.runtime.get(sandbox).await?;
        let Some(shared) = self.shared.clone() else {
            let text = "Snapshots are not supported by this runtime.";
            return Err(Error::new(Family::Snapshot, Kind::Unsupported, text));
        };
        if source.status.state != State::Running {
            let text = "Snapshot can only be created from a Running sandbox.";
            return Err(Error::new(Family::Snapshot, Kind::Conflict, text));
        }
        let record = Record { snapshot: accepted(source.id, name), image: None, owner: self.owner.clone() };
        shared.clone().to_the_end(async move { shared.begin(record).await }).await
    }

    /// One page of the list.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn page(&self, query: &SnapshotQuery) -> Result<Page<Snapshot>, Error> {
        let Some(shared) = &self.shared else { return Ok(query.page.with(Vec::new(), 0)) };
        let (records, total) = shared.store.page(query, &self.owner).await?;
        let is_wanted =
            |state: SnapshotState| query.states.is_empty() || query.states.iter().any(|it| it == state.name());
        Ok(query.page.with(shared.refreshed_all(records, is_wanted).await, total))
    }

    /// One snapshot.
    ///
    /// # Errors
    /// There is no such snapshot, or the store cannot be read.
    pub async fn get(&self, id: &str) -> Result<Snapshot, Error> {
        Ok(self.find(id).await?.snapshot)
    }

    /// Removes a snapshot and its image. A snapshot whose image is in use stays as it is.
    ///
    /// # Errors
    /// There is no such snapshot, it is still being made, its image is in use, or runtime or store fail.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let Some(shared) = self.shared.clone() else { return Err(not_found(id)) };
        // Whose it is; and one that was made meanwhile can go.
        self.find(id).await?;
        let id = id.to_owned();
        shared.clone().to_the_end(async move { shared.delete(&id).await }).await
    }

    /// Puts a snapshot's image and the default entrypoint into a request that restores one; leaves others alone.
    ///
    /// # Errors
    /// The request's extensions mean nothing (they are checked first, http-api.md §6.3), there is no such snapshot, or it
    /// cannot be restored.
    pub async fn resolve(&self, request: &mut CreateRequest) -> Result<(), Error> {
        let Some(id) = request.snapshot_id.take() else { return Ok(()) };
        Extensions::from_request(&request.extensions)?;
        let id = id.trim().to_owned();
        request.image = Some(ImageSource { uri: self.restorable(&id).await?, auth: None });
        request.snapshot_id = Some(id);
        if request.entrypoint.is_empty() {
            request.entrypoint = DEFAULT_ENTRYPOINT.map(str::to_owned).to_vec();
        }
        Ok(())
    }

    /// Waits for the snapshots that are being made; those that wait for their turn are left to the next start's recovery.
    pub async fn shutdown(&self) {
        let Some(shared) = &self.shared else { return };
        shared.workers.close();
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
        shared.store.close().await;
    }

    async fn find(&self, id: &str) -> Result<Record, Error> {
        let Some(shared) = &self.shared else { return Err(not_found(id)) };
        let record = shared.find(id).await?;
        if !self.owner.sees(&record.owner) {
            return Err(not_found(id));
        }
        shared.refreshed(record).await.ok_or_else(|| not_found(id))
    }

    /// The image of a snapshot that is ready.
    async fn restorable(&self, id: &str) -> Result<String, Error> {
        let Record { snapshot, image, .. } = self.find(id).await?;
        if snapshot.status.state != SnapshotState::Ready {
            let text = format!("Snapshot {id} is not ready for restore.");
            return Err(Error::new(Family::Restore, Kind::Conflict, text));
        }
        let text = || format!("Snapshot {id} has no image to restore from.");
        image.ok_or_else(|| Error::new(Family::Restore, Kind::Invalid, text()))
    }
}

impl Shared {
    /// Runs `work` to its end even if the caller is dropped; [`Snapshots::shutdown`] waits for it. A store that fails is logged
    /// here, since a caller that is gone answers nothing.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let work = async {
            work.await.inspect_err(|error| {
                if error.family == Family::SnapshotStore {
                    tracing::error!(error = error_chain::text(error), "the snapshot store could not be used");
                }
            })
        };
        self.tasks.spawn(work.in_current_span()).await.unwrap_or_else(|error| {
            tracing::error!(%error, "work on a snapshot broke off");
            Err(Error::new(Family::Snapshot, Kind::Failed, "The work on the snapshot broke off."))
        })
    }

    async fn find(&self, id: &str) -> Result<Record, Error> {
        self.store.get(id).await?.ok_or_else(|| not_found(id))
    }

    /// Removes what was made of a snapshot.
    async fn remove_made(&self, reference: &SnapshotRef, image: Option<&str>) -> Result<(), Error> {
        match &self.maker {
            SnapshotMaker::Here(images) => images.remove_snapshot(&reference.id, image).await,
            SnapshotMaker::Elsewhere(requests) => requests.withdraw(reference).await,
        }
    }
}

/// A new snapshot as it is recorded first.
fn accepted(sandbox_id: String, name: Option<String>) -> Snapshot {
    let (status, created_at) = acceptance();
    Snapshot { id: uuid::Uuid::new_v4().to_string(), sandbox_id, name, status, created_at }
}

/// The first status of a snapshot, and the time of it.
fn acceptance() -> (SnapshotStatus, Timestamp) {
    let status = SnapshotStatus::now(SnapshotState::Creating, "snapshot_accepted", "Snapshot creation accepted.");
    let created_at = status.last_transition_at.unwrap_or_else(Timestamp::now);
    (status, created_at)
}

/// What the maker of a snapshot has to know of it.
fn reference_of(record: &Record) -> SnapshotRef {
    let Record { snapshot: Snapshot { id, sandbox_id, .. }, owner, .. } = record;
    SnapshotRef { id: id.clone(), sandbox: sandbox_id.clone(), namespace: owner.namespace.clone() }
}

fn not_found(id: &str) -> Error {
    Error::new(Family::Snapshot, Kind::NotFound, format!("Snapshot {id} not found"))
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("supported", &self.shared.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
