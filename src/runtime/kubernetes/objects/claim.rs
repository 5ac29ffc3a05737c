//! A claim of a persistent volume, of which only the name and the labels count.

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{meta, resource};

/// A claim.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Claim {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
}

resource!(Claim, "PersistentVolumeClaim", "", "v1", "persistentvolumeclaims");
