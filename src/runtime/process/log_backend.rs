//! A sandbox's log as the log path reads it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{reader::LogReader, sandbox::Sandbox};
use crate::{
    error::{Error, Family, Kind},
    logs::{
        backend::{Backend, Exit, RecordReader, State, Window},
        cursor::RunId,
    },
};

/// A sandbox's log file, and how the sandbox does. The file can be read as long as this lives, also when the sandbox is gone.
pub(super) struct LogBackend(Arc<Sandbox>);

impl LogBackend {
    /// The log of this sandbox.
    pub(super) fn new(sandbox: Arc<Sandbox>) -> Self {
        Self(sandbox)
    }

    /// As [`Backend::state`].
    pub(super) fn state(&self) -> State {
        if self.0.is_stopping() {
            return State::Removed;
        }
        // Without the time when it was started: it never is again, and the clock may be set back behind it.
        let Some(exit) = self.0.exit() else { return State::Running { started: None } };
        let finished_at = i64::try_from(exit.at.as_nanosecond()).ok();
        let exit = Exit { code: Some(i64::from(exit.code)), oom: false, finished_at };
        State::Ended { exit, started: None }
    }
}

#[async_trait]
impl Backend for LogBackend {
    async fn read(&self, window: Window) -> Result<Box<dyn RecordReader>, Error> {
        match LogReader::open(Arc::clone(&self.0.log), window).await {
            Ok(reader) => Ok(Box::new(reader)),
            Err(error) => {
                let message = format!("Failed to read logs for sandbox {}: {error}", self.0.id());
                Err(Error::new(Family::Logs, Kind::Failed, message).caused_by(error))
            }
        }
    }

    async fn state(&self) -> Result<State, Error> {
        Ok(self.state())
    }

    fn run(&self) -> RunId {
        RunId::of(self.0.id())
    }

    fn drops_newlines(&self) -> bool {
        false
    }
}
