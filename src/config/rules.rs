//! Rules that hold between sections (contract `config.md` §3), and the parts
//! of a valid configuration that this version cannot serve.

use super::report::Report;
use super::runtime::{RuntimeKind, SecureKind, SecureRuntime};
use super::{Config, WorkloadProvider};
use crate::host::is_loopback;

/// Checks the rules between sections, and says what has no effect together.
pub(super) fn check(config: &Config, report: &Report) {
    if !report.failed("runtime.type") {
        check_runtime(config, report);
        check_egress(config, report);
        check_tenants(config, report);
    }
    check_agent_sandbox(config, report);
    check_streams(config, report);
}

fn check_runtime(config: &Config, report: &Report) {
    let kind = config.runtime.kind;
    if kind == RuntimeKind::Kubernetes {
        return;
    }
    if config.kubernetes.is_some() {
        let rule = format!("Kubernetes block must be omitted when runtime.type = '{kind}'.");
        report.fail("kubernetes", rule);
    }
    if config.agent_sandbox.is_some() {
        let rule = format!("agent_sandbox block must be omitted when runtime.type = '{kind}'.");
        report.fail("agent_sandbox", rule);
    }
    if config.ingress.gateway.is_some() {
        let rule = format!("ingress.mode must be 'direct' when runtime.type = '{kind}'.");
        report.fail("ingress.mode", rule);
    }
    if config.secure_runtime.kind == Some(SecureKind::Firecracker) {
        report.fail(
            "secure_runtime.type",
            "secure_runtime.type 'firecracker' is only compatible with runtime.type='kubernetes'.",
        );
    }
    if kind == RuntimeKind::Process {
        check_process(config, report);
    }
}

/// Sandboxes of the process runtime can do whatever the server's user can, so
/// nobody else may be let near them.
fn check_process(config: &Config, report: &Report) {
    if !config.server.is_loopback() && !report.failed("server.host") {
        report.fail(
            "server.host",
            "the process runtime gives no isolation and refuses a non-loopback bind: \
             set it to an address of 127.0.0.0/8, ::1 or localhost",
        );
    }
    if config.ui.listen.as_ref().is_some_and(|listen| !is_loopback(&listen.host)) {
        report.fail(
            "ui.listen",
            "the process runtime gives no isolation and refuses a non-loopback bind: \
             let its host be an address of 127.0.0.0/8, [::1] or localhost",
        );
    }
    if config.ui.hosts.iter().any(|host| !is_loopback(host.host())) {
        report.fail(
            "ui.hosts",
            "the process runtime gives no isolation and refuses names that are not loopback ones: remove them",
        );
    }
    if config.secure_runtime.kind.is_some() && !report.failed("secure_runtime") {
        report.fail("secure_runtime.type", "must be '' when runtime.type = 'process', which gives no isolation");
    }
}

fn check_egress(config: &Config, report: &Report) {
    let Some(proxy) = &config.egress.upstream_proxy else {
        return;
    };
    let kind = config.runtime.kind;
    if proxy.ca_secret_name.is_some() && kind != RuntimeKind::Kubernetes {
        report.fail(
            "egress.upstream_proxy.ca_secret_name",
            "egress.upstream_proxy.ca_secret_name requires runtime.type = 'kubernetes'",
        );
    }
    if proxy.ca_cert_path.is_some() && kind != RuntimeKind::Docker {
        report.fail(
            "egress.upstream_proxy.ca_cert_path",
            "egress.upstream_proxy.ca_cert_path requires runtime.type = 'docker'",
        );
    }
}

fn check_tenants(config: &Config, report: &Report) {
    if config.tenants.is_none() {
        return;
    }
    let kind = config.runtime.kind;
    if kind != RuntimeKind::Kubernetes {
        let rule =
            format!("[tenants] configured but runtime.type='{kind}'. Multi-tenancy requires Kubernetes namespaces.");
        report.fail("tenants", rule);
    }
    if !config.server.keys.is_empty() {
        report.fail(
            "server.api_key",
            "server.api_key must be removed from server.toml when using [tenants]. \
             Tenant API keys are managed by the tenant provider.",
        );
    }
}

fn check_agent_sandbox(config: &Config, report: &Report) {
    let provider = config.kubernetes.as_ref().map(|kubernetes| kubernetes.workload_provider);
    let wrong = config.agent_sandbox.is_some() && provider != Some(WorkloadProvider::AgentSandbox);
    let known = ["agent_sandbox", "kubernetes.workload_provider", "runtime.type"];
    if wrong && !known.iter().any(|key| report.failed(key)) {
        report.fail("agent_sandbox", "agent_sandbox block requires kubernetes.workload_provider = 'agent-sandbox'.");
    }
}

/// Streams hold their connections for hours, so the connections have to be more.
fn check_streams(config: &Config, report: &Report) {
    let connections = config.server.max_connections;
    let streams = config.logs.max_streams.map_or(0, u32::from);
    if streams >= connections {
        report.warn(
            "logs.max_streams",
            format_args!(
                "{streams} is not below server.max_connections ({connections}): \
                 log streams alone can take every connection"
            ),
        );
    }
}

impl Config {
    /// What the configuration asks for and this version cannot do, where
    /// starting without it would serve the wrong thing: the program has to
    /// refuse. One sentence each.
    pub fn fatal_gaps(&self) -> Vec<String> {
        sentences(&[
            // Going on without it would run sandboxes with less isolation than asked for.
            (self.lacks_docker_runtime(), "secure_runtime.type without secure_runtime.docker_runtime on Docker"),
        ])
    }

    /// A secure runtime is asked for, but by its Kubernetes name alone.
    fn lacks_docker_runtime(&self) -> bool {
        let SecureRuntime { kind, docker_runtime, .. } = &self.secure_runtime;
        self.runtime.kind == RuntimeKind::Docker && kind.is_some() && docker_runtime.is_none()
    }
}

fn sentences(gaps: &[(bool, &str)]) -> Vec<String> {
    let asked = gaps.iter().filter(|(asked, _)| *asked);
    asked.map(|(_, what)| format!("{what} is not supported by this version yet")).collect()
}
