//! The two kinds of object that a sandbox is: what they say of it, and what is written to change them.
//!
//! | | BatchSandbox | agent-sandbox |
//! |---|---|---|
//! | name | the id | the id as a DNS label (`names`) |
//! | state | `batch_status` | `agent_status`, partly by its pod |
//! | expiry | `spec.expireTime` | `spec.shutdownTime` |
//! | address | an annotation | its status or its pod (`address`) |
//! | pools | `allocation` | none |
//!
//! Nothing here is trusted to be well-formed: whoever may write to the namespace wrote it.

mod address;
mod agent_status;
mod allocation;
mod batch_status;
mod find;
pub(super) mod labels;
pub(super) mod names;
mod pausing;
pub(super) mod platform;
mod store;

use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, core::ObjectMeta};
use serde_json::{Value, json};

pub(super) use self::{
    address::{Host, is_pods},
    find::{check_alive, failed, tell_without_pods},
    pausing::{PauseChange, Step},
    store::{Deletion, Workloads},
};
use crate::{
    model::{
        sandbox::{Image, Platform, Sandbox, SandboxJson, Status},
        timestamp::Timestamp,
    },
    runtime::kubernetes::objects::{AgentSandbox, BatchSandbox, Pod, WorkloadSpec},
    secret::Secret,
};

/// What is shown for the image of a sandbox whose object names none, as those of pools do.
const UNKNOWN_IMAGE: &str = "unknown";

/// The longest JSON of a sandbox that is kept: its annotations can have as much again as the object.
const MAX_KEPT_JSON: usize = 16 * 1024;

/// A sandbox as an object of the cluster.
#[derive(Debug, Clone)]
pub(super) enum Workload {
    /// Of the OpenSandbox operator.
    Batch(Arc<BatchSandbox>),
    /// Of the agent-sandbox operator.
    Agent(Arc<AgentSandbox>),
}

/// When a sandbox ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It does not.
    Never,
    /// Then.
    At(Timestamp),
    /// The object has a time that cannot be read.
    Unreadable,
}

impl Workload {
    /// The sandbox's id; empty for an object that is no sandbox.
    pub(super) fn id(&self) -> &str {
        labels::of(self.meta(), labels::ID).unwrap_or_default()
    }

    /// The object's name.
    pub(super) fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    pub(super) fn uid(&self) -> Option<&str> {
        self.meta().uid.as_deref()
    }

    /// The version of the object: a change that names it is refused if another one came before.
    pub(super) fn resource_version(&self) -> Option<&str> {
        self.meta().resource_version.as_deref()
    }

    /// The tenant whose it is.
    pub(super) fn tenant(&self) -> Option<&str> {
        labels::of(self.meta(), labels::TENANT)
    }

    /// Whether it is being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    /// Whether it is being deleted, or its time is over: an object of one that has expired may be kept.
    pub(super) fn is_over(&self) -> bool {
        self.is_deleting()
            || match self {
                Self::Batch(_) => false,
                Self::Agent(sandbox) => agent_status::is_expired(sandbox),
            }
    }

    /// Whether its state cannot be told without its pods.
    pub(super) fn needs_pods(&self) -> bool {
        match self {
            Self::Batch(sandbox) => batch_status::needs_pods(sandbox),
            Self::Agent(sandbox) => agent_status::needs_pods(sandbox),
        }
    }

    /// Whether a pod is its: one that bears its id, unless another sandbox's object made it. Who makes a sandbox chooses its pods'
    /// labels, but not whose they are.
    pub(super) fn selects(&self, pod: &Pod) -> bool {
        let is_named = labels::of(&pod.metadata, labels::ID).is_some_and(|id| !id.is_empty() && id == self.id());
        let is_another_s =
            maker(pod).is_some_and(|maker| is_workload(maker) && self.uid().is_some_and(|uid| uid != maker.uid));
        is_named
            && !is_another_s
            && match self {
                Self::Batch(_) => true,
                Self::Agent(sandbox) => agent_status::selects(sandbox, pod),
            }
    }

    /// Whether its object made a pod.
    pub(super) fn made(&self, pod: &Pod) -> bool {
        maker(pod).is_some_and(|maker| is_workload(maker) && self.uid() == Some(&maker.uid))
    }

    /// What it is doing, by its pods too where [`Self::needs_pods`].
    pub(super) fn status(&self, pods: &[Arc<Pod>]) -> Status {
        match self {
            Self::Batch(sandbox) => batch_status::of(sandbox, pods),
            Self::Agent(sandbox) => agent_status::of(sandbox, pods),
        }
    }

    /// What owns the things that go with it, as they name it.
    pub(super) fn owner(&self) -> Value {
        let (api_version, kind) = match self {
            Self::Batch(_) => (BatchSandbox::api_version(&()), BatchSandbox::kind(&())),
            Self::Agent(_) => (AgentSandbox::api_version(&()), AgentSandbox::kind(&())),
        };
        json!({"apiVersion": api_version, "kind": kind, "name": self.name(), "uid": self.uid(), "controller": false})
    }

