//! The pods of a sandbox, and how their containers do.

mod instance;
mod waiting;

use std::borrow::Borrow;

use kube::api::ListParams;

pub(super) use self::{
    instance::{Instance, is_log_lost},
    waiting::{unscheduled, why_not_started},
};
use super::{
    client::{ApiFailure, Cluster},
    objects::{MAIN_CONTAINER, Pod},
    workload::{Workload, labels},
};

/// The operator's label with the name of the BatchSandbox that a pod is of.
const MAKER: &str = "batch-sandbox.sandbox.opensandbox.io/name";

/// Most pods of one sandbox that are looked at. It has one.
const MAX_PODS: u32 = 100;

/// The pods of a sandbox: those of a pool that it has for certain, or those that bear its id.
///
/// # Errors
/// The API server does not tell.
pub(super) async fn of(cluster: &Cluster, namespace: &str, sandbox: &Workload) -> Result<Vec<Pod>, ApiFailure> {
    if sandbox.is_pooled() {
        let mut pods = Vec::new();
        for name in sandbox.allocated_pods().iter().take(MAX_PODS as usize) {
            pods.extend(named(cluster, namespace, name).await?);
        }
        return Ok(pods);
    }
    let mut pods = labelled(cluster, namespace, sandbox.id()).await?;
    pods.retain(|pod| sandbox.selects(pod));
    Ok(pods)
}

/// The pods that bear a sandbox's id, which can be a label's value.
///
/// # Errors
/// The API server does not tell.
pub(super) async fn labelled(cluster: &Cluster, namespace: &str, id: &str) -> Result<Vec<Pod>, ApiFailure> {
    with_label(cluster, namespace, labels::ID, id).await
}

/// The pods that say to be of the BatchSandbox of this name, which can be a label's value.
///
/// # Errors
/// The API server does not tell.
pub(super) async fn made_by(cluster: &Cluster, namespace: &str, name: &str) -> Result<Vec<Pod>, ApiFailure> {
    with_label(cluster, namespace, MAKER, name).await
}

async fn with_label(cluster: &Cluster, namespace: &str, label: &str, value: &str) -> Result<Vec<Pod>, ApiFailure> {
    let params = ListParams::default().labels(&format!("{label}={value}")).limit(MAX_PODS);
    let api = cluster.api::<Pod>(namespace);
    Ok(cluster.read("list_pods", api.list(&params)).await?.items)
}

/// The pod of this name, if there is one.
///
/// # Errors
/// The API server does not tell.
pub(super) async fn named(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Pod>, ApiFailure> {
    let api = cluster.api::<Pod>(namespace);
    match cluster.read("get_pod", api.get(name)).await {
        Ok(pod) => Ok(Some(pod)),
        Err(failure) if failure.is_missing_named(name) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The pod that a sandbox is now: the newest that runs and is not being deleted, else the newest that runs, else the newest.
pub(super) fn present<P: Borrow<Pod>>(pods: Vec<P>) -> Option<P> {
    pods.into_iter().max_by(|one, other| one.borrow().rank().cmp(&other.borrow().rank()))
}

/// The container whose log is asked for: `wanted`, or that which is the sandbox. `None` if there is no such container.
pub(super) fn container<'a>(pod: &'a Pod, wanted: Option<&str>) -> Option<&'a str> {
    let wanted =
        wanted.filter(|wanted| *wanted != MAIN_CONTAINER || containers(pod).any(|name| name == MAIN_CONTAINER));
    match wanted {
        Some(wanted) => containers(pod).find(|name| *name == wanted),
        None => pod.main().map(|main| main.name.as_str()),
    }
}

/// The names of all containers of a pod: the regular ones first, then those of its beginning, then those that were put in.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = &pod.spec;
    let all = spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
    all.map(|container| container.name.as_str())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::runtime::kubernetes) fn pod(json: Value) -> Pod {
        serde_json::from_value(json).unwrap()
    }

    fn named(name: &str, phase: &str, created: &str, is_deleting: bool) -> Pod {
        let mut metadata = json!({"name": name, "creationTimestamp": created});
        if is_deleting {
            metadata["deletionTimestamp"] = created.into();
        }
        pod(json!({"metadata": metadata, "status": {"phase": phase}}))
    }

    #[test]
    fn a_sandbox_is_its_newest_pod_that_runs() {
        let first = |pods: &[(&str, &str, &str, bool)]| {
            let pods = pods.iter().map(|(name, phase, time, deleting)| named(name, phase, time, *deleting));
            present(pods.collect()).map(|pod| pod.name().to_owned()).unwrap_or_default()
        };
        let (early, late) = ("2026-11-23T02:01:21Z", "2026-11-23T02:01:22Z");
        assert_eq!(first(&[]), "");
        assert_eq!(first(&[("a", "Running", early, false), ("b", "Running", late, false)]), "b");
        assert_eq!(first(&[("a", "Running", early, false), ("b", "Pending", late, false)]), "a");
        assert_eq!(first(&[("a", "Running", early, false), ("b", "Running", late, true)]), "a");
        assert_eq!(first(&[("a", "Failed", early, false), ("b", "Running", late, true)]), "b");
        assert_eq!(first(&[("a", "Failed", early, false), ("b", "Succeeded", late, false)]), "b");
    }

    #[test]
    fn a_container_is_named_or_the_sandbox() {
        let two = pod(json!({"spec": {
            "containers": [{"name": "egress"}, {"name": "sandbox"}],
            "initContainers": [{"name": "execd-installer"}],
            "ephemeralContainers": [{"name": "debug"}],
        }}));
        assert_eq!(container(&two, None), Some("sandbox"));
        for name in ["sandbox", "egress", "execd-installer", "debug"] {
            assert_eq!(container(&two, Some(name)), Some(name));
        }
        assert_eq!(container(&two, Some("other")), None);
        assert_eq!(containers(&two).collect::<Vec<_>>(), ["egress", "sandbox", "execd-installer", "debug"]);
        // Of a pod from a template or a pool the sandbox may have another name.
        let one = pod(json!({"spec": {"containers": [{"name": "main"}]}}));
        assert_eq!((container(&one, None), container(&one, Some("sandbox"))), (Some("main"), Some("main")));
        assert_eq!(container(&pod(json!({})), None), None);
    }
}
