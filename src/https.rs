//! Asking servers elsewhere over HTTP: whom to trust, and credentials in addresses.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::Url;

/// Trusts what the system trusts. A system without certificates can still reach servers over plain HTTP.
pub fn client_config() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!("the system has no trusted certificates: servers with https cannot be reached");
    }
    let versions =
        ClientConfig::builder_with_provider(ring::default_provider().into()).with_safe_default_protocol_versions();
    versions.expect("ring has the suites of both versions").with_root_certificates(roots).with_no_client_auth()
}

/// The credentials in a URL, as the value of `Authorization`. The colon stands there without a password too (RFC 7617 §2).
pub fn basic(url: &Url) -> Option<String> {
    let (user, password) = (url.username(), url.password());
    let credentials = format!("{user}:{}", password.unwrap_or_default());
    let decoded: Vec<u8> = percent_decode_str(&credentials).collect();
    (!user.is_empty() || password.is_some()).then(|| format!("Basic {}", BASE64_STANDARD.encode(decoded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_can_be_set_up() {
        let _ = client_config();
    }
}
