//! The rules for the fields of a request and of its answer (http-api.md §12.1).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::{Forward, Head, error::ProxyError, upload::Upload};

/// Fields of a request that end here: they speak of this connection, of the client's right to use the gateway, or of the
/// way that the request has come. `Host` and the lengths are written anew.
const ENDING: [&str; 18] = [
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
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

/// Asks not to take a request for a sign of use; never forwarded.
pub const RENEW: HeaderName = HeaderName::from_static("opensandbox-access-renew");

/// What a client of a secured sandbox has to present; never forwarded.
pub const SECURE_ACCESS: HeaderName = HeaderName::from_static("opensandbox-secure-access");

/// What the egress sidecar's callers present.
pub const EGRESS_AUTH: HeaderName = HeaderName::from_static("opensandbox-egress-auth");

/// Fields of an answer that end here.
static ENDING_OF_ANSWER: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

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
/// The backend's own fields are no fields.
pub(super) fn request(
    Forward { backend, head: source, forwarded, .. }: &Forward,
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
        out.insert(name, HeaderValue::try_from(value).map_err(|_| ProxyError::BadBackend)?);
    }
    forwarded.tell(out);
    Ok(head)
}

/// Copies what goes on to the backend; repeated fields stay repeated.
fn copy(from: &HeaderMap, out: &mut HeaderMap) {
    let named = named(from);
    for (name, value) in from {
        let ends = ENDING.contains(&name.as_str()) || name == RENEW || named.contains(name);
        if !ends && name != header::COOKIE {
            out.append(name, value.clone());
        }
    }
    if let Some(cookies) = cookies(from).filter(|_| !named.contains(&header::COOKIE)) {
        out.insert(header::COOKIE, cookies);
    }
}

/// Whether a field may come behind a body: none that a backend would have had to know before (RFC 9110 §6.5.1), and none
/// that ends here, for some servers take a trailer for a field of the head.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    const EARLY: [HeaderName; 10] = [
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::MAX_FORWARDS,
        header::RANGE,
        header::SET_COOKIE,
        header::TRAILER,
    ];
    let ends = ENDING.contains(&name.as_str()) || [RENEW, EGRESS_AUTH].contains(name);
    !ends && !EARLY.contains(name)
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

/// Writes what says where the body ends, and what is asked of the connection.
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
            let has_told =
                source.contains_key(header::CONTENT_LENGTH) || source.contains_key(header::TRANSFER_ENCODING);
            if has_told || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
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

/// Takes out of an answer what speaks of the backend's connection.
pub(super) fn filter_answer(headers: &mut HeaderMap) {
    for name in named(headers) {
        headers.remove(name);
    }
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    // Few answers have more than one of them, and a look at those there are costs less than a search for each.
    while let Some(name) = headers.keys().find(|name| ENDING_OF_ANSWER.contains(name)).cloned() {
        headers.remove(name);
    }
}

/// Puts `prefix`, where the client finds the backend's root, before the paths that the backend names from its root: that
/// of a redirect, and those of cookies, which else went to every sandbox that the client asks something of.
pub fn relocate(headers: &mut HeaderMap, prefix: &str) {
    if let Some(location) = headers.get_mut(header::LOCATION) {
        let path = location.as_bytes();
        if path.starts_with(b"/") && !path.starts_with(b"//") {
            replace(location, [prefix.as_bytes(), path].concat());
        }
    }
    if let header::Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            if let Some(moved) = moved_cookie(cookie.as_bytes(), prefix.as_bytes()) {
                replace(cookie, moved);
            }
        }
    }
}

fn replace(value: &mut HeaderValue, bytes: Vec<u8>) {
    // A prefix that is no value would be one that the client could not have asked for.
    if let Ok(replaced) = HeaderValue::from_bytes(&bytes) {
        *value = replaced;
    }
}

/// A cookie whose `Path` is below `prefix`; `None` for one without a path of its own, or one that may have none other.
fn moved_cookie(cookie: &[u8], prefix: &[u8]) -> Option<Vec<u8>> {
    let mut attributes: Vec<Vec<u8>> = cookie.split(|byte| *byte == b';').map(<[u8]>::to_vec).collect();
    if attributes[0].trim_ascii_start().starts_with(b"__Host-") {
        return None;
    }
    // All of them: of several, clients take the last (RFC 6265 §5.3).
    let moved = attributes.iter_mut().skip(1).filter_map(|attribute| move_path(attribute, prefix)).count();
    (moved > 0).then(|| attributes.join(&b';'))
}

/// Puts `prefix` before an attribute that is an absolute path; nothing for any other.
fn move_path(attribute: &mut Vec<u8>, prefix: &[u8]) -> Option<()> {
    let at = attribute.iter().position(|byte| *byte == b'=')?;
    let path = attribute[at + 1..].trim_ascii().to_vec();
    if !attribute[..at].trim_ascii().eq_ignore_ascii_case(b"path") || !path.starts_with(b"/") {
        return None;
    }
    attribute.truncate(at + 1);
    attribute.extend_from_slice(prefix);
    attribute.extend_from_slice(if path == b"/" { b"" } else { &path });
    Some(())
}

/// The fields that `Connection` names, but for those that end here anyway.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let tokens =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let tokens = tokens.map(<[u8]>::trim_ascii).filter(|token| {
        ![&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|known| token.eq_ignore_ascii_case(known))
    });
    tokens.filter_map(|token| HeaderName::from_bytes(token).ok()).collect()
}

/// Whether one of a field's comma-separated values is `token`, parameters aside.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut tokens =
        headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| matches!(byte, b',' | b';')));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests;
