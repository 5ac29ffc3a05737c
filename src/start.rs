//! From a configuration to what serves it.

pub mod doors;

use std::{collections::BTreeMap, fs, num::NonZeroU32, pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use crate::{
    admin::Admin,
    api::{Api, endpoints::PublicAddress},
    config::{self, Config, Lookup, RuntimeKind, ShutdownPolicy, StoreBackend, WorkloadProvider},
    dev,
    drain::{self, Drain},
    error::{Error, Family, Kind},
    keys::KeyRing,
    logs::limits::{StreamLimits, Streams},
    metrics::{
        Metrics,
        backend::BackendCalls,
        otlp::{self, Otlp},
        prometheus::Prometheus,
        traces::Traces,
    },
    proxy::{self, Proxy, limits::Limits},
    renew::Renewer,
    runtime::{
        Runtime,
        docker::{Docker, DockerOptions},
        kubernetes::{CreationOptions, Kubernetes, KubernetesOptions},
        process::{Process, ProcessOptions},
    },
    server::{
        Settings, connection::Connections, listen::Listeners, stalled::Stalls, threads::Threads, tls::Certificates,
    },
    service::Gateway,
    snapshots::{SnapshotOptions, Snapshots},
    store::{self, StoreError},
    tenants::Tenants,
};

/// Connections to the operator's listener that the system queues.
const ADMIN_BACKLOG: u32 = 128;

/// How many namespaces of tenants are looked for at once.
const NAMESPACE_CHECKS: usize = 16;

/// How long the start waits for all of them, and more for each: an API server that is silent does not hold it up. What the calls
/// wait for their turns (`read_qps`) is not counted.
const NAMESPACES_TIMEOUT: Duration = Duration::from_secs(15);
const EACH_NAMESPACE_TIMEOUT: Duration = Duration::from_millis(20);

/// Names the file of trusted certificates, for every library that has TLS.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// Checks that the file of trusted certificates is one: libraries would read a pipe for ever.
///
/// # Errors
///
/// A text for a person: it is there, and not a regular file.
pub fn check_certificates(env: Lookup<'_>) -> Result<(), String> {
    match env(CERTIFICATES) {
        Some(file) if fs::metadata(&file).is_ok_and(|found| !found.is_file()) => {
            Err(format!("environment {CERTIFICATES}: {file}: it is not a regular file"))
        }
        _ => Ok(()),
    }
}

/// Reads the certificate of the gateway's own port, if it is to have TLS.
///
/// # Errors
///
/// A text for a person: what is wrong with which file.
pub fn certificates(config: &config::Server) -> Result<Option<Arc<Certificates>>, String> {
    config.tls.as_ref().map(|files| Certificates::load(files).map(Arc::new)).transpose()
}

/// Listens where the server is to be. The port comes before the runtime: a second gateway must fail before it touches
/// anything.
///
/// # Errors
///
/// A text for a person: the address cannot be had.
pub fn listeners(config: &config::Server, is_dev: bool) -> Result<Listeners, String> {
    let config::Server { host, port, backlog, .. } = config;
    let how = if is_dev { "`--port` takes another" } else { "server.host, server.port" };
    Listeners::bind(host, *port, *backlog).map_err(|error| format!("Cannot listen on {host}:{port} ({how}): {error}"))
}

/// Says where the server listens, and in development what to try.
pub fn announce(config: &Config, listeners: &Listeners, viewer: Option<&Listeners>, dev_key: Option<&dev::Key>) {
    let addresses: Vec<String> = listeners.addresses().map(|address| address.to_string()).collect();
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let urls: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    tracing::info!("opensandbox-gateway {} listens on {}", env!("CARGO_PKG_VERSION"), urls.join(" and "));
    if config.runtime.kind == RuntimeKind::Process {
        tracing::warn!(
            "runtime.type = 'process': sandboxes are local processes WITHOUT isolation, for development only"
        );
    }
    let viewers: Vec<_> = viewer.into_iter().flat_map(Listeners::addresses).collect();
    let is_open = config.server.keys.is_empty() && config.tenants.is_none();
    for address in &viewers {
        tracing::info!("the viewer is on http://{address}/ui/");
        if is_open && !address.ip().is_loopback() {
            tracing::warn!(
                "without server.api_key, everyone who reaches {address} (ui.listen) reads all sandboxes' logs"
            );
        }
    }
    if let Some(key) = dev_key {
        let viewer = viewers.first().map(ToString::to_string);
        println!("{}", dev::welcome(addresses.first().map_or("", String::as_str), viewer.as_deref(), key));
    }
}

/// Starts the runtime that `config` names; its requests are counted by `metrics`. `keys` are the valid ones.
///
/// # Errors
///
/// It cannot be reached or started.
pub async fn runtime(config: &Config, metrics: &Metrics, keys: &Arc<KeyRing>) -> Result<Arc<dyn Runtime>, Error> {
    match config.runtime.kind {
        RuntimeKind::Docker => {
            Ok(Arc::new(Docker::from_env(DockerOptions { calls: metrics.backend(), ..docker_options(config) }).await?))
        }
        RuntimeKind::Process => Ok(Arc::new(Process::start(process_options(config, keys))?)),
        RuntimeKind::Kubernetes => {
            let options = KubernetesOptions { calls: metrics.backend(), ..kubernetes_options(config)? };
            Ok(Arc::new(Kubernetes::start(options).await?))
        }
    }
}

/// The tenants that `config` names, if it names any, and that the namespaces of those that are known are there.
///
/// # Errors
///
/// A text for a person: the provider cannot be used, or a namespace is missing.
pub async fn tenants(config: &Config, runtime: &dyn Runtime) -> Result<Option<Arc<Tenants>>, TenantsError> {
    let Some(options) = &config.tenants else { return Ok(None) };
    let tenants = Tenants::start(options).await.map_err(TenantsError::Provider)?;
    if tenants.is_complete()
        && let Some(tenancy) = runtime.tenancy()
    {
        let known = tenants.known();
        let limit = namespaces_timeout(known.len(), config.kubernetes.as_ref().map_or(0.0, |it| it.read_qps));
        let checks = known.into_iter().enumerate().map(|(number, tenant)| async move {
            let checked = tenancy.check_namespace(&tenant.namespace).await;
            checked.err().map(|why| (number, format!("tenant '{}': {why}", tenant.name)))
        });
        let mut checks = pin!(stream::iter(checks).buffer_unordered(NAMESPACE_CHECKS));
        let mut faults = BTreeMap::new();
        let all = async {
            while let Some(checked) = checks.next().await {
                faults.extend(checked);
            }
        };
        if timeout(limit, all).await.is_err() {
            tracing::warn!("whether the namespaces of all tenants exist cannot be told now: that takes too long");
        }
        if !faults.is_empty() {
            let faults: Vec<_> = faults.into_values().collect();
            let text = format!("Tenant namespace validation failed: {}", faults.join("; "));
            return Err(TenantsError::Namespace(text));
        }
    }
    Ok(Some(Arc::new(tenants)))
}

/// How long so many namespaces may be looked for, at `rate` calls a second (0: without a limit).
fn namespaces_timeout(count: usize, rate: f64) -> Duration {
    let interval =
        if rate > 0.0 { Duration::try_from_secs_f64(rate.recip()).unwrap_or(Duration::MAX) } else { Duration::ZERO };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    NAMESPACES_TIMEOUT.saturating_add(interval.saturating_add(EACH_NAMESPACE_TIMEOUT).saturating_mul(count))
}

/// Why there are no tenants.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    /// The file or the service cannot be used.
    #[error("{0}")]
    Provider(String),
    /// A namespace is not there.
    #[error("{0}")]
    Namespace(String),
}

