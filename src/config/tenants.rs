//! `[tenants]`: several tenants on one server. Its presence switches that on.

use std::path::PathBuf;
use std::time::Duration;

use super::section::{Floor, Section};
use crate::secret::Secret;

/// `[tenants]`.
#[derive(Debug, Clone)]
pub struct Tenants {
    /// Where the tenants and their keys come from, by `provider`. Default `file`.
    pub provider: TenantProvider,
    /// `max_stale_seconds`, how long what is known of the tenants is used
    /// while they cannot be read again. Default 300 s.
    pub max_stale: Duration,
    /// `timeout_seconds`, how long reading them may take; more than 0 s.
    /// Default 5 s.
    pub timeout: Duration,
}

/// Where tenants and their keys come from.
#[derive(Debug, Clone)]
pub enum TenantProvider {
    /// A file, named by the environment variable
    /// [`TENANTS_CONFIG_PATH`](super::env::TENANTS_CONFIG_PATH). Default
    /// `~/.opensandbox/tenants.toml`.
    File(PathBuf),
    /// A service that is asked.
    Http {
        /// Its URL, hidden since it may hold a password. Required.
        endpoint: Secret,
        /// `auth_header` and `auth_token`, sent when both are set. No default.
        auth: Option<(String, Secret)>,
    },
}

impl Tenants {
    /// `file` is where the file of tenants is.
    pub(super) fn read(section: &mut Section<'_>, file: PathBuf) -> Self {
        let http = section.choice("provider", false, &[("file", false), ("http", true)]);
        let endpoint = section.secret("endpoint");
        if http && endpoint.is_none() && !section.failed("endpoint") {
            section.fail("endpoint", "[tenants] endpoint must be set when provider='http'.");
        }
        let auth = read_auth(section);
        let provider = match endpoint {
            Some(endpoint) if http => TenantProvider::Http { endpoint, auth },
            _ => TenantProvider::File(file),
        };
        Self {
            provider,
            max_stale: section.seconds("max_stale_seconds", 300.0, Floor::AtLeast(0.0)),
            timeout: section.seconds("timeout_seconds", 5.0, Floor::Above(0.0)),
        }
    }
}

fn read_auth(section: &mut Section<'_>) -> Option<(String, Secret)> {
    let header = section.optional_text("auth_header");
    let token = section.secret("auth_token");
    if header.is_some() != token.is_some() {
        section.warn("auth_header", "has no effect unless auth_token is set too, and the reverse");
    }
    header.zip(token)
}
