//! What the API server answers instead of success: a `Status`, or a few texts (kubernetes-api.md T4, T5).

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    body::{self, Body},
    resource::Resource,
};

/// A refusal.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) details: Option<Value>,
    pub(super) retry_after: Option<u64>,
    /// Goes into `metadata.continue`.
    pub(super) token: Option<String>,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Status,
    Indented,
    Text,
}

/// A cause of a 422.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    reason: &'static str,
    field: String,
    message: String,
}

impl Cause {
    pub(super) fn invalid(field: &str, value: &str, why: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {value}: {why}"))
    }

    pub(super) fn new(reason: &'static str, field: &str, message: String) -> Self {
        Self { reason, field: field.to_owned(), message }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

/// `text` as Go's `%q` shows it.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// `{"name": …, "group": …, "kind": …}` without what is empty.
fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut map = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            map.insert(key.to_owned(), value.into());
        }
    }
    Value::Object(map)
}

impl Failure {
    /// A `Status` with this code, reason (which may be empty) and message.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, reason, message, details: None, retry_after: None, token: None, shape: Shape::Status }
    }

    /// The same with `details`.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The same with `Retry-After` in seconds, in the header and in the details.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        if matches!(self.shape, Shape::Status) {
            let details = self.details.get_or_insert_with(|| json!({}));
            details["retryAfterSeconds"] = seconds.into();
        }
        self
    }

    fn of(resource: &Resource, name: &str, code: u16, reason: &'static str, message: String) -> Self {
        Self::new(code, reason, message).with_details(details(name, resource.group, resource.plural))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 of an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::of(resource, name, 404, "NotFound", format!("{} {} not found", resource.qualified(), quoted(name)))
    }

    /// 404 of a group or CRD that is not there: a text.
    pub(super) fn no_such_path() -> Self {
        Self { shape: Shape::Text, ..Self::new(404, "", "404 page not found\n") }
    }

    /// 404 of a plural that its group does not have.
    pub(super) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_details(json!({}))
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf, application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch";
        let failure = Self::new(406, "NotAcceptable", message).with_details(json!({}));
        Self { shape: Shape::Indented, ..failure }
    }

    pub(super) fn unsupported_body(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn already_exists(resource: &Resource, name: &str, is_deleted: bool) -> Self {
        let start = if is_deleted { "object is being deleted: " } else { "" };
        let message = format!("{start}{} {} already exists", resource.qualified(), quoted(name));
        Self::of(resource, name, 409, "AlreadyExists", message)
    }

    /// 409 of a resource version that is not the present one.
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: the object has been modified; please apply your changes to the \
             latest version and try again",
            resource.qualified(),
            quoted(name)
        );
        Self::of(resource, name, 409, "Conflict", message)
    }

    /// 409 of a precondition of a deletion. It names the kind, not the plural.
    pub(super) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {}: {why}", resource.qualified_kind(), quoted(name));
        Self::new(409, "Conflict", message).with_details(details(name, resource.group, resource.kind))
    }

    /// 403 with a reason of admission's.
    pub(super) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = if name.is_empty() { String::new() } else { format!(" {}", quoted(name)) };
        Self::of(resource, name, 403, "Forbidden", format!("{}{subject} is forbidden: {why}", resource.qualified()))
    }

    /// 422 of an object.
    pub(super) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_kind(&resource.qualified_kind(), resource.group, resource.kind, name, causes)
    }

    /// 422 that names the plural, as an update without a resource version has it.
    pub(super) fn invalid_plural(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_kind(&resource.qualified(), resource.group, resource.plural, name, causes)
    }

    /// 422 of an object of another kind than its path's.
    pub(super) fn invalid_of_kind(resource: &Resource, kind: &str, name: &str, cause: Cause) -> Self {
        let qualified = if resource.group.is_empty() { kind.to_owned() } else { format!("{kind}.{}", resource.group) };
        Self::invalid_kind(&qualified, resource.group, kind, name, &[cause])
    }

    /// 422 of `ListOptions`, `DeleteOptions` or `PatchOptions`.
    pub(super) fn invalid_options(kind: &str, cause: Cause) -> Self {
        Self::invalid_kind(&format!("{kind}.meta.k8s.io"), "meta.k8s.io", kind, "", &[cause])
    }

    fn invalid_kind(qualified: &str, group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let mut texts: Vec<_> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        // What is found twice is a cause twice and told once.
        texts.dedup();
        let why = match texts.as_slice() {
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        let mut details = details(name, group, kind);
        details["causes"] = causes.iter().map(Cause::json).collect();
        Self::new(422, "Invalid", format!("{qualified} {} is invalid: {why}", quoted(name))).with_details(details)
    }

    /// 401.
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 429 of a kind whose storage is not there yet: JSON (L8).
    pub fn initializing() -> Self {
        Self::new(429, "TooManyRequests", "storage is (re)initializing").with_retry_after(1)
    }

    /// 429 of priority and fairness: a text (T5).
    pub fn too_many_requests() -> Self {
        let failure = Self::new(429, "", "Too many requests, please try again later.\n");
        Self { shape: Shape::Text, ..failure }.with_retry_after(1)
    }

    /// The `Status` object.
    pub fn json(&self) -> Value {
        let metadata = self.token.as_ref().map_or_else(|| json!({}), |token| json!({"continue": token}));
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message});
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status["code"] = self.code.into();
        status
    }

    /// The answer.
    pub fn response(&self) -> Response<Body> {
        let (media, text) = match self.shape {
            Shape::Status => ("application/json", body::json_text(&self.json()) + "\n"),
            // Go's indentation is serde's.
            Shape::Indented => {
                ("application/json", serde_json::to_string_pretty(&self.json()).expect("JSON can be written"))
            }
            Shape::Text => ("text/plain; charset=utf-8", self.message.clone()),
        };
        let mut response = body::sized(text.into_bytes());
        *response.status_mut() = StatusCode::from_u16(self.code).expect("a status");
        let headers = response.headers_mut();
        headers.insert("content-type", media.parse().expect("a header"));
        if let Some(seconds) = self.retry_after {
            headers.insert("retry-after", seconds.into());
        }
        if matches!(self.shape, Shape::Text) && self.code == 429 {
            headers.insert("x-content-type-options", "nosniff".parse().expect("a header"));
        }
        response
    }
}

impl From<Failure> for Response<Body> {
    fn from(failure: Failure) -> Self {
        failure.response()
    }
}
