//! Where a sandbox's pod is reached (kubernetes-runtime.md §7). The annotation is text that others write, so only what is an
//! address, or a name of the cluster's DNS, becomes part of an endpoint.

use std::{net::IpAddr, sync::Arc};

use serde_json::Value;

use super::{Workload, labels, names};
use crate::runtime::kubernetes::objects::{AgentSandbox, BatchSandbox, Pod};

/// The host of a sandbox's ports: its pod's address, in brackets if that is IPv6, or the name of its service.
pub(super) fn of(workload: &Workload, pods: &[Arc<Pod>]) -> Option<String> {
    of_object(workload).or_else(|| match workload {
        Workload::Batch(_) => None,
        Workload::Agent(sandbox) => of_pods(pods).or_else(|| of_service(sandbox)),
    })
}

/// The same as far as the object alone tells it.
pub(super) fn of_object(workload: &Workload) -> Option<String> {
    match workload {
        Workload::Batch(sandbox) => of_batch(sandbox).map(host),
        Workload::Agent(sandbox) => sandbox.status.pod_ip()?.parse().ok().map(host),
    }
}

/// The first address of a BatchSandbox.
pub(super) fn of_batch(sandbox: &BatchSandbox) -> Option<IpAddr> {
    let text = labels::annotation(&sandbox.metadata, labels::ENDPOINTS)?;
    let endpoints: Vec<Value> = serde_json::from_str(text).ok()?;
    endpoints.first()?.as_str()?.trim().parse().ok()
}

fn of_pods(pods: &[Arc<Pod>]) -> Option<String> {
    let running = pods.iter().filter(|pod| pod.status.phase.as_deref() == Some("Running"));
    running.filter_map(|pod| pod.ip()?.parse().ok()).next().map(host)
}

fn of_service(sandbox: &AgentSandbox) -> Option<String> {
    sandbox.status.service.clone().filter(|service| names::is_name(service))
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn batch(endpoints: &str) -> Workload {
        let object = json!({"metadata": {"annotations": {"sandbox.opensandbox.io/endpoints": endpoints}}});
        Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn the_first_address_of_the_annotation_counts() {
        for (endpoints, host) in [
            (r#"["10.78.0.53"]"#, Some("10.78.0.53")),
            (r#"["10.78.0.53", "10.78.0.54"]"#, Some("10.78.0.53")),
            (r#"["fd00::5"]"#, Some("[fd00::5]")),
            ("[]", None),
            (r#"["evil.example:80/x", "10.78.0.53"]"#, None),
            (r#"["10.78.0.53:80"]"#, None),
            (r#"["user@10.78.0.53"]"#, None),
            (r#""10.78.0.53""#, None),
            ("10.78.0.53", None),
            ("[[", None),
        ] {
            assert_eq!(of(&batch(endpoints), &[]).as_deref(), host, "{endpoints}");
        }
    }

    #[test]
    fn an_agent_sandbox_has_its_status_its_pod_or_its_service() {
        let agent =
            |status: Value| Workload::Agent(Arc::new(serde_json::from_value(json!({"status": status})).unwrap()));
        let pod = |phase: &str| {
            let pod = json!({"status": {"phase": phase, "podIP": "10.0.0.2"}});
            vec![Arc::new(serde_json::from_value::<Pod>(pod).unwrap())]
        };
        let service = json!({"serviceFQDN": "s.osb.svc.cluster.local"});
        let told = agent(json!({"podIPs": ["10.0.0.1"], "serviceFQDN": "s.osb.svc.cluster.local"}));
        assert_eq!(of(&told, &pod("Running")).as_deref(), Some("10.0.0.1"));
        assert_eq!(of(&agent(service.clone()), &pod("Running")).as_deref(), Some("10.0.0.2"));
        assert_eq!(of(&agent(service), &pod("Pending")).as_deref(), Some("s.osb.svc.cluster.local"));
        assert_eq!(of(&agent(json!({"serviceFQDN": "evil.example/x?"})), &[]), None);
        assert_eq!(of(&agent(json!({"podIPs": ["fd00::1"]})), &[]).as_deref(), Some("[fd00::1]"));
    }
}
