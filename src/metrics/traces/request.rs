//! The span of one request.

use std::net::IpAddr;

use http::{HeaderMap, Method, StatusCode, Version, header};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanContext, SpanKind, Status},
};

use super::{LiveSpan, Traces, bounded};
use crate::{
    end_reason::EndReason,
    metrics::labels,
    router::{self, Route},
    trace_context,
};

/// A request's span, which ends when this is dropped.
#[derive(Debug)]
pub struct RequestSpan(LiveSpan);

/// What is known of a request when its answer's body has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The answer's status; none if the client left before it.
    pub status: Option<StatusCode>,
    /// The body's bytes that were handed over.
    pub bytes: u64,
    /// Why the body ended.
    pub end: EndReason,
    /// It was a log that is followed.
    pub is_following: bool,
}

impl Traces {
    /// A request's span begins, below the one that the client names. None if no spans are made.
    pub fn request(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Box<RequestSpan>> {
        let shared = self.0.as_ref()?;
        let known = labels::method(method);
        let name = if known == labels::OTHER { "HTTP" } else { known };
        let mut live = shared.begin(name, SpanKind::Server, trace_context::read(headers))?;
        let span = &mut live.span;
        if span.is_recording() {
            let template = router::template(path);
            span.set_attribute(KeyValue::new("http.request.method", known));
            if template != router::UNKNOWN {
                span.update_name(format!("{name} {template}"));
                span.set_attribute(KeyValue::new("http.route", template));
                // What a sandbox's server has behind its port may be a secret. So may be what leads nowhere.
                let shown = if router::is_proxied(template) { template } else { path };
                span.set_attribute(bounded("url.path", shown));
            }
            if let Some(agent) = headers.get(header::USER_AGENT) {
                span.set_attribute(bounded("user_agent.original", &String::from_utf8_lossy(agent.as_bytes())));
            }
        }
        Some(Box::new(RequestSpan(live)))
    }
}

impl RequestSpan {
    /// What others are told of it.
    pub fn context(&self) -> &SpanContext {
        self.0.span.span_context()
    }

    /// Whether it is sent.
    pub fn is_sent(&self) -> bool {
        self.context().is_sampled()
    }

    /// Who asked, and how: by HTTPS, also where only a trusted proxy says so.
    pub fn of_client(&mut self, client: IpAddr, is_https: bool, version: Version) {
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        if self.is_sent() {
            self.0.span.set_attribute(KeyValue::new("client.address", client.to_string()));
            self.0.span.set_attribute(KeyValue::new("url.scheme", if is_https { "https" } else { "http" }));
            self.0.span.set_attribute(KeyValue::new("network.protocol.version", version));
        }
    }

    /// What it asks for.
    pub fn of_route(&mut self, route: &Route) {
        if let Some(id) = route.sandbox().filter(|_| self.is_sent()) {
            self.0.span.set_attribute(bounded("opensandbox.sandbox.id", id));
        }
    }

    /// The name of the key that was presented.
    pub fn of_key(&mut self, name: &str) {
        if self.is_sent() {
            self.0.span.set_attribute(bounded("opensandbox.key.name", name));
        }
    }

    /// The answer's body has ended.
    pub fn end(mut self: Box<Self>, Ended { status, bytes, end, is_following }: Ended) {
        let span = &mut self.0.span;
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("opensandbox.end", end.name()));
        span.set_attribute(KeyValue::new("http.response.body.size", i64::try_from(bytes).unwrap_or(i64::MAX)));
        if is_following {
            span.set_attribute(KeyValue::new("opensandbox.logs.follow", true));
        }
        if let Some(status) = status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        let error = match (status, end) {
            (Some(status), _) if status.is_server_error() => Some(status.as_str().to_owned()),
            // An ended body is not the client's fault, nor is it one if the client has what it wanted.
            (_, EndReason::BackendLost | EndReason::BackendFailed | EndReason::SlowClient | EndReason::Cut)
            | (None, _) => Some(end.name().to_owned()),
            _ => None,
        };
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(""));
        }
    }
}
