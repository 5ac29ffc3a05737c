//! What a call of the API server failed with.
//!
//! Decided by the status code and by `reason` and `details` of the `Status` that the API server sends (kubernetes-api.md T4),
//! never by its text. What is no `Status` is another program's answer, such as a load balancer's, or one of the few texts of the
//! API server (T5).

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use hyper_util::client::legacy;
use kube::{
    client::AuthError,
    core::{
        Status,
        response::{StatusCause, StatusDetails},
    },
};

use crate::{
    error::{Error, Family, Kind},
    error_chain,
};

/// The most bytes of another program's answer that are quoted in the log.
const MAX_EXCERPT: usize = 512;

/// The most bytes that are kept of a refusal's text, which may quote the object that was refused, or be an admission webhook's.
const MAX_MESSAGE: usize = 4096;

/// The longest wait that is passed on to clients.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What the API server answers for a group that it does not have, or a version of it (T5).
const NO_SUCH_PATH: &str = ": 404 page not found";

/// Stands in a `Status` of ours for an answer that was none.
const FOREIGN: &str = "opensandbox-gateway/NotAStatus";

/// What the API server, or something before it, answered instead of success; or that there was no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(in crate::runtime::kubernetes) struct ApiFailure {
    /// The status code; none when there was no answer.
    pub(in crate::runtime::kubernetes) status: Option<u16>,
    /// `Status.reason`, such as `NotFound`; empty where there is none.
    pub(in crate::runtime::kubernetes) reason: String,
    /// `Status.message`, or what happened. For the log: it may name addresses. [`Self::for_client`] is for clients.
    pub(in crate::runtime::kubernetes) message: String,
    /// `Status.details.kind`: a plural, such as `pods`, or a subresource, such as `pods/log`.
    pub(in crate::runtime::kubernetes) details_kind: String,
    /// `Status.details.name`.
    pub(in crate::runtime::kubernetes) details_name: String,
    /// `Status.details.causes`.
    pub(in crate::runtime::kubernetes) causes: Vec<StatusCause>,
    /// When to ask again, by `Retry-After`.
    pub(in crate::runtime::kubernetes) retry_after: Option<Duration>,
    /// Who answered, if anyone did.
    pub(in crate::runtime::kubernetes) fault: Fault,
    /// What lies beneath, for the log.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Why no request can be made.
#[derive(Debug, thiserror::Error)]
#[error("the credentials have expired, and there are no new ones: {0}")]
pub(super) struct NoCredentials(pub(super) String);

/// Who failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::kubernetes) enum Fault {
    /// The API server answered with a `Status`.
    Status,
    /// The answer was no `Status`.
    Foreign,
    /// No connection could be made, so nothing was sent.
    Unconnected,
    /// The connection broke off.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// This program's own limit (`read_qps`, `write_qps`) was reached.
    Limited,
    /// The credentials cannot be had: a plugin failed, or a token is unusable.
    Credentials,
    /// A successful answer cannot be understood.
    Unintelligible,
}

