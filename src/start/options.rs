//! What the parts of the program take from the configuration.

use std::{num::NonZeroU32, sync::Arc};

use rustix::process::{Resource, getrlimit};

use super::doors;
use crate::{
    config::{self, Config, ShutdownPolicy, WorkloadProvider},
    error::{Error, Family, Kind},
    keys::KeyRing,
    logs::limits::StreamLimits,
    metrics::backend::BackendCalls,
    proxy::{self, limits::Limits},
    runtime::{
        docker::DockerOptions,
        kubernetes::{CreationOptions, KubernetesOptions},
        process::ProcessOptions,
    },
};

pub(super) fn streams(logs: &config::Logs) -> StreamLimits {
    let limit = |limit: Option<NonZeroU32>| limit.map_or(0, |limit| limit.get() as usize);
    StreamLimits { total: limit(logs.max_streams), per_sandbox: limit(logs.max_streams_per_sandbox) }
}

pub(super) fn proxy(config: &Config) -> proxy::Options {
    let proxy = &config.proxy;
    let count = |count: Option<u32>| count.map(|count| count as usize);
    let descriptors = getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let of_viewer = if config.ui.listen.is_some() { doors::VIEWER_CONNECTIONS } else { 0 };
    let clients = (config.server.max_connections as usize).saturating_add(of_viewer);
    let (total, per_sandbox) = (count(proxy.max_connections), count(proxy.max_connections_per_sandbox));
    let limits = Limits::configured(total, per_sandbox, descriptors, clients);
    if let Some(descriptors) = descriptors.filter(|limit| limits.total() >= *limit) {
        tracing::warn!(
            "proxy.max_connections = {} leaves no descriptors for anything else: the process may have {descriptors}; \
             lower it, or raise the limit (LimitNOFILE=)",
            limits.total()
        );
    }
    proxy::Options { limits, upload_stall: Some(proxy.upload_stall_timeout) }
}

/// The longest `timeout` of a request, in seconds.
fn max_timeout(config: &Config) -> Option<u64> {
    config.server.max_sandbox_timeout.map(|timeout| timeout.as_secs())
}

pub(super) fn process(config: &Config, keys: &Arc<KeyRing>) -> ProcessOptions {
    let keys = Arc::clone(keys);
    ProcessOptions { max_sandbox_timeout_seconds: max_timeout(config), keys, ..ProcessOptions::default() }
}

pub(super) fn kubernetes(config: &Config) -> Result<KubernetesOptions, Error> {
    let lacking = |what: &str| {
        let text =
            format!("{what} must be set when runtime.type = 'kubernetes': the namespace that the sandboxes are in");
        Error::new(Family::Startup, Kind::Failed, text)
    };
    let kubernetes = config.kubernetes.as_ref().ok_or_else(|| lacking("[kubernetes] namespace"))?;
    let namespace = kubernetes.namespace.as_deref().ok_or_else(|| lacking("kubernetes.namespace"))?;
    Ok(KubernetesOptions {
        kubeconfig: kubernetes.kubeconfig_path.clone(),
        insecure_skip_tls_verify: kubernetes.insecure_skip_tls_verify,
        namespace: namespace.into(),
        has_tenants: config.tenants.is_some(),
        provider: kubernetes.workload_provider,
        read_qps: kubernetes.read_qps,
        read_burst: kubernetes.read_burst,
        write_qps: kubernetes.write_qps,
        write_burst: kubernetes.write_burst,
        watch_timeout: kubernetes.informer_watch_timeout,
        cache_max_age: kubernetes.cache_max_age,
        allow_windows: kubernetes.allow_windows,
        pod_networks: kubernetes.pod_networks.clone(),
        ingress: config.ingress.clone(),
        log_buffer: config.logs.buffer_bytes,
        log_reconnect: config.logs.reconnect,
        creation: creation(config, kubernetes),
        calls: BackendCalls::default(),
    })
}

fn creation(config: &Config, kubernetes: &config::Kubernetes) -> CreationOptions {
    let agent = config.agent_sandbox.as_ref();
    CreationOptions {
        execd_image: config.runtime.execd_image.clone(),
        execd_run_as_init: config.runtime.execd_run_as_init,
        execd_init_resources: kubernetes.execd_init_resources.clone(),
        image_pull_policy: kubernetes.image_pull_policy.clone(),
        template_file: match kubernetes.workload_provider {
            WorkloadProvider::BatchSandbox => kubernetes.batchsandbox_template_file.clone(),
            WorkloadProvider::AgentSandbox => agent.and_then(|agent| agent.template_file.clone()),
        },
        shutdown_policy: agent.map_or(ShutdownPolicy::Delete, |agent| agent.shutdown_policy),
        egress: Some(config.egress.clone()),
        allowed_host_paths: config.storage.allowed_host_paths.clone(),
        volume_default_size: config.storage.volume_default_size.clone(),
        secure_kind: config.secure_runtime.kind,
        runtime_class: config.secure_runtime.k8s_runtime_class.clone(),
        max_sandbox_timeout_seconds: max_timeout(config),
        timeout: kubernetes.sandbox_create_timeout,
        pool_timeout: kubernetes.pool_acquisition_timeout,
        poll_interval: kubernetes.sandbox_create_poll_interval,
    }
}

pub(super) fn docker(config: &Config) -> DockerOptions {
    let docker = config.docker.clone();
    DockerOptions {
        network_mode: docker.network_mode,
        api_timeout: docker.api_timeout,
        publish_host: docker.publish_host,
        port_range: docker.port_range_min..=docker.port_range_max,
        drop_capabilities: docker.drop_capabilities,
        apparmor_profile: docker.apparmor_profile,
        seccomp_profile: docker.seccomp_profile,
        no_new_privileges: docker.no_new_privileges,
        pids_limit: Some(docker.pids_limit),
        sandbox_env: docker.sandbox_env.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect(),
        sandbox_binds: docker.sandbox_binds,
        secure_runtime: config.secure_runtime.docker_runtime.clone(),
        secure_kind: config.secure_runtime.kind,
        egress: Some(config.egress.clone()),
        allowed_host_paths: config.storage.allowed_host_paths.clone(),
        ossfs_mount_root: config.storage.ossfs_mount_root.clone(),
        allow_isolation_extension: docker.allow_isolation_extension,
        execd_image: config.runtime.execd_image.clone(),
        execd_run_as_init: config.runtime.execd_run_as_init,
        max_sandbox_timeout_seconds: max_timeout(config),
        log_buffer: config.logs.buffer_bytes,
        log_reconnect: config.logs.reconnect,
        eip: config.server.eip.clone(),
        host: config.server.host.clone(),
        host_ip: docker.host_ip,
        resolve_internal: config.proxy.resolve_internal,
        expiry: docker.expiry,
        log_driver: docker.log_driver,
        log_opts: docker.log_opts,
        ..DockerOptions::default()
    }
}
