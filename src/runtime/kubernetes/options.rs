//! What the Kubernetes runtime is configured with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    config::{Ingress, WorkloadProvider},
    metrics::backend::BackendCalls,
};

/// The settings of the runtime, from `[kubernetes]`, `[agent_sandbox]`, `[ingress]` and `[logs]`.
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
    /// Where pods are; anywhere but on this machine itself if there are none.
    pub pod_networks: Vec<IpNet>,
    /// How clients reach sandboxes.
    pub ingress: Ingress,
    /// Most bytes of one read of a log.
    pub log_buffer: usize,
    /// How long a log that broke off is tried to be gone on with.
    pub log_reconnect: Duration,
    /// Counts the calls.
    pub calls: BackendCalls,
}
