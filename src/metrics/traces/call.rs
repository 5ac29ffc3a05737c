//! The span of one call of the backend that sandboxes run on.

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, Status},
};

use super::{LiveSpan, Traces};

/// A call for a request, whose span is its parent's. Ends when this is dropped.
#[derive(Debug)]
pub struct CallSpan(LiveSpan);

impl Traces {
    /// The call `operation` of `backend` begins. None unless the current task works for a request whose span is sent: what the
    /// gateway does of its own accord, such as its watches, has no spans.
    pub fn call(&self, backend: &'static str, operation: &'static str) -> Option<Box<CallSpan>> {
        let shared = self.0.as_ref()?;
        let parent = self.current().filter(|parent| parent.is_sampled())?;
        let mut live = shared.begin(operation, SpanKind::Client, Some(parent))?;
        live.span.update_name(format!("{backend} {operation}"));
        live.span.set_attributes([
            KeyValue::new("opensandbox.backend.name", backend),
            KeyValue::new("opensandbox.backend.operation", operation),
        ]);
        Some(Box::new(CallSpan(live)))
    }
}

impl CallSpan {
    /// The answer's head has come.
    pub fn answered(&mut self, status: u16) {
        let Self(LiveSpan { span, .. }) = self;
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        // For who asks, a refusal is a failure (semantic conventions, HTTP client).
        if status >= 400 {
            self.failed(status.to_string());
        }
    }

    /// It failed like this.
    pub fn failed(&mut self, kind: impl Into<opentelemetry::Value>) {
        let Self(LiveSpan { span, .. }) = self;
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(""));
    }
}
