//! Why a handler gives no answer of its own.

use crate::model::violation::Invalid;
use crate::{error::RuntimeError, snapshots::SnapshotError};

/// What went wrong with a request, before it is given a status.
#[derive(Debug)]
pub enum Failure {
    /// The query or the body breaks the rules of its form (422).
    Invalid(Invalid),
    /// The runtime could not or would not do it.
    Runtime(RuntimeError),
    /// Something about snapshots could not be done.
    Snapshot(SnapshotError),
    /// The request means nothing, by a rule with a code of its own (400).
    BadRequest {
        /// The code on the wire.
        code: &'static str,
        /// Text for the client.
        message: String,
    },
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}
