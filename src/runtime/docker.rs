//! Sandboxes as containers of a Docker engine (docker-runtime.md).
//!
//! The groups, each of which imports only those below it (`tests/architecture.rs`):
//!
//! | Group | What it does |
//! |---|---|
//! | `startup` | checks of the configuration against the engine when the program starts |
//! | `events` | a task: follows the engine's events, and keeps the cache and the timers right |
//! | `endpoints` | where a sandbox's port is, for clients and for the proxy |
//! | `create` | request → `plan` → image, execd, sidecar, container |
//! | `lifecycle` | changes of sandboxes, their expiry, and what is removed after crashes: two tasks, `expiry` and `creations` |
//! | `snapshot`, `diagnostics` | sandboxes as images; containers as text |
//! | `sidecar` | the egress sidecar |
//! | `volumes` | host paths, named volumes and buckets, pinned so that no sandbox can exchange them |
//! | `logs` | opens and reads a container's log |
//! | `state` | containers → sandboxes: found, inspected, listed, cached; the files that overlay labels |
//! | `ports` | host ports, and the addresses of containers and of this host |
//! | `options` | the settings |
//! | `engine` | the API itself: bollard over our own connections, labels and names, liveness, redaction |
//!
//! What they share is `Inner`. A creation is `plan` → `volumes` → `image` → `execd` → `sidecar` → container. A sandbox is
//! shown by `state::inspect` (the cache, else the engine) → `state::view` → `state::overlay`. Changes of one sandbox go one
//! after the other, by `Inner::change_locks`. bollard's types stop in this folder.

mod create;
mod diagnostics;
mod endpoints;
mod engine;
mod events;
mod lifecycle;
mod logs;
mod options;
mod ports;
mod sidecar;
mod snapshot;
mod startup;
mod state;
mod volumes;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    error::{Error, Family, Kind},
    keyed_lock::KeyedLock,
    logs::{LogQuery, OpenedLog},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint as Told},
        sandbox::{CreatedSandbox, Sandbox},
        timestamp::Timestamp,
    },
    runtime::{LocalExecd, Pausing, Runtime, SnapshotImages, SnapshotMaker},
};

use self::{
    create::{Preparing, execd::Execd},
    endpoint::Endpoint,
    engine::{
        Engine,
        outage::{self, Outage},
    },
    lifecycle::{
        creations::{self, Creations},
        expiry::{self, Commands, Expiry},
        owner::Owner,
    },
    logs::log_driver,
    ports::{Ports, host_address},
    snapshot::CommitsInProgress,
    state::{
        cache::Cache,
        list,
        lookups::Lookups,
        overlay::{Files, Overlay},
    },
    volumes::{BlockingTasks, Volumes},
};
pub use self::{
    engine::{client_config, endpoint},
    options::DockerOptions,
};

/// How many creations and removals may be under way; the rest wait.
const MAX_CHANGES: u32 = 1024;

/// How long [`Runtime::shutdown`] waits for creations and removals that are under way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long it waits for creations that have started nothing yet, to give back what they have mounted.
const PREPARATION_TIMEOUT: Duration = Duration::from_secs(2);

/// How often [`Runtime::shutdown`] checks whether they have ended.
const SHUTDOWN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How many reads of files below `~/.opensandbox` may be under way.
const MAX_READS: usize = 64;

/// How long such a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The Docker runtime. Dropping it ends its tasks; the sandboxes go on.
pub struct Docker {
    inner: Arc<Inner>,
    tasks: Mutex<JoinSet<()>>,
}

/// What requests and tasks share.
struct Inner {
    engine: Arc<Engine>,
    options: DockerOptions,
    ports: Arc<Ports>,
    volumes: Volumes,
    creations: Arc<Creations>,
    execd: Execd,
    cache: Cache,
    inspections: Semaphore,
    files: Files,
    /// Reads of `files`: bounded, so that a disk that hangs does not take all threads.
    reads: BlockingTasks,
    expiry: Expiry,
    owner: Owner,
    commits: CommitsInProgress,
    outage: Outage,
    changes: Arc<Semaphore>,
    preparing: Preparing,
    /// Cancelled when the program shuts down.
    closing: CancellationToken,
    /// Held while a sandbox's files are changed, or the sandbox is removed.
    change_locks: KeyedLock,
    /// Held while a sandbox is paused or resumed.
    pause_locks: KeyedLock,
    /// Engine calls for sandboxes that the cache does not know.
    lookups: Lookups,
    /// This server itself runs in a container.
    is_contained: bool,
}

impl Docker {
    /// Connects to the engine that the environment names and starts the runtime's tasks.
    ///
    /// # Errors
    /// ([`Family::Startup`], [`Kind::Failed`]) when there is no such engine, with the text of config.md §4, or not the
    /// network that sandboxes are to have.
    pub async fn from_env(options: DockerOptions) -> Result<Self, Error> {
        let endpoint = Endpoint::from_env().map_err(|error| startup::unreachable_engine(&error.to_string(), ""))?;
        let docker = Self::connect(endpoint, options).await?;
        docker.inner.check_start().await;
        Ok(docker)
    }

