//! `/health`, `/version`, `/openapi.json` (http-api.md §5).

use std::sync::LazyLock;

use bytes::Bytes;
use http::Response;

use crate::{body::Body, service::respond};

/// The API version that is spoken: that of the server this one replaces, which clients compare with.
const API_VERSION: &str = "1.1.1";

/// The description of the API, as it was written.
const SPEC: &str = include_str!("../../specs/sandbox-lifecycle.yml");

/// The same as JSON.
static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| {
    let spec: serde_json::Value = serde_yaml_ng::from_str(SPEC).expect("the spec check has parsed it");
    Bytes::from(spec.to_string())
});

/// `GET /health`: the process answers. Asks no runtime.
pub fn health() -> Response<Body> {
    respond::json_bytes(Bytes::from_static(br#"{"status":"healthy"}"#))
}

/// `GET /version`.
pub fn version() -> Response<Body> {
    respond::json_bytes(Bytes::from(format!(r#"{{"version":"{API_VERSION}"}}"#)))
}

/// `GET /openapi.json`.
pub fn openapi() -> Response<Body> {
    respond::json_bytes(OPENAPI.clone())
}
