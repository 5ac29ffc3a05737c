//! The API server's error object.

use serde_json::{Value, json};

use super::body::{Answer, Body};

/// An answer that is a `Status`, in one line with a line feed (T3, T4).
pub(super) fn failure(code: u16, reason: Option<&str>, message: &str, details: Option<Value>) -> Answer {
    let mut text = object(code, reason, message, details).to_string();
    text.push('\n');
    json_answer(code, text)
}

/// The same as it is written where the client's `Accept` allows nothing: indented, without a line feed (T9).
pub(super) fn not_acceptable(message: &str, details: Option<Value>) -> Answer {
    let object = object(406, Some("NotAcceptable"), message, details);
    json_answer(406, serde_json::to_string_pretty(&object).expect("a value is written"))
}

/// 400.
pub(super) fn bad_request(message: &str) -> Answer {
    failure(400, Some("BadRequest"), message, None)
}

/// 404 of one object.
pub(super) fn not_found(kind: &str, name: &str, message: &str) -> Answer {
    failure(404, Some("NotFound"), message, Some(json!({"name": name, "kind": kind})))
}

/// 500 as `pods/log` answers it: without a reason.
pub(super) fn internal(message: &str) -> Answer {
    failure(500, None, message, None)
}

fn object(code: u16, reason: Option<&str>, message: &str, details: Option<Value>) -> Value {
    let mut status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message});
    if let Some(reason) = reason {
        status["reason"] = reason.into();
    }
    if let Some(details) = details {
        status["details"] = details;
    }
    status["code"] = code.into();
    status
}

fn json_answer(status: u16, text: String) -> Answer {
    Answer { status, content_type: Some("application/json".to_owned()), body: Body::Whole(text.into()) }
}
