//! `/sandboxes/{sandboxId}/networkpolicy`: the egress sidecar's policy, checked and forwarded (http-api.md §13).

use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use serde_json::Value;

use super::{Api, Caller, extract, payload, proxy::check_access};
use crate::{
    body::Body,
    model::{
        network, read,
        violation::{Invalid, Report},
    },
    problem::ApiError,
    proxy::{Forward, forwarded::Forwarded, request_headers::EGRESS_AUTH, upload::Upload},
};

/// Where the sidecar listens.
const PORT: u16 = 18_080;

/// Ids of sandboxes that are another backend's, which Docker has not.
const FOREIGN: &str = "fsb-";

/// Forwards a request to the sidecar of a sandbox.
pub async fn forward(
    api: &Api,
    id: String,
    req: Request<Incoming>,
    Caller { peer, client, .. }: Caller,
) -> Result<Response<Body>, ApiError> {
    let (mut head, body) = req.into_parts();
    let upload = if head.method == Method::GET {
        Upload::empty()
    } else {
        let body = payload::read(body).await?;
        let method = head.method.clone();
        payload::parsed(extract::content_type(&head.headers), &body, move |kind, body| check(&method, kind, body))
            .await?;
        Upload::full(body)
    };
    if id.starts_with(FOREIGN) {
        return Err(ApiError::fsb_not_found());
    }
    let mut backend = api.runtime.backend(&id, PORT).await?;
    check_access(&backend, &head.headers)?;
    // The body has been read: the sidecar need not ask for it.
    head.headers.remove(header::EXPECT);
    head.headers.remove(EGRESS_AUTH);
    backend.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(EGRESS_AUTH.as_str()));
    if let Some(token) = &backend.egress_token {
        backend.headers.push((EGRESS_AUTH.as_str().to_owned(), token.expose().to_owned()));
    }
    let trace = api.metrics.traces().current();
    let forwarded = Forwarded::of(&peer, &head.uri, &head.headers);
    let forward = Box::new(Forward {
        id: api.place(&id),
        backend,
        path: "/policy".to_owned(),
        head,
        forwarded,
        trace,
        public: None,
    });
    Ok(api.proxy.forward(forward, upload, None, client).await?.map(Body::from))
}

/// Checks the form of a body; what its words mean is the sidecar's.
fn check(method: &Method, content_type: Option<&str>, body: &[u8]) -> Result<(), Invalid> {
    let is_list = method != Method::PUT;
    let value =
        extract::json_body(content_type, body).map_err(|invalid| if is_list { no_list(invalid) } else { invalid })?;
    let mut report = Report::new("body");
    let checked = check_value(&mut report, method, &value);
    report.finish(checked).map(|_| ())
}

fn check_value(report: &mut Report, method: &Method, value: &Value) -> Option<()> {
    match *method {
        Method::PUT => network::policy(report, value).map(|_| ()),
        Method::PATCH => read::list(report, value, 0, network::rule).map(|_| ()),
        _ => read::list(report, value, 0, read::string).map(|_| ()),
    }
}

/// What is not JSON is no list, where a list is wanted.
fn no_list(Invalid(mut violations): Invalid) -> Invalid {
    for violation in violations.iter_mut().filter(|violation| violation.rule == "model_attributes_type") {
        violation.rule = "list_type";
        violation.msg = "Input should be a valid list".to_owned();
    }
    Invalid(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(method: Method, content_type: &'static str, body: &str) -> Option<&'static str> {
        check(&method, Some(content_type), body.as_bytes()).err().map(|invalid| invalid.0[0].rule)
    }

    #[test]
    fn each_method_has_a_body_of_its_own() {
        let json = "application/json";
        for (method, body) in [
            (Method::PUT, r#"{"defaultAction":"deny","egress":[{"action":"allow","target":"x"}]}"#),
            (Method::PUT, "{}"),
            (Method::PATCH, r#"[{"action":"allow","target":"pypi.org"}]"#),
            (Method::DELETE, r#"["pypi.org"]"#),
        ] {
            assert_eq!(rule(method.clone(), json, body), None, "{method} {body}");
        }
        for (method, body, expected) in [
            (Method::PUT, "[]", "model_attributes_type"),
            (Method::PUT, r#"{"egress":[{"action":"allow"}]}"#, "missing"),
            (Method::PATCH, "{}", "list_type"),
            (Method::PATCH, r#"[{"action":"allow","target":""}]"#, "string_too_short"),
            (Method::DELETE, "[1]", "string_type"),
            (Method::DELETE, "", "missing"),
            (Method::DELETE, "[", "json_invalid"),
        ] {
            assert_eq!(rule(method.clone(), json, body), Some(expected), "{method} {body}");
        }
        assert_eq!(rule(Method::DELETE, "text/plain", "[]"), Some("list_type"));
        assert_eq!(rule(Method::PUT, "text/plain", "{}"), Some("model_attributes_type"));
    }
}
