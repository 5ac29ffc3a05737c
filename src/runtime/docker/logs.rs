//! Placeholder until the log reader is merged: opens nothing.

use std::pin::Pin;

use crate::{
    logs::{LogQuery, LogSource},
    runtime::{ErrorKind, RuntimeError},
};

use super::Docker;

/// Opens a sandbox's log.
pub(super) async fn open(_: &Docker, _: &str, _: &LogQuery) -> Result<Pin<Box<dyn LogSource>>, RuntimeError> {
    Err(RuntimeError::new(ErrorKind::NotSupported, "Log streaming is not part of this build."))
}
