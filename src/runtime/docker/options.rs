//! The settings of the Docker runtime.

use std::{
    collections::BTreeMap, env, ffi::OsString, net::Ipv4Addr, ops::RangeInclusive, path::PathBuf, time::Duration,
};

use crate::{
    config::{DROPPED_CAPABILITIES, Egress, ExpiryScope, SecureKind},
    metrics::backend::BackendCalls,
    secret::Secret,
};

use crate::runtime::docker::engine::{client_config::ClientConfig, names::OWNER_MARK};

/// Where volumes are staged on a host. `/run` is root's and in memory on every Linux (FHS 3.0, 3.15).
const STAGE_ROOT: &str = "/run/opensandbox-gateway/mounts";

/// The settings of the Docker runtime (config.md, `[docker]`, `[runtime]` and `[server]`). Without a `Debug` form, since
/// the environment may hold secrets.
#[derive(Clone)]
pub struct DockerOptions {
    /// `host`, `bridge`, `none`, `container:<name>` or a network's name, with its capitals.
    pub network_mode: String,
    /// The limit for one engine call, and for the silence during a pull. At least a second.
    pub api_timeout: Duration,
    /// The address that sandbox ports are published on.
    pub publish_host: Ipv4Addr,
    /// Where host ports are drawn from.
    pub port_range: RangeInclusive<u16>,
    /// Capabilities that sandboxes lose.
    pub drop_capabilities: Vec<String>,
    /// The AppArmor profile; the engine's own when absent.
    pub apparmor_profile: Option<String>,
    /// The seccomp profile; the engine's own when absent.
    pub seccomp_profile: Option<String>,
    /// Sandboxed processes gain no privileges through set-uid programs.
    pub no_new_privileges: bool,
    /// The most processes in a sandbox; the engine's default when absent.
    pub pids_limit: Option<i64>,
    /// The engine's runtime for sandboxes, such as `runsc`; its default when absent.
    pub secure_runtime: Option<String>,
    /// What kind of runtime that is.
    pub secure_kind: Option<SecureKind>,
    /// The sidecar for sandboxes with a network policy; none of them can be created without.
    pub egress: Option<Egress>,
    /// Paths of the host at and below which sandboxes may mount.
    pub allowed_host_paths: Vec<String>,
    /// Where buckets are mounted on the host.
    pub ossfs_mount_root: PathBuf,
    /// Where host paths are staged before they are bound into sandboxes, so that no sandbox can replace them; only root's.
    pub stage_root: PathBuf,
    /// The search path for the programs of ossfs; on the process's own `PATH` when absent.
    pub tool_path: Option<OsString>,
    /// Requests may ask for the privileges that execd's isolation needs.
    pub allow_isolation_extension: bool,
    /// Variables of every sandbox, in this order before the request's.
    pub sandbox_env: Vec<(String, String)>,
    /// Binds of every sandbox, in the engine's form.
    pub sandbox_binds: Vec<String>,
    /// The image that execd and its bootstrap script are read from.
    pub execd_image: String,
    /// execd is asked to be the sandbox's first process.
    pub execd_run_as_init: bool,
    /// The longest `timeout` of a request, in seconds.
    pub max_sandbox_timeout_seconds: Option<u64>,
    /// The most bytes that one read of a log takes (`logs.buffer_bytes`).
    pub log_buffer: usize,
    /// For how long a log that broke off is tried to be gone on with (`logs.reconnect_seconds`); zero is not at all.
    pub log_reconnect: Duration,
    /// The public host of endpoints, as it is written there; `host` decides when absent.
    pub eip: Option<String>,
    /// What the server itself listens on.
    pub host: String,
    /// The address of the engine's host, for endpoints that a server in a container tells.
    pub host_ip: Option<String>,
    /// The server's own proxy connects to containers themselves rather than to published ports.
    pub resolve_internal: bool,
    /// Docker's client configuration: credentials for registries, proxies of sandboxes.
    pub client_config: ClientConfig,
    /// Where renewed expiries and patched metadata are; `~/.opensandbox` for an ordinary server.
    pub state_dir: PathBuf,
    /// Counts requests to the engine.
    pub calls: BackendCalls,
    /// Which sandboxes end by their time here; the owner mark decides when absent.
    pub expiry: Option<ExpiryScope>,
    /// The name of the engine's volume that is the owner mark.
    pub owner_mark: String,
    /// The engine's log driver for sandboxes and their sidecars; its default when absent.
    pub log_driver: Option<String>,
    /// That driver's options.
    pub log_opts: BTreeMap<String, Secret>,
}

impl Default for DockerOptions {
    /// The defaults of config.md; there is none for the execd image, which stays empty.
    fn default() -> Self {
        Self {
            network_mode: "host".to_owned(),
            api_timeout: Duration::from_secs(180),
            publish_host: Ipv4Addr::UNSPECIFIED,
            port_range: 40_000..=60_000,
            drop_capabilities: DROPPED_CAPABILITIES.map(str::to_owned).to_vec(),
            apparmor_profile: None,
            seccomp_profile: None,
            no_new_privileges: true,
            pids_limit: Some(4096),
            secure_runtime: None,
            secure_kind: None,
            egress: None,
            allowed_host_paths: Vec::new(),
            ossfs_mount_root: PathBuf::from("/mnt/ossfs"),
            stage_root: PathBuf::from(STAGE_ROOT),
            tool_path: None,
            allow_isolation_extension: false,
            sandbox_env: Vec::new(),
            sandbox_binds: Vec::new(),
            execd_image: String::new(),
            execd_run_as_init: false,
            max_sandbox_timeout_seconds: None,
            log_buffer: 128 * 1024,
            log_reconnect: Duration::from_secs(30),
            eip: None,
            host: "0.0.0.0".to_owned(),
            host_ip: None,
            resolve_internal: true,
            client_config: ClientConfig::from_env(),
            state_dir: env::home_dir().unwrap_or_default().join(".opensandbox"),
            calls: BackendCalls::default(),
            expiry: None,
            owner_mark: OWNER_MARK.to_owned(),
            log_driver: None,
            log_opts: BTreeMap::new(),
        }
    }
}
