//! `[docker]`: how sandboxes are made on a Docker engine (contract
//! `docker-runtime.md`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::{model::env, secret::Secret};

use super::log_driver;
use super::section::Section;

/// The capabilities a sandbox loses when the file has no list of its own.
pub const DROPPED_CAPABILITIES: [&str; 9] = [
    "AUDIT_WRITE",
    "MKNOD",
    "NET_ADMIN",
    "NET_RAW",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
];

/// A narrower range of ports runs dry while sandboxes are being made at once.
const MIN_PORT_SPAN: u16 = 100;

/// Which sandboxes a gateway removes when their time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryScope {
    /// All on the engine, also those that other servers created and renewed, whose renewals it may not know.
    All,
    /// Those that this gateway created or renewed.
    Own,
    /// None.
    Off,
}

const EXPIRY: [(&str, ExpiryScope); 3] =
    [("all", ExpiryScope::All), ("own", ExpiryScope::Own), ("off", ExpiryScope::Off)];

/// `[docker]`.
#[derive(Debug, Clone)]
pub struct Docker {
    /// `host`, `bridge`, `none`, `container:<name>` or the name of a network.
    /// Default `host`. The three words are understood in any case; names of
    /// networks are kept as written.
    pub network_mode: String,
    /// How long the engine may take to answer one request; at least 1 s.
    /// Default 180 s.
    pub api_timeout: Duration,
    /// The engine host's address as clients see it, used in endpoints when
    /// this server itself runs in a container. No default.
    pub host_ip: Option<String>,
    /// Capabilities taken from every sandbox. Default: nine that reach the
    /// kernel, the network or the clock.
    pub drop_capabilities: Vec<String>,
    /// The AppArmor profile of sandboxes. Default: the engine's.
    pub apparmor_profile: Option<String>,
    /// The seccomp profile of sandboxes. Default: the engine's.
    pub seccomp_profile: Option<String>,
    /// Keep sandboxes from gaining privileges through set-user-id programs.
    /// Default true.
    pub no_new_privileges: bool,
    /// The lowest host port given to a sandbox, 1024 to 65535. Default 40000.
    pub port_range_min: u16,
    /// The highest host port given to a sandbox, 1024 to 65535. Default 60000.
    pub port_range_max: u16,
    /// The address of the host that sandbox ports are bound to. Default
    /// `0.0.0.0`.
    pub publish_host: Ipv4Addr,
    /// The number of processes a sandbox may have; at least 1. Default 4096.
    pub pids_limit: i64,
    /// Variables every sandbox gets unless its request says otherwise; names
    /// without `=`, nothing with a NUL. Kept
    /// from print, since tokens are handed to sandboxes like this. Default
    /// none.
    pub sandbox_env: BTreeMap<String, Secret>,
    /// Binds every sandbox gets, as `source:target[:options]`. Default none.
    pub sandbox_binds: Vec<String>,
    /// Accept requests with the extension `bootstrap.execd.isolation`, which
    /// gives a sandbox SYS_ADMIN and lifts its AppArmor and seccomp profiles.
    /// Default false. Not a key of the Python server, which accepts them all.
    pub allow_isolation_extension: bool,
    /// Which sandboxes are removed when their time is up. Without it, all if
    /// this home owns the engine, else its own. Not a key of the Python
    /// server, which removes all.
    pub expiry: Option<ExpiryScope>,
    /// The engine's log driver for sandboxes and their sidecars. Default: the
    /// engine's. Not a key of the Python server.
    pub log_driver: Option<String>,
    /// That driver's options. Kept from print, since some drivers take
    /// tokens. Default none. Not a key of the Python server.
    pub log_opts: BTreeMap<String, Secret>,
}

impl Docker {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let (port_range_min, port_range_max) = read_port_range(section);
        let env = section.text_map("sandbox_env");
        let faults = env.iter().filter_map(|(name, value)| env::check(name, Some(value)).err());
        if let Some(fault) = faults.into_iter().next() {
            section.fail("sandbox_env", fault);
        }
        let env = env.into_iter();
        let (log_driver, log_opts) = log_driver::read(section);
        Self {
            network_mode: read_network_mode(section),
            api_timeout: section.whole_seconds("api_timeout", 180, 1),
            host_ip: section.optional_text("host_ip"),
            drop_capabilities: section
                .texts("drop_capabilities")
                .unwrap_or_else(|| DROPPED_CAPABILITIES.map(str::to_owned).to_vec()),
            apparmor_profile: section.optional_text("apparmor_profile"),
            seccomp_profile: section.optional_text("seccomp_profile"),
            no_new_privileges: section.boolean("no_new_privileges", true),
            port_range_min,
            port_range_max,
            publish_host: read_publish_host(section),
            pids_limit: section.integer("pids_limit", 4096, 1..=i64::MAX),
            sandbox_env: env.map(|(name, value)| (name, Secret::new(value))).collect(),
            sandbox_binds: section.texts("sandbox_binds").unwrap_or_default(),
            allow_isolation_extension: section.boolean("allow_isolation_extension", false),
            expiry: section.optional_choice("expiry", &EXPIRY),
            log_driver,
            log_opts,
        }
    }
}

fn read_network_mode(section: &mut Section<'_>) -> String {
    let mode = section.optional_text("network_mode").unwrap_or_else(|| "host".to_owned());
    let mode = mode.trim();
    let word = mode.to_ascii_lowercase();
    match word.as_str() {
        "host" | "bridge" | "none" => word,
        _ => mode.to_owned(),
    }
}

fn read_publish_host(section: &mut Section<'_>) -> Ipv4Addr {
    let Some(text) = section.optional_text("publish_host") else {
        return Ipv4Addr::UNSPECIFIED;
    };
    text.trim().parse().unwrap_or_else(|_| {
        section.fail("publish_host", "must be an IPv4 address");
        Ipv4Addr::UNSPECIFIED
    })
}

fn read_port_range(section: &mut Section<'_>) -> (u16, u16) {
    let min: u16 = section.integer("port_range_min", 40_000, 1024..=65_535);
    let max: u16 = section.integer("port_range_max", 60_000, 1024..=65_535);
    if section.failed("port_range_min") || section.failed("port_range_max") {
        return (min, max);
    }
    if min >= max {
        section.fail(
            "port_range_min",
            format_args!("docker.port_range_min ({min}) must be less than docker.port_range_max ({max})."),
        );
    } else if max - min < MIN_PORT_SPAN {
        section.fail(
            "port_range_min",
            format_args!(
                "Port range ({min}-{max}) is too narrow. Need at least {MIN_PORT_SPAN} ports for reliable allocation."
            ),
        );
    }
    (min, max)
}
