//! Query and body to typed values, or the list of what is wrong with them.

use serde::Serialize;
use serde_json::Value;

/// One entry of a 422 answer's `detail` list (http-api.md §3).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// The rule's name, such as `missing` or `int_parsing`.
    #[serde(rename = "type")]
    pub rule: &'static str,
    /// `body`, `query`, `path` or `header`, then keys and indices.
    pub loc: Vec<Value>,
    /// What is wrong, for a person.
    pub msg: String,
    /// The offending value; absent where it could carry a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The rule's parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Value>,
}

/// All that is wrong with a request's query or body; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Invalid(pub Vec<Violation>);
