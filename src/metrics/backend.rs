//! Requests to the backend that sandboxes run on.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Instant, SystemTime},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{
    labels::{CallCode, OfCall, OfWatch},
    traces::{CallSpan, Traces},
};

/// Bounds of the buckets, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 180.0];

/// The operation of requests for logs.
const LOGS: &str = "container_logs";

type Durations = Family<OfCall, Histogram, fn() -> Histogram>;

/// Counts requests to the backend and makes their spans, or does nothing.
#[derive(Debug, Clone, Default)]
pub struct BackendCalls {
    families: Option<Arc<Families>>,
    traces: Traces,
    backend: &'static str,
}

#[derive(Debug)]
struct Families {
    backend: &'static str,
    requests: Family<OfCall, Counter>,
    durations: Durations,
    contacts: Family<OfWatch, Contact>,
    restarts: Family<OfWatch, Counter>,
}

/// Seconds since 1970.
type Contact = Gauge<f64, AtomicU64>;

/// Tells how the watch of one kind of object in a namespace does, or nothing. What it tells is forgotten when this is dropped.
#[derive(Debug, Default)]
pub struct WatchMetrics(Option<Watch>);

#[derive(Debug)]
struct Watch {
    families: Arc<Families>,
    labels: OfWatch,
    contact: Contact,
    restarts: Counter,
}

/// One request, which is recorded when this is dropped.
#[derive(Debug)]
#[must_use = "a request that is dropped at once counts as given up"]
pub struct Call {
    families: Option<Arc<Families>>,
    span: Option<Box<CallSpan>>,
    operation: &'static str,
    begun: Instant,
    code: CallCode,
}

/// A request for a log, which is counted when this is dropped. Its duration means nothing, since an engine may send the head of
/// its answer with the first line. It is small, since a follower of a silent sandbox holds it while it waits.
#[derive(Debug)]
#[must_use = "a request that is dropped at once counts as given up"]
pub struct LogCall {
    families: Option<Arc<Families>>,
    span: Option<Box<CallSpan>>,
}

impl BackendCalls {
    /// Counts requests to `backend`, and shows them in `registry`.
    pub(super) fn register(registry: &mut Registry, backend: &'static str) -> Self {
        let requests = Family::default();
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(BOUNDS));
        registry.register("backend_requests", "Requests to the sandboxes' backend, by operation and by its answer's status; code 'error' is a connection that failed, 'none' a request that was given up", Family::clone(&requests));
        registry.register_with_unit(
            "backend_request_duration",
            "Time from a request to the sandboxes' backend to its answer's head; without requests for logs",
            Unit::Seconds,
            Family::clone(&durations),
        );
        let (contacts, restarts) = (Family::default(), Family::default());
        registry.register_with_unit(
            "watch_contact_timestamp",
            "When the API server was last heard of in the watch of this kind and namespace; the age of what is known is the time since",
            Unit::Seconds,
            Family::clone(&contacts),
        );
        let help = "Watches of this kind and namespace that had to begin anew; those that ended as they should are not counted";
        registry.register("watch_restarts", help, Family::clone(&restarts));
        let families = Some(Arc::new(Families { backend, requests, durations, contacts, restarts }));
        Self { families, traces: Traces::default(), backend }
    }

    /// Makes spans of requests to `backend` too, or of those alone.
    pub(super) fn traced(self, traces: &Traces, backend: &'static str) -> Self {
        Self { traces: traces.clone(), backend, ..self }
    }

    /// For the watch of one kind, such as `batchsandboxes`, in a namespace.
    pub fn watch(&self, kind: &'static str, namespace: &str) -> WatchMetrics {
        let labels = OfWatch { kind, namespace: namespace.to_owned() };
        WatchMetrics(self.families.as_ref().map(|families| Watch {
            families: Arc::clone(families),
            contact: families.contacts.get_or_create_owned(&labels),
            restarts: families.restarts.get_or_create_owned(&labels),
            labels,
        }))
    }

    /// A request begins. `operation` names what is asked, without the object's id.
    pub fn begin(&self, operation: &'static str) -> Call {
        let span = self.traces.call(self.backend, operation);
        Call { families: self.families.clone(), span, operation, begun: Instant::now(), code: CallCode::None }
    }

    /// A request for a log begins.
    pub fn begin_log(&self) -> LogCall {
        LogCall { families: self.families.clone(), span: self.traces.call(self.backend, LOGS) }
    }
}

impl WatchMetrics {
    /// The API server was heard of.
    pub fn contact(&self) {
        if let Some(Watch { contact, .. }) = &self.0 {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            contact.set(now.as_secs_f64());
        }
    }

    /// The watch begins anew after a failure.
    pub fn restarted(&self) {
        if let Some(Watch { restarts, .. }) = &self.0 {
            restarts.inc();
        }
    }
}

impl Drop for WatchMetrics {
    fn drop(&mut self) {
        if let Some(Watch { families, labels, .. }) = &self.0 {
            families.contacts.remove(labels);
            families.restarts.remove(labels);
        }
    }
}

impl Call {
    /// The answer's head has come.
    pub fn answered(mut self, status: u16) {
        self.code = CallCode::of(status);
        answered(&mut self.span, status);
    }

    /// The connection failed before that.
    pub fn failed(mut self) {
        self.code = CallCode::Error;
        failed(&mut self.span, FAILED);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        failed(&mut self.span, GIVEN_UP);
        let Some(families) = &self.families else { return };
        let labels = families.count(self.operation, self.code);
        families.durations.get_or_create(&labels).observe(self.begun.elapsed().as_secs_f64());
    }
}

impl LogCall {
    /// The answer's head has come.
    pub fn answered(mut self, status: u16) {
        answered(&mut self.span, status);
        self.count(CallCode::of(status));
    }

    /// The connection failed before that.
    pub fn failed(mut self) {
        failed(&mut self.span, FAILED);
        self.count(CallCode::Error);
    }

    /// Counts it, once.
    fn count(&mut self, code: CallCode) {
        if let Some(families) = self.families.take() {
            families.count(LOGS, code);
        }
    }
}

impl Drop for LogCall {
    fn drop(&mut self) {
        failed(&mut self.span, GIVEN_UP);
        self.count(CallCode::None);
    }
}

/// The `error.type` of spans without an answer.
const FAILED: &str = "connection_failed";
const GIVEN_UP: &str = "given_up";

/// Ends a span, if it has not ended.
fn answered(span: &mut Option<Box<CallSpan>>, status: u16) {
    if let Some(mut span) = span.take() {
        span.answered(status);
    }
}

fn failed(span: &mut Option<Box<CallSpan>>, kind: &'static str) {
    if let Some(mut span) = span.take() {
        span.failed(kind);
    }
}

impl Families {
    fn count(&self, operation: &'static str, code: CallCode) -> OfCall {
        let labels = OfCall { backend: self.backend, operation, code };
        self.requests.get_or_create(&labels).inc();
        labels
    }
}
