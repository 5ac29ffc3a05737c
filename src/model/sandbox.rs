//! The sandbox as the API shows it (http-api.md §7). Members are in the wire's order; absent ones are left out.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde::Serialize;

use super::timestamp::Timestamp;

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// The sandbox's id, a UUID.
    pub id: String,
    /// The image it was created from; absent after a restore from a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The snapshot it was restored from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// The platform that its creator asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What it is doing.
    pub status: Status,
    /// The user's own labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The extensions that are echoed (`opensandbox.extensions.*`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    /// Where it was taken from, if that was a pool; Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Allocation>,
    /// The command it runs.
    pub entrypoint: Vec<String>,
    /// When it ends by itself; absent when it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A sandbox as it stands in a list: its JSON. Copies share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxJson(Bytes);

impl From<&Sandbox> for SandboxJson {
    fn from(sandbox: &Sandbox) -> Self {
        // String keys and finite numbers always serialise.
        let json = serde_json::to_vec(sandbox).expect("wire types serialise");
        // Kept for long, so without the room to grow.
        Self(json.into_boxed_slice().into())
    }
}

impl SandboxJson {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The pool that a sandbox was taken from (kubernetes-runtime.md §6.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "mode", rename = "pool")]
pub struct Allocation {
    /// The pool's name.
    pub pool_ref: String,
    /// How far it is: always `allocated`, since it is told only then.
    pub state: &'static str,
}

/// The answer to a creation (http-api.md §6.9): a sandbox without its image, in an order of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedSandbox {
    /// The new sandbox's id, a UUID.
    pub id: String,
    /// What it is doing.
    pub status: Status,
    /// The metadata of the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The extensions that are echoed (`opensandbox.extensions.*`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    /// The platform that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// When it ends by itself; absent when it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The command of the request.
    pub entrypoint: Vec<String>,
}

/// An image by its reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Image {
    /// The reference, as it was requested.
    pub uri: String,
}

/// An operating system and a processor architecture, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// `linux` or `windows`.
    pub os: String,
    /// `amd64` or `arm64`.
    pub arch: String,
}

/// What a sandbox is doing, and since when.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The state.
    pub state: State,
    /// A machine-readable reason, such as `CONTAINER_RUNNING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// The reason for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the state was entered, as far as the runtime tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_at: Option<Timestamp>,
}

/// The states a sandbox can be in (docker-runtime.md §9, kubernetes-runtime.md §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum State {
    Pending,
    Allocated,
    Running,
    Pausing,
    Paused,
    Resuming,
    Stopping,
    Terminated,
    Failed,
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Allocated,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Resuming,
        Self::Stopping,
        Self::Terminated,
        Self::Failed,
        Self::Unknown,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Allocated => "Allocated",
            Self::Running => "Running",
            Self::Pausing => "Pausing",
            Self::Paused => "Paused",
            Self::Resuming => "Resuming",
            Self::Stopping => "Stopping",
            Self::Terminated => "Terminated",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}
