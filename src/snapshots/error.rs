//! What can be wrong with a request about snapshots.

use crate::{error::RuntimeError, store::StoreError};

/// Why something about a snapshot could not be done.
#[derive(Debug)]
pub enum SnapshotError {
    /// By a rule of snapshots.
    Refused {
        /// Which row of [`crate::problem`]'s table it is.
        kind: ErrorKind,
        /// Text for the client.
        message: String,
    },
    /// The runtime could not or would not.
    Runtime(RuntimeError),
    /// The records could not be read or written.
    Store(StoreError),
}

/// Kinds of refusals; [`crate::problem`] gives each its status and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such snapshot.
    NotFound,
    /// The sandbox does not run.
    InvalidSourceState,
    /// The snapshot's state does not allow it.
    InvalidState,
    /// The snapshot cannot be restored yet, or no more.
    NotReady,
    /// Its record has no image.
    InvalidRestoreConfig,
    /// The runtime makes no snapshots.
    NotImplemented,
}

impl ErrorKind {
    /// A refusal of this kind with a text for the client.
    pub(super) fn because(self, message: impl Into<String>) -> SnapshotError {
        SnapshotError::Refused { kind: self, message: message.into() }
    }
}

impl From<RuntimeError> for SnapshotError {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the snapshot store could not be used");
        Self::Store(error)
    }
}
