//! What was asked of the server.

use http::{HeaderName, header, request::Parts};
use serde_json::{Value, json};

use super::query::Query;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The parameters.
    pub query: Query,
    /// Path and query as they were sent.
    pub target: String,
    /// `Content-Type`; empty if there was none. The same for the next three.
    pub content_type: String,
    /// `Accept`.
    pub accept: String,
    /// `Accept-Encoding`.
    pub accept_encoding: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// Who asked; empty if that was refused.
    pub user: String,
    /// The body; null if there was none or it was no JSON.
    pub body: Value,
    /// The status of the answer; 0 as long as there is none.
    pub status: u16,
}

impl Recorded {
    pub(super) fn new(head: &Parts, body: &[u8], user: &str) -> Self {
        let text = |name: HeaderName| {
            head.headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .unwrap_or_default()
        };
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: Query::parse(head.uri.query().unwrap_or_default()),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            content_type: text(header::CONTENT_TYPE),
            accept: text(header::ACCEPT),
            accept_encoding: text(header::ACCEPT_ENCODING),
            user_agent: text(header::USER_AGENT),
            user: user.to_owned(),
            body: serde_json::from_slice(body).unwrap_or_default(),
            status: 0,
        }
    }

    /// The request as a line of the transcripts `*.apicalls.jsonl`, with the status.
    pub fn line(&self) -> String {
        let query: serde_json::Map<_, _> =
            self.query.pairs().iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        json!({"method": self.method, "path": self.path, "query": query, "ct": self.content_type,
            "accept": self.accept, "ua": self.user_agent, "body": self.body, "status": self.status})
        .to_string()
    }
}
