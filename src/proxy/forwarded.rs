//! What a backend is told of the client: its scheme and address, and the host that it used.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::peer::{FORWARDED_FOR, FORWARDED_PROTO, Peer};

const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What is told of one client.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// `http` or `https`.
    pub proto: &'static str,
    /// The host that the client used.
    pub host: Option<HeaderValue>,
    /// The client's address.
    pub client: HeaderValue,
}

impl Forwarded {
    /// What is known of the client `peer` that sent these headers.
    pub fn of(peer: &Peer, uri: &Uri, headers: &HeaderMap) -> Self {
        let authority = || uri.authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
        Self {
            proto: if peer.is_https { "https" } else { "http" },
            // A target that names it counts more (RFC 9112 §3.2.2).
            host: authority().or_else(|| headers.get(header::HOST).cloned()),
            client: peer.ip.clone(),
        }
    }

    /// Writes it into the head for the backend.
    pub(super) fn tell(&self, out: &mut HeaderMap) {
        out.insert(FORWARDED_PROTO, HeaderValue::from_static(self.proto));
        if let Some(host) = &self.host {
            out.insert(HOST, host.clone());
        }
        out.insert(FORWARDED_FOR, self.client.clone());
    }
}