/// The snapshots of `runtime`, with their store; without one for a runtime that makes none.
///
/// # Errors
///
/// The store cannot be opened.
pub async fn snapshots(config: &Config, runtime: Arc<dyn Runtime>) -> Result<Snapshots, StoreError> {
    let Some(maker) = Arc::clone(&runtime).snapshots() else { return Ok(Snapshots::none(runtime)) };
    let store = store::open(&config.store.backend).await?;
    let options = SnapshotOptions {
        interval: config.store.snapshot_recovery_interval,
        timeout: config.docker.api_timeout,
        asks_again: matches!(config.store.backend, StoreBackend::Postgresql(_)),
    };
    Ok(Snapshots::start(runtime, maker, store, options))
}

/// What the server needs to serve `runtime` on `threads` as `config` says.
#[expect(clippy::too_many_arguments, reason = "each is made by a step of the start of its own")]
pub fn server(
    config: &Config,
    threads: Threads,
    runtime: Arc<dyn Runtime>,
    snapshots: Snapshots,
    metrics: Metrics,
    keys: Arc<KeyRing>,
    tenants: Option<Arc<Tenants>>,
    certificates: Option<Arc<Certificates>>,
) -> Settings {
    let config::Server { timeout_keep_alive, timeout_graceful_shutdown, .. } = config.server;
    let drain = Drain::default();
    let api = Api {
        renewer: Renewer::start(&config.renew_intent, &runtime, tenants.as_ref()),
        runtime,
        snapshots,
        streams: Streams::new(stream_limits(&config.logs)),
        reconnect: config.logs.reconnect,
        drain: drain.watch(),
        public: config.server.eip.as_deref().map(PublicAddress::of),
        proxy: Proxy::new(drain.watch(), proxy_options(config)),
        metrics: metrics.clone(),
        is_apart: config.runtime.kind != RuntimeKind::Process,
        tenant: None,
    };
    let concurrency = || config.server.limit_concurrency.map(|limit| Semaphore::new(limit.get() as usize));
    let gateway = Arc::new(Gateway {
        api,
        keys,
        tenants,
        concurrency: concurrency(),
        proxy_concurrency: concurrency(),
        proxies: config.server.trusted_proxies.clone(),
        local_only: config.runtime.kind == RuntimeKind::Process,
        log_health_checks: config.log.access_health_checks,
    });
    let stalls = Stalls::new(config.logs.write_stall_timeout);
    let connections = Connections {
        gateway,
        drain: drain.watch(),
        keep_alive: timeout_keep_alive,
        write_stall: config.logs.write_stall_timeout,
        is_blind: stalls.is_blind(),
        certificates,
        metrics,
    };
    Settings {
        connections,
        threads,
        stalls,
        drain,
        grace: timeout_graceful_shutdown,
        delay: config.server.shutdown_delay,
    }
}

