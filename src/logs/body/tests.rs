//! How a log's body ends: by itself, by its source, its client, the drain or an administrator.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use http::HeaderMap;
use tokio::time::Instant;

use super::*;
use crate::{
    client::Http2Stream,
    drain::Drain,
    logs::{
        limits::{StreamLimits, Streams},
        scripted::{self, Steps},
    },
    metrics::{Metrics, labels::StreamFormat, otlp::Otlp, prometheus::Prometheus, streams::StreamInfo},
};

const SECOND: Duration = Duration::from_secs(1);

type Step = scripted::Step<&'static str>;

struct Source {
    steps: Steps<&'static str>,
    /// It tells a client why it ends.
    is_told: bool,
    ending: Option<Ending>,
    /// Gone with the source.
    _alive: Arc<()>,
}

impl LogSource for Source {
    fn poll_chunk(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let piece = ready!(self.steps.poll(cx));
        Poll::Ready(piece.map(|piece| piece.map(|text| Bytes::from_static(text.as_bytes()))))
    }

    fn bytes_read(&self) -> u64 {
        0
    }

    fn farewell(self: Pin<&mut Self>, reason: EndReason) -> Farewell {
        let bytes = if self.is_told { format!("end: {reason}\n").into() } else { Bytes::new() };
        Farewell { bytes, is_told: self.is_told }
    }

    fn ending(&self) -> Ending {
        let Some(Ending { reason, is_broken, trailers }) = &self.ending else { return Ending::default() };
        Ending { reason: *reason, is_broken: *is_broken, trailers: trailers.clone() }
    }
}

/// A body to a client of HTTP/2, with what a test looks at.
struct Fixture {
    body: Pin<Box<LogBody>>,
    source: Weak<()>,
    client: Arc<Http2Stream>,
    drain: Drain,
    streams: Arc<Streams>,
}

fn body(follow: bool, steps: impl IntoIterator<Item = Step>) -> Fixture {
    listed_body(follow, steps, |_| None)
}

fn listed_body(
    follow: bool,
    steps: impl IntoIterator<Item = Step>,
    list: impl FnOnce(ClientWatch) -> Option<StreamGuard>,
) -> Fixture {
    body_of(follow, steps, false, None, list)
}

/// A body whose source tells a client of its end.
fn telling_body(steps: impl IntoIterator<Item = Step>) -> Fixture {
    body_of(true, steps, true, None, |_| None)
}

fn body_of(
    follow: bool,
    steps: impl IntoIterator<Item = Step>,
    is_told: bool,
    ending: Option<Ending>,
    list: impl FnOnce(ClientWatch) -> Option<StreamGuard>,
) -> Fixture {
    let (alive, client, drain) = (Arc::new(()), Arc::new(Http2Stream::default()), Drain::default());
    let source = Arc::downgrade(&alive);
    let streams = Streams::new(StreamLimits { total: 0, per_sandbox: 0 });
    let permit = streams.acquire("x").unwrap();
    let log = Box::pin(Source { steps: Steps::new(steps), is_told, ending, _alive: alive });
    let watch = ClientWatch::Http2(Arc::clone(&client));
    let guard = list(watch.clone());
    let body = Box::pin(LogBody::new(log, follow, watch, &drain.watch(), permit).listed(guard));
    Fixture { body, source, client, drain, streams }
}

impl Fixture {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let frame = poll_fn(|cx| self.body.as_mut().poll_frame(cx)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
    }

    async fn text(&mut self) -> String {
        String::from_utf8(self.next().await.unwrap().unwrap().into()).unwrap()
    }

