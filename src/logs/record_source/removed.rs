//! The log of a sandbox that is gone.

use async_trait::async_trait;

use crate::{
    error::{Error, Family, Kind},
    logs::{
        backend::{Backend, RecordReader, State, Window},
        cursor::RunId,
    },
};

/// A backend that has nothing any more of the run that a client knew.
#[derive(Debug)]
pub(super) struct Removed(pub(super) RunId);

#[async_trait]
impl Backend for Removed {
    async fn read(&self, _: Window) -> Result<Box<dyn RecordReader>, Error> {
        Err(Error::new(Family::Sandbox, Kind::NotFound, "The sandbox is gone."))
    }

    async fn state(&self) -> Result<State, Error> {
        Ok(State::Removed)
    }

    fn run(&self) -> RunId {
        self.0
    }

    fn drops_newlines(&self) -> bool {
        false
    }
}
