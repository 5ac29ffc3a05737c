//! STEP 5, the seam: what the gateway asks of a runtime. Knows no HTTP.
//!
//! What every runtime has is in [`Runtime`]. What one has or lacks as a whole is a trait of its own, which [`Runtime`] tells.

pub mod docker;
mod egress;
pub mod kubernetes;
mod places;
pub mod process;
mod windows;

#[cfg(test)]
pub(crate) mod stub;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    error::Error,
    execd::{self, Execd},
    logs::{LogQuery, OpenedLog},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint},
        page::{ListQuery, Page},
        pool::{Capacity, NewPool, Pool},
        sandbox::{CreatedSandbox, Sandbox, SandboxJson},
        tenant::Tenant,
        timestamp::Timestamp,
    },
};

/// A place where sandboxes run. One for the process, shared by all requests.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Creates and starts a sandbox; on failure nothing of it remains.
    ///
    /// The caller may drop the future (its client left): the runtime finishes what it has begun all the same.
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, Error>;

    /// One sandbox.
    async fn get(&self, id: &str) -> Result<Sandbox, Error>;

    /// All sandboxes, in any order.
    async fn list(&self) -> Result<Vec<Sandbox>, Error>;

    /// A page of the list: what [`ListQuery::page_of`] makes of all sandboxes, which a runtime may do without showing all of them.
    async fn page(&self, query: &ListQuery) -> Result<Page<SandboxJson>, Error> {
        Ok(query.page_of(self.list().await?).map(|sandbox| SandboxJson::from(&sandbox)))
    }

    /// Ends a sandbox and removes what belongs to it.
    async fn delete(&self, id: &str) -> Result<(), Error>;

    /// Changes a sandbox's metadata: a value is set, `None` takes the key away. Atomic: two callers' changes do not mix.
    async fn patch_metadata(&self, id: &str, patch: BTreeMap<String, Option<String>>) -> Result<Sandbox, Error>;

    /// Moves a sandbox's expiry to `expires_at`, earlier or later; answers with the new one.
    async fn renew(&self, id: &str, expires_at: Timestamp) -> Result<Timestamp, Error>;

    /// Moves the expiry of a running sandbox that asked for it (`access.renew.extend.seconds`) by that time from now,
    /// never to an earlier one. Answers with the new one, or nothing for a sandbox that did not ask or is not running.
    async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error>;

    /// Whether [`Self::get`] and [`Self::endpoint`] of a sandbox are answered from memory, however busy the backend is. True
    /// for a sandbox that is known not to exist.
    fn is_at_hand(&self, id: &str) -> bool;

    /// Opens a sandbox's log. Returns at once also for a sandbox that has printed nothing.
    async fn open_logs(&self, id: &str, query: &LogQuery) -> Result<OpenedLog, Error>;

    /// Whether a sandbox has several containers, and a container's log that of the instance before the present one:
    /// [`LogQuery::container`] and [`LogQuery::previous`] mean something.
    fn has_containers(&self) -> bool {
        false
    }

    /// Where clients reach a port of a sandbox; 0 is no port. `expires`, in Unix seconds, asks for an address that is good
    /// until then.
    async fn endpoint(&self, id: &str, port: u16, expires: Option<i128>) -> Result<Endpoint, Error>;

    /// Where this program reaches a port of a sandbox; 0 is no port. Asked for every proxied request, so it must be cheap.
    async fn backend(&self, id: &str, port: u16) -> Result<Backend, Error>;

    /// A description of a sandbox for a person (logs.md §3.2).
    async fn inspect(&self, id: &str) -> Result<String, Error>;

    /// What happened to a sandbox, for a person; at most `limit` entries (logs.md §3.1).
    async fn events(&self, id: &str, limit: usize) -> Result<String, Error>;

    /// Pausing, for a runtime that can.
    fn pausing(&self) -> Option<&dyn Pausing>;

    /// Who makes copies of sandboxes, for a runtime that has them.
    fn snapshots(self: Arc<Self>) -> Option<SnapshotMaker>;

    /// The execds of sandboxes, for a runtime whose sandboxes have none of their own.
    fn local_execd(&self) -> Option<&dyn LocalExecd>;

    /// Views of tenants' sandboxes, for a runtime that keeps them apart.
    fn tenancy(&self) -> Option<&dyn Tenancy> {
        None
    }

    /// Pools of sandboxes, for a runtime that has them.
    fn pools(&self) -> Option<&dyn Pools> {
        None
    }

    /// Why nobody can manage pools where [`Self::pools`] has none.
    fn pools_refusal(&self) -> &'static str {
        "Pool management is only available when runtime.type is 'kubernetes'."
    }

    /// Why nobody can manage templates here.
    fn templates_refusal(&self) -> &'static str {
        "Template management requires the kubernetes runtime."
    }

    /// What an operator should know of a runtime that serves, but less than it was meant to: one sentence each for the body
    /// of `/ready`, free of secrets and paths. Cheap; empty when there is nothing to say.
    fn notes(&self) -> Vec<String>;

    /// Why requests cannot be served now, one sentence for the body of `/ready`, free of secrets and addresses; nothing when
    /// they can. Asked by anyone at any rate, so it costs the backend no call.
    fn fault(&self) -> Option<String>;

    /// Called once, after the server has stopped.
    async fn shutdown(&self);
}

