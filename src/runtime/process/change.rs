//! Changes of a sandbox that lives, and where its ports are. Nothing is stored: no sandbox outlives the gateway.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::sandbox::{Moved, Sandbox};
use crate::{
    children::group::Refused,
    error::{Error, Family, Kind},
    execd,
    model::{
        endpoint::{Backend, Endpoint, check_port},
        labels,
        sandbox::{Sandbox as Shown, State},
        timestamp::Timestamp,
    },
};

/// Where a sandbox's processes listen: they are this machine's own.
const HOST: &str = "127.0.0.1";

impl Sandbox {
    /// Merges a patch into the metadata.
    pub(super) fn patch(&self, patch: BTreeMap<String, Option<String>>) -> Result<Shown, Error> {
        labels::check_patch(&patch)?;
        let mut metadata = self.metadata();
        for (key, value) in patch {
            match value {
                Some(value) => metadata.insert(key, value),
                None => metadata.remove(&key),
            };
        }
        drop(metadata);
        Ok(self.show())
    }

    /// Stops the processes where they are, those of commands included.
    pub(super) async fn pause(&self) -> Result<(), Error> {
        self.stop_processes()?;
        self.execd.starts_are_over().await;
        Ok(())
    }

    fn stop_processes(&self) -> Result<(), Error> {
        let _alone = self.changes();
        self.group.pause().map_err(|refused| match refused {
            Refused::WrongState => not_running(),
            Refused::Failed(error) => failed(Family::Pause, "pause", error),
        })?;
        self.execd.pause();
        Ok(())
    }

    /// Lets paused processes go on.
    pub(super) fn resume(&self) -> Result<(), Error> {
        let _alone = self.changes();
        self.group.resume().map_err(|refused| match refused {
            Refused::WrongState => Error::new(Family::Resume, Kind::Conflict, "Sandbox is not in a paused state."),
            Refused::Failed(error) => failed(Family::Resume, "resume", error),
        })?;
        self.execd.resume();
        Ok(())
    }

    /// Moves the expiry, earlier or later.
    pub(super) fn renew(&self, time: Timestamp) -> Result<Timestamp, Error> {
        if time <= Timestamp::now() {
            let text = "New expiration time must be in the future.";
            return Err(Error::new(Family::Expiry, Kind::Invalid, text));
        }
        match self.move_expiry(|_| time) {
            Moved::To(time) => Ok(time),
            Moved::Gone => Err(Error::not_found(self.id())),
            Moved::Never => {
                let text = format!("Sandbox {} does not have automatic expiration enabled.", self.id());
                Err(Error::new(Family::Expiry, Kind::Conflict, text))
            }
        }
    }

    /// Moves the expiry of a sandbox that is used, if it asked for that and runs; never to an earlier time.
    pub(super) fn renew_on_access(&self) -> Option<Timestamp> {
        let seconds = self.renewal().filter(|_| self.show().status.state == State::Running)?;
        let time = jiff::Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).ok()?;
        match self.move_expiry(|present| present.max(time.into())) {
            Moved::To(time) => Some(time),
            Moved::Gone | Moved::Never => None,
        }
    }

    /// Where clients reach a port: they are on this machine too. execd has no address of its own; what must be presented to it
    /// is told.
    pub(super) fn endpoint(&self, port: u16) -> Endpoint {
        let token = self.execd.token().filter(|_| port == execd::PORT);
        let headers = token.map(|token| (execd::TOKEN.to_owned(), token.expose().to_owned()));
        Endpoint { endpoint: format!("{HOST}:{port}"), headers: headers.into_iter().collect() }
    }

    /// Where this program reaches a port.
    pub(super) fn backend(&self, port: u16) -> Result<Backend, Error> {
        check_port(port)?;
        // Another program may listen on the port by now.
        if self.has_ended() {
            return Err(not_running());
        }
        Ok(Backend {
            authority: format!("{HOST}:{port}"),
            path_prefix: String::new(),
            headers: Vec::new(),
            secure_access: None,
            egress_token: None,
        })
    }
}

/// Checks what is asked of an endpoint, before its sandbox is looked for.
pub(super) fn check_endpoint(port: u16, expires: Option<i128>) -> Result<(), Error> {
    if expires.is_some() {
        let text = "Signed routes (expires parameter) are not supported when runtime.type='process'. \
                    Use the Kubernetes runtime for signed routes.";
        return Err(Error::new(Family::Endpoint, Kind::Unsupported, text));
    }
    check_port(port)
}

fn not_running() -> Error {
    Error::new(Family::Sandbox, Kind::Conflict, "Sandbox is not in a running state.")
}

fn failed(family: Family, verb: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(family, Kind::Failed, format!("Failed to {verb} the sandbox's processes: {error}")).caused_by(error)
}
