//! Host ports for the container ports of one sandbox (docker-runtime.md §4).

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use bollard::models::PortBinding;

use super::{Ports, Reservation, Transport};

/// execd's port in the container.
pub(in crate::runtime::docker) const EXECD: &str = "44772/tcp";

/// The port in the container that has a host port of its own.
pub(in crate::runtime::docker) const HTTP: &str = "8080/tcp";

/// The port of the egress sidecar.
pub(in crate::runtime::docker) const EGRESS: &str = "18080/tcp";

/// What a Windows desktop is reached at: RDP twice, and a web page.
pub(in crate::runtime::docker) const WINDOWS: [&str; 3] = ["3389/tcp", "3389/udp", "8006/tcp"];

/// Host ports for container ports, reserved until this is dropped.
#[derive(Debug)]
pub(in crate::runtime::docker) struct HostPorts(Vec<(&'static str, Reservation)>);

impl HostPorts {
    /// A host port for each of these container ports; nothing when they ran out.
    pub(in crate::runtime::docker) fn reserve(
        ports: &Arc<Ports>,
        wanted: impl IntoIterator<Item = &'static str>,
    ) -> Option<Self> {
        let transport = |port: &str| if port.ends_with("/udp") { Transport::Udp } else { Transport::Tcp };
        wanted.into_iter().map(|port| Some((port, ports.reserve(transport(port))?))).collect::<Option<_>>().map(Self)
    }

    /// The host port of a container port.
    pub(in crate::runtime::docker) fn of(&self, port: &str) -> Option<u16> {
        self.0.iter().find(|(known, _)| *known == port).map(|(_, reservation)| reservation.port())
    }

    /// The container ports.
    pub(in crate::runtime::docker) fn exposed(&self) -> Vec<String> {
        self.0.iter().map(|(port, _)| (*port).to_owned()).collect()
    }

    /// The engine's form, with the address of the host that they are published on.
    pub(in crate::runtime::docker) fn bindings(&self, host: Ipv4Addr) -> HashMap<String, Option<Vec<PortBinding>>> {
        let binding = |reservation: &Reservation| PortBinding {
            host_ip: Some(host.to_string()),
            host_port: Some(reservation.port().to_string()),
        };
        self.0.iter().map(|(port, reservation)| ((*port).to_owned(), Some(vec![binding(reservation)]))).collect()
    }
}
