//! STEP 5, the seam: what the gateway asks of a runtime. Knows no HTTP.

pub mod docker;
pub mod process;

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;

use crate::{
    execd::Execd,
    logs::{LogQuery, LogSource},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint},
        sandbox::{CreatedSandbox, Sandbox},
        timestamp::Timestamp,
        volume::VolumeFault,
    },
};

/// A place where sandboxes run. One for the process, shared by all requests.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Creates and starts a sandbox; on failure nothing of it remains.
    ///
    /// The caller may drop the future (its client left): the runtime finishes what it has begun all the same.
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, RuntimeError>;

    /// One sandbox.
    async fn get(&self, id: &str) -> Result<Sandbox, RuntimeError>;

    /// All sandboxes, in any order.
    async fn list(&self) -> Result<Vec<Sandbox>, RuntimeError>;

    /// Ends a sandbox and removes what belongs to it.
    async fn delete(&self, id: &str) -> Result<(), RuntimeError>;

    /// Opens a sandbox's log. Returns at once also for a sandbox that has printed nothing.
    async fn open_logs(&self, id: &str, query: &LogQuery) -> Result<Pin<Box<dyn LogSource>>, RuntimeError>;

    /// Changes a sandbox's metadata: a value is set, `None` takes the key away. Atomic: two callers' changes do not mix.
    async fn patch_metadata(
        &self,
        _id: &str,
        _patch: BTreeMap<String, Option<String>>,
    ) -> Result<Sandbox, RuntimeError> {
        Err(RuntimeError::not_supported("Changing metadata"))
    }

    /// Stops a sandbox's processes where they are.
    async fn pause(&self, _id: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError::not_supported("Pausing"))
    }

    /// Lets a paused sandbox's processes go on.
    async fn resume(&self, _id: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError::not_supported("Resuming"))
    }

    /// Whether [`Self::get`] and [`Self::endpoint`] of a sandbox are answered from memory, however busy the backend is. True
    /// for a sandbox that is known not to exist.
    fn is_at_hand(&self, _id: &str) -> bool {
        false
    }

    /// Moves a sandbox's expiry to `expires_at`, earlier or later; answers with the new one.
    async fn renew(&self, _id: &str, _expires_at: Timestamp) -> Result<Timestamp, RuntimeError> {
        Err(RuntimeError::not_supported("Renewing"))
    }

    /// Moves the expiry of a running sandbox that asked for it (`access.renew.extend.seconds`) by that time from now,
    /// never to an earlier one. Answers with the new one, or nothing for a sandbox that did not ask or is not running.
    async fn renew_on_access(&self, _id: &str) -> Result<Option<Timestamp>, RuntimeError> {
        Ok(None)
    }

    /// Where clients reach a port of a sandbox; 0 is no port. `expires`, in Unix seconds, asks for an address that is good until then.
    async fn endpoint(&self, _id: &str, _port: u16, _expires: Option<i64>) -> Result<Endpoint, RuntimeError> {
        Err(RuntimeError::not_supported("Endpoints"))
    }

    /// Where this program reaches a port of a sandbox; 0 is no port. Asked for every proxied request, so it must be cheap.
    async fn backend(&self, _id: &str, _port: u16) -> Result<Backend, RuntimeError> {
        Err(RuntimeError::not_supported("Proxying"))
    }

    /// Whether requests for this port of a sandbox are answered by this program itself, by [`Self::execd`].
    fn serves(&self, _port: u16) -> bool {
        false
    }

    /// A sandbox's execd, if this program is it ([`Self::serves`]).
    async fn execd(&self, _id: &str) -> Result<Arc<Execd>, RuntimeError> {
        Err(RuntimeError::not_supported("An execd in the gateway"))
    }

    /// A description of a sandbox for a person (logs.md §3.2).
    async fn inspect(&self, _id: &str) -> Result<String, RuntimeError> {
        Err(RuntimeError::not_supported("Inspection"))
    }

    /// What happened to a sandbox, for a person; at most `limit` entries (logs.md §3.1).
    async fn events(&self, _id: &str, _limit: usize) -> Result<String, RuntimeError> {
        Err(RuntimeError::not_supported("Events"))
    }

    /// Whether sandboxes can be copied by [`Self::commit`].
    fn has_snapshots(&self) -> bool {
        false
    }

    /// Copies a sandbox's file system to an image for the snapshot `snapshot`, and gives the image's reference. Takes as
    /// long as there is to copy; the caller drops the future only when the program ends.
    async fn commit(&self, _id: &str, _snapshot: &str) -> Result<String, RuntimeError> {
        Err(RuntimeError::not_supported("Making snapshots"))
    }

    /// The image that [`Self::commit`] made for a snapshot, of this program or an earlier one.
    async fn committed(&self, _snapshot: &str) -> Result<Option<String>, RuntimeError> {
        Err(RuntimeError::not_supported("Restoring snapshots"))
    }

    /// Removes a snapshot's image, `image` or what [`Self::commit`] calls it; fine if there is none.
    async fn remove_snapshot(&self, _snapshot: &str, _image: Option<&str>) -> Result<(), RuntimeError> {
        Err(RuntimeError::not_supported("Removing snapshots"))
    }

    /// What an operator should know of a runtime that serves, but less than it was meant to: one sentence each for the body
    /// of `/ready`, free of secrets and paths. Cheap; empty when there is nothing to say.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why requests cannot be served now, one sentence for the body of `/ready`, free of secrets and addresses; nothing when
    /// they can. Asked by anyone at any rate, so it costs the backend no call.
    fn fault(&self) -> Option<String> {
        None
    }

    /// Called once, after the server has stopped.
    async fn shutdown(&self);
}

