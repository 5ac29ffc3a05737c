//! What the Kubernetes runtime is configured with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    config::{Egress, Ingress, Resources, SecureKind, ShutdownPolicy, WorkloadProvider},
    metrics::backend::BackendCalls,
};

/// The settings of the runtime, from `[kubernetes]`, `[ingress]` and `[logs]`.
#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    /// The kubeconfig file; the configuration inside the cluster without.
    pub kubeconfig: Option<PathBuf>,
    /// The API server's certificate is not checked.
    pub insecure_skip_tls_verify: bool,
    /// Where sandboxes are; tenants' may be elsewhere.
    pub namespace: Arc<str>,
    /// Whether there are tenants, so that this namespace may be empty and out of reach.
    pub has_tenants: bool,
    /// What a sandbox is.
    pub provider: WorkloadProvider,
    /// Reads a second; 0 is without a limit.
    pub read_qps: f64,
    /// Reads at once above that.
    pub read_burst: u32,
    /// Writes a second; 0 is without a limit.
    pub write_qps: f64,
    /// Writes at once above that.
    pub write_burst: u32,
    /// How long one watch lasts.
    pub watch_timeout: Duration,
    /// What is known of older than that is asked for again.
    pub cache_max_age: Duration,
    /// Whether sandboxes may be Windows machines, whose pods are privileged.
    pub allow_windows: bool,
    /// Where pods are; anywhere but on this machine itself if there are none.
    pub pod_networks: Vec<IpNet>,
    /// How clients reach sandboxes.
    pub ingress: Ingress,
    /// Most bytes of one read of a log.
    pub log_buffer: usize,
    /// How long a log that broke off is tried to be gone on with.
    pub log_reconnect: Duration,
    /// How sandboxes are created.
    pub creation: CreationOptions,
    /// Counts the calls.
    pub calls: BackendCalls,
}

/// How sandboxes are created, from `[kubernetes]`, `[agent_sandbox]`, `[runtime]`, `[egress]`, `[storage]`, `[secure_runtime]`
/// and `[server]`. The defaults are config.md's; there is none for the execd image, which stays empty.
#[derive(Debug, Clone)]
pub struct CreationOptions {
    /// The image that execd is copied from.
    pub execd_image: String,
    /// execd is asked to be the sandbox's first process.
    pub execd_run_as_init: bool,
    /// What the container that copies execd may use.
    pub execd_init_resources: Resources,
    /// When the image of a BatchSandbox is pulled; not checked.
    pub image_pull_policy: String,
    /// What every sandbox's object begins from, in YAML.
    pub template_file: Option<PathBuf>,
    /// What becomes of an agent-sandbox whose time is over.
    pub shutdown_policy: ShutdownPolicy,
    /// The sidecar for sandboxes with a network policy; none of them can be created without.
    pub egress: Option<Egress>,
    /// Paths of the nodes at and below which sandboxes may mount.
    pub allowed_host_paths: Vec<String>,
    /// The size of a volume claim that names none, a quantity.
    pub volume_default_size: String,
    /// What kind of runtime is below the containers.
    pub secure_kind: Option<SecureKind>,
    /// The RuntimeClass of all sandboxes: by itself that of `secure_kind`.
    pub runtime_class: Option<String>,
    /// The longest `timeout` of a request, in seconds.
    pub max_sandbox_timeout_seconds: Option<u64>,
    /// How long a sandbox may take to be ready.
    pub timeout: Duration,
    /// How long a sandbox may wait for room in its pool, within that.
    pub pool_timeout: Duration,
    /// How often a sandbox is asked for while the watch tells nothing.
    pub poll_interval: Duration,
}

impl Default for CreationOptions {
    fn default() -> Self {
        Self {
            execd_image: String::new(),
            execd_run_as_init: false,
            execd_init_resources: Resources::default(),
            image_pull_policy: "IfNotPresent".to_owned(),
            template_file: None,
            shutdown_policy: ShutdownPolicy::Delete,
            egress: None,
            allowed_host_paths: Vec::new(),
            volume_default_size: "1Gi".to_owned(),
            secure_kind: None,
            runtime_class: None,
            max_sandbox_timeout_seconds: None,
            timeout: Duration::from_secs(60),
            pool_timeout: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl CreationOptions {
    /// The RuntimeClass of all sandboxes; the cluster's default without.
    pub(super) fn runtime_class(&self) -> Option<&str> {
        let by_kind = self.secure_kind.map(|kind| match kind {
            SecureKind::Gvisor => "gvisor",
            SecureKind::Kata => "kata-qemu",
            SecureKind::Firecracker => "kata-fc",
        });
        self.runtime_class.as_deref().or(by_kind)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Settings with the defaults of config.md, for a cluster that nobody reaches.
    pub(in crate::runtime::kubernetes) fn options() -> KubernetesOptions {
        KubernetesOptions {
            kubeconfig: None,
            insecure_skip_tls_verify: false,
            namespace: "osb".into(),
            has_tenants: false,
            provider: WorkloadProvider::BatchSandbox,
            read_qps: 0.0,
            read_burst: 0,
            write_qps: 0.0,
            write_burst: 0,
            watch_timeout: Duration::from_secs(60),
            cache_max_age: Duration::from_secs(10),
            allow_windows: false,
            pod_networks: Vec::new(),
            ingress: Ingress { gateway: None },
            log_buffer: 1024,
            log_reconnect: Duration::from_secs(1),
            creation: CreationOptions::default(),
            calls: BackendCalls::default(),
        }
    }

    /// The same, with a kubeconfig in `folder` whose API server refuses each connection.
    pub(in crate::runtime::kubernetes) fn unreachable(folder: &Path) -> KubernetesOptions {
        let kubeconfig = folder.join("config");
        let config = "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}], \
                      contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}";
        fs::write(&kubeconfig, config).unwrap();
        KubernetesOptions { kubeconfig: Some(kubeconfig), ..options() }
    }
}
