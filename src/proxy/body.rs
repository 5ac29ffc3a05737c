//! A backend's response as a response body: owns the backend's connection, and all that must last as long.

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
    connection::Connection,
    error::{BodyError, Failure},
    pool::{Key, Pool},
};
use crate::{client::ClientWatch, drain, end_reason::EndReason};

/// The body of a backend's response. Dropping it before its end closes the backend's connection at once.
#[derive(Debug)]
pub struct ProxyBody {
    state: State,
    client: ClientWatch,
    drain: drain::Watch,
    /// What is left of a piece that was longer than the client's frames may be.
    rest: Bytes,
    end_reason: Option<EndReason>,
}

#[derive(Debug)]
enum State {
    /// The backend is read.
    Streaming(Stream),
    /// The backend failed: what came before is written first, then the response is broken off.
    Failing { error: Failure, flushes: u64, linger: Option<Pin<Box<Sleep>>> },
    /// Everything has come. On HTTP/2 the client may take a long time for it. The backend's connection goes to the pool when
    /// everything was sent, so that what waits counts against the limit on connections.
    Complete(Stream),
    /// Nothing more comes from the backend.
    Ended,
}

#[derive(Debug)]
struct Stream {
    connection: Box<Connection>,
    slot: PoolSlot,
    /// How many bytes have come.
    length: usize,
}

/// The connection of a longer response, in bytes, does not go to the pool: it would keep the buffer that it has grown, and
/// a new connection costs little beside such a response.
const MAX_REUSED: usize = 128 * 1024;

/// Where a connection goes when it is idle.
#[derive(Debug)]
pub struct PoolSlot {
    /// The pool.
    pub pool: Arc<Pool>,
    /// Its place there.
    pub key: Key,
}

impl ProxyBody {
    /// The body that comes over `connection`, for the client that `client` watches.
    pub fn new(connection: Box<Connection>, slot: PoolSlot, client: ClientWatch, drain: drain::Watch) -> Self {
        let state = State::Streaming(Stream { connection, slot, length: 0 });
        let mut body = Self { state, client, drain, rest: Bytes::new(), end_reason: None };
        body.end_if_complete();
        body
    }

    /// Why it ended. If it is dropped before its end, the client left, or the gateway has cut it.
    pub fn end_reason(&self) -> EndReason {
        let is_sent = self.rest.is_empty() || self.end_reason != Some(EndReason::Complete);
        self.end_reason.filter(|_| is_sent).unwrap_or_else(|| match self.client.has_stalled() {
            true => EndReason::SlowClient,
            false if self.drain.has_cut() => EndReason::Cut,
            false => EndReason::ClientGone,
        })
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended | State::Complete(_)) && self.rest.is_empty()
    }

    /// Gives the backend's connection to the pool if everything was sent.
    pub fn release_connection(&mut self) {
        if matches!(self.state, State::Complete(_))
            && self.rest.is_empty()
            && let State::Complete(stream) = std::mem::replace(&mut self.state, State::Ended)
        {
            stream.release();
        }
    }

    /// What is known of the length that is left. Nothing for a response without a body: to HEAD, its head tells what the body
    /// would be.
    pub fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Streaming(stream) if self.rest.is_empty() => stream.connection.size_hint(),
            _ => SizeHint::default(),
        }
    }

    /// Polls for the next piece.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_frame())));
        }
        let frame = match &mut self.state {
            State::Ended | State::Complete(_) => return Poll::Ready(None),
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
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(self.send(frame)))),
            Poll::Ready(Some(Err(error))) => self.begin_to_fail(error, cx),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.client.poll_hung_up(cx));
                self.state = State::Ended;
                self.end_reason = None;
                Poll::Ready(Some(Err(BodyError::ClientGone)))
            }
        }
    }

    /// Sends a frame; of a long one, as much as the client's frames hold.
    fn send(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.end_if_complete();
        match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.next_frame()
            }
            Err(trailers) => trailers,
        }
    }

    fn next_frame(&mut self) -> Frame<Bytes> {
        let most = self.client.max_frame();
        Frame::data(if self.rest.len() <= most { std::mem::take(&mut self.rest) } else { self.rest.split_to(most) })
    }

    /// Ends with the last byte: hyper may not poll again.
    fn end_if_complete(&mut self) {
        if matches!(&self.state, State::Streaming(stream) if stream.connection.is_ended()) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.end_reason = Some(EndReason::Complete);
        if let State::Streaming(stream) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Complete(stream);
            if self.client.stream().is_none() {
                self.release_connection();
            }
        }
    }

    fn begin_to_fail<T>(&mut self, error: Failure, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.end_reason = Some(cause(&error));
        // hyper writes what it holds only when the body is pending: the error comes after that.
        let linger = self.client.linger().map(|time| Box::pin(sleep(time)));
        self.state = State::Failing { error, flushes: self.client.flushes(), linger };
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn fail<T>(&mut self) -> Poll<Option<Result<T, BodyError>>> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failing { error, .. } => Poll::Ready(Some(Err(BodyError::Backend(error)))),
            State::Streaming(_) | State::Complete(_) | State::Ended => Poll::Ready(None),
        }
    }
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = self.connection.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.length += frame.data_ref().map_or(0, Bytes::len);
        }
        polled
    }

    /// Gives the connection to the pool if it can carry another request.
    fn release(self) {
        let Self { connection, slot: PoolSlot { pool, key }, length } = self;
        if length <= MAX_REUSED && connection.is_idle() {
            pool.put(key, connection);
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