    fn is_pending(&mut self) -> bool {
        self.body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn is_source_gone(&self) -> bool {
        self.source.strong_count() == 0
    }

    /// Text cannot tell of a drain, so it is no end.
    async fn is_cut_by_the_drain(&mut self) {
        assert!(matches!(self.next().await, Some(Err(BodyError::Drained))));
        assert!(self.next().await.is_none() && self.body.is_ended());
        assert_eq!((self.body.end_reason(), self.body.is_broken_off()), (EndReason::Drained, true));
    }

    /// Begins the drain, whose grace lasts.
    async fn drain(&self) {
        self.drain.finish(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_s_end_is_the_body_s() {
    let mut log = body(true, [Step::Piece("a\n"), Step::Wait(SECOND), Step::Piece("b")]);
    assert_eq!((log.text().await, log.text().await), ("a\n".to_owned(), "b".to_owned()));
    assert!(!log.is_source_gone() && !log.body.is_ended());
    assert!(log.next().await.is_none());
    assert!(log.is_source_gone() && log.body.is_ended());
    assert_eq!((log.body.end_reason(), log.streams.count()), (EndReason::Complete, 1), "the permit is the body's");
    let streams = Arc::clone(&log.streams);
    drop(log);
    assert_eq!(streams.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_piece_goes_out_in_the_client_s_frames_without_a_copy() {
    let long: &'static str = "x".repeat(40_000).leak();
    let mut log = body(false, [Step::Piece(long)]);
    let most = ClientWatch::Http2(Arc::default()).max_frame();
    let (mut at, mut lengths) = (long.as_ptr(), Vec::new());
    while let Some(piece) = log.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece.as_ptr(), at);
        at = at.wrapping_add(piece.len());
        lengths.push(piece.len());
    }
    assert_eq!(lengths, [most, most, 40_000 - 2 * most]);
}

/// hyper resets a stream with its body's error, and h2 then drops what it still holds.
#[tokio::test(start_paused = true)]
async fn a_source_s_error_comes_after_what_was_sent_before() {
    for (error, reason) in [
        (LogError::Disconnected(io::ErrorKind::ConnectionReset.into()), EndReason::BackendLost),
        (LogError::Protocol("a frame is absurdly long"), EndReason::BackendFailed),
        (LogError::Backend("disk full".to_owned()), EndReason::BackendFailed),
    ] {
        let mut log = body(true, [Step::Piece("a\n"), Step::Fail(error)]);
        assert_eq!(log.text().await, "a\n");
        let start = Instant::now();
        assert!(log.is_pending());
        assert!(log.is_source_gone(), "the backend is released at once");
        assert!(matches!(log.next().await, Some(Err(BodyError::Source(_)))));
        assert!(start.elapsed() >= log.body.client.linger().unwrap(), "{:?}", start.elapsed());
        assert!(log.next().await.is_none() && log.body.is_ended());
        assert_eq!(log.body.end_reason(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn the_drain_ends_a_followed_log_at_a_line_s_end() {
    let mut log = body(true, [Step::Piece("a\n"), Step::Hang]);
    assert_eq!(log.text().await, "a\n");
    assert!(log.is_pending());
    log.drain().await;
    log.is_cut_by_the_drain().await;
    assert!(log.is_source_gone());
}

#[tokio::test(start_paused = true)]
async fn the_drain_waits_for_the_end_of_a_line() {
    let mut log = body(true, [Step::Piece("a\nhalf"), Step::Wait(SECOND), Step::Piece(" a line\nnext"), Step::Hang]);
    assert_eq!(log.text().await, "a\nhalf");
    log.drain().await;
    assert_eq!(log.text().await, " a line\n", "the next line is left out");
    log.is_cut_by_the_drain().await;
}

#[tokio::test(start_paused = true)]
async fn the_drain_wakes_a_silent_log() {
    let mut log = body(true, [Step::Hang]);
    let Fixture { drain, .. } = &mut log;
    let watch = drain.watch();
    let draining = std::mem::take(drain);
    let began = Instant::now();
    tokio::spawn(async move {
        sleep(SECOND).await;
        draining.finish(SECOND).await;
    });
    log.is_cut_by_the_drain().await;
    assert_eq!(began.elapsed().as_secs(), 1);
    assert!(watch.has_begun());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_can_tell_of_the_drain_ends_properly() {
    let mut log = telling_body([Step::Piece("a\n"), Step::Hang]);
    assert_eq!(log.text().await, "a\n");
    log.drain().await;
    assert_eq!(log.text().await, "end: drained\n");
    assert!(log.body.is_ended() && log.is_source_gone());
    assert!(log.next().await.is_none() && !log.body.is_broken_off());
    assert_eq!(log.body.end_reason(), EndReason::Drained);
}

#[tokio::test(start_paused = true)]
async fn what_a_source_tells_of_its_end_is_kept() {
    let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
    let ending = Ending { trailers: Some(trailers.clone()), ..Ending::default() };
    let mut log = body_of(true, [Step::Piece("a\n")], false, Some(ending), |_| None);
    assert_eq!(log.text().await, "a\n");
    let frame = poll_fn(|cx| log.body.as_mut().poll_frame(cx)).await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert!(log.next().await.is_none());
    for is_broken in [false, true] {
        let ending = Ending { reason: EndReason::SlowClient, is_broken, trailers: None };
        let mut log = body_of(true, [Step::Piece("a\n")], false, Some(ending), |_| None);
        assert_eq!(log.text().await, "a\n");
        let end = log.next().await;
        assert_eq!(matches!(end, Some(Err(BodyError::SlowClient))), is_broken, "{end:?}");
        assert_eq!((log.body.end_reason(), log.is_source_gone()), (EndReason::SlowClient, true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_drain_leaves_a_log_alone_that_ends_by_itself() {
    let mut log = body(false, [Step::Piece("a\n"), Step::Wait(SECOND), Step::Piece("b\n")]);
    log.drain().await;
    assert_eq!((log.text().await, log.text().await), ("a\n".to_owned(), "b\n".to_owned()));
    assert!(log.next().await.is_none());
    assert_eq!(log.body.end_reason(), EndReason::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_releases_its_source_and_knows_why() {
    let reason = |log: &Fixture| log.body.end_reason();
    let mut log = body(true, [Step::Hang]);
    assert!(log.is_pending());
    assert_eq!(reason(&log), EndReason::ClientGone);
    log.client.set_stalled();
    assert_eq!(reason(&log), EndReason::SlowClient);
    let (source, streams) = (Weak::clone(&log.source), Arc::clone(&log.streams));
    drop(log);
    assert_eq!((source.strong_count(), streams.count()), (0, 0));
    // A stream that does not end within the grace is cut.
    let mut log = body(false, [Step::Hang]);
    assert!(log.is_pending());
    log.drain.spawn_on(std::future::pending(), &tokio::runtime::Handle::current());
    log.drain().await;
    assert_eq!(reason(&log), EndReason::Cut);
}

/// Metrics, and what lists a stream in them.
fn listing() -> (Arc<Prometheus>, impl FnOnce(ClientWatch) -> Option<StreamGuard>) {
    let prometheus = Arc::new(Prometheus::new("docker", "engine"));
    let metrics = Metrics::new(Otlp::default(), Some(Arc::clone(&prometheus)));
    let (client, begun) = (SocketAddr::from(([127, 0, 0, 1], 1)).into(), std::time::Instant::now());
    let info = StreamInfo {
        sandbox: "x".into(),
        follow: true,
        format: StreamFormat::Text,
        client,
        key: None,
        agent: None,
        begun,
    };
    (prometheus, move |client| metrics.log_stream(info, client))
}

#[tokio::test(start_paused = true)]
async fn an_administrator_s_end_releases_the_source_and_breaks_the_body_off() {
    let (prometheus, list) = listing();
    let steps = [Step::Piece("a\n"), Step::Hang];
    let mut log = listed_body(true, steps, list);
    let guard = log.body.as_mut().take_guard().unwrap();
    let id = guard.id();
    assert_eq!(log.text().await, "a\n");
    assert!(log.is_pending() && prometheus.streams().is_open(id));
    assert!(prometheus.streams().end(id).is_some());
    assert!(log.is_pending() && log.is_source_gone(), "the backend is released at once");
    assert!(matches!(log.next().await, Some(Err(BodyError::EndedByAdmin))));
    assert_eq!(
        (log.body.end_reason(), guard.ended(log.body.end_reason())),
        (EndReason::EndedByAdmin, EndReason::EndedByAdmin)
    );
    assert!(log.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_administrator_s_end_is_told_behind_what_is_left_of_a_piece() {
    let (prometheus, list) = listing();
    let long: &'static str = "x".repeat(20_000).leak();
    let mut log = body_of(true, [Step::Piece(long), Step::Hang], true, None, list);
    let guard = log.body.as_mut().take_guard().unwrap();
    let mut text = log.text().await;
    assert!(prometheus.streams().end(guard.id()).is_some());
    text += &log.text().await;
    assert!(log.is_source_gone() && log.body.is_ended());
    assert_eq!(text, format!("{long}end: ended_by_admin\n"));
    assert!(log.next().await.is_none());
    assert_eq!(log.body.end_reason(), EndReason::EndedByAdmin);
}
