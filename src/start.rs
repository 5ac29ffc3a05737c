//! From a configuration to what serves it.

pub mod doors;
mod options;

use std::{collections::BTreeMap, fs, pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use crate::{
    admin::Admin,
    api::{Api, endpoints::PublicAddress},
    config::{self, Config, Lookup, RuntimeKind, StoreBackend},
    dev,
    drain::{self, Drain},
    error::Error,
    keys::KeyRing,
    logs::limits::Streams,
    metrics::{
        Metrics,
        otlp::{self, Otlp},
        prometheus::Prometheus,
        traces::Traces,
    },
    proxy::Proxy,
    renew::Renewer,
    runtime::{
        Runtime,
        docker::{Docker, DockerOptions},
        kubernetes::{Kubernetes, KubernetesOptions},
        process::Process,
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
            Ok(Arc::new(Docker::from_env(DockerOptions { calls: metrics.backend(), ..options::docker(config) }).await?))
        }
        RuntimeKind::Process => Ok(Arc::new(Process::start(options::process(config, keys))?)),
        RuntimeKind::Kubernetes => {
            let options = KubernetesOptions { calls: metrics.backend(), ..options::kubernetes(config)? };
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
        streams: Streams::new(options::streams(&config.logs)),
        reconnect: config.logs.reconnect,
        drain: drain.watch(),
        public: config.server.eip.as_deref().map(PublicAddress::of),
        proxy: Proxy::new(drain.watch(), options::proxy(config)),
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
    if let Some(certificates) = &certificates {
        certificates.measure(&metrics);
    }
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
