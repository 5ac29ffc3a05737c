//! Sandboxes as local child processes, for `dev` and for tests. There is no isolation of any kind: a sandbox is a
//! process of the gateway's user, so the gateway must listen on the loopback interface only.
//!
//! ```text
//! create ─▶ request (Plan) ─▶ leader (process group) ─▶ pump ─▶ cutter ─▶ record ─▶ log (file)
//! open_logs ─▶ RecordSource ◀─ log_backend ◀─ reader ◀─ JsonFile ◀──────────────────┘
//! ```
//!
//! Changes of a sandbox that lives are in `change`; its process group, and those of commands that its execd runs, are what is
//! paused. A sandbox is one task (`sandbox::Sandbox::live`) and, while its process runs, one pump. A log stream is neither.
//! What differs from Docker: the image is only recorded, resource limits are not enforced, and processes that leave
//! the sandbox's process group (`setsid`) outlive it.

mod change;
mod cutter;
mod describe;
mod log;
mod log_backend;
mod pump;
mod reader;
mod record;
mod request;
mod sandbox;
mod state_dir;

use std::{
    collections::{BTreeMap, HashMap},
    io, mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::process::Command;

use self::{
    cutter::Cutter,
    log::Log,
    log_backend::LogBackend,
    request::Plan,
    sandbox::{Exit, Sandbox},
    state_dir::{SandboxDir, StateDir},
};
use super::{LocalExecd, Pausing, Runtime, SnapshotMaker};
use crate::{
    children::{
        environment::Environment,
        leader::{Leader, Pipes, is_shortage},
        notes::Note,
    },
    error::{Error, Family, Kind},
    execd::{Execd, Places},
    keys::KeyRing,
    logs::{LogQuery, OpenedLog, backend::Backend as _, record::Stream, record_source::RecordSource},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint},
        sandbox::{CreatedSandbox, Sandbox as Shown},
        timestamp::Timestamp as ShownTime,
    },
    secret::Secret,
};

/// What a shell gives for a program that it cannot start.
const CANNOT_START: i32 = 127;

/// Settings of the process runtime.
#[derive(Debug, Clone, Default)]
pub struct ProcessOptions {
    /// Where sandboxes' files are kept while they live. By default `opensandbox-gateway-<user id>` in the system's
    /// temporary directory.
    pub state_dir: Option<PathBuf>,
    /// The longest `timeout` of a request, in seconds.
    pub max_sandbox_timeout_seconds: Option<u64>,
    /// While there are keys, a caller of a sandbox's execd must present its token, which is part of the port's endpoint.
    pub keys: Arc<KeyRing>,
}

/// The process runtime. Dropping it ends its sandboxes; [`Runtime::shutdown`] also waits until they are gone.
pub struct Process {
    shared: Arc<Shared>,
    max_timeout: Option<u64>,
}

/// A sandbox's log, and its process if there is one, with its note.
type Started = (Arc<Log>, Option<(Leader, Pipes, Note)>);

struct Shared {
    state: StateDir,
    keys: Arc<KeyRing>,
    /// Whether sandboxes may be created. Held for reading while one is, so that none is made after the shutdown.
    open: RwLock<bool>,
    sandboxes: Mutex<HashMap<String, Arc<Sandbox>>>,
}

impl Process {
    /// Prepares the state directory; ends and removes what gateways that were killed left there.
    ///
    /// # Errors
    /// ([`Family::Startup`], [`Kind::Failed`]) if the directory cannot be made, or is not this user's own.
    pub fn start(options: ProcessOptions) -> Result<Self, Error> {
        let ProcessOptions { state_dir, max_sandbox_timeout_seconds: max_timeout, keys } = options;
        let failed = |error: io::Error| {
            let message = format!("Failed to prepare the process runtime's state directory: {error}");
            Error::new(Family::Startup, Kind::Failed, message).caused_by(error)
        };
        let state = StateDir::create(state_dir).map_err(failed)?;
        tracing::warn!("sandboxes are local processes without isolation; resource limits are not enforced");
        let shared = Arc::new(Shared { state, keys, open: RwLock::new(true), sandboxes: Mutex::default() });
        Ok(Self { shared, max_timeout })
    }

