//! The configuration: one file in TOML, a few overrides from the environment,
//! and the rules they have to keep (contract `config.md`).
//!
//! ```text
//! file ─▶ tables ─▶ overrides (env) ─▶ one reader a section ─▶ rules between sections ─▶ Config
//! ```
//!
//! The whole file is read before anything is said, so that every fault is told
//! at once, one line each. A fault stops the start; a key that nothing reads is
//! a warning. Neither ever holds a value that may be a secret. A [`Config`]
//! that exists is right: nothing later has to check it again.

pub mod env;

mod coerce;
mod docker;
mod egress;
mod ingress;
mod keys;
mod kubernetes;
mod log;
pub mod log_driver;
mod logs;
mod metrics;
mod names;
mod otel;
mod quantity;
mod renew;
mod report;
mod rules;
mod runtime;
mod section;
mod server;
mod source;
mod storage;
mod tenants;
#[cfg(test)]
mod tests;
mod ui;

use std::path::{Path, PathBuf};

use toml::Table;

pub use self::docker::{DROPPED_CAPABILITIES, Docker, ExpiryScope};
pub use self::egress::{Egress, EgressMode, UpstreamProxy};
pub use self::env::Lookup;
pub use self::ingress::{Gateway, Ingress, RouteMode, SecureAccess, SigningKey};
pub use self::kubernetes::{AgentSandbox, Fastpath, Kubernetes, Resources, ShutdownPolicy, WorkloadProvider};
pub use self::log::{Log, LogFile, LogFormat};
pub use self::logs::Logs;
pub use self::metrics::{Listen, Metrics};
pub use self::names::is_dns_subdomain;
pub use self::otel::Otel;
pub use self::quantity::{is_qualified_name, is_resource_name, parse_quantity};
pub use self::renew::{Redis, RenewIntent};
pub use self::report::ConfigError;
use self::report::Report;
pub use self::runtime::{Runtime, RuntimeKind, SecureKind, SecureRuntime};
use self::section::Section;
pub use self::server::{Proxy, Server};
pub use self::storage::{Postgresql, Storage, Store, StoreBackend};
pub use self::tenants::{TenantProvider, Tenants};
pub use self::ui::Ui;
use crate::peer::trusted::TrustedProxies;

/// Everything the server can be told, checked and with its defaults filled in.
/// A field is the section of its name.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener and its limits.
    pub server: Server,
    /// The proxy into sandboxes.
    pub proxy: Proxy,
    /// The server's own log.
    pub log: Log,
    /// Streaming of sandbox logs.
    pub logs: Logs,
    /// The listener that is scraped.
    pub metrics: Metrics,
    /// The listener of the browser viewer.
    pub ui: Ui,
    /// Several tenants, if the file has the section.
    pub tenants: Option<Tenants>,
    /// Lifetimes that grow with use.
    pub renew_intent: RenewIntent,
    /// Metrics sent to a collector.
    pub otel: Otel,
    /// What sandboxes run on.
    pub runtime: Runtime,
    /// Settings of the Docker runtime.
    pub docker: Docker,
    /// Settings of the Kubernetes runtime, if the file has the section.
    pub kubernetes: Option<Kubernetes>,
    /// Settings of one Kubernetes provider, if the file has the section.
    pub agent_sandbox: Option<AgentSandbox>,
    /// How clients reach sandboxes.
    pub ingress: Ingress,
    /// The volumes of sandboxes.
    pub storage: Storage,
    /// The server's records.
    pub store: Store,
    /// Network policies.
    pub egress: Egress,
    /// The sandboxing runtime below the containers.
    pub secure_runtime: SecureRuntime,
}

/// A configuration, and what is to be said about it once the log is open.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What was noticed without being wrong, one line each: unknown keys, keys
    /// without effect.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub source: PathBuf,
}

impl Config {
    /// Reads the configuration from `path`, else from the file the environment
    /// names, else from `~/.sandbox.toml`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no TOML, or breaks a rule; also when
    /// it does not exist, since `[runtime]` has no default.
    pub fn load(path: Option<&Path>, env: Lookup<'_>) -> Result<Loaded, ConfigError> {
        let file = env::source(path, env)?;
        let table = source::parse(&file, &source::read(&file)?)?;
        let (config, warnings) = Self::from_table(table, &file, env)?;
        Ok(Loaded { config, warnings, source: file })
    }

    /// The configuration for development on one machine: the process runtime
    /// on 127.0.0.1:8080, everything else as by default. Reads no file, and of
    /// the environment only the proxies that are trusted, and what is to be
    /// said of them; the key is the caller's to set.
    pub fn dev(env: Lookup<'_>) -> (Self, Vec<String>) {
        let file = Path::new("the development configuration");
        let text = "[server]\nhost = '127.0.0.1'\n[runtime]\ntype = 'process'\n[metrics]\nlisten = '127.0.0.1:9090'\n";
        let env = |name: &str| env(name).filter(|_| ["HOME", env::FORWARDED_ALLOW_IPS].contains(&name));
        source::parse(file, text)
            .and_then(|table| Self::from_table(table, file, &env))
            .expect("the text above keeps every rule, as a test shows")
    }

    fn from_table(mut table: Table, file: &Path, env: Lookup<'_>) -> Result<(Self, Vec<String>), ConfigError> {
        let report = Report::new(file, env::home(env));
        env::apply(&mut table, env, &report);
        let mut root = Section::root(table, &report);
        if !root.has("runtime") {
            root.fail("runtime", "Field required");
        }
        let config = Self::read(&mut root, env::tenants_file(env), env::trusted_proxies(env, &report));
        root.finish();
        rules::check(&config, &report);
        Ok((config, report.finish()?))
    }

    fn read(root: &mut Section<'_>, tenants_file: PathBuf, proxies: TrustedProxies) -> Self {
        let docker_set = root.has("docker");
        let this = Self {
            server: root.table("server", |section| Server::read(section, proxies)),
            proxy: root.table("proxy", Proxy::read),
            log: root.table("log", Log::read),
            logs: root.table("logs", Logs::read),
            metrics: root.table("metrics", Metrics::read),
            ui: root.table("ui", Ui::read),
            tenants: root.optional_table("tenants", |section| Tenants::read(section, tenants_file)),
            renew_intent: root.table("renew_intent", RenewIntent::read),
            otel: root.table("otel", Otel::read),
            runtime: root.optional_table("runtime", Runtime::read).unwrap_or_else(Runtime::missing),
            docker: root.table("docker", Docker::read),
            kubernetes: root.optional_table("kubernetes", Kubernetes::read),
            agent_sandbox: root.optional_table("agent_sandbox", AgentSandbox::read),
            ingress: root.table("ingress", Ingress::read),
            storage: root.table("storage", Storage::read),
            store: root.table("store", Store::read),
            egress: root.table("egress", Egress::read),
            secure_runtime: root.table("secure_runtime", SecureRuntime::read),
        };
        let kind = this.runtime.kind;
        if docker_set && kind != RuntimeKind::Docker && !root.failed("runtime.type") {
            root.warn("docker", format_args!("has no effect when runtime.type = '{kind}'"));
        }
        this
    }
}
