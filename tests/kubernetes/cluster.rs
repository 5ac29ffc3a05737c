//! The test API server with sandboxes that tests write, and a gateway in front of it.

use serde_json::Value;

use crate::support::{
    gateway::Setup,
    kube::{Object, Resource, Role, Server},
};

pub(crate) use crate::support::kube::resource::{
    AGENT_SANDBOXES as AGENT, BATCH_SANDBOXES as BATCH, CLAIMS, EVENTS, PODS, POOLS, SNAPSHOTS,
};

/// Where the sandboxes are.
pub(crate) const NAMESPACE: &str = "osb";

/// The server.
pub(crate) struct Cluster {
    pub(crate) server: Server,
}

impl Cluster {
    /// Starts it; it speaks TLS.
    pub(crate) fn start() -> Self {
        Self { server: Server::start_tls() }
    }

    /// A gateway for it under the role of `deploy/`, with these lines in `[kubernetes]`.
    pub(crate) fn gateway(&self, lines: &str) -> Setup {
        let is_agent = lines.contains("workload_provider = \"agent-sandbox\"");
        self.gateway_as(if is_agent { Role::AgentSandbox } else { Role::BatchSandbox }, lines)
    }

    /// The same under another role.
    pub(crate) fn gateway_as(&self, role: Role, lines: &str) -> Setup {
        Setup::kubernetes(&self.server.gateway(role, NAMESPACE), NAMESPACE).section(lines)
    }

    /// Creates an object, or changes the one of its name to what it says.
    pub(crate) fn put(&self, resource: &'static Resource, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        if self.get(resource, name).is_some() {
            self.server.patch(resource, NAMESPACE, name, &object);
        } else {
            self.server.create(resource, NAMESPACE, object);
        }
    }

    /// The object of this name.
    pub(crate) fn get(&self, resource: &'static Resource, name: &str) -> Option<Object> {
        self.server.get(resource, NAMESPACE, name)
    }

    /// Method and target of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.server.requests().into_iter().map(|request| format!("{} {}", request.method, request.target)).collect()
    }
}
