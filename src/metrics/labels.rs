//! The labels of metrics, and the few values that each may have.
//!
//! Every distinct set of values is a series that is kept for as long as the program runs, here and in each Prometheus. So
//! nothing that a client or a sandbox can make up becomes one: no id, no path, no method and no status that is not registered.

use std::fmt::Write as _;

use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// What stands for all values that are not known.
pub const OTHER: &str = "_OTHER";

/// The method, if it is one of RFC 9110 §9 or PATCH (RFC 5789); `_OTHER` for an invented one.
pub fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

/// A status as a label. Registered ones (IANA) have their number. All others are `_OTHER`, since a sandbox's own server can
/// answer any of 900. As in the access log, `0` is that of a client that left before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u16);

impl Code {
    /// Not a status that HTTP can have.
    const OTHER: u16 = 1;

    /// The label of an answer, or of none.
    pub fn of(status: Option<StatusCode>) -> Self {
        Self(match status {
            None => 0,
            Some(status) if status.canonical_reason().is_some() => status.as_u16(),
            Some(_) => Self::OTHER,
        })
    }
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self.0 {
            Self::OTHER => encoder.write_str(OTHER),
            code => write!(encoder, "{code}"),
        }
    }
}

/// Of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// The path's template; `unknown` for a path that leads nowhere.
    pub route: &'static str,
    /// The method.
    pub method: &'static str,
    /// The answer's status.
    pub code: Code,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Its first bytes have not come.
    Unknown,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Http1, Self::Http2];

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
        }
    }
}

/// Why a log request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// `logs.max_streams` was reached.
    GlobalLimit,
    /// `logs.max_streams_per_sandbox` was reached.
    SandboxLimit,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::GlobalLimit, Self::SandboxLimit];

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::GlobalLimit => "global_limit",
            Self::SandboxLimit => "sandbox_limit",
        }
    }
}

/// Why a client and this server have not shaken hands by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The client said so. Most often it does not trust the certificate.
    ClientAlert,
    /// The client closed the connection.
    ClientGone,
    /// The two have no version, cipher or protocol in common.
    Incompatible,
    /// The client sent what is no handshake.
    Invalid,
    /// The client spoke without TLS.
    NotTls,
    /// It took too long.
    Timeout,
}

impl HandshakeFailure {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ClientAlert, Self::ClientGone, Self::Incompatible, Self::Invalid, Self::NotTls, Self::Timeout];

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientAlert => "client_alert",
            Self::ClientGone => "client_gone",
            Self::Incompatible => "incompatible",
            Self::Invalid => "invalid",
            Self::NotTls => "not_tls",
            Self::Timeout => "timeout",
        }
    }
}

/// What a log stream is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StreamFormat {
    /// The sandbox's bytes.
    #[default]
    Text,
    /// A JSON object a line.
    Ndjson,
    /// Server-sent events.
    Sse,
}

impl StreamFormat {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 3] = [Self::Text, Self::Ndjson, Self::Sse];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Ndjson => "ndjson",
            Self::Sse => "sse",
        }
    }
}

/// Of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfProtocol {
    pub(super) protocol: &'static str,
}

/// Of a refusal or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfReason {
    pub(super) reason: &'static str,
}

/// Of all that a runtime does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfRuntime {
    pub(super) runtime: &'static str,
}

/// Of log bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSource {
    pub(super) runtime: &'static str,
    pub(super) source: &'static str,
}

/// Of open log streams.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfStream {
    pub(super) runtime: &'static str,
    pub(super) format: &'static str,
    pub(super) follow: &'static str,
}

/// Of log streams that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfEnded {
    pub(super) runtime: &'static str,
    pub(super) format: &'static str,
    pub(super) end: &'static str,
}

/// Of how long log streams took.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfEnd {
    pub(super) runtime: &'static str,
    pub(super) end: &'static str,
}

/// Of sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSandboxes {
    pub(super) runtime: &'static str,
    pub(super) state: &'static str,
}

/// Of requests to the backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfCall {
    pub(super) backend: &'static str,
    pub(super) operation: &'static str,
    pub(super) code: CallCode,
}

/// Of one kind of a cluster's objects in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfWatch {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
}

/// How a request to the backend went: its status, `error` when the connection failed, `none` when it was given up before there
/// was an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CallCode {
    Answered(Code),
    Error,
    None,
}

impl CallCode {
    pub(super) fn of(status: u16) -> Self {
        Self::Answered(Code::of(StatusCode::from_u16(status).ok()))
    }
}

impl EncodeLabelValue for CallCode {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Answered(code) => code.encode(encoder),
            Self::Error => encoder.write_str("error"),
            Self::None => encoder.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_methods_are_one_series() {
        assert_eq!(method(&Method::GET), "GET");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "_OTHER");
    }

    #[test]
    fn invented_statuses_are_one_series() {
        let codes: std::collections::HashSet<_> =
            (100..1000).map(|code| Code::of(Some(StatusCode::from_u16(code).unwrap()))).collect();
        assert!(codes.len() < 70, "{}", codes.len());
        assert_eq!(Code::of(Some(StatusCode::from_u16(299).unwrap())), Code(Code::OTHER));
        assert_eq!((Code::of(Some(StatusCode::OK)), Code::of(None)), (Code(200), Code(0)));
    }
}
