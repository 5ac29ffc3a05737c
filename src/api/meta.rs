//! `/health`, `/ready`, `/version`, `/openapi.json` (http-api.md §5).

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::Api;
use crate::{body::Body, response};

/// The API version that is spoken: that of the server this one replaces, which clients compare with.
pub const API_VERSION: &str = "1.1.1";

/// The description of the API, as it was written.
const SPEC: &str = include_str!("../../specs/sandbox-lifecycle.yml");

/// The same as JSON.
static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| {
    let spec: serde_json::Value = serde_yaml_ng::from_str(SPEC).expect("the spec check has parsed it");
    Bytes::from(spec.to_string())
});

/// `GET /health`: the process answers. Asks no runtime.
pub fn health() -> Response<Body> {
    response::json_bytes(Bytes::from_static(br#"{"status":"healthy"}"#))
}

/// `GET /ready`: whether requests should be sent here. 503 while the gateway is ending and while its backend has been out of
/// reach for long; asks neither the engine nor anything else. Needs no key, so it names no address.
pub fn ready(api: &Api) -> Response<Body> {
    let (state, why) = if api.drain.is_announced() {
        ("draining", Some("The gateway is ending: send new requests elsewhere.".to_owned()))
    } else {
        match api.runtime.fault() {
            Some(fault) => ("unavailable", Some(fault)),
            None => ("ready", None),
        }
    };
    let status = if why.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let code = why.is_some().then_some("NOT_READY");
    let body = Readiness { status: state, code, message: why, notes: api.runtime.notes() };
    let mut res = response::json(status, &body);
    res.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    res
}

/// The body of `/ready`.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// `GET /version`: the API's version under the name that the existing server gives it, and this program's own.
pub fn version() -> Response<Body> {
    const GATEWAY: &str = env!("CARGO_PKG_VERSION");
    response::json_bytes(Bytes::from(format!(r#"{{"version":"{API_VERSION}","gateway":"{GATEWAY}"}}"#)))
}

/// `GET /openapi.json`.
pub fn openapi() -> Response<Body> {
    response::json_bytes(OPENAPI.clone())
}