impl ApiFailure {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self {
            status: None,
            reason: String::new(),
            message: message.into(),
            details_kind: String::new(),
            details_name: String::new(),
            causes: Vec::new(),
            retry_after: None,
            fault,
            source: None,
        }
    }

    /// There was no answer within `limit`.
    pub(in crate::runtime::kubernetes) fn timed_out(limit: Duration) -> Self {
        Self::new(Fault::TimedOut, format!("the API server did not answer within {} s", limit.as_secs()))
    }

    /// This program's own limit was reached; there is room again after `wait`.
    pub(in crate::runtime::kubernetes) fn limited(wait: Duration) -> Self {
        let text = "more calls of the API server are waiting than kubernetes.read_qps or write_qps allow";
        Self { retry_after: Some(wait), ..Self::new(Fault::Limited, text) }
    }

    /// There is no connection, or it broke off.
    pub(super) fn unreachable(error: impl StdError + Send + Sync + 'static) -> Self {
        let text = format!("the API server cannot be reached: {}", error_chain::text(&error));
        Self { source: Some(Arc::new(error)), ..Self::new(Fault::Unreachable, text) }
    }

    /// A successful answer cannot be understood.
    pub(in crate::runtime::kubernetes) fn unintelligible(why: impl Into<String>) -> Self {
        Self::new(Fault::Unintelligible, why)
    }

    /// An answer other than 200.
    pub(super) fn answered(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        if status == 204 {
            // That of a log whose pod is on no node yet (kubernetes-api.md §3).
            let text = "the API server answered 204: there is nothing to read yet";
            return Self { status: Some(status), ..Self::new(Fault::Status, text) };
        }
        Self::from_status(status_of(status, headers, body))
    }

    /// A `Status` of the API server, also one that came in a watch.
    pub(in crate::runtime::kubernetes) fn from_status(status: Status) -> Self {
        let Status { code, mut message, reason, details, .. } = status;
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        let fault = if reason == FOREIGN { Fault::Foreign } else { Fault::Status };
        let reason = if fault == Fault::Foreign { String::new() } else { reason };
        let mut failure = Self { status: Some(code), reason, ..Self::new(fault, message) };
        if let Some(StatusDetails { name, kind, causes, retry_after_seconds, .. }) = details {
            failure.retry_after =
                (retry_after_seconds > 0).then(|| Duration::from_secs(retry_after_seconds.into()).min(MAX_RETRY_AFTER));
            (failure.details_name, failure.details_kind, failure.causes) = (name, kind, causes);
        }
        failure
    }

    /// The object that was asked for does not exist: not so a 404 that names a subresource (`pods/log`: the kubelet does not
    /// know the pod yet) or nothing (the kind is unknown). One that names a node looks the same as one that names the pod:
    /// see [`Self::is_missing_named`].
    pub(in crate::runtime::kubernetes) fn is_missing(&self) -> bool {
        self.status == Some(404)
            && self.reason == "NotFound"
            && !self.details_kind.is_empty()
            && !self.details_kind.contains('/')
    }

    /// The object of this name does not exist.
    pub(in crate::runtime::kubernetes) fn is_missing_named(&self, name: &str) -> bool {
        self.is_missing() && self.details_name == name
    }

    /// The cluster does not have this kind of object: no such group (T5), or none of that plural in it.
    pub(in crate::runtime::kubernetes) fn is_missing_kind(&self) -> bool {
        self.status == Some(404)
            && match self.fault {
                Fault::Status => self.reason == "NotFound" && self.details_kind.is_empty(),
                // Not another program's page.
                Fault::Foreign => self.message.ends_with(NO_SUCH_PATH),
                _ => false,
            }
    }

    /// It says nothing of what was asked: the API server cannot be reached, or does not take the question now, or not from
    /// this program any more.
    pub(in crate::runtime::kubernetes) fn is_outage(&self) -> bool {
        match self.fault {
            Fault::Unconnected | Fault::Unreachable | Fault::TimedOut | Fault::Limited | Fault::Credentials => true,
            Fault::Status | Fault::Foreign => self.status.is_some_and(|code| code >= 500 || matches!(code, 401 | 429)),
            Fault::Unintelligible => false,
        }
    }

    /// What was to be written may be there all the same: there was no answer, or one that says nothing of it.
    pub(in crate::runtime::kubernetes) fn leaves_open(&self) -> bool {
        match self.fault {
            Fault::Unreachable | Fault::TimedOut | Fault::Unintelligible => true,
            Fault::Status | Fault::Foreign => self.status.is_some_and(|code| code >= 500),
            Fault::Unconnected | Fault::Limited | Fault::Credentials => false,
        }
    }

    /// The namespace may have no more of something. Of the API server's refusals this one alone is told by its text: a quota's
    /// differs from those of other rules in nothing else (kubernetes-api.md §11).
    pub(in crate::runtime::kubernetes) fn is_over_quota(&self) -> bool {
        self.is_forbidden() && self.is_status() && is_about_quota(&self.message)
    }

    /// There is an object of this name already.
    pub(in crate::runtime::kubernetes) fn is_taken(&self) -> bool {
        self.is_conflict() && self.reason == "AlreadyExists"
    }

    /// It is the API server's own word, not that of a program in front of it.
    pub(in crate::runtime::kubernetes) fn is_status(&self) -> bool {
        self.fault == Fault::Status
    }

    /// The object was changed meanwhile, or exists already (409).
    pub(in crate::runtime::kubernetes) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }

    /// The object was refused for this member of it (422).
    pub(in crate::runtime::kubernetes) fn is_about(&self, field: &str) -> bool {
        self.status == Some(422) && self.causes.iter().any(|cause| cause.field == field)
    }

    /// This program may not do that (403).
    pub(in crate::runtime::kubernetes) fn is_forbidden(&self) -> bool {
        self.status == Some(403)
    }

    /// The resource version that was asked for is too old: everything is to be listed anew.
    pub(in crate::runtime::kubernetes) fn is_expired(&self) -> bool {
        self.status == Some(410) || self.reason == "Expired"
    }

    /// What is told to clients: the API server's own message where that is about what was asked. What failed behind it names
    /// nodes and addresses, so only the log tells that.
    pub(in crate::runtime::kubernetes) fn for_client(&self) -> String {
        let code = self.status.unwrap_or_default();
        match self.fault {
            Fault::Status if code == 401 => "the API server does not take the gateway's credentials".to_owned(),
            Fault::Status if code < 500 || self.reason == "Timeout" => self.message.clone(),
            Fault::Status => format!("the API server answered {code}"),
            Fault::Foreign if code == 429 => "the API server takes no more requests at the moment".to_owned(),
            Fault::Foreign if code == 404 => {
                "the API server does not know this kind of object (404); is its CRD installed?".to_owned()
            }
            Fault::Foreign => format!("the answer {code} is not the API server's; what stands in front of it?"),
            Fault::Unconnected | Fault::Unreachable => "the API server cannot be reached".to_owned(),
            Fault::Credentials => "the gateway has no valid credentials for the API server".to_owned(),
            Fault::TimedOut | Fault::Limited | Fault::Unintelligible => self.message.clone(),
        }
    }

    /// What sort of failure it is, in words for anyone: no names, no addresses, nothing that another program said.
    pub(in crate::runtime::kubernetes) fn sort(&self) -> &'static str {
        match (self.fault, self.status) {
            _ if self.is_missing_kind() => {
                "the cluster does not have this kind of object: its CRD may not be installed"
            }
            (Fault::Credentials, _) | (_, Some(401)) => "the gateway has no valid credentials for the API server",
            (Fault::Limited, _) | (_, Some(429)) => "the API server takes no more requests at the moment",
            (Fault::Status, Some(403)) => "the cluster does not allow it to the gateway",
            (Fault::Status, _) => "the API server answers with an error",
            (Fault::Foreign, _) => "what answers is not the API server",
            (Fault::Unconnected | Fault::Unreachable, _) => "the API server cannot be reached",
            (Fault::TimedOut, _) => "the API server does not answer in time",
            (Fault::Unintelligible, _) => "the API server's answer cannot be understood",
        }
    }

    /// `{what}: {message}`, of a kind that tells clients whether to ask again.
    pub(in crate::runtime::kubernetes) fn into_error(self, what: &str) -> Error {
        let kind = match (self.fault, self.status) {
            (Fault::Limited, _) | (_, Some(429)) => Kind::Overloaded,
            (Fault::TimedOut, _) | (_, Some(504)) => Kind::TimedOut,
            (Fault::Unconnected | Fault::Unreachable, _) | (_, Some(503)) | (Fault::Foreign, Some(502)) => {
                Kind::Unavailable
            }
            _ => Kind::Failed,
        };
        let mut error = Error::new(Family::KubeApi, kind, format!("{what}: {}", self.for_client()));
        error.retry_after = self.retry_after;
        error.caused_by(self)
    }
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from_status(*status),
            kube::Error::Auth(error) => Self::new(Fault::Credentials, credentials(&error)),
            kube::Error::SerdeError(error) => Self {
                message: format!("the API server's answer cannot be understood: {error}"),
                source: Some(Arc::new(error)),
                ..Self::new(Fault::Unintelligible, "")
            },
            kube::Error::FromUtf8(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                Self::unintelligible(error.to_string())
            }
            kube::Error::Service(error) => match (error.downcast_ref::<AuthError>(), error.downcast_ref()) {
                (Some(error), _) => Self::new(Fault::Credentials, credentials(error)),
                (None, Some(NoCredentials(_))) => Self::new(Fault::Credentials, error.to_string()),
                (None, None) if is_too_long(error.as_ref()) => {
                    Self::unintelligible("the API server's answer is too long")
                }
                (None, None) => {
                    let is_unconnected = error.downcast_ref().is_some_and(legacy::Error::is_connect);
                    let fault = if is_unconnected { Fault::Unconnected } else { Fault::Unreachable };
                    Self { fault, ..Self::unreachable(kube::Error::Service(error)) }
                }
            },
            error if is_too_long(&error) => Self::unintelligible("the API server's answer is too long"),
            error => Self::unreachable(error),
        }
    }
}

