//! What comes from a backend: heads, a body's pieces, trailers. Told apart without a socket, however it was split.

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response};
use http_body::{Frame, SizeHint};

use super::{
    answer::{self, Answer, MAX_FIELDS},
    error::Failure,
};
use crate::logs::chunked::Body;

/// Longest trailers, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// The reading side of an exchange. First [`Self::head`] until it gives a final one, then [`Self::frame`].
#[derive(Debug)]
pub struct Input {
    /// What was read and not used yet; to be added to.
    pub bytes: BytesMut,
    /// The request's method: it decides whether there is a body.
    method: Method,
    /// How much of `bytes` was seen not to be a whole head.
    seen: usize,
    /// What follows in `bytes`.
    body: Body,
    keeps: bool,
}

impl Default for Input {
    fn default() -> Self {
        let body = Body::with_length(0);
        Self { bytes: BytesMut::new(), method: Method::GET, seen: 0, body, keeps: true }
    }
}

impl Input {
    /// The answer to a request with this `method` is to come.
    pub fn begin(&mut self, method: Method) {
        self.method = method;
    }

    /// Takes the next head, which may be an informational one; `None` if it is not whole yet.
    ///
    /// # Errors
    ///
    /// It is no answer.
    pub fn head(&mut self) -> Result<Option<Response<()>>, Failure> {
        if self.bytes.len() == self.seen {
            return Ok(None);
        }
        let Some(Answer { head, body, keeps }) = answer::take(&mut self.bytes, self.seen, &self.method)? else {
            self.seen = self.bytes.len();
            return Ok(None);
        };
        (self.seen, self.body, self.keeps) = (0, body, keeps);
        Ok(Some(head))
    }

    /// Takes the next piece of the body, or its trailers; `None` if there is nothing more yet, or not at all.
    ///
    /// # Errors
    ///
    /// The body's framing is broken.
    pub fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        while !self.bytes.is_empty() && !self.body.is_ended() {
            if self.body.is_at_trailers() {
                return self.trailers();
            }
            let run = self.body.next_run(&self.bytes)?;
            self.bytes.advance(run.skip);
            if run.len > 0 {
                return Ok(Some(Frame::data(self.bytes.split_to(run.len).freeze())));
            }
        }
        Ok(None)
    }

    fn trailers(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        let source = Bytes::copy_from_slice(&self.bytes[..self.bytes.len().min(MAX_TRAILERS)]);
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        match httparse::parse_headers(&source, &mut fields) {
            Ok(httparse::Status::Complete((length, parsed))) => {
                let trailers = answer::fields_of(&source, parsed)?;
                self.bytes.advance(length);
                self.body = Body::with_length(0);
                Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
            }
            Ok(httparse::Status::Partial) if self.bytes.len() < MAX_TRAILERS => Ok(None),
            _ => Err(Failure::Malformed("its trailers are not valid")),
        }
    }

    /// The connection has ended. Of a body that ends with it, that is the end.
    ///
    /// # Errors
    ///
    /// The body is not whole.
    pub fn close(&mut self) -> Result<(), Failure> {
        self.keeps = false;
        if !self.body.may_close() {
            return Err(Failure::Closed("in the middle of its answer"));
        }
        self.body = Body::with_length(0);
        Ok(())
    }

    /// Whether the whole answer was taken.
    pub fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// Whether the connection may carry another request, and nothing came that belongs to none.
    pub fn is_idle(&self) -> bool {
        self.keeps && self.bytes.is_empty() && self.body.is_ended()
    }

    /// What is known of the length that is left.
    pub fn size_hint(&self) -> SizeHint {
        self.body.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
