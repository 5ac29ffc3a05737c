//! Cross-origin requests: every origin is allowed, by reflection (http-api.md §2, "CORS").

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::body::Body;

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

/// Answers a preflight, for any path and before authentication; `None` when the request is none.
pub fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let known = METHODS.split(", ").any(|method| method.as_bytes() == wanted);
    let (status, text) =
        if known { (StatusCode::OK, "OK") } else { (StatusCode::BAD_REQUEST, "Disallowed CORS method") };
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

/// Lets a script of `origin` read the response; what a sandbox's server has said on that is replaced.
pub fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>, is_preflight: bool) {
    if !varies(headers) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    if !is_preflight {
        headers.insert(HeaderName::from_static("access-control-expose-headers"), EXPOSED);
    }
}

/// Whether the response already says that it varies by the origin, or by everything.
fn varies(headers: &HeaderMap) -> bool {
    let mut names = headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"origin"))
}
