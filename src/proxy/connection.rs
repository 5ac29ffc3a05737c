//! One HTTP/1.1 connection to a backend, polled by the task that uses it.
//!
//! hyper's client end is not used: it is a task of its own by design, and requests and responses pass through channels. That
//! task took a fifth of a small request's processor time here, and as much again for its wake-ups. The parts of HTTP that are
//! hard are shared or others': httparse reads headers, and [`crate::http1`] reads the log engine's responses too.

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
    Head, Timeouts,
    buffers::Buffer,
    error::{Failure, ProxyError},
    io::{BackendIo, ConnectError},
    limits::Permit,
    request_writer::RequestWriter,
    response_headers::filter_trailers,
    upload::Upload,
};
use crate::{
    deadline::Deadline,
    http1::{head::is_final, response_reader::ResponseReader},
};

/// A connection. Boxed, since it is moved between the pool, an exchange and a body.
#[derive(Debug)]
pub struct Connection {
    io: BackendIo,
    /// By when the backend has to respond. Kept between requests: the next one only moves it.
    pub deadline: Deadline,
    writer: RequestWriter,
    reader: ResponseReader,
    buffer: Buffer,
}

impl Connection {
    /// Connects to `authority`; responses are read into `buffer`, and the connection holds `permit`.
    ///
    /// # Errors
    ///
    /// No connection could be made, or none may be.
    pub async fn open(
        authority: &str,
        timeouts: Timeouts,
        buffer: Buffer,
        permit: Option<Permit>,
    ) -> Result<Box<Self>, ProxyError> {
        let io = BackendIo::connect(authority, timeouts.connect, permit).await.map_err(|error| match error {
            ConnectError::Io(error) => ProxyError::Connect { authority: authority.to_owned(), error },
            ConnectError::OwnListener => ProxyError::OwnListener,
        })?;
        let deadline = Deadline::at(Instant::now() + timeouts.response);
        let (writer, reader) = (RequestWriter::default(), ResponseReader::default());
        Ok(Box::new(Self { io, deadline, writer, reader, buffer }))
    }

    /// Begins an exchange. Nothing is written before the next poll.
    pub(super) fn send_request(&mut self, head: &Head, upload: Upload) {
        self.reader.begin(head.method().clone());
        self.writer = RequestWriter::new(head, upload);
    }

    /// Takes back the body of a request of which nothing was written.
    pub(super) fn take_unsent(&mut self) -> Option<Upload> {
        std::mem::take(&mut self.writer).into_unsent()
    }

    /// How many pieces of the request's body the backend has taken.
    pub(super) fn pieces_taken(&self) -> u64 {
        self.writer.pieces_taken()
    }

    /// Sends the request, and polls for the head of the final response.
    ///
    /// # Errors
    ///
    /// The client breaks its body off, the connection fails, or what comes is no response.
    pub(super) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Failure>> {
        self.write(cx)?;
        loop {
            match self.reader.head()? {
                Some(head) if is_final(&head) => {
                    self.writer.response_begun();
                    return Poll::Ready(Ok(head));
                }
                Some(head) if head.status() == StatusCode::CONTINUE => {
                    self.writer.resume();
                    self.write(cx)?;
                }
                Some(_) => {}
                None if ready!(self.poll_read(cx)).map_err(Failure::Io)? > 0 => {}
                None => return Poll::Ready(Err(Failure::Closed("before its answer"))),
            }
        }
    }

    /// Goes on sending the request, and polls for the next piece of the response's body, or its trailers.
    ///
    /// # Errors
    ///
    /// As [`Self::poll_response`].
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.write(cx)?;
        loop {
            match self.reader.frame()? {
                Some(frame) if frame.is_trailers() => {
                    if let Some(frame) = filter_trailers(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(frame) => return Poll::Ready(Some(Ok(frame))),
                None => {}
            }
            if self.reader.is_ended() {
                return Poll::Ready(None);
            }
            if ready!(self.poll_read(cx)).map_err(Failure::Io)? == 0 {
                self.reader.close()?;
            }
        }
    }

    /// Whether the whole response was taken.
    pub(super) fn is_ended(&self) -> bool {
        self.reader.is_ended()
    }

    /// Whether the whole request was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.writer.is_sent()
    }

    /// What is known of the length that is left.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.reader.size_hint()
    }

    /// Whether it can carry another request, of any client.
    pub fn is_idle(&self) -> bool {
        self.io.has_permit() && self.writer.is_sent() && self.reader.is_idle()
    }

    /// Whether an idle connection can still be used: with `is_sure`, as far as the system knows, else as far as the runtime
    /// was told, which is later.
    pub fn is_alive(&self, is_sure: bool) -> bool {
        !((is_sure || self.io.was_told()) && self.io.has_unread())
    }

    /// The socket of a connection that has switched protocols, and what came behind the response's head.
    pub fn into_io(self) -> (BackendIo, Bytes) {
        (self.io, self.reader.bytes.freeze())
    }

    /// Writes what can be written. A backend that takes no more of the request may have responded all the same.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.writer.is_done() {
            return Ok(());
        }
        match self.writer.poll(&mut self.io, cx) {
            Poll::Ready(Err(Failure::Io(error))) if self.writer.is_begun() => {
                tracing::debug!(%error, "a backend does not take the whole request");
                self.writer.abandon();
                Ok(())
            }
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    /// Reads what is there. Room for it is made only then, so that a silent backend costs no buffer.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_ready(cx))?;
        let bytes = &mut self.reader.bytes;
        bytes.reserve(self.buffer.size());
        let room = bytes.capacity() - bytes.len();
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, bytes))?;
        self.buffer.note(count, room);
        Poll::Ready(Ok(count))
    }
}
