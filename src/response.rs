//! Responses that are no handler's.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Uri, header};
use hyper::body::Body as _;
use serde::Serialize;

use crate::{
    body::Body,
    problem::{ApiError, CONNECTION_LIMIT},
    telemetry::rate_limit::{Due, RateLimit},
};

/// A JSON body with this status.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // The wire types have string keys and finite numbers only, which always serialise.
    let bytes = serde_json::to_vec(value).expect("wire types serialise");
    let mut res = Response::new(Body::full(bytes));
    *res.status_mut() = status;
    res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    res
}

/// JSON that is at hand.
pub fn json_bytes(bytes: Bytes) -> Response<Body> {
    let mut res = Response::new(Body::full(bytes));
    res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    res
}

/// A status without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut res = Response::new(Body::empty());
    *res.status_mut() = status;
    res
}

/// An error as a response.
pub fn error(error: ApiError) -> Response<Body> {
    let ApiError { status, body, allow, retry_after, close, internal } = error;
    // The limit on connections is told where it is kept.
    if status.is_server_error() && body.code != CONNECTION_LIMIT {
        tell(status, body.code, &body.message, internal.as_deref());
    }
    let mut res = json(status, &body);
    let headers = res.headers_mut();
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    res
}

/// Tells the log of an answer that nobody wants: of each code once in a while, since who has no key can ask for a sandbox's
/// server again and again, also of an engine that fails. What is left out is there at `debug`.
fn tell(status: StatusCode, code: &'static str, message: &str, internal: Option<&str>) {
    static WRITTEN: RateLimit = RateLimit::new();
    let Some(Due { left_out }) = WRITTEN.due(code) else { return tracing::debug!(code, internal, "{message}") };
    match status {
        // A sandbox's server that does not answer is no fault of the gateway, nor is who asks too much of one.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT | StatusCode::LOOP_DETECTED => {
            tracing::warn!(code, internal, left_out, "{message}");
        }
        _ => tracing::error!(code, internal, left_out, "{message}"),
    }
}

/// Takes the body of an answer to HEAD away and keeps its length (RFC 9110 §9.3.2): HTTP/2 would send it.
pub fn without_body(res: &mut Response<Body>) {
    // A backend's answer tells the length itself.
    if let Some(length) = res.body().size_hint().exact() {
        res.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    *res.body_mut() = Body::empty();
}

/// Too many requests at once (`server.limit_concurrency`).
pub fn overloaded() -> Response<Body> {
    let mut res = Response::new(Body::full("Service Unavailable"));
    *res.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = res.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    res
}

/// Sends a request for a path with a trailing slash to the one without. By its path alone (RFC 9110 §10.2.2): what the client
/// calls this server stays what it was, and no name that a request invents becomes an address.
pub fn without_slash(uri: &Uri) -> Response<Body> {
    let path = uri.path().trim_end_matches('/');
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut res = empty(StatusCode::TEMPORARY_REDIRECT);
    // All parts came out of a request that hyper has accepted, so they are visible ASCII.
    if let Ok(location) = HeaderValue::try_from([path, &query].concat()) {
        res.headers_mut().insert(header::LOCATION, location);
    }
    res
}
