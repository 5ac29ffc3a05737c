//! What can go wrong in a runtime: below the model and everything else that has to tell of it. `crate::problem` chooses the
//! status, the code and the body of the answer.

use std::fmt;

/// The most bytes of an id that are told in an error; one that a sandbox can have is shorter.
const MAX_SHOWN_ID: usize = 256;

/// What went wrong in a runtime, for a program (`kind`) and for a person (`message`).
#[derive(Debug, Clone)]
pub struct RuntimeError {
    /// Which row of [`crate::problem`]'s table it is.
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

/// Kinds of runtime errors; [`crate::problem`] gives each its status and code.
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

/// What can be wrong with a volume; [`crate::problem`] gives each its status and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeFault {
    /// Two volumes of one request have the same name.
    DuplicateName,
    /// The place in the sandbox is the server's own, or the engine's.
    InvalidMountPath,
    /// The part is no path inside the volume.
    InvalidSubPath,
    /// The host's path is not in its plain form.
    InvalidHostPath,
    /// The host's path is not below one of those that the operator allows.
    HostPathNotAllowed,
    /// The host's directory could not be made.
    HostPathCreateFailed,
    /// What others could exchange cannot be mounted safely here: the server is not root, or not on the engine's host.
    MountUnavailable,
    /// The engine has no such volume.
    ClaimNotFound,
    /// The engine could not be asked about a volume, or could not make it.
    ClaimInspectFailed,
    /// Parts of such a volume cannot be mounted.
    SubPathUnsupportedDriver,
    /// The bucket is blank.
    InvalidOssfsBucket,
    /// The store's address is blank.
    InvalidOssfsEndpoint,
    /// An option is blank, or has a dash.
    InvalidOssfsOption,
    /// The operator's place for mounted buckets is no absolute path.
    InvalidOssfsMountRoot,
    /// The bucket could not be mounted.
    OssfsMountFailed,
    /// The bucket is mounted already for other credentials or with other options.
    OssfsMountConflict,
}
