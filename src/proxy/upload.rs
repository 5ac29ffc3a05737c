//! The body of a forwarded request, on its way from hyper's server end to its client end.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Request, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

/// A request's body: none, some bytes, or what the client sends.
#[derive(Debug, Default)]
pub struct Upload {
    kind: Kind,
    /// Held back until the backend wants it.
    held: Option<Held>,
    /// How many pieces the backend has taken; none of no body.
    taken: Option<Arc<AtomicU64>>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Client(Incoming),
}

/// A body that its client sends only when told to (`Expect: 100-continue`): it is not asked for, and hyper does not tell
/// the client to go on, before the backend has said so or for long enough said nothing.
#[derive(Debug)]
struct Held {
    told: Arc<Told>,
    patience: Pin<Box<Sleep>>,
}

#[derive(Debug, Default)]
struct Told {
    has_come: AtomicBool,
    waker: AtomicWaker,
}

impl Upload {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, held: None, taken: Some(Arc::default()) }
    }

    /// The body that a client sends with a request of these fields. One that waits for the word to send it is made to wait
    /// for the backend's, at most for `patience`.
    pub fn of_client(body: Incoming, headers: &HeaderMap, patience: Duration) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        let expects =
            headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let held = expects.then(|| Held { told: Arc::default(), patience: Box::pin(sleep(patience)) });
        Self { kind: Kind::Client(body), held, taken: Some(Arc::default()) }
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// The length in bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Counts the pieces that the backend has taken, also when the upload itself is hyper's.
    pub(super) fn progress(&self) -> Option<Arc<AtomicU64>> {
        self.taken.clone()
    }

    /// Lets `request`, which has this body, know of the backend's word.
    pub(super) fn listen(request: &mut Request<Self>) {
        let Some(told) = request.body().held.as_ref().map(|held| Arc::clone(&held.told)) else { return };
        hyper::ext::on_informational(request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                told.has_come.store(true, Ordering::Release);
                told.waker.wake();
            }
        });
    }
}

impl Held {
    fn poll_let_go(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.told.waker.register(cx.waker());
        if self.told.has_come.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(held) = &mut self.held {
            ready!(held.poll_let_go(cx));
            self.held = None;
        }
        let frame = match &mut self.kind {
            Kind::Empty => None,
            Kind::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Client(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        if let Kind::Full(_) = self.kind {
            self.kind = Kind::Empty;
        }
        if let Some(taken) = &self.taken {
            taken.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Client(body) => body.size_hint(),
        }
    }
}
