//! A pool of pods that sandboxes are taken from.

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{meta, resource};

/// A pool.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Pool {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
}

resource!(Pool, "Pool", "sandbox.opensandbox.io", "v1alpha1", "pools");
