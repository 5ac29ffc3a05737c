//! A server's refusal in words.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// What an error's body may have: this server's members, and what others put into `detail`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    code: Option<String>,
    message: Option<String>,
    detail: Value,
}

/// One line: status, code and message.
pub(super) fn told(status: StatusCode, body: &[u8], has_key: bool) -> String {
    let Body { code, message, detail } = serde_json::from_slice(body).unwrap_or_default();
    let mut text = status.as_str().to_owned();
    match code {
        Some(code) => text.extend([" ", &code]),
        None => text.extend([" ", status.canonical_reason().unwrap_or("without a reason")]),
    }
    match &detail {
        // What is wrong with each parameter says more than that something is.
        Value::Array(violations) if !violations.is_empty() => {
            let told: Vec<_> = violations.iter().filter_map(violation).collect();
            text.extend([": ", &told.join("; ")]);
        }
        Value::String(detail) if message.is_none() => text.extend([": ", detail]),
        _ => text.extend(message.iter().flat_map(|message| [": ", message])),
    }
    if status == StatusCode::UNAUTHORIZED && !has_key {
        text.push_str(" (OPEN_SANDBOX_API_KEY is not set)");
    }
    text
}

fn violation(violation: &Value) -> Option<String> {
    let message = violation.get("msg")?.as_str()?;
    let name = violation.get("loc").and_then(Value::as_array).and_then(|loc| loc.last()).and_then(Value::as_str);
    Some(name.map_or_else(|| message.to_owned(), |name| format!("{name}: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_server_says() {
        for (status, body, expected) in [
            (404, r#"{"code":"DOCKER::SANDBOX_NOT_FOUND","message":"No x."}"#, "404 DOCKER::SANDBOX_NOT_FOUND: No x."),
            (404, r#"{"detail":"Not Found"}"#, "404 Not Found: Not Found"),
            (502, "<html>", "502 Bad Gateway"),
            (599, "", "599 without a reason"),
            (
                401,
                r#"{"code":"MISSING_API_KEY","message":"m"}"#,
                "401 MISSING_API_KEY: m (OPEN_SANDBOX_API_KEY is not set)",
            ),
            (
                422,
                r#"{"code":"V","message":"m","detail":[{"loc":["query","grep"],"msg":"a"},{"msg":"b"},1]}"#,
                "422 V: grep: a; b",
            ),
        ] {
            assert_eq!(told(StatusCode::from_u16(status).unwrap(), body.as_bytes(), false), expected);
        }
        assert_eq!(told(StatusCode::UNAUTHORIZED, b"{}", true), "401 Unauthorized");
    }
}
