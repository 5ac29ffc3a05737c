//! Spans of requests and of the calls that they make, sent to a collector (`[otel] traces`, config.md).
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for HTTP where it has one. A span ends with its answer's
//! *body*: a log that is followed for a day is one span of a day. A thread of the SDK sends them; what it cannot send in time is
//! lost, and counted (`queue`).

mod call;
mod queue;
mod request;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{SpanBuilder, SpanContext, SpanKind, TraceContextExt, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span},
};
use tokio::sync::oneshot;

use self::queue::{BoundedProcessor, CountingExporter, MAX_QUEUE, Queue};
pub use self::{
    call::CallSpan,
    request::{Ended, RequestSpan},
};
use super::otlp::export;
use crate::{config, trace_context};

/// Most spans that have begun and not ended; each takes some 600 bytes. A request that comes beyond has none.
const MAX_LIVE: usize = 65_536;

/// Where spans are made, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Shared>>);

struct Shared {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    queue: Arc<Queue>,
    /// Spans that have not ended.
    live: AtomicUsize,
}

/// A span that has not ended, and its place among [`MAX_LIVE`].
struct LiveSpan {
    span: Span,
    shared: Arc<Shared>,
}

impl Traces {
    /// Starts making and sending spans of `resource`, if `otel` says so. Needs the tokio runtime that is to do the sending.
    ///
    /// # Errors
    /// The collector's address cannot be understood; the text holds nothing of it.
    pub fn start(otel: &config::Otel, resource: Resource) -> Result<Self, String> {
        if !otel.traces {
            return Ok(Self::default());
        }
        let queue = Arc::<Queue>::default();
        let exporter = CountingExporter::new(export::traces(otel)?, Arc::clone(&queue));
        let batches = BatchConfigBuilder::default().with_max_queue_size(MAX_QUEUE).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let processor = BoundedProcessor::new(processor, Arc::clone(&queue));
        let mut builder = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource);
        // Without it the SDK does what OTEL_TRACES_SAMPLER says.
        if let Some(share) = otel.traces_sample_ratio {
            builder = builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))));
        }
        let provider = builder.build();
        let scope =
            InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build();
        let tracer = provider.tracer_with_scope(scope);
        Ok(Self(Some(Arc::new(Shared { provider, tracer, queue, live: AtomicUsize::new(0) }))))
    }

    /// Whether spans are made.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span that the current task works for, if spans are made.
    pub fn current(&self) -> Option<SpanContext> {
        self.0.as_ref().and_then(|_| trace_context::current())
    }

    /// Sends what has not been sent, for at most `timeout`.
    pub async fn shutdown(&self, timeout: Duration) {
        let Some(shared) = self.0.clone() else { return };
        let (done, sent) = oneshot::channel();
        // A thread of its own, which the end of the program need not wait for.
        thread::spawn(move || {
            let outcome = shared.provider.shutdown_with_timeout(timeout);
            shared.queue.tell_lost();
            // The receiver is gone if its wait timed out.
            let _ = done.send(outcome);
        });
        match tokio::time::timeout(timeout, sent).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => tracing::warn!("the last spans could not be sent"),
            Err(_) => tracing::warn!("the last spans were not sent within {} s", timeout.as_secs()),
        }
    }
}

impl Shared {
    /// A span begins, below `parent`; none if there are too many.
    fn begin(self: &Arc<Self>, name: &'static str, kind: SpanKind, parent: Option<SpanContext>) -> Option<LiveSpan> {
        if self.live.fetch_add(1, Ordering::Relaxed) >= MAX_LIVE {
            self.live.fetch_sub(1, Ordering::Relaxed);
            self.queue.lose(1);
            return None;
        }
        let parent = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let span = SpanBuilder::from_name(name).with_kind(kind).start_with_context(&self.tracer, &parent);
        Some(LiveSpan { span, shared: Arc::clone(self) })
    }
}

impl Drop for LiveSpan {
    fn drop(&mut self) {
        self.shared.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attribute with as much of `text` as may be: clients and sandboxes decide how long some are.
fn bounded(key: &'static str, text: &str) -> KeyValue {
    const MAX: usize = 256;
    KeyValue::new(key, text[..text.floor_char_boundary(MAX)].to_owned())
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("live", &self.live).finish_non_exhaustive()
    }
}

impl fmt::Debug for LiveSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSpan").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
