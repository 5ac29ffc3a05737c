//! The answer of a backend as a response body: owns the backend's connection, and all that must last as long.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{
    error::{BodyError, Failure},
    link::Link,
    pool::{Key, Pool},
};
use crate::{client::ClientWatch, drain, end_reason::EndReason};

/// A backend's answer. Dropping it before its end closes the backend's connection at once.
#[derive(Debug)]
pub struct ProxyBody {
    state: State,
    client: ClientWatch,
    drain: drain::Watch,
    /// What the last piece was too long for.
    rest: Bytes,
    finish: Option<EndReason>,
}

#[derive(Debug)]
enum State {
    /// The backend is read.
    Streaming(Stream),
    /// The backend failed: what came before is written first, then the response is broken off.
    Failing { error: Failure, flushes: u64, linger: Option<Pin<Box<Sleep>>> },
    /// Everything has come. On HTTP/2 the client may be a long time taking it: until it is handed over the backend's connection
    /// does not rest, so that what waits has the limit that connections have.
    Whole(Stream),
    /// Nothing more comes from the backend.
    Ended,
}

#[derive(Debug)]
struct Stream {
    link: Box<Link>,
    home: Home,
    /// How many bytes have come.
    length: usize,
}

/// The connection of a longer answer, in bytes, does not rest afterwards: the buffer that it has grown would rest with it, and
/// a new connection is nothing beside such an answer.
const LONGEST_TO_REST: usize = 128 * 1024;

/// Where a connection goes when it is free.
#[derive(Debug)]
pub struct Home {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Its place there.
    pub key: Key,
}

impl ProxyBody {
    /// The body that comes over `link`, for the client that `client` watches.
    pub fn new(link: Box<Link>, home: Home, client: ClientWatch, drain: drain::Watch) -> Self {
        let state = State::Streaming(Stream { link, home, length: 0 });
        let mut body = Self { state, client, drain, rest: Bytes::new(), finish: None };
        body.end_if_whole();
        body
    }

    /// Why it ended. Dropped before its end it was the client that left, or the gateway.
    pub fn finish(&self) -> EndReason {
        let is_whole = self.rest.is_empty() || self.finish != Some(EndReason::Complete);
        self.finish.filter(|_| is_whole).unwrap_or_else(|| match self.client.has_stalled() {
            true => EndReason::SlowClient,
            false if self.drain.has_cut() => EndReason::Cut,
            false => EndReason::ClientGone,
        })
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended | State::Whole(_)) && self.rest.is_empty()
    }

    /// Lets the backend's connection go if all has been handed over.
    pub fn let_go(&mut self) {
        if matches!(self.state, State::Whole(_))
            && self.rest.is_empty()
            && let State::Whole(stream) = std::mem::replace(&mut self.state, State::Ended)
        {
            stream.release();
        }
    }

    /// What is known of the length that is left. Nothing of an answer without a body: one to HEAD says what it would be.
    pub fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Streaming(stream) if self.rest.is_empty() => stream.link.size_hint(),
            _ => SizeHint::default(),
        }
    }

    /// Polls for the next piece.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.hand())));
        }
        let frame = match &mut self.state {
            State::Ended | State::Whole(_) => return Poll::Ready(None),
            State::Failing { flushes, linger, .. } => {
                ready!(self.client.poll_flushed(cx, *flushes));
                if let Some(linger) = linger {
                    ready!(linger.as_mut().poll(cx));
                }
                return self.fail();
            }
            State::Streaming(stream) => stream.poll_frame(cx),
        };
        match frame {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(self.pass(frame)))),
            Poll::Ready(Some(Err(error))) => self.begin_to_fail(error, cx),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.client.poll_hung_up(cx));
                self.state = State::Ended;
                self.finish = None;
                Poll::Ready(Some(Err(BodyError::ClientGone)))
            }
        }
    }

    /// Hands over a frame; of a long one, as much as the client's protocol lets be watched.
    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.end_if_whole();
        match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.hand()
            }
            Err(trailers) => trailers,
        }
    }

    fn hand(&mut self) -> Frame<Bytes> {
        let most = self.client.max_frame();
        Frame::data(if self.rest.len() <= most { std::mem::take(&mut self.rest) } else { self.rest.split_to(most) })
    }

    /// Lets go of the connection as soon as the last byte has come: hyper may not ask once more.
    fn end_if_whole(&mut self) {
        if matches!(&self.state, State::Streaming(stream) if stream.link.is_ended()) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.finish = Some(EndReason::Complete);
        if let State::Streaming(stream) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Whole(stream);
            if self.client.stream().is_none() {
                self.let_go();
            }
        }
    }

    fn begin_to_fail<T>(&mut self, error: Failure, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.finish = Some(cause(&error));
        // hyper writes what it holds when the body has nothing for it, and only then is the error due.
        let linger = self.client.linger().map(|time| Box::pin(sleep(time)));
        self.state = State::Failing { error, flushes: self.client.flushes(), linger };
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn fail<T>(&mut self) -> Poll<Option<Result<T, BodyError>>> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failing { error, .. } => Poll::Ready(Some(Err(BodyError::Backend(error)))),
            State::Streaming(_) | State::Whole(_) | State::Ended => Poll::Ready(None),
        }
    }
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = self.link.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.length += frame.data_ref().map_or(0, Bytes::len);
        }
        polled
    }

    /// Lets the connection rest, if it can carry another request.
    fn release(self) {
        let Self { link, home: Home { pool, key }, length } = self;
        if length <= LONGEST_TO_REST && link.is_idle() {
            pool.put(key, link);
        }
    }
}

fn cause(failure: &Failure) -> EndReason {
    match failure {
        Failure::Client(_) => EndReason::ClientGone,
        Failure::SlowUpload => EndReason::SlowClient,
        Failure::Malformed(_) => EndReason::BackendFailed,
        Failure::Io(_) | Failure::Closed(_) => EndReason::BackendLost,
    }
}