    /// Connects to the engine at `endpoint` and starts the runtime's tasks.
    ///
    /// # Errors
    /// ([`Family::Startup`], [`Kind::Failed`]) when the engine does not answer, [`Kind::Unsupported`] when it lacks the
    /// runtime that sandboxes are to have.
    pub async fn connect(endpoint: Endpoint, options: DockerOptions) -> Result<Self, Error> {
        let (config, calls) = (options.client_config.clone(), options.calls.clone());
        let engine = match Engine::connect(endpoint.clone(), options.api_timeout, config, calls).await {
            Ok(engine) => engine,
            Err(error) => return Err(startup::no_engine(&endpoint, &engine::text(&error)).await),
        };
        tracing::info!(api = engine.api_version, endpoint = ?engine.endpoint, "connected to the engine");
        if let Some(name) = &options.secure_runtime {
            startup::check_secure_runtime(&engine, name).await?;
        }
        log_driver::check(&engine, &options).await?;
        let (inner, commands) = Inner::new(engine, options);
        let inner = Arc::new(inner);
        // So that the first sandbox says who created it. A failure is logged, and it is tried again when the id is needed.
        let _ = inner.find_identity().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(events::run(inner.clone()));
        tasks.spawn(outage::watch(inner.clone()));
        tasks.spawn(expiry::run(inner.clone(), commands));
        tasks.spawn(creations::run(inner.clone()));
        Ok(Self { inner, tasks: Mutex::new(tasks) })
    }

    /// The API version that was negotiated, such as `1.41`.
    pub fn api_version(&self) -> &str {
        &self.inner.engine.api_version
    }

    /// Runs `work` to its end even if the caller is dropped; [`Runtime::shutdown`] waits for it. Work that still waits
    /// for a permit is dropped with its caller, so that callers who disconnect cannot pile it up.
    async fn to_the_end<T: Send + 'static>(
        &self,
        family: Family,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let closed = |_| Error::new(family, Kind::Failed, "The server is shutting down.");
        let permit = self.inner.changes.clone().acquire_owned().await.map_err(closed)?;
        let work = async move {
            let _permit = permit;
            work.await
        };
        tokio::spawn(work.in_current_span()).await.unwrap_or_else(|error| Err(broken_off(family, error)))
    }
}

impl Inner {
    fn new(engine: Engine, options: DockerOptions) -> (Self, Commands) {
        let (expiry, commands) = Expiry::new();
        let inner = Self {
            ports: Ports::new(options.port_range.clone(), options.publish_host),
            volumes: Volumes::new(&options),
            creations: Arc::new(Creations::new(&options.state_dir)),
            execd: Execd::default(),
            cache: Cache::default(),
            inspections: Semaphore::new(list::MAX_INSPECTIONS),
            files: Files::new(&options.state_dir),
            reads: BlockingTasks::new(MAX_READS, READ_TIMEOUT),
            expiry,
            owner: Owner::new(options.expiry, options.owner_mark.clone(), &options.state_dir),
            commits: CommitsInProgress::default(),
            outage: Outage::default(),
            changes: Arc::new(Semaphore::new(MAX_CHANGES as usize)),
            preparing: Preparing::default(),
            closing: CancellationToken::new(),
            change_locks: KeyedLock::default(),
            pause_locks: KeyedLock::default(),
            lookups: Lookups::default(),
            is_contained: host_address::is_contained(),
            engine: Arc::new(engine),
            options,
        };
        (inner, commands)
    }

    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        let mut sandbox = self.inspect_cached(id).await?.sandbox.clone();
        self.overlay(id).await.apply(&mut sandbox);
        self.commits.mask(&mut sandbox);
        Ok(sandbox)
    }

    /// All sandboxes but those whose creation was given up.
    async fn list(&self) -> Result<Vec<Sandbox>, Error> {
        let mut sandboxes = self.list_containers().await?;
        sandboxes.retain(|sandbox| !self.creations.has_given_up(&sandbox.id));
        let mut overlays = self.overlays().await;
        for sandbox in &mut sandboxes {
            if let Some(overlay) = overlays.remove(&sandbox.id) {
                overlay.apply(sandbox);
            }
            self.commits.mask(sandbox);
        }
        Ok(sandboxes)
    }

    /// What the files say of one sandbox.
    async fn overlay(&self, id: &str) -> Overlay {
        if self.files.surely_none(id) {
            return Overlay::default();
        }
        let id = id.to_owned();
        self.with_files(move |files| files.overlay(&id)).await
    }

    /// The renewed expiry of a sandbox; `None` if it was never renewed.
    ///
    /// # Errors
    /// The file cannot be read now.
    async fn moved_expiry(&self, id: &str) -> io::Result<Option<Timestamp>> {
        let (files, id) = (self.files.clone(), id.to_owned());
        self.reads.run(move || files.expiry(&id)).await?
    }

    /// What the files say of all sandboxes.
    async fn overlays(&self) -> HashMap<String, Overlay> {
        self.with_files(Files::overlays).await
    }

    async fn remove_files(&self, id: &str) {
        let id = id.to_owned();
        self.with_files(move |files| files.remove(&id)).await;
    }

    /// What is to be shown from the files; without them what the labels say.
    async fn with_files<T: Default + Send + 'static>(&self, work: impl FnOnce(&Files) -> T + Send + 'static) -> T {
        let files = self.files.clone();
        self.reads.run(move || work(&files)).await.unwrap_or_else(|error| {
            self.files.unanswered(&error);
            T::default()
        })
    }
}

