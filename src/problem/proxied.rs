//! What is answered in the place of a sandbox's server. Anyone may ask without a key, so the backend's address is told to the
//! log alone.

use http::StatusCode;

use super::{ApiError, UNKNOWN};
use crate::proxy::{error::ProxyError, limits::LimitReached};

/// The code of a request that has no connection to a sandbox.
pub const CONNECTION_LIMIT: &str = "BACKEND_CONNECTION_LIMIT_REACHED";

/// When to ask again, in seconds, for a connection that is not to be had.
const RETRY_AFTER: u32 = 5;

impl From<ProxyError> for ApiError {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Connect { authority, error } => {
                let message = format!("Could not connect to the backend sandbox: {error}");
                of_backend(StatusCode::BAD_GATEWAY, "BACKEND_CONNECTION_FAILED", message, authority)
            }
            ProxyError::Response { authority, why } => {
                let message = format!("The backend sandbox dropped the connection or sent an invalid response: {why}");
                of_backend(StatusCode::BAD_GATEWAY, "BACKEND_RESPONSE_FAILED", message, authority)
            }
            ProxyError::Timeout { authority, after } => {
                let after = after.as_secs();
                let message = format!("The backend sandbox did not respond in time: no response within {after} s");
                of_backend(StatusCode::GATEWAY_TIMEOUT, "BACKEND_TIMEOUT", message, authority)
            }
            ProxyError::ClientGone => Self::client_gone(),
            ProxyError::SlowUpload => {
                let text = "The request body came too slowly ([proxy] upload_stall_timeout_seconds).";
                Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_BODY_TOO_SLOW", text) }
            }
            ProxyError::PathEscapes => {
                let text = "The path must not contain '..': it would leave the sandbox's proxy.";
                Self::new(StatusCode::BAD_REQUEST, "SANDBOX::INVALID_PARAMETER", text)
            }
            ProxyError::PathEncodedTooOften => {
                let text = "The path is percent-encoded too many times over.";
                Self::new(StatusCode::BAD_REQUEST, "SANDBOX::INVALID_PARAMETER", text)
            }
            ProxyError::LimitReached(limit) => limit.into(),
            ProxyError::OwnListener => {
                let text = "The port is one of the gateway's own; a sandbox's proxy does not lead back to the gateway.";
                Self::new(StatusCode::FORBIDDEN, "BACKEND_FORBIDDEN", text)
            }
            ProxyError::Loop => {
                let text = "The request has come through this gateway's proxy too often: it goes round.";
                Self::new(StatusCode::LOOP_DETECTED, "BACKEND_LOOP", text)
            }
            ProxyError::BadBackend => {
                let text = "An internal error occurred in the proxy: the backend's address or headers are invalid";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, UNKNOWN, text)
            }
        }
    }
}

impl From<LimitReached> for ApiError {
    fn from(limit: LimitReached) -> Self {
        let message = match limit {
            LimitReached::Total(limit) => {
                format!("All {limit} connections to sandboxes are in use ([proxy] max_connections).")
            }
            LimitReached::PerSandbox(limit) => {
                format!("All {limit} connections to this sandbox are in use ([proxy] max_connections_per_sandbox).")
            }
        };
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, CONNECTION_LIMIT, message);
        Self { retry_after: Some(RETRY_AFTER), ..error }
    }
}

fn of_backend(status: StatusCode, code: &'static str, message: String, authority: String) -> ApiError {
    ApiError { internal: Some(authority.into()), ..ApiError::new(status, code, message) }
}
