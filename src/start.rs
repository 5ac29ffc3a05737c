//! From a configuration to what serves it.

use std::{num::NonZeroU32, sync::Arc};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

use crate::{
    api::Api,
    config::{self, Config, RuntimeKind},
    drain::Drain,
    logs::limits::{StreamLimits, Streams},
    metrics::Metrics,
    runtime::{
        ErrorKind, Runtime, RuntimeError,
        docker::{Docker, DockerOptions},
        process::{Process, ProcessOptions},
    },
    server::{Settings, connection::Connections},
    service::Gateway,
};

/// Starts the runtime that `config` names.
///
/// # Errors
///
/// It cannot be reached or started.
pub async fn runtime(config: &Config) -> Result<Arc<dyn Runtime>, RuntimeError> {
    match config.runtime.kind {
        RuntimeKind::Docker => Ok(Arc::new(Docker::from_env(docker_options(config)).await?)),
        RuntimeKind::Process => Ok(Arc::new(Process::start(process_options(config))?)),
        // The configuration names it among its fatal gaps, so the program does not come here.
        RuntimeKind::Kubernetes => {
            Err(RuntimeError::new(ErrorKind::Initialization, "runtime.type 'kubernetes' is not supported yet."))
        }
    }
}

/// What the server needs to serve `runtime` as `config` says.
pub fn server(config: &Config, runtime: Arc<dyn Runtime>, metrics: Metrics) -> Settings {
    let config::Server { timeout_keep_alive, timeout_graceful_shutdown, max_connections, .. } = config.server;
    let drain = Drain::default();
    let api = Api { runtime, streams: Streams::new(stream_limits(&config.logs)), drain: drain.watch(), metrics };
    let concurrency = config.server.limit_concurrency.map(|limit| Semaphore::new(limit.get() as usize));
    let gateway = Arc::new(Gateway {
        api,
        key: config.server.api_key.clone(),
        concurrency,
        local_only: config.runtime.kind == RuntimeKind::Process,
    });
    let connections = Connections {
        gateway,
        drain: drain.watch(),
        keep_alive: timeout_keep_alive,
        write_stall: config.logs.write_stall_timeout,
    };
    Settings { connections, max_connections: max_connections as usize, drain, grace: timeout_graceful_shutdown }
}

/// Starts measuring as `config` says. A collector that is named wrongly is no reason not to serve.
pub fn metrics(config: &Config) -> Metrics {
    Metrics::start(&config.otel).unwrap_or_else(|why| {
        tracing::warn!("no metrics are sent: {why}");
        Metrics::default()
    })
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

/// The longest `timeout` of a request, in seconds.
fn max_timeout(config: &Config) -> Option<u64> {
    config.server.max_sandbox_timeout.map(|timeout| timeout.as_secs())
}

fn process_options(config: &Config) -> ProcessOptions {
    ProcessOptions { max_sandbox_timeout_seconds: max_timeout(config), ..ProcessOptions::default() }
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
        allow_isolation_extension: docker.allow_isolation_extension,
        execd_image: config.runtime.execd_image.clone(),
        execd_run_as_init: config.runtime.execd_run_as_init,
        max_sandbox_timeout_seconds: max_timeout(config),
        log_buffer: config.logs.buffer_bytes,
        ..DockerOptions::default()
    }
}