    fn find(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let sandbox = self.shared.sandboxes().get(id).cloned();
        sandbox.filter(|sandbox| !sandbox.is_stopping()).ok_or_else(|| Error::not_found(id))
    }
}

#[async_trait]
impl Runtime for Process {
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, Error> {
        let plan = Plan::new(request, self.max_timeout)?;
        let shared = Arc::clone(&self.shared);
        // A blocking task runs to its end also when the caller has gone.
        tokio::task::spawn_blocking(move || shared.create(plan)).await.map_err(start_failed)?
    }

    async fn get(&self, id: &str) -> Result<Shown, Error> {
        Ok(self.find(id)?.show())
    }

    fn is_at_hand(&self, _id: &str) -> bool {
        true
    }

    async fn list(&self) -> Result<Vec<Shown>, Error> {
        Ok(self.shared.all().iter().filter(|sandbox| !sandbox.is_stopping()).map(|sandbox| sandbox.show()).collect())
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        let sandbox = self.find(id)?;
        sandbox.stop();
        sandbox.gone().await;
        Ok(())
    }

    async fn open_logs(&self, id: &str, query: &LogQuery) -> Result<OpenedLog, Error> {
        let backend = LogBackend::new(self.find(id)?);
        let (run, state) = (backend.run(), backend.state());
        if query.after.is_some_and(|after| RecordSource::is_over(&after, run, state)) {
            return Ok(OpenedLog::Ended);
        }
        // A file that cannot be read is not read by trying again.
        let source = RecordSource::open(Arc::new(backend), query, state, Duration::ZERO).await?;
        Ok(OpenedLog::Records(source))
    }

    async fn patch_metadata(&self, id: &str, patch: BTreeMap<String, Option<String>>) -> Result<Shown, Error> {
        self.find(id)?.patch(patch)
    }

    async fn renew(&self, id: &str, expires_at: ShownTime) -> Result<ShownTime, Error> {
        self.find(id)?.renew(expires_at)
    }

    async fn renew_on_access(&self, id: &str) -> Result<Option<ShownTime>, Error> {
        Ok(self.find(id)?.renew_on_access())
    }

    async fn endpoint(&self, id: &str, port: u16, expires: Option<i128>) -> Result<Endpoint, Error> {
        change::check_endpoint(port, expires)?;
        self.find(id).map(|sandbox| sandbox.endpoint(port))
    }

    async fn backend(&self, id: &str, port: u16) -> Result<Backend, Error> {
        self.find(id)?.backend(port)
    }

    async fn inspect(&self, id: &str) -> Result<String, Error> {
        let sandbox = self.find(id)?;
        Ok(describe::inspect(&sandbox.show(), sandbox.exit()))
    }

    async fn events(&self, id: &str, _limit: usize) -> Result<String, Error> {
        let sandbox = self.find(id)?;
        Ok(describe::events(&sandbox.show(), sandbox.exit()))
    }

    fn pausing(&self) -> Option<&dyn Pausing> {
        Some(self)
    }

    fn snapshots(self: Arc<Self>) -> Option<SnapshotMaker> {
        None
    }

    fn local_execd(&self) -> Option<&dyn LocalExecd> {
        Some(self)
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn fault(&self) -> Option<String> {
        None
    }

    async fn shutdown(&self) {
        let shared = Arc::clone(&self.shared);
        let close = move || *shared.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        if let Err(error) = tokio::task::spawn_blocking(close).await {
            tracing::error!(%error, "the process runtime could not be closed");
        }
        let sandboxes = self.shared.all();
        sandboxes.iter().for_each(|sandbox| sandbox.stop());
        for sandbox in sandboxes {
            sandbox.gone().await;
        }
        let shared = Arc::clone(&self.shared);
        remove("the state directory", move || shared.state.remove()).await;
    }
}

#[async_trait]
impl Pausing for Process {
    async fn pause(&self, id: &str) -> Result<(), Error> {
        self.find(id)?.pause().await
    }

