//! The rules for the headers of a request (http-api.md §12.1); those for its response are in [`super::response_headers`].

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::{Forward, Head, error::ProxyError, hops, upload::Upload};
use crate::{http1::head::has_token, trace_context};

/// Headers of a request that are not forwarded: they are about this connection, the client's right to use the gateway, or the
/// way that the request took. `Host` and the lengths are written anew.
const HOP_BY_HOP: [&str; 21] = [
    "host",
    "content-length",
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "authorization",
    "open-sandbox-api-key",
    "opensandbox-secure-access",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Tells that a request does not count as use of the sandbox; never forwarded.
pub const RENEW: HeaderName = HeaderName::from_static("opensandbox-access-renew");

/// What a client of a secured sandbox has to present; never forwarded.
pub const SECURE_ACCESS: HeaderName = HeaderName::from_static("opensandbox-secure-access");

/// What the egress sidecar's callers present.
pub const EGRESS_AUTH: HeaderName = HeaderName::from_static("opensandbox-egress-auth");

/// How a request's body is told to the backend, and whether protocols are to be switched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    has_body: bool,
    length: Option<u64>,
    is_upgrade: bool,
}

impl Shape {
    pub(super) fn of(upload: &Upload, is_upgrade: bool) -> Self {
        Self { has_body: !upload.is_empty(), length: upload.length(), is_upgrade }
    }
}

/// The head for the backend.
///
/// # Errors
///
/// The backend's own headers are not valid.
pub(super) fn request(
    Forward { backend, head: source, forwarded, trace, .. }: &Forward,
    target: Uri,
    shape: Shape,
) -> Result<Head, ProxyError> {
    let mut head = Head::new(());
    *head.method_mut() = source.method.clone();
    *head.uri_mut() = target;
    let out = head.headers_mut();
    out.reserve(source.headers.len() + 8);
    let host = HeaderValue::try_from(&backend.authority).map_err(|_| ProxyError::BadBackend)?;
    out.insert(header::HOST, host);
    copy(&source.headers, out);
    frame(&source.headers, &source.method, shape, out);
    for (name, value) in &backend.headers {
        let name = HeaderName::try_from(name).map_err(|_| ProxyError::BadBackend)?;
        let is_alias = |other: &&HeaderName| hyphenated(other).is_some_and(|text| text == name.as_str());
        for alias in out.keys().filter(is_alias).cloned().collect::<Vec<_>>() {
            out.remove(alias);
        }
        out.insert(name, HeaderValue::try_from(value).map_err(|_| ProxyError::BadBackend)?);
    }
    if let Some(trace) = trace {
        trace_context::write(trace, out);
    }
    forwarded.tell(out);
    hops::mark(out);
    Ok(head)
}

/// Copies what is forwarded; repeated headers stay repeated.
fn copy(from: &HeaderMap, out: &mut HeaderMap) {
    let named = named(from);
    for (name, value) in from {
        let is_kept_back = is_hop_by_hop(name) || named.contains(name);
        if !is_kept_back && name != header::COOKIE {
            out.append(name, value.clone());
        }
    }
    if let Some(cookies) = cookies(from) {
        out.insert(header::COOKIE, cookies);
    }
}

/// A name with underscores as it would be with hyphens.
fn hyphenated(name: &HeaderName) -> Option<String> {
    let text = name.as_str();
    text.contains('_').then(|| text.replace('_', "-"))
}

/// Whether a header is not forwarded, or is written anew. So is one that a server takes for such a header: CGI and WSGI make
/// both `X-Forwarded-For` and `X_Forwarded_For` an `HTTP_X_FORWARDED_FOR`.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    let is_listed = |text: &str| HOP_BY_HOP.contains(&text) || text == RENEW.as_str();
    match hyphenated(name) {
        None => is_listed(name.as_str()),
        Some(text) => is_listed(&text) || text == hops::CDN_LOOP.as_str(),
    }
}

/// Whether a trailer may be forwarded. None may that a backend needs before the body (RFC 9110 §6.5.1), and none that is not
/// forwarded in the head or says who the client is, for some servers take a trailer for a header. Servers read underscores
/// in different ways, so names with them are not forwarded.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    let is_of_the_head = match name.as_str() {
        "content-digest" | "content-md5" | "etag" => false,
        "cdn-loop" | "max-forwards" | "trailer" | "user-agent" | "via" => true,
        text => {
            is_end_to_end(name) || text.starts_with("accept-") || text.starts_with("x-forwarded-") || text.contains('_')
        }
    };
    !is_of_the_head && !is_hop_by_hop(name)
}

/// The client's cookies as HTTP/1.1 has them: in one field (RFC 9113 §8.2.3).
fn cookies(from: &HeaderMap) -> Option<HeaderValue> {
    let all: Vec<_> = from.get_all(header::COOKIE).iter().collect();
    match all[..] {
        [] => None,
        [one] => Some(one.clone()),
        _ => HeaderValue::from_bytes(&all.into_iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]))
            .ok(),
    }
}

/// Writes the headers that tell where the body ends and what becomes of the connection.
fn frame(source: &HeaderMap, method: &Method, shape: Shape, out: &mut HeaderMap) {
    if shape.is_upgrade {
        mark_upgrade(out);
    } else if has_token(source, &header::TE, "trailers") {
        out.insert(header::TE, HeaderValue::from_static("trailers"));
        out.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    match (shape.has_body, shape.length) {
        (true, Some(length)) => drop(out.insert(header::CONTENT_LENGTH, length.into())),
        (true, None) => drop(out.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        (false, _) => {
            let has_length =
                source.contains_key(header::CONTENT_LENGTH) || source.contains_key(header::TRANSFER_ENCODING);
            if has_length || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                out.insert(header::CONTENT_LENGTH, 0.into());
            }
        }
    }
}

/// Asks for, or grants, the switch to WebSocket.
pub(super) fn mark_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The headers that `Connection` names, but for those that are not forwarded anyway and those that are for both ends: an
/// intermediary must not have them removed (RFC 9110 §7.6.1).
pub(super) fn named(headers: &HeaderMap) -> HashSet<HeaderName> {
    let tokens =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| {
        ![&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|known| token.eq_ignore_ascii_case(known))
    });
    tokens.filter_map(|token| HeaderName::from_bytes(token).ok()).filter(|name| !is_end_to_end(name)).collect()
}

/// Whether a header is for the other end whatever `Connection` says: rights, protections, and what the message means.
pub(super) fn is_end_to_end(name: &HeaderName) -> bool {
    match name.as_str() {
        "accept"
        | "cache-control"
        | "cookie"
        | "date"
        | "etag"
        | "expect"
        | "expires"
        | "host"
        | "location"
        | "origin"
        | "permissions-policy"
        | "pragma"
        | "range"
        | "referer"
        | "referrer-policy"
        | "set-cookie"
        | "vary"
        | "www-authenticate"
        | "x-content-type-options"
        | "x-csrf-token"
        | "x-frame-options"
        | "x-request-id"
        | "x-requested-with"
        | "x-xsrf-token" => true,
        text => ["access-control-", "content-", "cross-origin-", "if-", "opensandbox-", "sec-"]
            .iter()
            .any(|start| text.starts_with(start)),
    }
}

#[cfg(test)]
mod tests;