/// Stops and resumes sandboxes.
#[async_trait]
pub trait Pausing: Send + Sync {
    /// Stops a sandbox's processes where they are.
    async fn pause(&self, id: &str) -> Result<(), Error>;

    /// Lets a paused sandbox's processes go on.
    async fn resume(&self, id: &str) -> Result<(), Error>;
}

/// Pools of sandboxes that are made before they are asked for.
#[async_trait]
pub trait Pools: Send + Sync {
    /// Makes a pool.
    ///
    /// # Errors
    /// ([`Family::Pool`](crate::error::Family::Pool), [`Kind::Conflict`](crate::error::Kind::Conflict)) if there is one of its
    /// name; a template or a capacity that means nothing.
    async fn create(&self, new: NewPool) -> Result<Pool, Error>;

    /// All pools.
    async fn list(&self) -> Result<Vec<Pool>, Error>;

    /// One pool.
    async fn get(&self, name: &str) -> Result<Pool, Error>;

    /// Changes how many pods a pool keeps; answers with the pool.
    async fn update(&self, name: &str, capacity: Capacity) -> Result<Pool, Error>;

    /// Removes a pool.
    async fn delete(&self, name: &str) -> Result<(), Error>;
}

/// Keeps tenants' sandboxes apart.
#[async_trait]
pub trait Tenancy: Send + Sync {
    /// The runtime as a tenant has it: for all that it does only the tenant's sandboxes exist. Cheap: asked for each request.
    ///
    /// # Errors
    /// ([`Family::KubeApi`](crate::error::Family::KubeApi), [`Kind::Overloaded`](crate::error::Kind::Overloaded)) if too many
    /// other namespaces are in use.
    fn of_tenant(&self, tenant: &Tenant) -> Result<Arc<dyn Runtime>, Error>;

    /// The runtime with all sandboxes of a namespace (a DNS label), of whatever tenant; for what the server does by itself.
    ///
    /// # Errors
    /// As [`Self::of_tenant`].
    fn of_namespace(&self, namespace: &Arc<str>) -> Result<Arc<dyn Runtime>, Error>;

    /// The namespaces that have a sandbox with this id, as far as the server may look; two if there are more.
    ///
    /// # Errors
    /// ([`Family::KubeAccess`](crate::error::Family::KubeAccess), [`Kind::Denied`](crate::error::Kind::Denied)) if it may not
    /// look everywhere; the backend's failure.
    async fn namespaces_of(&self, id: &str) -> Result<Vec<Arc<str>>, Error>;

