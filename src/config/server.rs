//! `[server]` and `[proxy]`: the listener and its limits.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::keys;
use super::section::{Floor, Section};
use crate::host::is_loopback;
use crate::keys::Keys;
use crate::peer::trusted::TrustedProxies;

/// `[server]`: where to listen, and how much to accept.
#[derive(Debug, Clone)]
pub struct Server {
    /// The address or name to listen on. Default `0.0.0.0`.
    pub host: String,
    /// The TCP port to listen on, 1 to 65535. Default 8080.
    pub port: u16,
    /// How long an idle connection is kept for its next request; at least
    /// 1 s. Default 30 s.
    pub timeout_keep_alive: Duration,
    /// Requests in flight above which a new one is answered 503; 0, here
    /// `None`, is unlimited. Default 1024. Log streams do not count here, nor do
    /// they while they are opened: they last for hours and have their own limits
    /// in [`Logs`](super::Logs), so that neither kind of request can lock the
    /// other out. Neither does what is answered from memory. As many requests to
    /// sandboxes' own servers may wait for their answer's head, for the same
    /// reason; what follows the head is limited as connections are.
    pub limit_concurrency: Option<NonZeroU32>,
    /// Connections held at once; the next ones wait in the backlog. Streams
    /// hold a connection each, so this is above `logs.max_streams`. At least
    /// 1; default 16384. Not a key of the Python server.
    pub max_connections: u32,
    /// Connections that one address may hold at once, a network of 64 bits for
    /// IPv6; 0, here `None`, is no limit. Those of trusted proxies, which
    /// connect for many clients, do not count. Default: half of
    /// `max_connections`. Not a key of the Python server.
    pub max_connections_per_address: Option<NonZeroU32>,
    /// How long running requests may take to end once the server is told to
    /// stop; at least 1 s. Default 5 s.
    pub timeout_graceful_shutdown: Duration,
    /// Connections the system queues before they are accepted; at least 1.
    /// Default 2048. The system may cap it.
    pub backlog: u32,
    /// The keys one of which every request has to present: `api_key`,
    /// `api_keys`, those of the file `api_key_file`, a key a line, and those of
    /// `[[server.keys]]`, each with a `name`, a `role` (`reader` or `admin`),
    /// and a `key` or a `key_file`. None leaves the server open. No default.
    /// All but the first are no keys of the Python server.
    pub keys: Keys,
    /// How long the listener stays open once the server is told to stop,
    /// while `/ready` answers 503, so that load balancers turn away first.
    /// Default 0 s. Not a key of the Python server.
    pub shutdown_delay: Duration,
    /// The proxies that are believed what they say of their clients: the
    /// environment's `FORWARDED_ALLOW_IPS`. Default `127.0.0.1,::1`.
    pub trusted_proxies: TrustedProxies,
    /// The files of the certificate and its key, both in PEM: `tls_cert` and
    /// `tls_key`. The port then speaks TLS and nothing else. No default: plain
    /// HTTP. No keys of the Python server.
    pub tls: Option<TlsFiles>,
    /// The public host that endpoints are given with, instead of `host`. No
    /// default.
    pub eip: Option<String>,
    /// The longest lifetime a new sandbox may ask for, in seconds; at least
    /// 60. No default: no limit. Renewals are not limited.
    pub max_sandbox_timeout: Option<Duration>,
}

/// Where the certificate of the gateway's own port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those of the authorities between it and the root.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[proxy]`: the proxy into sandboxes.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Reach a sandbox by its internal address rather than by its public
    /// endpoint. Default true.
    pub resolve_internal: bool,
    /// Connections to sandboxes' servers open at once, those that rest
    /// included; at least 1. No default: it follows from the process's limit on
    /// descriptors, see [`Limits::configured`](crate::proxy::limits::Limits).
    /// Beyond, a request is answered 503. Not a key of the Python server.
    pub max_connections: Option<u32>,
    /// The same of one sandbox; at least 1. No default: an eighth of
    /// `max_connections`, at least 64. Not a key of the Python server.
    pub max_connections_per_sandbox: Option<u32>,
    /// `upload_stall_timeout_seconds`: a client that, of so much time in which
    /// its body is waited for, sends less than 64 bytes a second on the average
    /// is given up; more than 0 s. Default 60 s. Not a key of the Python
    /// server.
    pub upload_stall_timeout: Duration,
}

impl Server {
    pub(super) fn read(section: &mut Section<'_>, trusted_proxies: TrustedProxies) -> Self {
        read_inert(section);
        let max_connections = section.integer("max_connections", 16_384, 1..=i64::from(u32::MAX));
        Self {
            host: section.text_or("host", "0.0.0.0"),
            port: section.integer("port", 8080, 1..=65_535),
            timeout_keep_alive: section.whole_seconds("timeout_keep_alive", 30, 1),
            limit_concurrency: section.limit("limit_concurrency", 1024),
            max_connections,
            max_connections_per_address: section.limit("max_connections_per_address", max_connections.div_ceil(2)),
            timeout_graceful_shutdown: section.whole_seconds("timeout_graceful_shutdown", 5, 1),
            backlog: section.integer("backlog", 2048, 1..=i64::from(i32::MAX)),
            keys: keys::read(section),
            shutdown_delay: section.whole_seconds("shutdown_delay_seconds", 0, 0),
            trusted_proxies,
            tls: read_tls(section),
            eip: section.optional_text("eip"),
            max_sandbox_timeout: section
                .optional_integer("max_sandbox_timeout_seconds", 60..=i64::MAX)
                .map(Duration::from_secs),
        }
    }

    /// Whether only this machine can reach the listener.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl Proxy {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            resolve_internal: section.boolean("resolve_internal", true),
            max_connections: section.optional_integer("max_connections", 1..=i64::from(u32::MAX)),
            max_connections_per_sandbox: section
                .optional_integer("max_connections_per_sandbox", 1..=i64::from(u32::MAX)),
            upload_stall_timeout: section.seconds("upload_stall_timeout_seconds", 60.0, Floor::Above(0.0)),
        }
    }
}

/// Both files or none: what is half configured would be served without TLS.
fn read_tls(section: &mut Section<'_>) -> Option<TlsFiles> {
    match (section.path("tls_cert"), section.path("tls_key")) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (Some(_), None) => {
            section.fail("tls_key", "must be set too, since tls_cert is: the file of the certificate's key");
            None
        }
        (None, Some(_)) => {
            section.fail("tls_cert", "must be set too, since tls_key is: the file of the key's certificate");
            None
        }
        (None, None) => None,
    }
}

/// Keys that choose between parts of the Python server. They are checked as
/// there, so that a file is right or wrong on both.
fn read_inert(section: &mut Section<'_>) {
    for key in ["thread_pool_size", "loop", "http"] {
        if section.has(key) {
            section.warn(key, "this key has no effect in this server");
        }
    }
    section.integer("thread_pool_size", 200_i64, 1..=i64::MAX);
    section.choice("loop", (), &[("auto", ()), ("uvloop", ()), ("asyncio", ())]);
    section.choice("http", (), &[("auto", ()), ("httptools", ()), ("h11", ())]);
}