/// Starts measuring as `config` says. A collector that is named wrongly is no reason not to serve.
/// Prometheus is measured for only if something listens for it.
pub fn metrics(config: &Config, is_scraped: bool) -> Metrics {
    let resource = otlp::resource(&config.otel);
    let otlp = Otlp::start(&config.otel, resource.clone()).unwrap_or_else(|why| {
        tracing::warn!("no metrics are sent: {why}");
        Otlp::default()
    });
    let traces = Traces::start(&config.otel, resource).unwrap_or_else(|why| {
        tracing::warn!("no traces are sent: {why}");
        Traces::default()
    });
    let (runtime, source) = match config.runtime.kind {
        RuntimeKind::Docker => ("docker", "engine"),
        RuntimeKind::Process => ("process", "file"),
        RuntimeKind::Kubernetes => ("kubernetes", "kubelet"),
    };
    Metrics::new(otlp, is_scraped.then(|| Arc::new(Prometheus::new(runtime, source)))).traced(traces, runtime)
}

/// Listens where the operator's listener is to be (`metrics.listen`). What is taken is no failure of `dev`, which many may run.
///
/// # Errors
///
/// A text for a person: the address cannot be had.
pub fn admin_listeners(config: &Config, is_dev: bool) -> Result<Option<Listeners>, String> {
    let Some(listen) = &config.metrics.listen else { return Ok(None) };
    match Listeners::bind(&listen.host, listen.port, ADMIN_BACKLOG) {
        Ok(listeners) => Ok(Some(listeners)),
        Err(error) if is_dev => {
            tracing::warn!("no metrics: cannot listen on {listen}: {error}");
            Ok(None)
        }
        Err(error) => Err(format!("Cannot listen on {listen} (metrics.listen): {error}")),
    }
}

/// Serves the operator on `listeners` for as long as the task lives.
pub fn admin(
    listeners: Listeners,
    metrics: &Metrics,
    runtime: Arc<dyn Runtime>,
    keys: Arc<KeyRing>,
    drain: drain::Watch,
) -> Option<JoinHandle<()>> {
    let prometheus = Arc::clone(metrics.prometheus()?);
    for address in listeners.addresses() {
        tracing::info!("metrics are on http://{address}/metrics, open log streams on /admin/streams");
        if keys.is_open() && !address.ip().is_loopback() {
            tracing::warn!("without server.api_key, /admin/streams on {address} is refused: it is no loopback address");
        }
    }
    let admin = Admin::new(prometheus, runtime, keys, drain);
    Some(tokio::spawn(admin.serve(listeners)))
}

/// Raises the limit on open files to the highest that is allowed: a log stream takes two.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?maximum, "raised the limit on open files"),
        Err(error) => tracing::warn!(%error, ?current, "the limit on open files stays low"),
    }
}

fn stream_limits(logs: &config::Logs) -> StreamLimits {
    let limit = |limit: Option<NonZeroU32>| limit.map_or(0, |limit| limit.get() as usize);
    StreamLimits { total: limit(logs.max_streams), per_sandbox: limit(logs.max_streams_per_sandbox) }
}

fn proxy_options(config: &Config) -> proxy::Options {
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

fn process_options(config: &Config, keys: &Arc<KeyRing>) -> ProcessOptions {
    let keys = Arc::clone(keys);
    ProcessOptions { max_sandbox_timeout_seconds: max_timeout(config), keys, ..ProcessOptions::default() }
}

fn kubernetes_options(config: &Config) -> Result<KubernetesOptions, Error> {
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
        creation: creation_options(config, kubernetes),
        calls: BackendCalls::default(),
    })
}

fn creation_options(config: &Config, kubernetes: &config::Kubernetes) -> CreationOptions {
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

fn docker_options(config: &Config) -> DockerOptions {
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