/// Whether a text is the API server's refusal for a quota's sake.
pub(in crate::runtime::kubernetes) fn is_about_quota(text: &str) -> bool {
    text.contains("exceeded quota") || text.contains("failed quota")
}

/// Whether more came than is taken of one answer.
fn is_too_long(error: &(dyn StdError + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_too_long)
}

/// Why there are no credentials, without what a plugin printed to its standard output: a token may be in it.
pub(super) fn credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            format!("the kubeconfig's credential plugin failed ({}): {}", out.status, excerpt(said.trim()))
        }
        AuthError::AuthExecParse(_) => "the kubeconfig's credential plugin printed no ExecCredential".to_owned(),
        AuthError::AuthExec(_) => "the kubeconfig's credential plugin failed".to_owned(),
        error => format!("the credentials cannot be used: {error}"),
    }
}

/// Whether a connection failed since TLS did: the server's certificate, or what it thinks of that of this program.
pub(super) fn is_distrust(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>())
}

/// A refusal as a `Status` whose code is the answer's and which has the seconds of `Retry-After`.
pub(super) fn status_of(code: u16, headers: &HeaderMap, body: &[u8]) -> Status {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let own: Option<Status> =
        json.filter(|json| json["kind"] == "Status").and_then(|json| serde_json::from_value(json).ok());
    let mut status = own.unwrap_or_else(|| foreign(headers, body)).with_code(code);
    if let Some(seconds) = retry_after(headers) {
        let details = status.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        details.retry_after_seconds = seconds;
    }
    status
}

