//! `Sandbox`, of the agent-sandbox operator.

use std::sync::OnceLock;

use kube::core::ObjectMeta;
use serde::{
    Deserialize,
    de::{MapAccess, value::MapAccessDeserializer},
};

use super::{
    condition::Condition,
    lenient::{self, Lenient},
    meta, resource,
    template::{Template, WorkloadSpec},
};
use crate::model::sandbox::SandboxJson;

/// A sandbox.
#[derive(Clone, Default, Deserialize)]
pub(in crate::runtime::kubernetes) struct AgentSandbox {
    #[serde(default, deserialize_with = "meta::read")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "lenient::read")]
    spec: Spec,
    #[serde(default, deserialize_with = "lenient::read")]
    pub status: AgentStatus,
    /// How this state of it is listed, once it was.
    #[serde(skip)]
    pub written: OnceLock<SandboxJson>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "lenient::read")]
    operating_mode: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    shutdown_time: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    pod_template: Template,
}

/// What the operator says of it.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::runtime::kubernetes) struct AgentStatus {
    #[serde(default, deserialize_with = "lenient::read")]
    pub conditions: Vec<Condition>,
    /// A label selector: which pods are its.
    #[serde(default, deserialize_with = "lenient::read")]
    pub selector: Option<String>,
    /// The name of its service, which stays when its pod changes.
    #[serde(default, rename = "serviceFQDN", deserialize_with = "lenient::read")]
    pub service: Option<String>,
    /// The addresses of its pod.
    #[serde(default, rename = "podIPs", deserialize_with = "lenient::read")]
    pod_ips: Vec<PodIp>,
}

/// An address, written as text or as an object with it, as a pod's own status does.
#[derive(Clone, Default)]
struct PodIp(String);

#[derive(Deserialize)]
struct IpObject {
    #[serde(default, deserialize_with = "lenient::read")]
    ip: String,
}

impl Lenient for PodIp {
    fn from_text(ip: &str) -> Option<Self> {
        Some(Self(ip.to_owned()))
    }

    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        let IpObject { ip } = IpObject::deserialize(MapAccessDeserializer::new(object))?;
        Ok(Some(Self(ip)))
    }
}

impl AgentStatus {
    /// The first address of its pod.
    pub(in crate::runtime::kubernetes) fn pod_ip(&self) -> Option<&str> {
        self.pod_ips.iter().map(|ip| ip.0.as_str()).find(|ip| !ip.is_empty())
    }
}

lenient::from_object!(Spec, AgentStatus);
resource!(AgentSandbox, "Sandbox", "agents.x-k8s.io", "v1beta1", "sandboxes");

impl AgentSandbox {
    /// `Running` or `Suspended`, as it was asked for.
    pub(in crate::runtime::kubernetes) fn operating_mode(&self) -> Option<&str> {
        self.spec.operating_mode.as_deref()
    }

    /// When the operator ends it, as it stands there.
    pub(in crate::runtime::kubernetes) fn shutdown_time(&self) -> Option<&str> {
        self.spec.shutdown_time.as_deref()
    }

    /// The pod that it makes.
    pub(in crate::runtime::kubernetes) fn pods(&self) -> &WorkloadSpec {
        &self.spec.pod_template.spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_texts_or_objects() {
        let ip = |text: &str| {
            let status: AgentStatus = serde_json::from_str(text).unwrap();
            status.pod_ip().map(str::to_owned)
        };
        assert_eq!(ip(r#"{"podIPs": ["10.0.0.1", "fd00::1"]}"#).as_deref(), Some("10.0.0.1"));
        assert_eq!(ip(r#"{"podIPs": [5, "", {"ip": "10.0.0.2"}]}"#).as_deref(), Some("10.0.0.2"));
        assert_eq!(ip(r#"{"podIPs": "10.0.0.1"}"#), None);
    }
}
