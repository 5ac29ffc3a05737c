//! `SandboxSnapshot`, of the OpenSandbox operator: asks for an image of a sandbox's containers.

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{condition::Condition, lenient, meta, resource};

/// A snapshot.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct SandboxSnapshot {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "lenient::read")]
    pub spec: SnapshotSpec,
    #[serde(default, deserialize_with = "lenient::read")]
    pub status: SnapshotStatus,
}

/// What is asked for.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct SnapshotSpec {
    /// The name of the BatchSandbox.
    #[serde(default, deserialize_with = "lenient::read")]
    pub sandbox_name: String,
}

/// What the operator says of it.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct SnapshotStatus {
    #[serde(default, deserialize_with = "lenient::read")]
    pub phase: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub containers: Vec<SnapshotContainer>,
    /// What the images are in; not told of usual ones.
    #[serde(default, deserialize_with = "lenient::read")]
    pub format: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub conditions: Vec<Condition>,
}

/// The image of one container.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct SnapshotContainer {
    #[serde(default, deserialize_with = "lenient::read")]
    pub container_name: String,
    #[serde(default, deserialize_with = "lenient::read")]
    pub image_uri: String,
}

lenient::from_object!(SnapshotSpec, SnapshotStatus, SnapshotContainer);
resource!(SandboxSnapshot, "SandboxSnapshot", "sandbox.opensandbox.io", "v1alpha1", "sandboxsnapshots");
