//! A pod.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{condition::Condition, lenient, meta, resource, template::MAIN_CONTAINER};

/// A pod.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Pod {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "lenient::read")]
    pub spec: PodSpec,
    #[serde(default, deserialize_with = "lenient::read")]
    pub status: PodStatus,
}

/// What is to run.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct PodSpec {
    #[serde(default, deserialize_with = "lenient::read")]
    pub node_name: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub runtime_class_name: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub containers: Vec<Container>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub ephemeral_containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Container {
    #[serde(default, deserialize_with = "lenient::read")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient::read")]
    pub resources: Option<ContainerResources>,
}

/// What a container may use, by name, as quantities.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct ContainerResources {
    #[serde(default, deserialize_with = "lenient::read")]
    pub requests: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub limits: BTreeMap<String, String>,
}

/// What runs.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    #[serde(default, deserialize_with = "lenient::read")]
    pub phase: Option<String>,
    /// Why it is in that phase, such as `Evicted`.
    #[serde(default, deserialize_with = "lenient::words")]
    pub reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::words")]
    pub message: Option<String>,
    #[serde(default, rename = "podIP", deserialize_with = "lenient::read")]
    pub pod_ip: Option<String>,
    #[serde(default, rename = "hostIP", deserialize_with = "lenient::read")]
    pub host_ip: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub conditions: Vec<Condition>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// How a container does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct ContainerStatus {
    #[serde(default, deserialize_with = "lenient::read")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient::read")]
    pub ready: bool,
    #[serde(default, deserialize_with = "lenient::read")]
    pub restart_count: i64,
    #[serde(default, deserialize_with = "lenient::read")]
    pub image: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub state: ContainerState,
    /// That of the instance before the present one.
    #[serde(default, deserialize_with = "lenient::read")]
    pub last_state: ContainerState,
}

/// One of three, or none before the kubelet knows the container.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct ContainerState {
    #[serde(default, deserialize_with = "lenient::read")]
    pub waiting: Option<Waiting>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub running: Option<Running>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub terminated: Option<Terminated>,
}

/// Not started, or to be started again.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct Waiting {
    #[serde(default, deserialize_with = "lenient::words")]
    pub reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::words")]
    pub message: Option<String>,
}

/// At work.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct Running {
    #[serde(default, deserialize_with = "lenient::read")]
    pub started_at: Option<Timestamp>,
}

/// Ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct Terminated {
    #[serde(default, deserialize_with = "lenient::read")]
    pub exit_code: i64,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` and others.
    #[serde(default, deserialize_with = "lenient::words")]
    pub reason: Option<String>,
    #[serde(default, deserialize_with = "lenient::words")]
    pub message: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub started_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::read")]
    pub finished_at: Option<Timestamp>,
}

lenient::from_object!(PodSpec, Container, ContainerResources, PodStatus, ContainerStatus, ContainerState);
lenient::from_object!(Waiting, Running, Terminated);
resource!(Pod, "Pod", "", "v1", "pods");

impl Pod {
    /// Its name; empty for an object without one, of which the API server has none.
    pub(in crate::runtime::kubernetes) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Of several pods of a sandbox it is the one with the highest rank: that runs and is not being deleted, else that runs, else
    /// that is not being deleted; of those the newest.
    pub(in crate::runtime::kubernetes) fn rank(&self) -> (bool, bool, bool, Option<Timestamp>, &str) {
        let runs = self.status.phase.as_deref() == Some("Running");
        let stays = self.metadata.deletion_timestamp.is_none();
        let created = self.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (runs && stays, runs, stays, created, self.name())
    }

    /// The container that is the sandbox: the one of that name, else the first.
    pub(in crate::runtime::kubernetes) fn main(&self) -> Option<&Container> {
        let named = self.spec.containers.iter().find(|container| container.name == MAIN_CONTAINER);
        named.or_else(|| self.spec.containers.first())
    }

    /// How a container does, of whatever sort it is: regular, init or ephemeral.
    pub(in crate::runtime::kubernetes) fn container_status(&self, name: &str) -> Option<&ContainerStatus> {
        let PodStatus { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } = &self.status;
        let all = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        all.into_iter().flatten().find(|status| status.name == name)
    }

    /// Its first address, if it has one.
    pub(in crate::runtime::kubernetes) fn ip(&self) -> Option<&str> {
        self.status.pod_ip.as_deref().filter(|ip| !ip.is_empty())
    }
}
