//! What can go wrong, below the model and everything else that has to tell of it. `crate::problem` chooses the status, the
//! code and the body of the answer.

use std::{borrow::Cow, error::Error as StdError, sync::Arc, time::Duration};

/// The most bytes of an id that are told in an error; one that a sandbox can have is shorter.
const MAX_SHOWN_ID: usize = 256;

/// What went wrong: for a program by its family and kind, for a client by its message, for the log by its source too.
///
/// [`ToString`] shows the message alone. A message may quote its source: [`crate::error_chain`] does not repeat that.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What was to be done, or what it was about.
    pub family: Family,
    /// In which way it went wrong.
    pub kind: Kind,
    /// Text for the client: free of secrets and of the backend's addresses.
    pub message: String,
    /// When asking again may help, if the backend says so; `crate::problem` has what is told otherwise.
    pub retry_after: Option<Duration>,
    /// What lies beneath. Shared, since callers who wait for the same call are told the same.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a text for the client. `crate::problem` has a row for each pair of `family` and `kind` that there is.
    pub fn new(family: Family, kind: Kind, message: impl Into<String>) -> Self {
        Self { family, kind, message: message.into(), retry_after: None, source: None }
    }

    /// The same error with what lies beneath it: free of secrets, since the log tells it.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What lies beneath it, to be told by its type.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// The same error of another family: an engine that cannot be asked about a sandbox cannot be asked for its log either.
    #[must_use]
    pub fn within(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// The family and the kind, by which the answer is chosen.
    pub fn key(&self) -> (Family, Kind) {
        (self.family, self.kind)
    }

    /// Whether it says that there is no such sandbox, whatever the runtime.
    pub fn is_sandbox_missing(&self) -> bool {
        self.kind == Kind::NotFound
            && matches!(self.family, Family::Sandbox | Family::KubeSandbox | Family::FastSandbox)
    }

    /// The sandbox does not exist.
    ///
    /// Of what is far too long to be an id only the beginning is told.
    pub fn not_found(id: &str) -> Self {
        Self::new(Family::Sandbox, Kind::NotFound, format!("Sandbox {} not found.", Self::shown_id(id)))
    }

    /// An id as errors tell it: of what is far too long to be one only the beginning.
    pub fn shown_id(id: &str) -> Cow<'_, str> {
        let shown = &id[..id.floor_char_boundary(MAX_SHOWN_ID)];
        if shown.len() < id.len() { format!("{shown}…").into() } else { id.into() }
    }

    /// The runtime has no such thing.
    pub fn not_supported(what: &str) -> Self {
        Self::new(Family::Sandbox, Kind::Unsupported, format!("{what} is not supported by this runtime."))
    }
}

/// What was to be done, or what it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A sandbox as a whole: whether it exists and runs, and what its runtime can do.
    Sandbox,
    /// A parameter of a request that has no family of its own.
    Parameter,
    /// The filter of a list by metadata.
    MetadataFilter,
    /// The scope of diagnostics.
    DiagnosticsScope,
    /// A sandbox's metadata.
    Metadata,
    /// What a sandbox is to run.
    Entrypoint,
    /// A volume, in one of its parts.
    Volume(VolumePart),
    /// Pools of sandboxes.
    Pool,
    /// Templates of sandboxes.
    Template,
    /// The image that a sandbox is made from.
    Image,
    /// Putting execd into a sandbox.
    ExecdDelivery,
    /// What a client asks of an execd that is this program's own.
    Execd,
    /// The output of a command that was run through an execd.
    Command,
    /// Creating and starting a sandbox.
    Creation,
    /// What the backend is asked about sandboxes.
    Query,
    /// Pausing a sandbox.
    Pause,
    /// Resuming a sandbox.
    Resume,
    /// A sandbox's expiry.
    Expiry,
    /// Where a port of a sandbox is reached.
    Endpoint,
    /// The token that a log is to be gone on with from.
    LogCursor,
    /// A sandbox's log.
    Logs,
    /// Removing a sandbox.
    Deletion,
    /// A snapshot, and making one.
    Snapshot,
    /// The sandbox that a snapshot is to be made of, as its runtime finds it.
    SnapshotSource,
    /// Creating a sandbox from a snapshot.
    Restore,
    /// Removing a snapshot.
    SnapshotRemoval,
    /// The records of snapshots.
    SnapshotStore,
    /// The start of the runtime.
    Startup,
    /// A sandbox of the fast-sandbox backend, which this server does not have.
    FastSandbox,
    /// A sandbox of a cluster: whether it exists, and its state.
    KubeSandbox,
    /// A call of a cluster's API server.
    KubeApi,
    /// All sandboxes of a cluster.
    KubeList,
    /// The address of a sandbox's pod.
    PodAddress,
    /// A container of a sandbox's pod whose log is asked for.
    LogContainer,
    /// The log of a container's instance before the present one.
    PreviousLog,
    /// The start of the instance whose log is asked for.
    LogStart,
    /// One of a log's two streams, where a backend cannot tell them apart.
    LogStream,
    /// What a cluster allows this program to do.
    KubeAccess,
    /// Room in a pool for one more sandbox.
    PoolCapacity,
    /// What a cluster allows a namespace to have.
    KubeQuota,
    /// The pod of a sandbox that is being created.
    KubePod,
    /// A claim of a volume that a sandbox mounts.
    KubeClaim,
}

/// Parts of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumePart {
    /// Its name, unique in a request.
    Name,
    /// The place in the sandbox.
    MountPath,
    /// The part of it that is mounted.
    SubPath,
    /// The host's directory.
    HostPath,
    /// The volume of the engine.
    Claim,
    /// The mount of a place that others could exchange.
    Mount,
    /// The bucket's name.
    OssfsBucket,
    /// The address of the bucket's store.
    OssfsEndpoint,
    /// An option of the bucket's file system.
    OssfsOption,
    /// The operator's place for mounted buckets.
    OssfsMountRoot,
    /// The mount of a bucket.
    OssfsMount,
}

/// In which way something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for cannot be.
    Invalid,
    /// It may not be.
    Denied,
    /// Who asks has not proved who he is.
    Unauthenticated,
    /// There is no such thing.
    NotFound,
    /// The thing has no such part.
    OutOfRange,
    /// The thing is not in a state for that, or is another than is asked for.
    Conflict,
    /// Another thing needs it.
    InUse,
    /// This runtime, or this host, cannot do it.
    Unsupported,
    /// It cannot be reached.
    Unavailable,
    /// Too much is asked for at once.
    Overloaded,
    /// It took the question and did not answer in time.
    TimedOut,
    /// It was tried and did not succeed.
    Failed,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn of_a_long_id_the_beginning_is_told() {
        let error = Error::not_found(&"ü".repeat(1000));
        assert_eq!(error.message, format!("Sandbox {}… not found.", "ü".repeat(128)));
    }

    #[test]
    fn a_source_is_kept_by_clones_and_not_shown() {
        let error = Error::new(Family::Query, Kind::Unavailable, "no answer").caused_by(io::Error::other("x"));
        let error = error.clone().within(Family::Logs);
        assert_eq!((error.to_string().as_str(), error.key()), ("no answer", (Family::Logs, Kind::Unavailable)));
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("x"));
    }
}
