//! Query and body to typed values, or the list of what is wrong with them.

use std::borrow::Cow;

use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::json_error;
pub use crate::model::violation::{Invalid, Violation};
use crate::model::{page::PageRequest, read, violation::Report};

/// A decoded query string.
#[derive(Debug)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Decodes a query string, as it stands after the `?`. Bytes that are not UTF-8 become U+FFFD.
    pub fn parse(query: &'a str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    /// A parameter's value; the last one of several.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// All values of a repeated parameter, in the client's order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The parameters' names, in the client's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// Reads a parameter by one of the readers of [`crate::model::read`]; `None` if it is absent or refused.
    pub fn read<T>(
        &self,
        report: &mut Report,
        name: &'static str,
        read: impl FnOnce(&mut Report, &Value) -> Option<T>,
    ) -> Option<T> {
        let value = Value::from(self.last(name)?);
        report.within(name, |report| read(report, &value))
    }

    /// Which page is asked for, and how long pages are.
    pub fn page(&self, report: &mut Report) -> PageRequest {
        let default = PageRequest::default();
        let page = self.read(report, "page", |r, v| read::integer(r, v, 1..=u64::MAX));
        let page_size = self.read(report, "pageSize", |r, v| read::integer(r, v, 1..=PageRequest::MAX_SIZE));
        PageRequest { page: page.unwrap_or(default.page), page_size: page_size.unwrap_or(default.page_size) }
    }
}

/// What a request says that its body is, if that is text.
pub fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// Parses a request's body.
///
/// # Errors
/// `missing` for an empty body, `model_attributes_type` for one that does not call itself JSON, `json_invalid`
/// with the offset in characters for one that is not.
pub fn json_body(content_type: Option<&str>, body: &[u8]) -> Result<Value, Invalid> {
    let msg = "Input should be a valid dictionary or object to extract fields from";
    json(content_type, body, || refuse("model_attributes_type", msg, None))
}

/// Parses the body of a request that takes any keys.
///
/// # Errors
/// As [`json_body`], but `dict_type` for a body that does not call itself JSON.
pub fn json_map(content_type: Option<&str>, body: &[u8]) -> Result<Value, Invalid> {
    json(content_type, body, || refuse("dict_type", "Input should be a valid dictionary", None))
}

fn json(content_type: Option<&str>, body: &[u8], no_json: impl FnOnce() -> Invalid) -> Result<Value, Invalid> {
    if body.is_empty() {
        return Err(refuse("missing", "Field required", Some(Value::Null)));
    }
    if !content_type.is_some_and(is_json) {
        return Err(no_json());
    }
    // Some editors put a mark in front of UTF-8; the peer passes it over.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).map_err(|error| not_json(body, &error))
}

fn refuse(rule: &'static str, msg: &str, input: Option<Value>) -> Invalid {
    Violation { rule, loc: vec!["body".into()], msg: msg.to_owned(), input, ctx: None }.into()
}

fn not_json(body: &[u8], error: &serde_json::Error) -> Invalid {
    let fault = json_error::explain(&String::from_utf8_lossy(body));
    let (offset, text) = fault.map_or_else(|| own_fault(body, error), |(offset, text)| (offset, text.to_owned()));
    let violation = Violation {
        rule: "json_invalid",
        loc: vec!["body".into(), offset.into()],
        msg: "JSON decode error".to_owned(),
        input: Some(json!({})),
        ctx: Some(json!({"error": text})),
    };
    violation.into()
}

/// What our parser alone refuses: characters before it, and the reason, which does not quote the body.
fn own_fault(body: &[u8], error: &serde_json::Error) -> (usize, String) {
    let before: usize =
        body.split_inclusive(|c| *c == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let end = (before + error.column().saturating_sub(1)).min(body.len());
    let text = error.to_string();
    let what = text.split_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    (String::from_utf8_lossy(&body[..end]).chars().count(), what.to_owned())
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(content_type: Option<&str>, body: &[u8]) -> Value {
        let invalid = json_body(content_type, body).unwrap_err();
        serde_json::to_value(invalid.0).unwrap()
    }

    #[test]
    fn an_empty_body_is_missing() {
        let expected = json!([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": null}]);
        assert_eq!(refused(Some("application/json"), b""), expected);
        assert_eq!(refused(None, b""), expected);
    }

    #[test]
    fn other_content_types_are_not_json() {
        let expected = json!([{
            "type": "model_attributes_type",
            "loc": ["body"],
            "msg": "Input should be a valid dictionary or object to extract fields from",
        }]);
        for content_type in [None, Some(""), Some("text/plain"), Some("text/json"), Some("application/jsonx")] {
            assert_eq!(refused(content_type, b"{}"), expected, "{content_type:?}");
        }
        assert_eq!(json_map(Some("text/plain"), b"{}").unwrap_err().0[0].rule, "dict_type");
        for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert_eq!(json_body(Some(content_type), b"{}"), Ok(json!({})), "{content_type}");
        }
    }

    #[test]
    fn broken_json_has_an_offset() {
        let expected = json!([{
            "type": "json_invalid",
            "loc": ["body", 1],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": "Expecting property name enclosed in double quotes"},
        }]);
        assert_eq!(refused(Some("application/json"), b"{bad"), expected);
        for (body, offset, text) in [
            ("{\"é\":", 5, "Expecting value"),
            ("{\n\"a\" 1}", 6, "Expecting ':' delimiter"),
            ("{\"a\":1 \"b\"", 7, "Expecting ',' delimiter"),
            ("{} x", 3, "Extra data"),
        ] {
            let found = refused(Some("application/json"), body.as_bytes());
            assert_eq!((&found[0]["loc"][1], &found[0]["ctx"]["error"]), (&json!(offset), &json!(text)), "{body}");
        }
    }

    #[test]
    fn the_last_of_repeated_parameters_counts() {
        let query = Query::parse("a=1&b=x%20y+z&a=2&c");
        assert_eq!(
            (query.last("a"), query.last("b"), query.last("c"), query.last("d")),
            (Some("2"), Some("x y z"), Some(""), None)
        );
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_refused_parameter_is_echoed() {
        let mut report = Report::new("query");
        Query::parse("page=0").read(&mut report, "page", |r, v| read::integer(r, v, 1..=u64::MAX));
        assert_eq!(
            serde_json::to_value(report.finish(()).unwrap_err().0).unwrap(),
            json!([{
                "type": "greater_than_equal",
                "loc": ["query", "page"],
                "msg": "Input should be greater than or equal to 1",
                "input": "0",
                "ctx": {"ge": 1},
            }])
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..64), query in ".*") {
            let _ = json_body(Some("application/json"), &body);
            let _ = Query::parse(&query).last("a");
        }

        #[test]
        fn almost_json_does_not_panic(body in r#"[\[\]{}",:\\0-9a-z\n]{0,24}"#) {
            let _ = json_body(Some("application/json"), body.as_bytes());
        }
    }
}
