//! `[ingress]`: how clients reach the ports of a sandbox.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::names::is_dns_subdomain;
use super::section::Section;
use crate::secret::SecretBytes;

/// `[ingress]`.
#[derive(Debug, Clone)]
pub struct Ingress {
    /// The gateway in front of the sandboxes, with `mode = "gateway"`. Default
    /// none, `mode = "direct"`.
    pub gateway: Option<Gateway>,
}

/// `[ingress.gateway]`, with its keys for signed endpoints.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// The gateway's public address, in the form its route asks for. Required.
    pub address: String,
    /// `route.mode`: how a request names its sandbox. Required.
    pub route: RouteMode,
    /// `[ingress.secure_access]`: what endpoints are signed with. Default none.
    pub secure_access: Option<SecureAccess>,
}

/// How a request through the gateway names its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// By its host name; the address is `*.domain`.
    Wildcard,
    /// By its path.
    Uri,
    /// By a header; the address is `host[:port]`.
    Header,
}

/// `[ingress.secure_access]`.
#[derive(Debug, Clone)]
pub struct SecureAccess {
    /// The id of the key that new signatures are made with; one of `keys`.
    /// Required.
    pub active_key: char,
    /// The keys that signatures are checked with; their ids differ.
    pub keys: Vec<SigningKey>,
}

/// One of `[[ingress.secure_access.keys]]`.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// `key_id`, one of `0` to `9` and `a` to `z`. Required.
    pub id: char,
    /// `key`, written in base64; at least one byte. Required.
    pub key: SecretBytes,
}

impl Ingress {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let wanted = section.choice("mode", false, &[("direct", false), ("gateway", true)]);
        let mode_known = !section.failed("mode");
        let had_access = section.has("secure_access");
        let had_gateway = section.has("gateway");
        let secure_access = section.optional_table("secure_access", SecureAccess::read).flatten();
        let gateway = section.optional_table("gateway", Gateway::read).flatten();
        if mode_known && wanted && !had_gateway {
            section.fail("gateway", "gateway block must be provided when ingress.mode = 'gateway'.");
        }
        if mode_known && !wanted && had_gateway {
            section.fail("gateway", "gateway block must be omitted unless ingress.mode = 'gateway'.");
        }
        if mode_known && !wanted && had_access {
            section.fail("secure_access", "secure_access block requires ingress.mode = 'gateway'.");
        }
        let gateway = gateway.map(|gateway| Gateway { secure_access, ..gateway });
        Self { gateway: gateway.filter(|_| wanted) }
    }
}

impl Gateway {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let address = section.required_text("address");
        let route = section.table("route", |section| {
            let modes = [("wildcard", RouteMode::Wildcard), ("uri", RouteMode::Uri), ("header", RouteMode::Header)];
            if !section.has("mode") {
                section.fail("mode", "Field required");
            }
            section.optional_choice("mode", &modes)
        });
        let (address, route) = (address?, route?);
        if let Err(reason) = check_address(&address, route) {
            section.fail("address", reason);
        }
        Some(Self { address, route, secure_access: None })
    }
}

fn check_address(address: &str, route: RouteMode) -> Result<(), &'static str> {
    if address.contains("://") {
        return Err("must not contain a scheme");
    }
    match route {
        RouteMode::Wildcard if !address.strip_prefix("*.").is_some_and(is_authority) => {
            Err("must be a wildcard domain such as *.example.com when route.mode is 'wildcard'")
        }
        RouteMode::Header | RouteMode::Uri if address.contains('*') => {
            Err("must not contain `*` unless route.mode is 'wildcard'")
        }
        RouteMode::Header if !is_authority(address) => {
            Err("must be hostname[:port] or IPv4[:port] when route.mode is 'header'")
        }
        RouteMode::Wildcard | RouteMode::Header | RouteMode::Uri => Ok(()),
    }
}

/// `hostname[:port]` or `IPv4[:port]`.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().is_ok_and(|port| port > 0)),
        None => (text, true),
    };
    let lower = host.to_ascii_lowercase();
    port && (host.parse::<Ipv4Addr>().is_ok() || is_dns_subdomain(&lower) && !looks_numeric(host))
}

/// Four numbers that are no address are a slip, not a host name.
fn looks_numeric(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

impl SecureAccess {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let active_key = read_id(section, "active_key");
        let keys = section.tables("keys", SigningKey::read);
        let whole = keys.len();
        let keys: Vec<SigningKey> = keys.into_iter().flatten().collect();
        if keys.len() < whole || section.failed("keys") {
            return None;
        }
        let mut ids = HashSet::new();
        if !keys.iter().all(|key| ids.insert(key.id)) {
            section.fail("keys", "every key_id must be unique");
        }
        let active_key = active_key?;
        if !ids.contains(&active_key) {
            section.fail("active_key", "must be the key_id of one of the keys");
        }
        Some(Self { active_key, keys })
    }
}

impl SigningKey {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let id = read_id(section, "key_id");
        let text = section.required_text("key");
        let key = text.and_then(|text| {
            decode(&text).or_else(|| {
                section.fail("key", "must be base64 of at least one byte");
                None
            })
        });
        Some(Self { id: id?, key: key? })
    }
}

fn read_id(section: &mut Section<'_>, key: &'static str) -> Option<char> {
    let text = section.required_text(key)?;
    match text.as_bytes() {
        [id @ (b'0'..=b'9' | b'a'..=b'z')] => Some(char::from(*id)),
        _ => {
            section.fail(key, "must be one character of 0-9 or a-z");
            None
        }
    }
}

fn decode(text: &str) -> Option<SecretBytes> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(text.trim()).ok()?;
    (!bytes.is_empty()).then(|| SecretBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_fit_their_route() {
        for (address, route, fits) in [
            ("*.example.com", RouteMode::Wildcard, true),
            ("*.example.com:8443", RouteMode::Wildcard, true),
            ("example.com", RouteMode::Wildcard, false),
            ("*.", RouteMode::Wildcard, false),
            ("a.*.com", RouteMode::Wildcard, false),
            ("http://*.example.com", RouteMode::Wildcard, false),
            ("gw.example.com", RouteMode::Header, true),
            ("gw.example.com:80", RouteMode::Header, true),
            ("10.0.0.1:80", RouteMode::Header, true),
            ("10.0.0.999", RouteMode::Header, false),
            ("gw.example.com:0", RouteMode::Header, false),
            ("gw.example.com:99999", RouteMode::Header, false),
            ("gw/x", RouteMode::Header, false),
            ("*.example.com", RouteMode::Header, false),
            ("gw.example.com/base", RouteMode::Uri, true),
            ("*.example.com", RouteMode::Uri, false),
            ("https://gw", RouteMode::Uri, false),
        ] {
            assert_eq!(check_address(address, route).is_ok(), fits, "{address} {route:?}");
        }
    }

    #[test]
    fn keys_are_base64_with_or_without_padding() {
        for (text, expected) in [
            ("YWI=", Some(&b"ab"[..])),
            ("YWI", Some(b"ab")),
            (" YWJj ", Some(b"abc")),
            ("", None),
            ("=", None),
            ("not base64!", None),
        ] {
            assert_eq!(decode(text).as_ref().map(SecretBytes::expose), expected, "{text}");
        }
    }
}