#[async_trait]
impl Runtime for Docker {
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, Error> {
        let inner = self.inner.clone();
        let plan = inner.plan(request).await?;
        self.to_the_end(Family::Creation, async move { inner.carry_out(plan).await }).await
    }

    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        self.inner.get(id).await
    }

    fn is_at_hand(&self, id: &str) -> bool {
        self.inner.cache.of(id).is_some() || self.inner.cache.lacks(id)
    }

    async fn list(&self) -> Result<Vec<Sandbox>, Error> {
        self.inner.list().await
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        self.to_the_end(Family::Deletion, async move { inner.delete(&id).await }).await
    }

    async fn patch_metadata(&self, id: &str, patch: BTreeMap<String, Option<String>>) -> Result<Sandbox, Error> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        self.to_the_end(Family::Metadata, async move { inner.patch_metadata(&id, patch).await }).await
    }

    async fn renew(&self, id: &str, expires_at: Timestamp) -> Result<Timestamp, Error> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        self.to_the_end(Family::Expiry, async move { inner.renew(&id, expires_at).await }).await
    }

    async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        self.to_the_end(Family::Expiry, async move { inner.renew_on_access(&id).await }).await
    }

    async fn endpoint(&self, id: &str, port: u16, expires: Option<i128>) -> Result<Told, Error> {
        self.inner.endpoint(id, port, expires).await
    }

    async fn backend(&self, id: &str, port: u16) -> Result<Backend, Error> {
        self.inner.backend(id, port).await
    }

    async fn open_logs(&self, id: &str, query: &LogQuery) -> Result<OpenedLog, Error> {
        self.inner.open_logs(id, query).await
    }

    async fn inspect(&self, id: &str) -> Result<String, Error> {
        Ok(diagnostics::inspect(&self.inner.find(id).await?))
    }

    async fn events(&self, id: &str, limit: usize) -> Result<String, Error> {
        Ok(diagnostics::events(&self.inner.find(id).await?, limit))
    }

    fn pausing(&self) -> Option<&dyn Pausing> {
        Some(self)
    }

    fn snapshots(self: Arc<Self>) -> Option<SnapshotMaker> {
        Some(SnapshotMaker::Here(self))
    }

    fn local_execd(&self) -> Option<&dyn LocalExecd> {
        None
    }

    fn notes(&self) -> Vec<String> {
        self.inner.owner.notes()
    }

    fn fault(&self) -> Option<String> {
        self.inner.outage.fault(Instant::now())
    }

    async fn shutdown(&self) {
        let inner = &self.inner;
        // Nothing new begins, and a creation that waits for an image ends. What is still prepared then has started nothing on
        // the engine, and may hang in a volume's tool or file.
        inner.changes.close();
        inner.closing.cancel();
        let began = Instant::now();
        let is_quiet = || {
            let under_way = MAX_CHANGES as usize - inner.changes.available_permits();
            under_way == 0 || (began.elapsed() >= PREPARATION_TIMEOUT && under_way <= inner.preparing.count())
        };
        let quiet = async {
            while !is_quiet() {
                tokio::time::sleep(SHUTDOWN_POLL_INTERVAL).await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, quiet).await.is_err() {
            tracing::warn!("creations or removals are still under way and are given up");
        }
        if inner.preparing.count() > 0 {
            tracing::warn!(creations = inner.preparing.count(), "creations that had started nothing yet are given up");
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

#[async_trait]
impl Pausing for Docker {
    async fn pause(&self, id: &str) -> Result<(), Error> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        self.to_the_end(Family::Pause, async move { inner.pause(&id).await }).await
    }

    async fn resume(&self, id: &str) -> Result<(), Error> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        self.to_the_end(Family::Resume, async move { inner.resume(&id).await }).await
    }
}

#[async_trait]
impl SnapshotImages for Docker {
    async fn commit(&self, id: &str, snapshot: &str) -> Result<String, Error> {
        self.inner.commit(id, snapshot).await
    }

    async fn committed(&self, snapshot: &str) -> Result<Option<String>, Error> {
        self.inner.committed(snapshot).await
    }

    async fn remove_snapshot(&self, snapshot: &str, image: Option<&str>) -> Result<(), Error> {
        self.inner.remove_snapshot(snapshot, image).await
    }
}

fn broken_off(family: Family, error: JoinError) -> Error {
    tracing::error!(%error, "work on a sandbox broke off");
    Error::new(family, Kind::Failed, "The work on the sandbox broke off.").caused_by(error)
}
