//! The body of a forwarded request, as it comes from hyper's server end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{header, request::Parts};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::{Timeouts, error::Failure, pace::Pace};

/// A request's body: none, some bytes, or what the client sends.
#[derive(Debug, Default)]
pub struct Upload {
    kind: Kind,
    /// Until when the body is held back.
    held: Option<Held>,
    /// How many pieces were taken.
    pieces_taken: u64,
    /// How slow the client may be; none once the backend has begun its response.
    pace: Option<Pace>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Client(Incoming),
}

/// A body that its client sends only when told to (`Expect: 100-continue`). It is not polled, and so hyper sends no
/// `100 Continue`, before the backend has sent one or the timeout is over.
#[derive(Debug)]
struct Held {
    timeout: Pin<Box<Sleep>>,
}

impl Upload {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self { kind, ..Self::default() }
    }

    /// The body that a client sends with a request of this head. A client that waits for a `100 Continue` gets the backend's, or
    /// after `timeouts.resume` one of the gateway's. A client that sends too little within `timeouts.upload` is given up.
    pub fn of_client(body: Incoming, head: &Parts, timeouts: Timeouts) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        let expects = head
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let held = expects.then(|| Held { timeout: Box::pin(sleep(timeouts.resume)) });
        let pace = Some(Pace::of(head.version, timeouts.upload));
        Self { kind: Kind::Client(body), held, pieces_taken: 0, pace }
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    /// The length in bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Client(body) => body.size_hint().exact(),
        }
    }

    /// How many pieces were taken.
    pub(super) fn pieces_taken(&self) -> u64 {
        self.pieces_taken
    }

    /// The backend wants a body that was held back.
    pub(super) fn resume(&mut self) {
        self.held = None;
    }

    /// The backend has begun its response: from now on the client may be slow, since it may be waiting for the response.
    pub(super) fn response_begun(&mut self) {
        self.pace = None;
    }

    /// Polls for the next piece.
    ///
    /// # Errors
    ///
    /// The client breaks its body off, or is too slow.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(Held { timeout }) = &mut self.held {
            ready!(timeout.as_mut().poll(cx));
            self.held = None;
        }
        let frame = match &mut self.kind {
            Kind::Empty => None,
            Kind::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Client(body) => match (Pin::new(body).poll_frame(cx), &mut self.pace) {
                (Poll::Ready(frame), pace) => {
                    if let (Some(Ok(frame)), Some(pace)) = (&frame, pace) {
                        pace.came(frame.data_ref().map_or(0, Bytes::len));
                    }
                    frame.map(|frame| frame.map_err(|error| Failure::Client(error.into())))
                }
                (Poll::Pending, Some(pace)) => {
                    ready!(pace.poll_late(cx));
                    Some(Err(Failure::SlowUpload))
                }
                (Poll::Pending, None) => return Poll::Pending,
            },
        };
        if let Kind::Full(_) = self.kind {
            self.kind = Kind::Empty;
        }
        self.pieces_taken += 1;
        Poll::Ready(frame)
    }
}
