//! `[egress]`: the sidecar that enforces a sandbox's network policy.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;

use super::kubernetes::Resources;
use super::names::is_dns_subdomain;
use super::section::{Floor, Section};
use crate::secret::Secret;

/// `[egress]`.
#[derive(Debug, Clone)]
pub struct Egress {
    /// The sidecar's image. No default; needed for requests with a network
    /// policy.
    pub image: Option<String>,
    /// What the sidecar filters. Default `dns`.
    pub mode: EgressMode,
    /// Switch IPv6 off in the sandbox's network, which the filter does not
    /// cover. Default true.
    pub disable_ipv6: bool,
    /// The collector the sidecar reports to, hidden since it may hold a
    /// password. No default.
    pub otlp_endpoint: Option<Secret>,
    /// `readiness_timeout_seconds`, how long the sidecar may take to be ready;
    /// more than 0 s. Default 30 s.
    pub readiness_timeout: Duration,
    /// What the sidecar may use; requests are not above limits. Default
    /// nothing said.
    pub resources: Resources,
    /// `[egress.upstream_proxy]`, only with mode `dns+nft`. Default none.
    pub upstream_proxy: Option<UpstreamProxy>,
}

/// What the egress sidecar filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressMode {
    /// Names only: `dns`.
    Dns,
    /// Names and addresses: `dns+nft`.
    DnsNft,
}

/// `[egress.upstream_proxy]`: the proxy the sidecar sends everything through.
#[derive(Debug, Clone)]
pub struct UpstreamProxy {
    /// `http[s]://host[:port]` and nothing more. Required.
    pub url: String,
    /// The value of `Proxy-Authorization`. No default.
    pub authorization: Option<Secret>,
    /// The proxy's certificate authority, a file of the host; Docker only. No
    /// default.
    pub ca_cert_path: Option<PathBuf>,
    /// The same as a Kubernetes secret; Kubernetes only. No default.
    pub ca_secret_name: Option<String>,
}

impl EgressMode {
    /// The value of `egress.mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::DnsNft => "dns+nft",
        }
    }
}

impl Egress {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let modes = [EgressMode::Dns, EgressMode::DnsNft].map(|mode| (mode.as_str(), mode));
        let this = Self {
            image: section.nonempty_text("image"),
            mode: section.choice("mode", EgressMode::Dns, &modes),
            disable_ipv6: section.boolean("disable_ipv6", true),
            otlp_endpoint: read_otlp_endpoint(section),
            readiness_timeout: section.seconds("readiness_timeout_seconds", 30.0, Floor::Above(0.0)),
            resources: Resources::read(section),
            upstream_proxy: section.optional_table("upstream_proxy", UpstreamProxy::read).flatten(),
        };
        let proxied = this.upstream_proxy.is_some() && !section.failed("mode");
        if proxied && this.mode != EgressMode::DnsNft {
            section.fail("upstream_proxy", "egress.upstream_proxy requires egress.mode = \"dns+nft\"");
        }
        this
    }
}

fn read_otlp_endpoint(section: &mut Section<'_>) -> Option<Secret> {
    let endpoint = section.optional_text("otlp_endpoint")?;
    if !is_http_url(&endpoint) {
        section.fail("otlp_endpoint", "must be an http or https URL with a host");
    }
    Some(Secret::new(endpoint))
}

fn is_http_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let scheme = uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    scheme && uri.host().is_some_and(|host| !host.is_empty())
}

impl UpstreamProxy {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let url = section.required_text("url");
        if url.as_deref().is_some_and(|url| !is_proxy_url(url)) {
            section.fail(
                "url",
                "must be http://host[:port] or https://host[:port], with no user, path, query or fragment",
            );
        }
        let authorization = section.secret("authorization");
        if authorization.as_ref().is_some_and(|a| a.expose().contains(['\r', '\n'])) {
            section.fail("authorization", "must not contain a line break");
        }
        let ca_cert_path = section.optional_text("ca_cert_path");
        if ca_cert_path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(':')) {
            section.fail("ca_cert_path", "must be an absolute path without `:`");
        }
        let ca_secret_name = section.optional_text("ca_secret_name");
        if ca_secret_name.as_deref().is_some_and(|name| !is_dns_subdomain(name)) {
            section.fail("ca_secret_name", "must be a DNS-1123 name");
        }
        Some(Self { url: url?, authorization, ca_cert_path: ca_cert_path.map(PathBuf::from), ca_secret_name })
    }
}

fn is_proxy_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "@/?#\\".contains(c);
    let plain = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    plain && !rest.contains(forbidden) && rest.parse().is_ok_and(|authority| has_host_and_port(&authority))
}

fn has_host_and_port(authority: &Authority) -> bool {
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host);
    let port_fits = match port.and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => port == Some(""),
    };
    !host.is_empty() && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_urls() {
        for (url, fits) in [
            ("http://proxy", true),
            ("https://proxy.example:3128", true),
            ("HTTP://10.0.0.1:1", true),
            ("http://[::1]:8080", true),
            ("proxy:3128", false),
            ("socks5://proxy", false),
            ("http://", false),
            ("http://:80", false),
            ("http://user:pw@proxy", false),
            ("http://proxy/", false),
            ("http://proxy?x", false),
            ("http://proxy#x", false),
            ("http://proxy:0", false),
            ("http://proxy:65536", false),
            ("http://proxy:", false),
            ("http://pro\nxy", false),
        ] {
            assert_eq!(is_proxy_url(url), fits, "{url}");
        }
    }

    #[test]
    fn collector_urls() {
        for (url, fits) in [
            ("http://collector:4318/v1/metrics", true),
            ("https://collector", true),
            ("collector:4318", false),
            ("grpc://collector", false),
            ("/x", false),
            ("http://", false),
        ] {
            assert_eq!(is_http_url(url), fits, "{url}");
        }
    }
}