    /// The sandbox as the API shows it.
    pub(super) fn show(&self, pods: &[Arc<Pod>]) -> Sandbox {
        let meta = self.meta();
        let spec = self.pods();
        let main = spec.main();
        let snapshot = labels::of(meta, labels::SNAPSHOT).filter(|id| !id.is_empty()).map(str::to_owned);
        let image = main.and_then(|main| main.image.clone()).unwrap_or_else(|| UNKNOWN_IMAGE.to_owned());
        let expires_at = match self.expiry() {
            Expiry::At(time) => Some(time),
            Expiry::Never | Expiry::Unreadable => None,
        };
        Sandbox {
            id: self.id().to_owned(),
            image: snapshot.is_none().then_some(Image { uri: image }),
            snapshot_id: snapshot,
            platform: self.platform(),
            status: self.status(pods),
            metadata: labels::metadata(meta),
            extensions: labels::extensions(meta),
            allocation: match self {
                Self::Batch(sandbox) => allocation::shown(sandbox),
                Self::Agent(_) => None,
            },
            entrypoint: main.map(|main| main.command.clone()).unwrap_or_default(),
            expires_at,
            created_at: created_at(meta),
        }
    }

    /// The sandbox as a list of the API shows it. Each state of an object is written once, unless its pods have a say.
    pub(super) fn json(&self, pods: &[Arc<Pod>]) -> SandboxJson {
        let kept = match self {
            Self::Batch(sandbox) => &sandbox.written,
            Self::Agent(sandbox) => &sandbox.written,
        };
        if let Some(json) = kept.get() {
            return json.clone();
        }
        let json = SandboxJson::from(&self.show(pods));
        if !self.needs_pods() && json.as_bytes().len() <= MAX_KEPT_JSON {
            return kept.get_or_init(|| json).clone();
        }
        json
    }

    /// The platform that its pods must have, if both parts of it are told.
    pub(super) fn platform(&self) -> Option<Platform> {
        platform::of(self.pods())
    }

    /// A value of its metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        labels::of_metadata(self.meta(), key)
    }

    /// When it was created.
    pub(super) fn created_at(&self) -> Timestamp {
        created_at(self.meta())
    }

    /// When the operator ends it.
    pub(super) fn expiry(&self) -> Expiry {
        let text = match self {
            Self::Batch(sandbox) => sandbox.expire_time(),
            Self::Agent(sandbox) => sandbox.shutdown_time(),
        };
        match text {
            None => Expiry::Never,
            Some(text) => Timestamp::from_iso(text).map_or(Expiry::Unreadable, Expiry::At),
        }
    }

    /// What is merged into the object to end it at another time.
    pub(super) fn expiry_patch(&self, time: Timestamp) -> Value {
        match self {
            Self::Batch(_) => json!({"spec": {"expireTime": time.to_label()}}),
            Self::Agent(_) => json!({"spec": {"shutdownTime": time.to_label()}}),
        }
    }

    /// The next step to pause or resume it, by its pods too where [`Self::needs_pods`]. `is_cleared`: an older wish has been
    /// taken back already.
    ///
    /// # Errors
    /// Why it cannot be, for the client.
    pub(super) fn next_step(&self, pods: &[Arc<Pod>], change: PauseChange, is_cleared: bool) -> Result<Step, String> {
        match self {
            Self::Batch(sandbox) => pausing::of_batch(sandbox, change, is_cleared),
            Self::Agent(_) => pausing::of_agent(self.status(pods).state, change),
        }
    }

    /// Seconds by which an access extends its life, if it asked for that.
    pub(super) fn renewal(&self) -> Option<i64> {
        labels::renewal(self.meta())
    }

    /// What callers of its ports must present.
    pub(super) fn secure_access(&self) -> Option<Secret> {
        labels::annotation(self.meta(), labels::SECURE_ACCESS).map(Secret::new)
    }

    /// What its egress sidecar wants to be presented.
    pub(super) fn egress_token(&self) -> Option<Secret> {
        labels::annotation(self.meta(), labels::EGRESS_TOKEN).map(Secret::new)
    }

    /// The host that its ports are reached at. `pods` are its own; pods are in `networks`, or anywhere if none are told.
    pub(super) fn host(&self, pods: &[Arc<Pod>], networks: &[IpNet]) -> Option<Host> {
        address::of(self, pods, networks)
    }

    /// Whether its host is told without its pods.
    pub(super) fn has_host(&self, networks: &[IpNet]) -> bool {
        address::of_object(self, networks).is_some()
    }

    /// The names of the pool's pods that it has for certain; none for a sandbox whose pods are its own.
    pub(super) fn allocated_pods(&self) -> Vec<String> {
        match self {
            Self::Batch(sandbox) => allocation::pods(sandbox).unwrap_or_default(),
            Self::Agent(_) => Vec::new(),
        }
    }

    /// Whether its pods are a pool's.
    pub(super) fn is_pooled(&self) -> bool {
        match self {
            Self::Batch(sandbox) => sandbox.pool_ref().is_some(),
            Self::Agent(_) => false,
        }
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Batch(sandbox) => &sandbox.metadata,
            Self::Agent(sandbox) => &sandbox.metadata,
        }
    }

    fn pods(&self) -> &WorkloadSpec {
        match self {
            Self::Batch(sandbox) => sandbox.pods(),
            Self::Agent(sandbox) => sandbox.pods(),
        }
    }
}

/// The object that made a pod, and sees to it.
fn maker(pod: &Pod) -> Option<&OwnerReference> {
    pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether an owner is an object that is a sandbox, of either kind.
fn is_workload(owner: &OwnerReference) -> bool {
    let is = |group: &str, kind: &str| {
        owner.kind == kind && owner.api_version.split_once('/').is_some_and(|(prefix, _)| prefix == group)
    };
    let (batch, agent) =
        ((BatchSandbox::group(&()), BatchSandbox::kind(&())), (AgentSandbox::group(&()), AgentSandbox::kind(&())));
    [batch, agent].iter().any(|(group, kind)| is(group, kind))
}

/// When an object was created, to the second. Every object of the API server has such a time.
fn created_at(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0).into()
}

#[cfg(test)]
mod tests;
