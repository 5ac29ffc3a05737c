//! Snapshots: what the API asks for, the work behind it, and what goes on after a restart.
//!
//! ```text
//! create ─▶ record: Creating ─▶ (one of two workers) images.commit ─▶ record: Ready or Failed
//! delete ─▶ record: Deleting ─▶ images.remove_snapshot ─▶ no record;  image in use: the record becomes what it was
//! recovery, at start and again and again: records that are Creating or Deleting and that nobody works on
//! ```
//!
//! The record comes first and goes last, so that whatever breaks off in between is found again by the recovery. Whoever
//! works on a snapshot holds its lock; a change names the state that it starts from.

mod delete;
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
        snapshot::{Snapshot, SnapshotQuery, SnapshotState, SnapshotStatus},
        timestamp::Timestamp,
    },
    runtime::{Runtime, SnapshotImages},
    store::{Record, SnapshotStore},
};

/// How many snapshots are made at the same time; the rest wait in the state Creating.
const WORKERS: usize = 2;

/// What a restored sandbox runs when its creator does not say.
const DEFAULT_ENTRYPOINT: [&str; 3] = ["tail", "-f", "/dev/null"];

/// The snapshots of a runtime. Clones are the same.
#[derive(Clone)]
pub struct Snapshots {
    runtime: Arc<dyn Runtime>,
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
}

/// What requests, workers and recovery share.
struct Shared {
    runtime: Arc<dyn Runtime>,
    images: Arc<dyn SnapshotImages>,
    store: Arc<dyn SnapshotStore>,
    options: SnapshotOptions,
    started: Timestamp,
    workers: Semaphore,
    /// Held by whoever works on a snapshot, by its id.
    snapshots: KeyedLock,
    /// Held while a sandbox is copied: a second copy would be broken by the end of the first one's pause.
    sources: KeyedLock,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Snapshots {
    /// Snapshots of `runtime`, made as `images` and recorded in `store`; goes on with what an earlier server has left.
    pub fn start(
        runtime: Arc<dyn Runtime>,
        images: Arc<dyn SnapshotImages>,
        store: Arc<dyn SnapshotStore>,
        options: SnapshotOptions,
    ) -> Self {
        let shared = Arc::new(Shared {
            runtime: Arc::clone(&runtime),
            images,
            store,
            options,
            started: Timestamp::now(),
            workers: Semaphore::new(WORKERS),
            snapshots: KeyedLock::default(),
            sources: KeyedLock::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(recovery::run(Arc::clone(&shared)));
        Self { runtime, shared: Some(shared) }
    }

    /// For a runtime that makes no snapshots: there are none.
    pub fn none(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, shared: None }
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
        let snapshot = accepted(source.id, name);
        shared.clone().to_the_end(async move { shared.begin(snapshot).await }).await
    }

    /// One page of the list.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn page(&self, query: &SnapshotQuery) -> Result<Page<Snapshot>, Error> {
        let (items, total) = match &self.shared {
            Some(shared) => shared.store.page(query).await?,
            None => (Vec::new(), 0),
        };
        Ok(query.page.with(items, total))
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
        match &self.shared {
            Some(shared) => shared.find(id).await,
            None => Err(not_found(id)),
        }
    }

    /// The image of a snapshot that is ready.
    async fn restorable(&self, id: &str) -> Result<String, Error> {
        let Record { snapshot, image } = self.find(id).await?;
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
}

/// A new snapshot as it is recorded first.
fn accepted(sandbox_id: String, name: Option<String>) -> Snapshot {
    let status = SnapshotStatus::now(SnapshotState::Creating, "snapshot_accepted", "Snapshot creation accepted.");
    let created_at = status.last_transition_at.unwrap_or_else(Timestamp::now);
    Snapshot { id: uuid::Uuid::new_v4().to_string(), sandbox_id, name, status, created_at }
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