    async fn resume(&self, id: &str) -> Result<(), Error> {
        self.find(id)?.resume()
    }
}

impl LocalExecd for Process {
    fn execd(&self, id: &str) -> Result<Arc<Execd>, Error> {
        Ok(Arc::clone(&self.find(id)?.execd))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shared.all().iter().for_each(|sandbox| sandbox.stop());
    }
}

impl Shared {
    fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, Arc<Sandbox>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Sandbox>> {
        self.sandboxes().values().cloned().collect()
    }

    /// Starts a sandbox and lets it live. Blocks.
    fn create(self: Arc<Self>, mut plan: Plan) -> Result<CreatedSandbox, Error> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Err(start_failed("the gateway is shutting down"));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let directory = self.state.sandbox(&id);
        let environment = Environment {
            id: id.clone(),
            work: directory.work(),
            temporary: directory.temporary(),
            envs: directory.envs(),
            variables: mem::take(&mut plan.env),
        };
        let token = Secret::random().map_err(start_failed)?;
        let (log, running) = start(&plan, &environment, &directory).map_err(|error| {
            discard(&directory);
            start_failed(error)
        })?;
        let places = Places { sessions: directory.sessions(), leaders: directory.leaders() };
        let execd = Arc::new(Execd::new(environment, places, token, Arc::clone(&self.keys)));
        let exit = running.is_none().then(|| Exit { code: CANNOT_START, at: Timestamp::now() });
        let sandbox = Arc::new(Sandbox::new(id, plan, log, execd, exit));
        if let Some((leader, ..)) = &running {
            sandbox.group.set(leader.group());
        }
        self.sandboxes().insert(sandbox.id().to_owned(), Arc::clone(&sandbox));
        let created = sandbox.show_created();
        drop(open);
        let removal = Arc::clone(&self).remove(sandbox.id().to_owned(), directory);
        tokio::spawn(sandbox.live(running, removal));
        Ok(created)
    }

    async fn remove(self: Arc<Self>, id: String, directory: SandboxDir) {
        remove("a sandbox's directory", move || directory.remove()).await;
        self.sandboxes().remove(&id);
    }
}

/// Makes a sandbox's files and starts its process. Without a process, the program could not be started, and the log
/// says why: as with containers, that is not an error of the request.
fn start(plan: &Plan, environment: &Environment, directory: &SandboxDir) -> io::Result<Started> {
    directory.make()?;
    let log = Arc::new(Log::create(&directory.log())?);
    let (program, arguments) = plan.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory.work()).env_clear().envs(environment.variables());
    match Leader::spawn(command) {
        Ok((leader, pipes)) => {
            let note = Note::write(&directory.leaders(), leader.pid())?;
            Ok((log, Some((leader, pipes, note))))
        }
        Err(error) if is_shortage(&error) => Err(error),
        Err(error) => {
            let text = format!("cannot start {:?}: {error}\n", plan.command[0]);
            let mut record = Vec::new();
            Cutter::new(Stream::Stderr).push(text.as_bytes(), &Timestamp::now().to_string(), &mut record);
            log.write(&record)?;
            log.finish();
            Ok((log, None))
        }
    }
}

fn start_failed(error: impl std::fmt::Display) -> Error {
    Error::new(Family::Creation, Kind::Failed, format!("Failed to create or start the sandbox's process: {error}"))
}

fn discard(directory: &SandboxDir) {
    if let Err(error) = directory.remove() {
        tracing::warn!(%error, "the directory of a sandbox that was not started could not be removed");
    }
}

async fn remove(what: &'static str, remove: impl FnOnce() -> io::Result<()> + Send + 'static) {
    match tokio::task::spawn_blocking(remove).await.map_err(io::Error::other).flatten() {
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "{what} could not be removed"),
    }
}
