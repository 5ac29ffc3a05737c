//! `Pool`, of the OpenSandbox operator: pods that are made before there are sandboxes for them.

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{bounded, lenient, meta, resource};
use crate::model::pool::{Capacity, PoolStatus};

/// The most characters of a revision that are shown; it is a hash.
const MAX_REVISION: usize = 256;

/// A pool.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Pool {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "lenient::read")]
    spec: Spec,
    #[serde(default, deserialize_with = "lenient::read")]
    status: Status,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "lenient::read")]
    capacity_spec: CapacitySpec,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CapacitySpec {
    #[serde(default, deserialize_with = "lenient::read")]
    buffer_max: i64,
    #[serde(default, deserialize_with = "lenient::read")]
    buffer_min: i64,
    #[serde(default, deserialize_with = "lenient::read")]
    pool_max: i64,
    #[serde(default, deserialize_with = "lenient::read")]
    pool_min: i64,
}

#[derive(Clone, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "lenient::read")]
    total: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    allocated: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    available: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    revision: Option<String>,
}

lenient::from_object!(Spec, CapacitySpec, Status);
resource!(Pool, "Pool", "sandbox.opensandbox.io", "v1alpha1", "pools");

impl Pool {
    /// How many pods it is to keep.
    pub(in crate::runtime::kubernetes) fn capacity(&self) -> Capacity {
        let CapacitySpec { buffer_max, buffer_min, pool_max, pool_min } = self.spec.capacity_spec;
        Capacity { buffer_max, buffer_min, pool_max, pool_min }
    }

    /// How many it has; nothing before the operator has told.
    pub(in crate::runtime::kubernetes) fn status(&self) -> Option<PoolStatus> {
        let Status { total, allocated, available, revision } = &self.status;
        let is_told = [total, allocated, available].into_iter().any(Option::is_some) || revision.is_some();
        is_told.then(|| PoolStatus {
            total: total.unwrap_or_default(),
            allocated: allocated.unwrap_or_default(),
            available: available.unwrap_or_default(),
            revision: bounded(revision.as_deref().unwrap_or_default(), MAX_REVISION),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_status_is_filled_up_and_a_revision_is_bounded() {
        let status = |status| {
            let pool: Pool = serde_json::from_value(json!({"spec": {}, "status": status})).unwrap();
            assert_eq!(pool.capacity(), Capacity::default());
            pool.status()
        };
        assert_eq!(status(json!({})), None);
        assert_eq!(status(json!({"total": 2})), Some(PoolStatus { total: 2, ..PoolStatus::default() }));
        let long = status(json!({"revision": "r\u{0}".repeat(100_000)})).unwrap().revision;
        assert_eq!((long.chars().count(), &long[..4]), (MAX_REVISION, "r r "));
    }
}
