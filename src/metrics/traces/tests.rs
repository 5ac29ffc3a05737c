use std::sync::Mutex;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use opentelemetry::{
    Value,
    trace::{Span as _, Status},
};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter, SpanProcessor},
};

use super::*;
use crate::{
    end_reason::EndReason,
    router::{self, Route},
};

/// Keeps what it is sent, or fails.
#[derive(Debug, Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    fails: bool,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.spans.lock().unwrap().extend(batch);
        if self.fails { Err(OTelSdkError::InternalFailure("no".to_owned())) } else { Ok(()) }
    }
}

fn traces(kept: &Kept) -> Traces {
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let (tracer, queue) = (provider.tracer("test"), Arc::default());
    Traces(Some(Arc::new(Shared { provider, tracer, queue, live: AtomicUsize::new(0) })))
}

fn ended(status: Option<u16>, end: EndReason) -> Ended {
    let status = status.map(|status| StatusCode::from_u16(status).unwrap());
    Ended { status, bytes: 7, end, is_following: false }
}

impl Kept {
    fn only(&self) -> SpanData {
        let mut spans = self.spans.lock().unwrap();
        assert_eq!(spans.len(), 1);
        spans.pop().unwrap()
    }
}

fn value(span: &SpanData, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.clone())
}

#[test]
fn nothing_is_made_when_it_is_off() {
    let traces = Traces::default();
    assert!(!traces.is_on() && traces.current().is_none() && traces.call("docker", "ping").is_none());
    assert!(traces.request(&Method::GET, "/version", &HeaderMap::new()).is_none());
}

#[test]
fn a_span_says_what_was_asked_and_how_it_went() {
    let kept = Kept::default();
    let path = "/v1/sandboxes/a/logs";
    let mut span = traces(&kept).request(&Method::GET, path, &HeaderMap::new()).unwrap();
    span.of_client([192, 0, 2, 1].into(), true, Version::HTTP_2);
    span.of_route(&router::route(&Method::GET, path).unwrap());
    span.of_key("api_keys[1]");
    span.end(Ended { is_following: true, ..ended(Some(200), EndReason::BackendLost) });
    let span = kept.only();
    assert_eq!((&*span.name, span.span_kind.clone()), ("GET /sandboxes/{sandbox_id}/logs", SpanKind::Server));
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("http.route", "/sandboxes/{sandbox_id}/logs"),
        ("url.path", path),
        ("url.scheme", "https"),
        ("client.address", "192.0.2.1"),
        ("network.protocol.version", "2"),
        ("opensandbox.sandbox.id", "a"),
        ("opensandbox.key.name", "api_keys[1]"),
        ("opensandbox.end", "backend_lost"),
        ("error.type", "backend_lost"),
    ] {
        assert_eq!(value(&span, key), Some(expected.into()), "{key}");
    }
    assert_eq!(value(&span, "http.response.status_code"), Some(200.into()));
    assert_eq!(value(&span, "http.response.body.size"), Some(7.into()));
    assert_eq!(value(&span, "opensandbox.logs.follow"), Some(true.into()));
    assert_eq!(span.status, Status::error(""));
}

#[test]
fn what_goes_wrong_is_an_error_and_what_a_client_does_is_none() {
    for (status, end, error) in [
        (Some(200), EndReason::Complete, None),
        (Some(404), EndReason::Complete, None),
        (Some(200), EndReason::ClientGone, None),
        (Some(200), EndReason::Drained, None),
        (Some(200), EndReason::EndedByAdmin, None),
        (Some(503), EndReason::Complete, Some("503")),
        (Some(200), EndReason::SlowClient, Some("slow_client")),
        (None, EndReason::ClientGone, Some("client_gone")),
    ] {
        let kept = Kept::default();
        traces(&kept).request(&Method::GET, "/version", &HeaderMap::new()).unwrap().end(ended(status, end));
        assert_eq!(value(&kept.only(), "error.type"), error.map(Into::into), "{status:?} {end}");
    }
}

#[test]
fn nothing_of_what_others_write_is_long_or_a_secret() {
    let kept = Kept::default();
    let traces = traces(&kept);
    let agent = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_bytes(&[0xe2; 60_000]).unwrap())]);
    let long = format!("/sandboxes/{}", "\u{e9}".repeat(30_000));
    for (method, path, name) in [
        ("GET", &*long, "GET /sandboxes/{sandbox_id}"),
        ("GET", "/hunter2", "GET"),
        ("GET", "/v1/sandboxes/a/proxy/80/hunter2", "GET /sandboxes/{sandbox_id}/proxy/{port}/{full_path:path}"),
        ("BREW", "/version", "HTTP /version"),
    ] {
        let mut span = traces.request(&Method::from_bytes(method.as_bytes()).unwrap(), path, &agent).unwrap();
        span.of_route(&Route::GetSandbox(long.clone()));
        span.end(ended(Some(200), EndReason::Complete));
        let span = kept.only();
        assert_eq!(span.name, name);
        let text = format!("{span:?}");
        assert!(!text.contains("hunter2") && !text.contains("BREW") && text.len() < 4_000, "{text}");
        assert!(span.attributes.iter().all(|attribute| attribute.value.as_str().len() <= 256), "{text}");
    }
}

#[test]
fn there_are_only_so_many_at_a_time() {
    let traces = traces(&Kept::default());
    let begin = || traces.request(&Method::GET, "/version", &HeaderMap::new());
    let mut spans: Vec<_> = (0..MAX_LIVE).map(|_| begin().unwrap()).collect();
    assert!(begin().is_none());
    spans.pop();
    spans.push(begin().unwrap());
    assert!(begin().is_none());
}

/// Keeps what ends, as the SDK's processor does until its thread comes to it.
#[derive(Debug)]
struct Waiting(Kept);

impl SpanProcessor for Waiting {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.spans.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[tokio::test]
async fn what_waits_is_bounded_and_what_is_lost_is_counted() {
    let (kept, queue) = (Kept::default(), Arc::<Queue>::default());
    let processor = BoundedProcessor::new(Waiting(kept.clone()), Arc::clone(&queue));
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("test");
    let make =
        |count| (0..count).for_each(|_| SpanBuilder::from_name("x").start_with_context(&tracer, &Context::new()).end());
    // The first loss is told at once, which makes the count begin anew.
    make(MAX_QUEUE + 1);
    assert_eq!((kept.spans.lock().unwrap().len(), queue.lost()), (MAX_QUEUE, 0));
    make(5);
    assert_eq!((kept.spans.lock().unwrap().len(), queue.lost()), (MAX_QUEUE, 5));
    let batch = std::mem::take(&mut *kept.spans.lock().unwrap());
    let exporter = CountingExporter::new(Kept { fails: true, ..Kept::default() }, Arc::clone(&queue));
    exporter.export(batch).await.unwrap_err();
    assert_eq!(queue.lost(), 5 + MAX_QUEUE as u64);
    make(2);
    assert_eq!((kept.spans.lock().unwrap().len(), queue.lost()), (2, 5 + MAX_QUEUE as u64), "there is room again");
}
