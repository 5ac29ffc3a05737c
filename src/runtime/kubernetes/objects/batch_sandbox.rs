//! `BatchSandbox`, of the OpenSandbox operator.

use std::sync::OnceLock;

use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{
    condition::Condition,
    lenient, meta, resource,
    template::{Template, WorkloadSpec},
};
use crate::model::sandbox::SandboxJson;

/// A sandbox, or a set of them: the gateway makes sets of one.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct BatchSandbox {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "lenient::read")]
    spec: Spec,
    #[serde(default, deserialize_with = "lenient::read")]
    pub status: BatchStatus,
    /// How this state of it is listed, once it was.
    #[serde(skip)]
    pub written: OnceLock<SandboxJson>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "lenient::read")]
    replicas: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    pool_ref: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    expire_time: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    template: Template,
}

/// What the operator says of it.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct BatchStatus {
    #[serde(default, deserialize_with = "lenient::read")]
    pub phase: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub replicas: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub allocated: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub ready: Option<i64>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub task_failed: Option<i64>,
    /// Why the last task failed; operators before 2026-07 do not tell.
    #[serde(default, deserialize_with = "lenient::words")]
    pub task_last_error_message: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub conditions: Vec<Condition>,
}

lenient::from_object!(Spec, BatchStatus);
resource!(BatchSandbox, "BatchSandbox", "sandbox.opensandbox.io", "v1alpha1", "batchsandboxes");

impl BatchSandbox {
    /// How many pods are asked for; 1 if it does not say.
    pub(in crate::runtime::kubernetes) fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    /// The pool that its pods are taken from, or `*` for any; not blank.
    pub(in crate::runtime::kubernetes) fn pool_ref(&self) -> Option<&str> {
        self.spec.pool_ref.as_deref().filter(|pool| !pool.trim().is_empty())
    }

    /// When the operator ends it, as it stands there.
    pub(in crate::runtime::kubernetes) fn expire_time(&self) -> Option<&str> {
        self.spec.expire_time.as_deref()
    }

    /// The pods that it makes; empty for one whose pods are of a pool.
    pub(in crate::runtime::kubernetes) fn pods(&self) -> &WorkloadSpec {
        &self.spec.template.spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_object_is_read_as_far_as_it_can_be() {
        let text = r#"{"metadata": {"name": "a", "labels": {"opensandbox.io/id": "a"}}, "apiVersion": 5,
            "spec": {"replicas": "two", "poolRef": ["x"], "expireTime": 7, "template": {"spec": {"containers":
                [17, {"name": "egress"}, {"name": "sandbox", "image": "x", "command": ["a", 5, "b"], "env": {"not": "a list"}}],
                "affinity": "none"}}},
            "status": {"phase": "Succeed", "ready": true, "conditions": [{"type": "Ready", "status": true}, "x"]}}"#;
        let odd: BatchSandbox = serde_json::from_str(text).unwrap();
        assert_eq!((odd.replicas(), odd.pool_ref(), odd.expire_time()), (1, None, None));
        let main = odd.pods().main().unwrap();
        assert_eq!((main.image.as_deref(), main.command.join(" ")), (Some("x"), "a b".to_owned()));
        assert_eq!(
            (odd.status.phase.as_deref(), odd.status.ready, odd.status.conditions.len()),
            (Some("Succeed"), None, 1)
        );
        assert_eq!(format!("{odd:?}"), r#"BatchSandbox("a")"#);
        for text in ["{}", r#"{"metadata": null, "spec": [], "status": "x"}"#] {
            assert!(serde_json::from_str::<BatchSandbox>(text).is_ok(), "{text}");
        }
    }
}
