//! Where a sandbox's pod is reached (kubernetes-runtime.md §7). The annotation and the status are text that others write, and this
//! program connects there: so only an address that a pod can have, or a service's name in the sandbox's own namespace, counts.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use serde_json::Value;

use super::{Workload, labels};
use crate::{
    config::is_dns_subdomain,
    runtime::kubernetes::objects::{AgentSandbox, BatchSandbox, Pod},
};

/// The host of a sandbox's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runtime::kubernetes) enum Host {
    /// Its pod.
    Pod(IpAddr),
    /// Its service, by its name in the cluster's DNS: whoever looks it up has to check the address ([`is_pods`]).
    Service(String),
}

impl fmt::Display for Host {
    /// As part of a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Pod(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Service(name) => f.write_str(name),
        }
    }
}

/// Whether a pod can have this address: one in `networks`, or, if none are told, any but those that lead back to this machine or
/// to its own network (loopback, link-local with the metadata services of clouds, unspecified, multicast).
pub(in crate::runtime::kubernetes) fn is_pods(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    if !networks.is_empty() {
        return networks.iter().any(|network| network.contains(&address));
    }
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0)
        }
        // The first 96 bits of "compatible" IPv4 addresses are 0.
        IpAddr::V6(v6) => !(v6.segments()[..6] == [0; 6] || v6.is_unicast_link_local() || v6.is_multicast()),
    }
}

/// Where a sandbox's ports are: its pod's address, or the name of its service.
pub(super) fn of(workload: &Workload, pods: &[Arc<Pod>], networks: &[IpNet]) -> Option<Host> {
    of_object(workload, networks).or_else(|| match workload {
        Workload::Batch(_) => None,
        Workload::Agent(sandbox) => of_pods(pods, networks).map(Host::Pod).or_else(|| of_service(sandbox)),
    })
}

/// The same as far as the object alone tells it.
pub(super) fn of_object(workload: &Workload, networks: &[IpNet]) -> Option<Host> {
    let address = match workload {
        Workload::Batch(sandbox) => of_batch(sandbox)?,
        Workload::Agent(sandbox) => parsed(sandbox.status.pod_ip()?)?,
    };
    is_pods(address, networks).then_some(Host::Pod(address))
}

/// The first address of a BatchSandbox, whatever it leads to.
pub(super) fn of_batch(sandbox: &BatchSandbox) -> Option<IpAddr> {
    let text = labels::annotation(&sandbox.metadata, labels::ENDPOINTS)?;
    let endpoints: Vec<Value> = serde_json::from_str(text).ok()?;
    parsed(endpoints.first()?.as_str()?.trim())
}

fn of_pods(pods: &[Arc<Pod>], networks: &[IpNet]) -> Option<IpAddr> {
    let running = pods.iter().filter(|pod| pod.status.phase.as_deref() == Some("Running"));
    let reached = running.filter_map(|pod| Some((pod.rank(), parsed(pod.ip()?).filter(|ip| is_pods(*ip, networks))?)));
    reached.max().map(|(_, address)| address)
}

/// `<service>.<namespace>.svc`, and the cluster's domain.
fn of_service(sandbox: &AgentSandbox) -> Option<Host> {
    let name = sandbox.status.service.as_deref().filter(|name| is_dns_subdomain(name))?;
    let mut labels = name.split('.').skip(1);
    let is_own = labels.next() == sandbox.metadata.namespace.as_deref() && labels.next() == Some("svc");
    is_own.then(|| Host::Service(name.to_owned()))
}

fn parsed(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
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
            assert_eq!(of(&batch(endpoints), &[], &[]).map(|host| host.to_string()).as_deref(), host, "{endpoints}");
        }
    }

    #[test]
    fn an_agent_sandbox_has_its_status_its_pod_or_its_service() {
        let agent = |status: Value| {
            let object = json!({"metadata": {"namespace": "osb"}, "status": status});
            Workload::Agent(Arc::new(serde_json::from_value(object).unwrap()))
        };
        let pod = |name: &str, phase: &str, ip: &str, deleted: Value| {
            let pod = json!({"metadata": {"name": name, "deletionTimestamp": deleted}, "status": {"phase": phase, "podIP": ip}});
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let host = |workload: &Workload, pods: &[Arc<Pod>]| of(workload, pods, &[]).map(|host| host.to_string());
        let service = json!({"serviceFQDN": "s.osb.svc.cluster.local"});
        let told = agent(json!({"podIPs": ["10.0.0.1"], "serviceFQDN": "s.osb.svc.cluster.local"}));
        let running = [
            pod("a", "Running", "10.0.0.2", json!("2026-11-23T02:01:21Z")),
            pod("b", "Running", "10.0.0.3", Value::Null),
            pod("c", "Pending", "10.0.0.4", Value::Null),
        ];
        assert_eq!(host(&told, &running).as_deref(), Some("10.0.0.1"));
        assert_eq!(host(&agent(service.clone()), &running).as_deref(), Some("10.0.0.3"), "not the one that is ending");
        assert_eq!(host(&agent(service), &running[2..]).as_deref(), Some("s.osb.svc.cluster.local"));
        for name in ["evil.example/x?", "localhost", "s.other.svc.cluster.local", "osb.svc", "svc", "a.b.osb.svc"] {
            assert_eq!(host(&agent(json!({"serviceFQDN": name})), &[]), None, "{name}");
        }
        assert_eq!(host(&agent(json!({"podIPs": ["fd00::1"]})), &[]).as_deref(), Some("[fd00::1]"));
    }

    #[test]
    fn what_leads_back_to_this_machine_is_no_pod() {
        let is_pods = |text: &str, networks: &[&str]| {
            let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
            super::is_pods(text.parse().unwrap(), &networks)
        };
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
        ] {
            assert!(!is_pods(address, &[]), "{address}");
            assert_eq!(of(&batch(&json!([address]).to_string()), &[], &[]), None, "{address}");
        }
        for address in
            ["10.78.0.53", "100.64.0.1", "172.16.0.1", "8.8.8.8", "fd00::5", "2001:db8::1", "::ffff:10.0.0.1"]
        {
            assert!(is_pods(address, &[]), "{address}");
        }
        assert!(is_pods("10.78.0.53", &["10.78.0.0/16"]) && is_pods("::ffff:10.78.0.53", &["10.78.0.0/16"]));
        assert!(!is_pods("10.79.0.1", &["10.78.0.0/16"]) && is_pods("127.0.0.1", &["fd00::/8", "127.0.0.0/8"]));
    }
}
