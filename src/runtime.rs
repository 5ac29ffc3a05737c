//! STEP 5, the seam: what the gateway asks of a runtime. Knows no HTTP.

pub mod docker;
pub mod process;

use std::{fmt, pin::Pin};

use async_trait::async_trait;

use crate::{
    logs::{LogQuery, LogSource},
    model::{
        create::CreateRequest,
        sandbox::{CreatedSandbox, Sandbox},
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

    /// Called once, after the server has stopped.
    async fn shutdown(&self);
}

/// What went wrong in a runtime, for a program (`kind`) and for a person (`message`).
#[derive(Debug)]
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
    pub fn not_found(id: &str) -> Self {
        Self::new(ErrorKind::SandboxNotFound, format!("Sandbox {id} not found."))
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
    /// The entrypoint is missing.
    InvalidEntrypoint,
    /// Pool references need Kubernetes.
    UnsupportedPoolRef,
    /// This build or this runtime cannot do it (501).
    NotSupported,
    /// The engine could not be asked.
    QueryFailed,
    /// The image could not be pulled or inspected.
    ImagePullFailed,
    /// The container could not be created or started.
    StartFailed,
    /// The container could not be removed.
    DeleteFailed,
    /// The container that carries execd could not be started.
    ExecdStartFailed,
    /// execd could not be read from its image or put into the sandbox.
    ExecdDistributionFailed,
    /// The bootstrap script could not be put into the sandbox.
    BootstrapInstallFailed,
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
    /// The engine refused or failed to open the log.
    LogQueryFailed,
}
