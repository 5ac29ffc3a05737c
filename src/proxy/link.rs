//! One HTTP/1.1 connection to a backend, polled by whoever uses it.
//!
//! Ours, not hyper's client end: that is a task of its own by design, which is fed and heard through channels. To be polled
//! by the task that it answers cost a small request a fifth of its processor time here, and as much again to wake that task
//! for what it had just done itself. What is hard about HTTP is still others': fields are read by httparse, and a body's
//! framing by the decoder of the log path.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::{
    Head, Times,
    answer::{self, MAX_FIELDS},
    error::{Failure, ProxyError},
    io::BackendIo,
    output::Output,
    upload::Upload,
};
use crate::{deadline::Deadline, logs::chunked::Body};

/// The largest buffer that a backend's answer is read into, in bytes. One of this size goes back to the system every time
/// (`lg_tcache_max` in `.cargo/config.toml`), which costs less than to read in smaller pieces: with 128 KiB a large file came
/// at 0.8 of nginx's speed, with this at 1.1.
const LARGE: usize = 512 * 1024;

/// The same where many connections are open.
const SMALL: usize = 128 * 1024;

/// The first buffer, in bytes; doubled while reads fill it.
const FIRST: usize = 8 * 1024;

/// Longest trailers, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// Most connections that may have a large buffer at a time, those that rest included: beyond, their memory counts for more
/// than their speed.
const MOST_LARGE: usize = 256;

/// Deals out the large buffers.
#[derive(Debug, Default)]
pub struct Buffers(Arc<AtomicUsize>);

/// How large a connection's buffer may grow, until this is dropped.
#[derive(Debug)]
pub struct Buffer {
    max: usize,
    large: Arc<AtomicUsize>,
}

