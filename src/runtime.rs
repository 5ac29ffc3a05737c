//! STEP 5, the seam: what the gateway asks of a runtime. Knows no HTTP.

pub mod docker;
pub mod process;

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use async_trait::async_trait;

use crate::{
    error::RuntimeError,
    execd::Execd,
    logs::{LogQuery, LogSource},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint},
        sandbox::{CreatedSandbox, Sandbox},
        timestamp::Timestamp,
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
