//! Where a container's ports are, as its inspection and labels say (docker-runtime.md §5).

use std::collections::HashMap;

use bollard::models::ContainerInspectResponse;

use crate::runtime::docker::engine::labels;
use crate::{
    error::{Error, Family, Kind},
    secret::Secret,
};

/// The port of a sandbox's own service that has a host port of its own.
const HTTP_PORT: u16 = 8080;

/// Where a container's ports are.
#[derive(Debug, Clone, Default)]
pub(in crate::runtime::docker) struct ContainerAddresses {
    /// Its ports are the host's.
    is_host: bool,
    /// Its address in each network that it is in; empty while it does not run.
    networks: Vec<(String, String)>,
    execd: Option<u16>,
    http: Option<u16>,
    /// The token of its egress sidecar.
    pub(in crate::runtime::docker) egress_token: Option<Secret>,
}

/// Where a port can be connected to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::runtime::docker) struct Place {
    /// The port to connect to.
    pub(in crate::runtime::docker) port: u16,
    /// The prefix of paths there; often empty.
    pub(in crate::runtime::docker) path: String,
}

impl ContainerAddresses {
    /// All that an inspection tells.
    pub(in crate::runtime::docker) fn of_inspected(
        container: &ContainerInspectResponse,
        labels: &HashMap<String, String>,
    ) -> Self {
        let mode = container.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
        let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let address = |endpoint: &bollard::models::EndpointSettings| endpoint.ip_address.clone().unwrap_or_default();
        let mut networks: Vec<_> =
            networks.into_iter().flatten().map(|(name, endpoint)| (name.clone(), address(endpoint))).collect();
        // So that of several networks it is always the same one that is taken.
        networks.sort();
        Self { is_host: mode == Some("host"), networks, ..Self::of_labels(labels) }
    }

    /// What the labels alone tell.
    pub(in crate::runtime::docker) fn of_labels(labels: &HashMap<String, String>) -> Self {
        let port = |key: &str| labels::value(labels, key)?.parse().ok();
        Self {
            is_host: false,
            networks: Vec::new(),
            execd: port(labels::EXECD_PORT),
            http: port(labels::HTTP_PORT),
            egress_token: labels::value(labels, labels::EGRESS_TOKEN).map(Secret::new),
        }
    }

    /// Whether the container is in the network of this name.
    pub(in crate::runtime::docker) fn is_in(&self, network: &str) -> bool {
        self.networks.iter().any(|(name, _)| name == network)
    }

    /// Where a port is on the host: itself, its own host port, or behind execd's proxy.
    pub(in crate::runtime::docker) fn on_host(&self, port: u16) -> Result<Place, Error> {
        let missing = |what: &str| {
            let text = format!("Missing host port mapping for {what}.");
            Error::new(Family::Endpoint, Kind::Unavailable, text)
        };
        let (port, path) = match port {
            _ if self.is_host => (port, String::new()),
            HTTP_PORT => (self.http.ok_or_else(|| missing("container port 8080"))?, String::new()),
            _ => (self.execd.ok_or_else(|| missing("execd proxy port 44772"))?, format!("/proxy/{port}")),
        };
        Ok(Place { port, path })
    }

    /// The address at which this server itself reaches the container's ports: in the network `preferred`, else in any.
    /// Nothing when only the host's ports lead to it.
    pub(in crate::runtime::docker) fn internal(&self, preferred: &str) -> Option<&str> {
        if self.is_host {
            return Some("127.0.0.1");
        }
        let known = self.networks.iter().filter(|(_, address)| !address.is_empty());
        let chosen = known.clone().find(|(name, _)| name == preferred).or_else(|| known.clone().next());
        chosen.map(|(_, address)| address.as_str()).filter(|_| self.egress_token.is_none())
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{EndpointSettings, HostConfig, NetworkSettings};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn container(mode: &str, networks: &[(&str, &str)]) -> ContainerInspectResponse {
        let endpoint =
            |address: &str| EndpointSettings { ip_address: Some(address.to_owned()), ..EndpointSettings::default() };
        let networks = networks.iter().map(|(name, address)| ((*name).to_owned(), endpoint(address))).collect();
        ContainerInspectResponse {
            host_config: Some(HostConfig { network_mode: Some(mode.to_owned()), ..HostConfig::default() }),
            network_settings: Some(NetworkSettings { networks: Some(networks), ..NetworkSettings::default() }),
            ..ContainerInspectResponse::default()
        }
    }

    fn place(port: u16, path: &str) -> Place {
        Place { port, path: path.to_owned() }
    }

    #[test]
    fn published_ports_are_in_the_labels() {
        let labels = labels(&[(labels::EXECD_PORT, "40001"), (labels::HTTP_PORT, "40002")]);
        let addresses = ContainerAddresses::of_labels(&labels);
        assert_eq!(addresses.on_host(8080).unwrap(), place(40002, ""));
        assert_eq!(addresses.on_host(44772).unwrap(), place(40001, "/proxy/44772"));
        assert_eq!(addresses.on_host(18080).unwrap(), place(40001, "/proxy/18080"));
    }

    #[test]
    fn a_missing_label_is_named() {
        let addresses = ContainerAddresses::of_labels(&labels(&[(labels::EXECD_PORT, "no port")]));
        let text = |port| addresses.on_host(port).unwrap_err().message;
        assert_eq!(text(8080), "Missing host port mapping for container port 8080.");
        assert_eq!(text(3000), "Missing host port mapping for execd proxy port 44772.");
    }

    #[test]
    fn the_host_s_network_needs_no_mapping() {
        let addresses = ContainerAddresses::of_inspected(&container("host", &[("host", "")]), &HashMap::new());
        assert_eq!(addresses.on_host(8080).unwrap(), place(8080, ""));
        assert_eq!(addresses.internal("host"), Some("127.0.0.1"));
    }

    #[test]
    fn the_configured_network_s_address_is_preferred() {
        let container = container("b", &[("b", "10.0.0.2"), ("a", "10.0.0.1"), ("c", "")]);
        let addresses = ContainerAddresses::of_inspected(&container, &HashMap::new());
        assert_eq!(addresses.internal("b"), Some("10.0.0.2"));
        assert_eq!(addresses.internal("c"), Some("10.0.0.1"), "an address is better than a name");
        assert!(addresses.is_in("c") && !addresses.is_in("d"));
    }

    #[test]
    fn a_sidecar_s_sandbox_is_reached_through_the_host_and_the_token_is_not_shown() {
        let labels = labels(&[(labels::EGRESS_TOKEN, "s3cret")]);
        let addresses = ContainerAddresses::of_inspected(&container("bridge", &[("bridge", "10.0.0.1")]), &labels);
        assert_eq!(addresses.internal("bridge"), None);
        assert!(!format!("{addresses:?}").contains("s3cret"));
    }
}
