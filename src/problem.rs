//! The one table from what went wrong to status, code and message. Nothing else chooses a status for an error.
//!
//! Every error's body is `{"code","message"}` (http-api.md §3); 404, 405 and 422 of the service itself carry `detail`
//! besides, where clients of the existing server look for it.

mod proxied;
mod table;

pub use self::proxied::CONNECTION_LIMIT;
use self::table::Row;

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::Error,
    error_chain,
    logs::limits::LimitReached,
    model::violation::{Invalid, Violation},
};

/// The code of errors that have none of their own.
const UNKNOWN: &str = "GENERAL::UNKNOWN_ERROR";

/// The code of the answer that nobody is there to read.
const CLIENT_GONE: &str = "CLIENT_GONE";

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: ErrorBody,
    /// `Allow` of a 405.
    pub allow: Option<&'static str>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// The connection cannot be used for another request.
    pub close: bool,
    /// What the log says besides, and clients are not told: addresses, another program's words.
    pub internal: Option<Box<str>>,
}

/// An error's JSON body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorBody {
    /// What a program matches on.
    pub code: &'static str,
    /// What a person reads; free of secrets.
    pub message: String,
    /// What the existing server answers in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<Value>>,
}

impl ApiError {
    /// An error of this status, code and message.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let body = ErrorBody { code, message: message.into(), detail: None };
        Self { status, body, allow: None, retry_after: None, close: false, internal: None }
    }

    /// The same error with another message for the client; what it said before is for the log alone.
    pub fn with_message(mut self, message: &str) -> Self {
        let before = std::mem::replace(&mut self.body.message, message.to_owned());
        self.internal = Some(match self.internal {
            Some(causes) => format!("{before}: {causes}").into(),
            None => before.into(),
        });
        self
    }

    fn with_detail(mut self, detail: Value) -> Self {
        self.body.detail = Some(Box::new(detail));
        self
    }

    /// The key is missing (http-api.md §4).
    pub fn missing_key() -> Self {
        let text = "Authentication credentials are missing. Provide API key via OPEN-SANDBOX-API-KEY header.";
        Self::new(StatusCode::UNAUTHORIZED, "MISSING_API_KEY", text)
    }

    /// The key is wrong (http-api.md §4).
    pub fn invalid_key() -> Self {
        let text = "Authentication credentials are invalid. Check your API key and try again.";
        Self::new(StatusCode::UNAUTHORIZED, "INVALID_API_KEY", text)
    }

    /// Whose a key is cannot be told now (http-api.md §4).
    pub fn tenants_unavailable() -> Self {
        let text = "Tenant authentication service is temporarily unavailable.";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "TENANT_PROVIDER_UNAVAILABLE", text);
        Self { retry_after: Some(5), ..error }
    }

    /// There is no such route.
    pub fn no_route() -> Self {
        Self::no_route_of("There is no such route; /docs describes those that there are.")
    }

    /// The same of another listener, with what it has.
    pub fn no_route_of(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", text).with_detail("Not Found".into())
    }

    /// The route has no such method.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("The method is not allowed here; allowed: {allow}.");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        Self { allow: Some(allow), ..error.with_detail("Method Not Allowed".into()) }
    }

    /// A log request has a body, which hides the client's leaving (log-pitfalls A1).
    pub fn log_request_with_body() -> Self {
        let text = "A request for logs must not have a body.";
        Self { close: true, ..Self::new(StatusCode::BAD_REQUEST, "LOGS::BODY_NOT_ALLOWED", text) }
    }

    /// The client left before there was an answer; nobody is there to read this one.
    pub fn client_gone() -> Self {
        Self { close: true, ..Self::new(StatusCode::BAD_REQUEST, CLIENT_GONE, "The client left.") }
    }

    /// Whether this is [`Self::client_gone`].
    pub fn is_client_gone(&self) -> bool {
        self.body.code == CLIENT_GONE
    }

    /// A page of another origin, or under another name, calls a server that only this machine's user should.
    pub fn foreign_origin() -> Self {
        let text = "The process runtime answers only requests from this machine's own pages and names: \
                    Origin and Host must be loopback ones, each once, and a request without Origin must not be \
                    cross-site (Sec-Fetch-Site).";
        Self::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", text)
    }

    /// A browser reached the viewer's listener by a name that is not its own: a page of another site may have made its name
    /// point here (RFC 9110 §15.5.20).
    pub fn unknown_host() -> Self {
        let text = "The viewer does not go by this name. It answers to localhost, to the address on which it listens, and to \
                    the names of ui.hosts: add the name there if it is this server's own.";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "UI::UNKNOWN_HOST", text)
    }

    /// A page of another origin asks the viewer's listener.
    pub fn foreign_page() -> Self {
        let text = "The viewer's listener answers its own page only: Origin must be that of Host, and Sec-Fetch-Site \
                    same-origin or none. A proxy in front must pass on Host as the browser sent it.";
        Self::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", text)
    }

    /// Who is asked is told more than once (RFC 9112 §3.2, RFC 9113 §8.3.1).
    pub fn several_hosts() -> Self {
        Self::new(StatusCode::BAD_REQUEST, UNKNOWN, "The request names more than one host.")
    }

    /// Something asks for WebSocket without being a handshake (http-api.md §12.1).
    pub fn no_handshake() -> Self {
        Self::new(StatusCode::BAD_REQUEST, UNKNOWN, "Websocket upgrade is not supported yet")
    }

    /// The caller may not use a secured sandbox (http-api.md §12.1).
    pub fn secure_access() -> Self {
        let text = "This sandbox requires the OpenSandbox-Secure-Access header for access.";
        Self::new(StatusCode::UNAUTHORIZED, "MISSING_OR_INVALID_SECURE_ACCESS", text)
    }

    /// The id is one of a backend that is not there (http-api.md §13).
    pub fn fsb_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, UNKNOWN, "Fsb sandbox not found.")
    }

    /// The request's body is longer than `limit` bytes.
    pub fn body_too_large(limit: usize) -> Self {
        let message = format!("The request body is larger than {limit} bytes.");
        Self { close: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_BODY_TOO_LARGE", message) }
    }

    /// The request's body broke off, or did not come in time.
    pub fn body_unreadable(why: impl std::fmt::Display) -> Self {
        let message = format!("The request body could not be read: {why}.");
        Self { close: true, ..Self::new(StatusCode::BAD_REQUEST, "REQUEST_BODY_UNREADABLE", message) }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let Row { status, code, retry_after, .. } = table::of(error.family, error.kind);
        // Whole seconds (RFC 9110 §10.2.3), and not sooner than the backend says.
        let told = error.retry_after.map(|wait| u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX));
        let retry_after = told.or(retry_after);
        let internal = error_chain::causes(&error).map(String::into_boxed_str);
        Self { retry_after, internal, ..Self::new(status, code, error.message) }
    }
}