/// The most bytes of an id that are told in an error; one that a sandbox can have is shorter.
const MAX_SHOWN_ID: usize = 256;

/// What went wrong in a runtime, for a program (`kind`) and for a person (`message`).
#[derive(Debug, Clone)]
pub struct RuntimeError {
    /// Which row of [`crate::error`]'s table it is.
    pub kind: ErrorKind,
    /// Text for the client: free of secrets.
    pub message: String,
}

impl RuntimeError {
    /// An error of `kind` with a text for the client.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The sandbox does not exist.
    ///
    /// Of what is far too long to be an id only the beginning is told.
    pub fn not_found(id: &str) -> Self {
        let shown = &id[..id.floor_char_boundary(MAX_SHOWN_ID)];
        let cut = if shown.len() < id.len() { "…" } else { "" };
        Self::new(ErrorKind::SandboxNotFound, format!("Sandbox {shown}{cut} not found."))
    }

    /// The runtime has no such thing.
    pub fn not_supported(what: &str) -> Self {
        Self::new(ErrorKind::NotSupported, format!("{what} is not supported by this runtime."))
    }
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RuntimeError {}

/// Kinds of runtime errors; [`crate::error`] gives each its status and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such sandbox.
    SandboxNotFound,
    /// A parameter of the request is not acceptable.
    InvalidParameter,
    /// A metadata key or value breaks the label rules.
    InvalidMetadata,
    /// A metadata key is the gateway's own, so it cannot be changed.
    ReservedMetadata,
    /// The entrypoint is missing.
    InvalidEntrypoint,
    /// A volume cannot be mounted.
    Volume(VolumeFault),
    /// Pool references need Kubernetes.
    UnsupportedPoolRef,
    /// This build or this runtime cannot do it (501).
    NotSupported,
    /// Pools of sandboxes need Kubernetes (501).
    PoolsNotSupported,
    /// Templates need Kubernetes (501).
    TemplatesNotSupported,
    /// The engine could not be asked.
    QueryFailed,
    /// The engine took the question and did not answer in time.
    QueryTimedOut,
    /// So many questions wait for the engine that no more are taken.
    QueryOverloaded,
    /// The image could not be pulled or inspected.
    ImagePullFailed,
    /// The container could not be created or started.
    StartFailed,
    /// The container could not be removed.
    DeleteFailed,
    /// The sandbox is not running, so it cannot be paused.
    NotRunning,
    /// The sandbox is not paused, so it cannot be resumed.
    NotPaused,
    /// The container could not be paused.
    PauseFailed,
    /// The container could not be resumed.
    ResumeFailed,
    /// A change could not be stored.
    StoreFailed,
    /// The new expiry is in the past.
    ExpirationInPast,
    /// The sandbox never ends by itself, or it is not known when.
    NoExpiration,
    /// The port is no port.
    InvalidPort,
    /// A request that this runtime never serves (400).
    UnsupportedRequest,
    /// The sandbox has no address under which the port could be reached.
    EndpointUnavailable,
    /// The container that carries execd could not be started.
    ExecdStartFailed,
    /// execd could not be read from its image or put into the sandbox.
    ExecdDistributionFailed,
    /// A sandbox could not be copied to an image.
    SnapshotFailed,
    /// A sandbox was not copied to an image in time.
    SnapshotTimeout,
    /// A sandbox needs the snapshot's image.
    SnapshotInUse,
    /// The snapshot's image could not be removed.
    SnapshotRemoveFailed,
    /// The runtime could not be reached at start-up.
    Initialization,
    /// The engine lacks the runtime that sandboxes are to have; found at start-up.
    RuntimeUnavailable,
    /// The sandbox's log driver cannot be read.
    LogDriverUnreadable,
    /// The sandbox is being removed, so its log cannot be read.
    LogSandboxRemoving,
    /// The engine that holds the log cannot be reached.
    LogEngineUnavailable,
    /// The engine that holds the log took the question and did not answer in time.
    LogEngineTimedOut,
    /// The engine refused or failed to open the log.
    LogQueryFailed,
}