impl Buffers {
    /// A buffer for one more connection.
    pub fn take(&self) -> Buffer {
        let is_large = |count| (count < MOST_LARGE).then_some(count + 1);
        let max = match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_large) {
            Ok(_) => LARGE,
            Err(_) => SMALL,
        };
        Buffer { max, large: Arc::clone(&self.0) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.max == LARGE {
            self.large.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection. Boxed on its way from hand to hand.
#[derive(Debug)]
pub struct Link {
    io: BackendIo,
    /// By when the backend has to answer; kept, so that the next request only moves it.
    pub late: Deadline,
    method: Method,
    output: Output,
    /// What was read and not used yet.
    input: BytesMut,
    /// How much of `input` was seen not to be a whole head.
    seen: usize,
    /// What follows in `input`.
    body: Body,
    keeps: bool,
    /// How much room the next read is given, in bytes.
    room: usize,
    buffer: Buffer,
}

impl Link {
    /// Connects to `authority`; answers are read into `buffer`.
    ///
    /// # Errors
    ///
    /// No connection could be made.
    pub async fn open(authority: &str, times: Times, buffer: Buffer) -> Result<Box<Self>, ProxyError> {
        let io = BackendIo::connect(authority, times.connect)
            .await
            .map_err(|error| ProxyError::Connect { authority: authority.to_owned(), error })?;
        Ok(Box::new(Self {
            io,
            late: Deadline::at(Instant::now() + times.answer),
            method: Method::GET,
            output: Output::default(),
            input: BytesMut::new(),
            seen: 0,
            body: Body::with_length(0),
            keeps: true,
            room: FIRST,
            buffer,
        }))
    }

    /// Begins an exchange. Nothing is written before the next poll.
    pub(super) fn ask(&mut self, head: &Head, upload: Upload) {
        self.method = head.method().clone();
        self.output = Output::new(head, upload);
    }

    /// Takes the body of a request of which nothing was written back.
    pub(super) fn untouched(&mut self) -> Option<Upload> {
        std::mem::take(&mut self.output).untouched()
    }

    /// How many pieces of the request's body the backend has taken.
    pub(super) fn taken(&self) -> u64 {
        self.output.taken()
    }

    /// Sends the request, and polls for the head of its answer.
    ///
    /// # Errors
    ///
    /// The client breaks its body off, the connection fails, or what comes is no answer.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Failure>> {
        loop {
            self.write(cx)?;
            let answer = ready!(self.poll_head(cx))?;
            match answer.head.status() {
                StatusCode::CONTINUE => self.output.go_on(),
                status if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS => {}
                _ => {
                    self.body = answer.body;
                    self.keeps = answer.keeps;
                    return Poll::Ready(Ok(answer.head));
                }
            }
        }
    }

    /// Goes on sending the request, and polls for the next piece of the answer's body, or its trailers.
    ///
    /// # Errors
    ///
    /// As [`Self::poll_answer`].
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.write(cx)?;
        loop {
            if let Some(frame) = self.decode().transpose() {
                return Poll::Ready(Some(frame));
            }
            if self.body.is_ended() {
                return Poll::Ready(None);
            }
            if ready!(self.poll_read(cx)).map_err(Failure::Io)? == 0 {
                if !self.body.may_close() {
                    return Poll::Ready(Some(Err(Failure::Closed("in the middle of its answer"))));
                }
                self.body = Body::with_length(0);
                self.keeps = false;
            }
        }
    }

    /// Whether the whole answer was handed over.
    pub(super) fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// What is known of the length that is left.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Whether it can carry another request.
    pub fn is_idle(&self) -> bool {
        self.keeps && self.output.is_done() && self.input.is_empty() && self.body.is_ended()
    }

    /// Whether one that rests can still be used; with `is_sure`, as far as the system knows, else as far as the runtime has
    /// heard, which is later.
    pub fn is_alive(&self, is_sure: bool) -> bool {
        !((is_sure || self.io.has_heard()) && self.io.is_disturbed())
    }

    /// The socket of a connection that has switched protocols, and what came behind the answer.
    pub fn into_io(self) -> (BackendIo, Bytes) {
        (self.io, self.input.freeze())
    }

    /// Writes what can be written. A backend that takes nothing any more may have answered all the same.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.output.is_done() {
            return Ok(());
        }
        match self.output.poll(&mut self.io, cx) {
            Poll::Ready(Err(Failure::Io(error))) if self.output.is_begun() => {
                tracing::debug!(%error, "a backend does not take the whole request");
                self.output.abandon();
                self.keeps = false;
                Ok(())
            }
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<answer::Answer, Failure>> {
        loop {
            if self.input.len() > self.seen {
                if let Some(answer) = answer::take(&mut self.input, self.seen, &self.method)? {
                    self.seen = 0;
                    return Poll::Ready(Ok(answer));
                }
                self.seen = self.input.len();
            }
            if ready!(self.poll_read(cx)).map_err(Failure::Io)? == 0 {
                return Poll::Ready(Err(Failure::Closed("before its answer")));
            }
        }
    }

    /// The next frame that is in the input; `None` if there is none yet, or the body has ended.
    fn decode(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        while !self.input.is_empty() && !self.body.is_ended() {
            if self.body.is_at_trailers() {
                return self.trailers();
            }
            let run = self.body.next_run(&self.input).map_err(Failure::from)?;
            self.input.advance(run.skip);
            if run.len > 0 {
                return Ok(Some(Frame::data(self.input.split_to(run.len).freeze())));
            }
        }
        Ok(None)
    }

    /// What follows the last chunk; `None` if there is nothing, or it is not whole yet.
    fn trailers(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        let source = Bytes::copy_from_slice(&self.input[..self.input.len().min(MAX_TRAILERS)]);
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        match httparse::parse_headers(&source, &mut fields) {
            Ok(httparse::Status::Complete((length, parsed))) => {
                let trailers = answer::fields_of(&source, parsed)?;
                self.input.advance(length);
                self.body = Body::with_length(0);
                Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
            }
            Ok(httparse::Status::Partial) if self.input.len() < MAX_TRAILERS => Ok(None),
            _ => Err(Failure::Malformed("its trailers are not valid")),
        }
    }

    /// Reads what is there. Room for it is made only then: whoever is silent needs none.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_ready(cx))?;
        self.input.reserve(self.room);
        let room = self.input.capacity() - self.input.len();
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
        if count == room {
            self.room = (self.room * 2).min(self.buffer.max);
        } else if count < self.room / 4 {
            self.room = (self.room / 2).max(FIRST);
        }
        Poll::Ready(Ok(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_few_and_come_back() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..=MOST_LARGE).map(|_| buffers.take()).collect();
        assert_eq!((taken[0].max, taken[MOST_LARGE].max), (LARGE, SMALL));
        taken.truncate(1);
        assert_eq!(buffers.take().max, LARGE);
        drop(taken);
        assert_eq!(buffers.0.load(Ordering::Relaxed), 0);
    }
}
