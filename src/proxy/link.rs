//! One HTTP/1.1 connection to a backend, polled by whoever uses it.
//!
//! Ours, not hyper's client end: that is a task of its own by design, which is fed and heard through channels. To be polled
//! by the task that it answers cost a small request a fifth of its processor time here, and as much again to wake that task
//! for what it had just done itself. What is hard about HTTP is still others': fields are read by httparse, and a body's
//! framing by the decoder that the log path has too.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::{
    Head, Times,
    buffers::Buffer,
    error::{Failure, ProxyError},
    input::Input,
    io::{BackendIo, ConnectError},
    limits::Permit,
    output::Output,
    upload::Upload,
};
use crate::deadline::Deadline;

/// A connection. Boxed on its way from hand to hand.
#[derive(Debug)]
pub struct Link {
    io: BackendIo,
    /// By when the backend has to answer; kept, so that the next request only moves it.
    pub late: Deadline,
    output: Output,
    input: Input,
    buffer: Buffer,
}

impl Link {
    /// Connects to `authority`; answers are read into `buffer`, and the connection holds `permit`.
    ///
    /// # Errors
    ///
    /// No connection could be made, or none may be.
    pub async fn open(
        authority: &str,
        times: Times,
        buffer: Buffer,
        permit: Option<Permit>,
    ) -> Result<Box<Self>, ProxyError> {
        let io = BackendIo::connect(authority, times.connect, permit).await.map_err(|error| match error {
            ConnectError::Io(error) => ProxyError::Connect { authority: authority.to_owned(), error },
            ConnectError::OwnListener => ProxyError::OwnListener,
        })?;
        let late = Deadline::at(Instant::now() + times.answer);
        Ok(Box::new(Self { io, late, output: Output::default(), input: Input::default(), buffer }))
    }

    /// Begins an exchange. Nothing is written before the next poll.
    pub(super) fn ask(&mut self, head: &Head, upload: Upload) {
        self.input.begin(head.method().clone());
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
        self.write(cx)?;
        loop {
            match self.input.head()? {
                Some(head) if is_final(&head) => {
                    self.output.answered();
                    return Poll::Ready(Ok(head));
                }
                Some(head) if head.status() == StatusCode::CONTINUE => {
                    self.output.go_on();
                    self.write(cx)?;
                }
                Some(_) => {}
                None if ready!(self.poll_read(cx)).map_err(Failure::Io)? > 0 => {}
                None => return Poll::Ready(Err(Failure::Closed("before its answer"))),
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
            if let Some(frame) = self.input.frame().transpose() {
                return Poll::Ready(Some(frame));
            }
            if self.input.is_ended() {
                return Poll::Ready(None);
            }
            if ready!(self.poll_read(cx)).map_err(Failure::Io)? == 0 {
                self.input.close()?;
            }
        }
    }

    /// Whether the whole answer was handed over.
    pub(super) fn is_ended(&self) -> bool {
        self.input.is_ended()
    }

    /// Whether the whole request was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.output.is_whole()
    }

    /// What is known of the length that is left.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.input.size_hint()
    }

    /// Whether it can carry another request, anyone's.
    pub fn is_idle(&self) -> bool {
        self.io.has_permit() && self.output.is_whole() && self.input.is_idle()
    }

    /// Whether one that rests can still be used; with `is_sure`, as far as the system knows, else as far as the runtime has
    /// heard, which is later.
    pub fn is_alive(&self, is_sure: bool) -> bool {
        !((is_sure || self.io.has_heard()) && self.io.is_disturbed())
    }

    /// The socket of a connection that has switched protocols, and what came behind the answer.
    pub fn into_io(self) -> (BackendIo, Bytes) {
        (self.io, self.input.bytes.freeze())
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
                Ok(())
            }
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    /// Reads what is there. Room for it is made only then: whoever is silent needs none.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_ready(cx))?;
        let bytes = &mut self.input.bytes;
        bytes.reserve(self.buffer.size());
        let room = bytes.capacity() - bytes.len();
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, bytes))?;
        self.buffer.learn(count, room);
        Poll::Ready(Ok(count))
    }
}

/// Whether an answer is the one, and no word before it.
fn is_final(head: &Response<()>) -> bool {
    !head.status().is_informational() || head.status() == StatusCode::SWITCHING_PROTOCOLS
}