    /// Whether the server finds a namespace and may read it. The backend's failure is none of the namespace: it is told in the
    /// log, and nothing else.
    ///
    /// # Errors
    /// A text for a person: there is no such namespace, or it may not be read.
    async fn check_namespace(&self, namespace: &str) -> Result<(), String>;
}

/// Who makes the images of snapshots.
#[derive(Clone)]
pub enum SnapshotMaker {
    /// The runtime, when it is told to.
    Here(Arc<dyn SnapshotImages>),
    /// Another program, which is asked for them.
    Elsewhere(Arc<dyn SnapshotRequests>),
}

/// A snapshot, as far as who makes it has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRef {
    /// The snapshot's id, a UUID.
    pub id: String,
    /// The sandbox that it is made of.
    pub sandbox: String,
    /// The namespace of the sandbox; none for the configured one.
    pub namespace: Option<Arc<str>>,
}

/// How far a snapshot is that another program makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// It is being made.
    UnderWay,
    /// Sandboxes can be restored from its image.
    Ready {
        /// The image's reference.
        image: String,
        /// What is told of it.
        message: String,
    },
    /// It could not be made.
    Failed {
        /// A machine-readable reason, such as `snapshot_runtime_missing_image`.
        reason: String,
        /// The reason for a person.
        message: String,
    },
    /// Nobody was asked for it, or the request is gone.
    Missing {
        /// What is told of it.
        message: String,
    },
}

/// Why a snapshot could not be asked for.
#[derive(Debug)]
pub struct RequestFailure {
    /// What clients are told.
    pub error: Error,
    /// Whether nothing says that it was refused: it may have been heard all the same, or be heard yet.
    pub may_be_heard: bool,
}

/// Asks another program for images of sandboxes. What was asked for goes on without this one.
#[async_trait]
pub trait SnapshotRequests: Send + Sync {
    /// The namespace of a sandbox that is nobody's in particular. It is recorded, since it may be another one after a restart.
    fn home(&self) -> Arc<str>;

    /// Whether a snapshot can be made of a sandbox; asks for nothing.
    ///
    /// # Errors
    /// ([`Family::SnapshotSource`](crate::error::Family::SnapshotSource)) that it cannot, or that it cannot be told.
    async fn check(&self, reference: &SnapshotRef) -> Result<(), Error>;

    /// Asks for a snapshot. Twice is as good as once.
    async fn request(&self, reference: &SnapshotRef) -> Result<(), RequestFailure>;

    /// How far it is.
    async fn look(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error>;

    /// The same once it is no more under way.
    async fn ended(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error>;

    /// Takes the request back, and its image with it; fine if there is none. What is no request for this snapshot stays.
    async fn withdraw(&self, reference: &SnapshotRef) -> Result<(), Error>;
}

/// Copies sandboxes to images, and removes those.
#[async_trait]
pub trait SnapshotImages: Send + Sync {
    /// Copies a sandbox's file system to an image for the snapshot `snapshot`, and gives the image's reference. Takes as
    /// long as there is to copy; the caller drops the future only when the program ends.
    async fn commit(&self, id: &str, snapshot: &str) -> Result<String, Error>;

    /// The image that [`Self::commit`] made for a snapshot, of this program or an earlier one.
    async fn committed(&self, snapshot: &str) -> Result<Option<String>, Error>;

    /// Removes a snapshot's image, `image` or what [`Self::commit`] calls it; fine if there is none.
    async fn remove_snapshot(&self, snapshot: &str, image: Option<&str>) -> Result<(), Error>;
}

/// Has an execd for each sandbox in this program, which answers what is sent to [`execd::PORT`].
pub trait LocalExecd: Send + Sync {
    /// A sandbox's execd.
    ///
    /// # Errors
    /// There is no such sandbox.
    fn execd(&self, id: &str) -> Result<Arc<Execd>, Error>;
}

impl dyn Runtime {
    /// Who answers requests for this port of a sandbox, if this program does it itself.
    pub fn local_execd_at(&self, port: u16) -> Option<&dyn LocalExecd> {
        self.local_execd().filter(|_| port == execd::PORT)
    }
}