fn foreign(headers: &HeaderMap, body: &[u8]) -> Status {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no type");
    let text = String::from_utf8_lossy(body);
    Status::failure(&format!("an answer that is no Status ({kind}): {}", excerpt(text.trim())), FOREIGN)
}

/// The seconds of `Retry-After`; a date, which the API server never sends, is passed over.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().filter(|seconds| *seconds > 0)
}

pub(super) fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_EXCERPT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}"#;

    fn answered(code: u16, retry_after: Option<&'static str>, body: &str) -> ApiFailure {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|value| (header::RETRY_AFTER, value.parse().unwrap())));
        headers.insert(header::CONTENT_TYPE, "text/html".parse().unwrap());
        ApiFailure::answered(code, &headers, body.as_bytes())
    }

    #[test]
    fn a_refusal_s_text_is_bounded() {
        let long = format!("exceeded quota: {}", "é".repeat(1_000_000));
        let body = JSON.replace("not found", &long).replace("NotFound", "Forbidden");
        let refused = answered(403, None, &body);
        assert!(refused.message.len() <= MAX_MESSAGE && refused.for_client().len() <= MAX_MESSAGE);
        assert!(refused.is_over_quota() && refused.message.starts_with("pods \"x\" exceeded"), "{refused:.80}");
        assert!(refused.into_error("What").message.len() < MAX_MESSAGE + 100);
    }

    #[test]
    fn there_are_three_kinds_of_404() {
        let pod = answered(404, None, JSON);
        assert!(pod.is_missing() && pod.is_missing_named("x") && !pod.is_missing_named("nonode"));
        assert_eq!((pod.fault, pod.reason.as_str(), pod.details_kind.as_str()), (Fault::Status, "NotFound", "pods"));
        let log = answered(404, None, &JSON.replace(r#""pods""#, r#""pods/log""#));
        assert!(!log.is_missing());
        let crd = answered(404, None, "404 page not found\n");
        assert!(!crd.is_missing() && crd.fault == Fault::Foreign && crd.is_missing_kind(), "{crd:?}");
        assert!(answered(404, None, r#"{"kind":"Status","reason":"NotFound","details":{}}"#).is_missing_kind());
        for other in [&pod, &log, &answered(404, None, "<html><h1>404 Not Found</h1></html>")] {
            assert!(!other.is_missing_kind(), "{other:?}");
        }
        assert!(crd.for_client().contains("CRD"));
    }

    #[test]
    fn the_code_is_the_answer_s_and_the_kind_tells_whether_to_ask_again() {
        let asked = |code, after, body: &str| {
            let error = answered(code, after, body).into_error("Failed");
            (error.kind, error.retry_after.map(|time| time.as_secs()))
        };
        let status = r#"{"kind":"Status","reason":"TooManyRequests","message":"storage is (re)initializing"}"#;
        assert_eq!(asked(429, Some("1"), status), (Kind::Overloaded, Some(1)));
        assert_eq!(asked(429, Some("3"), "Too many requests, please try again later.\n"), (Kind::Overloaded, Some(3)));
        assert_eq!(asked(503, Some("Wed, 21 Oct 2026 07:28:00 GMT"), "<html>"), (Kind::Unavailable, None));
        assert_eq!(asked(503, Some("999999999"), "<html>"), (Kind::Unavailable, Some(3600)));
        assert_eq!(
            asked(504, Some("1"), r#"{"kind":"Status","reason":"Timeout","code":1}"#),
            (Kind::TimedOut, Some(1))
        );
        assert_eq!(asked(502, None, "<html>"), (Kind::Unavailable, None));
        assert_eq!(asked(500, None, r#"{"kind":"Status"}"#), (Kind::Failed, None));
        assert_eq!(asked(403, None, r#"{"kind":"Status","reason":"Forbidden"}"#), (Kind::Failed, None));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_no_want_of_a_connection() {
        use http_body_util::{BodyExt, Full, Limited};

        let long = Limited::new(Full::new(bytes::Bytes::from_static(b"long")), 1).collect().await.unwrap_err();
        let failure = ApiFailure::from(kube::Error::Service(long));
        assert_eq!(
            (failure.fault, failure.message.as_str()),
            (Fault::Unintelligible, "the API server's answer is too long")
        );
    }

    #[test]
    fn an_outage_says_nothing_of_what_was_asked() {
        let status = r#"{"kind":"Status","reason":"x"}"#;
        for (code, is_outage) in
            [(401, true), (403, false), (404, false), (409, false), (429, true), (500, true), (503, true)]
        {
            assert_eq!(answered(code, None, status).is_outage(), is_outage, "{code}");
        }
        assert!(answered(502, None, "<html>").is_outage() && ApiFailure::timed_out(Duration::ZERO).is_outage());
        assert!(!ApiFailure::unintelligible("x").is_outage());
    }

    #[test]
    fn a_name_is_taken_by_another_object_alone() {
        assert!(answered(409, None, r#"{"kind":"Status","reason":"AlreadyExists"}"#).is_taken());
        assert!(!answered(409, None, r#"{"kind":"Status","reason":"Conflict"}"#).is_taken());
    }

    #[test]
    fn clients_are_not_told_addresses_or_another_program_s_words() {
        let node = r#"{"kind":"Status","message":"Get \"https://10.0.0.1:10250/\": dial tcp","code":500}"#;
        assert_eq!(answered(500, None, node).into_error("Failed").message, "Failed: the API server answered 500");
        assert!(answered(500, None, node).to_string().contains("10.0.0.1"));
        // Such as that of a webhook, which has a reason.
        let webhook = node.replace(r#""code""#, r#""reason":"InternalError","code""#);
        assert_eq!(answered(500, None, &webhook).for_client(), "the API server answered 500");
        let timeout = r#"{"kind":"Status","reason":"Timeout","message":"Too large resource version"}"#;
        assert_eq!(answered(504, None, timeout).for_client(), "Too large resource version");
        let unauthorized = r#"{"kind":"Status","reason":"Unauthorized","message":"Unauthorized"}"#;
        assert_eq!(
            answered(401, None, unauthorized).for_client(),
            "the API server does not take the gateway's credentials"
        );
        let error = answered(502, None, "<html>proxy-7.internal</html>").into_error("Failed");
        assert_eq!(error.message, "Failed: the answer 502 is not the API server's; what stands in front of it?");
        let told = error_chain::text(&error);
        assert!(told.contains("text/html") && told.contains("proxy-7.internal"), "{told}");
        // An object that is no Status, though it is JSON.
        assert_eq!(answered(500, None, r#"{"error":"x"}"#).fault, Fault::Foreign);
        let long = answered(500, None, &"ü".repeat(4000)).message;
        assert!(long.len() < 600, "{}", long.len());
    }
}
