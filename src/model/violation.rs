//! What is wrong with a request, in the form of a 422 answer's `detail` (http-api.md §3).

use serde::Serialize;
use serde_json::{Map, Value, json};

/// More violations than this are not collected: a hostile body must not make a larger answer.
const MAX_VIOLATIONS: usize = 100;

/// A body value whose JSON is longer than this, in bytes, is not echoed.
const MAX_ECHO: usize = 256;

/// Parts of a location that can lead to a secret, compared in lower case without underscores.
const SECRET_PARTS: [&str; 8] =
    ["auth", "password", "username", "secret", "token", "credential", "accesskey", "apikey"];

/// Locations that are only secret as a whole word: `env` must not hide `environment.example`.
const SECRET_WORDS: [&str; 2] = ["env", "options"];

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

impl From<Violation> for Invalid {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

/// Collects violations while a request is read, and knows where in the request the reader is.
#[derive(Debug)]
pub struct Report {
    loc: Vec<Value>,
    violations: Vec<Violation>,
    count: usize,
}

impl Report {
    /// A report on one part of a request: `body`, `query`, `path` or `header`.
    pub fn new(part: &'static str) -> Self {
        Self { loc: vec![part.into()], violations: Vec::new(), count: 0 }
    }

    /// Reads what is under one key or index.
    pub fn within<T>(&mut self, part: impl Into<Value>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.loc.push(part.into());
        let read = read(self);
        self.loc.pop();
        read
    }

    /// Notes that the value at the present location breaks a rule.
    pub fn add(&mut self, rule: &'static str, msg: impl Into<String>, input: &Value, ctx: Option<Value>) {
        let input = self.may_echo(input).then(|| input.clone());
        self.push(Violation { rule, loc: self.loc.clone(), msg: msg.into(), input, ctx });
    }

    /// Notes that a rule about several fields is broken. Nothing is echoed: the whole model may hold secrets.
    pub fn add_rule(&mut self, text: &str) {
        let msg = format!("Value error, {text}");
        self.push(Violation { rule: "value_error", loc: self.loc.clone(), msg, input: None, ctx: error_ctx() });
    }

    /// Notes that one value is not understood by a rule of its own.
    pub fn add_value_rule(&mut self, text: &str, input: &Value) {
        self.add("value_error", format!("Value error, {text}"), input, error_ctx());
    }

    /// Whether nothing was wrong so far.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// How many things were wrong so far; more than this report keeps, if need be.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The value that was read.
    ///
    /// # Errors
    /// Everything that was noted, in the order it was noted.
    pub fn finish<T>(self, value: T) -> Result<T, Invalid> {
        if self.violations.is_empty() { Ok(value) } else { Err(Invalid(self.violations)) }
    }

    fn push(&mut self, violation: Violation) {
        self.count += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    fn may_echo(&self, input: &Value) -> bool {
        match self.loc.first().and_then(Value::as_str) {
            Some("query" | "path") => true,
            Some("body") => self.may_echo_body(input),
            _ => false,
        }
    }

    fn may_echo_body(&self, input: &Value) -> bool {
        let is_whole = self.loc.len() == 1;
        let is_secret = self.loc.iter().filter_map(Value::as_str).any(is_secret_part);
        !is_secret && if is_whole { is_blank(input) } else { is_short_and_plain(input) }
    }
}

fn error_ctx() -> Option<Value> {
    Some(json!({"error": {}}))
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_short_and_plain(value: &Value) -> bool {
    let mut room = MAX_ECHO;
    fits(value, &mut room)
}

/// Walks a value only as far as there is room, so that a huge one costs nothing.
fn fits(value: &Value, room: &mut usize) -> bool {
    let cost = match value {
        Value::String(text) => text.len(),
        _ => 1,
    };
    let Some(left) = room.checked_sub(cost) else { return false };
    *room = left;
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, room)),
        Value::Object(members) => members_fit(members, room),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn members_fit(members: &Map<String, Value>, room: &mut usize) -> bool {
    members.iter().all(|(key, value)| {
        let Some(left) = room.checked_sub(key.len()) else { return false };
        *room = left;
        !is_secret_part(key) && fits(value, room)
    })
}

fn is_secret_part(part: &str) -> bool {
    let part: String = part.chars().filter(|c| *c != '_' && *c != '-').collect::<String>().to_lowercase();
    SECRET_WORDS.contains(&part.as_str()) || SECRET_PARTS.iter().any(|secret| part.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoed(path: &[&str], input: Value) -> Option<Value> {
        let mut report = Report::new("body");
        report.loc.extend(path.iter().map(|part| Value::from(*part)));
        report.add("string_type", "text", &input, None);
        report.finish(()).unwrap_err().0.remove(0).input
    }

    #[test]
    fn echoes_short_values_but_no_secrets() {
        assert_eq!(echoed(&["timeout"], json!("abc")), Some(json!("abc")));
        assert_eq!(echoed(&["platform", "arch"], json!({"os": "linux"})), Some(json!({"os": "linux"})));
        assert_eq!(echoed(&["image", "auth", "password"], json!(1)), None);
        assert_eq!(echoed(&["env", "A"], json!(1)), None);
        assert_eq!(echoed(&["volumes", "ossfs", "access_key_secret"], json!(1)), None);
        assert_eq!(echoed(&["image", "uri"], json!({"auth": {"password": "p"}})), None);
        assert_eq!(echoed(&["timeout"], json!("x".repeat(257))), None);
    }

    #[test]
    fn never_echoes_a_whole_body() {
        assert_eq!(echoed(&[], json!({"a": 1})), None);
        assert_eq!(echoed(&[], json!("secret text")), None);
        assert_eq!(echoed(&[], json!(null)), Some(json!(null)));
        assert_eq!(echoed(&[], json!([])), Some(json!([])));
    }

    #[test]
    fn collects_a_bounded_number() {
        let mut report = Report::new("body");
        (0..1000).for_each(|_| report.add_rule("no"));
        assert_eq!(report.finish(()).unwrap_err().0.len(), MAX_VIOLATIONS);
    }

    #[test]
    fn writes_members_in_the_order_of_the_wire() {
        let mut report = Report::new("query");
        report.within("page", |r| r.add("greater_than_equal", "m", &json!("0"), Some(json!({"ge": 1}))));
        let text = serde_json::to_string(&report.finish(()).unwrap_err().0).unwrap();
        assert_eq!(
            text,
            r#"[{"type":"greater_than_equal","loc":["query","page"],"msg":"m","input":"0","ctx":{"ge":1}}]"#
        );
    }
}