impl From<LimitReached> for ApiError {
    fn from(limit: LimitReached) -> Self {
        let message = match limit {
            LimitReached::Total(limit) => format!("All {limit} log streams are in use ([logs] max_streams)."),
            LimitReached::PerSandbox(limit) => {
                format!("All {limit} log streams of this sandbox are in use ([logs] max_streams_per_sandbox).")
            }
        };
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "LOGS::STREAM_LIMIT_REACHED", message);
        Self { retry_after: Some(5), ..error }
    }
}

impl From<Invalid> for ApiError {
    fn from(Invalid(violations): Invalid) -> Self {
        let first = violations.first().map_or_else(String::new, |violation| {
            let place: Vec<String> = violation.loc.iter().map(|part| part.to_string().replace('"', "")).collect();
            format!("{}: {}", place.join("."), violation.msg)
        });
        let more = match violations.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let hint = if violations.first().is_some_and(is_no_json_object) { WANTS_JSON } else { "" };
        let detail = serde_json::to_value(&violations).unwrap_or_default();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", first + &more + hint).with_detail(detail)
    }
}

/// What most of those forget whose body is not taken as an object: curl's `-d` calls it a form.
const WANTS_JSON: &str = "; send a JSON object, with the header Content-Type: application/json";

/// Whether a body as a whole is no object, or does not call itself JSON (http-api.md §2).
fn is_no_json_object(violation: &Violation) -> bool {
    violation.loc.len() == 1 && ["model_attributes_type", "dict_type"].contains(&violation.rule)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::{Family, Kind};

    #[test]
    fn what_lies_beneath_an_error_is_for_the_log_alone() {
        let error =
            Error::new(Family::Query, Kind::Unavailable, "The engine: gone").caused_by(io::Error::other("at 10.0.0.1"));
        let error = ApiError::from(error);
        assert_eq!(serde_json::to_value(&error.body).unwrap()["message"], "The engine: gone");
        assert_eq!(error.internal.as_deref(), Some("at 10.0.0.1"));
        let hidden = error.with_message("Later.");
        assert_eq!(hidden.body.message, "Later.");
        assert_eq!(hidden.internal.as_deref(), Some("The engine: gone: at 10.0.0.1"));
    }
}
