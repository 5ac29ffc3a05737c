//! `Pool`, of the OpenSandbox operator: pods that are made before there are sandboxes for them.

use kube::core::ObjectMeta;
use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess},
};

use super::{
    bounded,
    lenient::{self, Lenient},
    meta, resource,
};
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

/// What the operator says of it; none if it has said nothing, whatever it may say.
#[derive(Clone, Default)]
struct Status(Option<PoolStatus>);

impl Lenient for Status {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut said = None;
        while let Some(member) = object.next_key::<String>()? {
            let status: &mut PoolStatus = said.get_or_insert_default();
            let number = match member.as_str() {
                "total" => &mut status.total,
                "allocated" => &mut status.allocated,
                "available" => &mut status.available,
                "revision" => {
                    let revision = object.next_value_seed(lenient::value::<String>())?;
                    status.revision = bounded(&revision.unwrap_or_default(), MAX_REVISION);
                    continue;
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *number = object.next_value_seed(lenient::value::<i64>())?.unwrap_or_default();
        }
        Ok(Some(Self(said)))
    }
}

lenient::from_object!(Spec, CapacitySpec);
resource!(Pool, "Pool", "sandbox.opensandbox.io", "v1alpha1", "pools");

impl Pool {
    /// How many pods it is to keep.
    pub(in crate::runtime::kubernetes) fn capacity(&self) -> Capacity {
        let CapacitySpec { buffer_max, buffer_min, pool_max, pool_min } = self.spec.capacity_spec;
        Capacity { buffer_max, buffer_min, pool_max, pool_min }
    }

    /// How many it has; nothing before the operator has told.
    pub(in crate::runtime::kubernetes) fn status(&self) -> Option<PoolStatus> {
        self.status.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn half_a_status_is_filled_up_and_a_revision_is_bounded() {
        let status = |status| {
            let pool: Pool = serde_json::from_value(json!({"spec": {}, "status": status})).unwrap();
            assert_eq!(pool.capacity(), Capacity::default());
            pool.status()
        };
        for nothing in [json!({}), Value::Null, json!([1]), json!("x")] {
            assert_eq!(status(nothing), None);
        }
        let odd = json!({"total": "2", "allocated": null, "available": 1.5, "revision": 5});
        for no_number in [odd, json!({"observedGeneration": 3}), json!({"of a newer operator": [[{}]]})] {
            assert_eq!(status(no_number), Some(PoolStatus::default()));
        }
        assert_eq!(status(json!({"total": 2})), Some(PoolStatus { total: 2, ..PoolStatus::default() }));
        let long = status(json!({"revision": "r\u{0}".repeat(100_000)})).unwrap().revision;
        assert_eq!((long.chars().count(), &long[..4]), (MAX_REVISION, "r r "));
    }
}
