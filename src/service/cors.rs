//! Cross-origin requests: every origin is allowed, by reflection (http-api.md §2, "CORS").

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::{api::execd::CURSOR, body::Body};

/// The methods that a preflight allows.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY";

/// What a preflight's answer varies by.
const PREFLIGHT_VARY: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The header that scripts of other origins may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("OPEN-SANDBOX-ORIGIN");

/// The same of a part of a command's output, where the official client finds how to read on (contract `execd-api.md`).
const EXPOSED_WITH_CURSOR: HeaderValue =
    HeaderValue::from_static("OPEN-SANDBOX-ORIGIN, EXECD-COMMANDS-TAIL-CURSOR, EXECD-COMMANDS-LOST-LINES");

/// Answers a preflight, for any path and before authentication; `None` when the request is none.
pub fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let (status, text) = match refused(wanted, headers) {
        refused if refused.is_empty() => (StatusCode::OK, "OK".to_owned()),
        refused => (StatusCode::BAD_REQUEST, format!("Disallowed CORS {}", refused.join(", "))),
    };
    let mut res = Response::new(Body::full(text));
    *res.status_mut() = status;
    let out = res.headers_mut();
    out.insert(header::VARY, PREFLIGHT_VARY);
    out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    out.insert(header::CONTENT_TYPE, TEXT);
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(res)
}

/// What a preflight asks for in vain: a method that there is not, and access from a public page to a private network.
fn refused(method: &HeaderValue, headers: &HeaderMap) -> Vec<&'static str> {
    let unknown = METHODS.split(", ").all(|known| known.as_bytes() != method);
    let private = headers.contains_key("access-control-request-private-network");
    let all = [(unknown, "method"), (private, "private-network")];
    all.into_iter().filter_map(|(asked, what)| asked.then_some(what)).collect()
}

/// Lets a script of `origin` read the response; what a sandbox's server has said on that is replaced.
pub fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>, is_preflight: bool) {
    if !varies(headers) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    if !is_preflight {
        let exposed = if headers.contains_key(&CURSOR) { EXPOSED_WITH_CURSOR } else { EXPOSED };
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Whether the response already says that it varies by the origin, or by everything.
fn varies(headers: &HeaderMap) -> bool {
    let mut names = headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"origin"))
}
