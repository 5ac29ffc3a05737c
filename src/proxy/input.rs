//! What comes from a backend: heads, a body's pieces, trailers. Told apart without a socket, however it was split.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use http_body::{Frame, SizeHint};

use super::{
    answer::{self, Answer, MAX_FIELDS, fields::may_trail},
    error::Failure,
};
use crate::http1::framing::Body;

/// Longest trailers, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// Most informational heads before the answer.
const MAX_WORDS: u8 = 32;

/// Pieces that are shorter, in bytes, are copied: each that shares the read buffer keeps all of it, and of a body in tiny
/// chunks a client that takes nothing would keep thousands.
const SHORT: usize = 1024;

/// The reading side of an exchange. First [`Self::head`] until it gives a final one, then [`Self::frame`].
#[derive(Debug)]
pub struct Input {
    /// What was read and not used yet; to be added to.
    pub bytes: BytesMut,
    /// The request's method: it decides whether there is a body.
    method: Method,
    /// How many informational heads came.
    words: u8,
    /// How much of `bytes` was seen not to be a whole head, or not all of the trailers.
    seen: usize,
    /// What follows in `bytes`.
    body: Body,
    keeps: bool,
}

impl Default for Input {
    fn default() -> Self {
        let body = Body::with_length(0);
        Self { bytes: BytesMut::new(), method: Method::GET, words: 0, seen: 0, body, keeps: true }
    }
}

impl Input {
    /// The answer to a request with this `method` is to come.
    pub fn begin(&mut self, method: Method) {
        (self.method, self.words) = (method, 0);
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
        self.words += u8::from(head.status().is_informational());
        if self.words > MAX_WORDS {
            return Err(Failure::Malformed("it says too much before its answer"));
        }
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
                return Ok(Some(Frame::data(self.piece(run.len))));
            }
        }
        Ok(None)
    }

    fn piece(&mut self, length: usize) -> Bytes {
        if length >= SHORT {
            return self.bytes.split_to(length).freeze();
        }
        let piece = Bytes::copy_from_slice(&self.bytes[..length]);
        self.bytes.advance(length);
        piece
    }

    fn trailers(&mut self) -> Result<Option<Frame<Bytes>>, Failure> {
        // Looked for first, so that trailers that come byte by byte are not read again and again.
        let is_empty = self.bytes.starts_with(b"\r\n") || self.bytes[0] == b'\n';
        let end = if is_empty { Some(0) } else { answer::length(&self.bytes, self.seen) };
        if end.is_none() && self.bytes.len() < MAX_TRAILERS {
            self.seen = self.bytes.len();
            return Ok(None);
        }
        self.seen = 0;
        let source = Bytes::copy_from_slice(&self.bytes[..self.bytes.len().min(MAX_TRAILERS)]);
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        match httparse::parse_headers(&source, &mut fields) {
            Ok(httparse::Status::Complete((length, parsed))) => {
                let all = answer::fields_of(&source, parsed)?;
                self.bytes.advance(length);
                self.body = Body::with_length(0);
                let passed = all.iter().filter(|(name, _)| may_trail(name));
                let trailers: HeaderMap = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_pieces_do_not_keep_the_buffer() {
        let mut input = Input::default();
        input.begin(Method::GET);
        input.bytes.reserve(8 * 1024);
        input.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        drop(input.head().expect("valid").expect("whole"));
        let room = input.bytes.capacity();
        let mut pieces = Vec::new();
        for _ in 0..2 * room / 6 {
            input.bytes.reserve(6);
            input.bytes.extend_from_slice(b"1\r\nx\r\n");
            pieces.push(input.frame().expect("valid").expect("a piece"));
        }
        assert!(input.bytes.capacity() <= 8 * 1024, "{}", input.bytes.capacity());
    }

    #[test]
    fn trailers_are_the_same_however_they_come_and_cost_what_they_are_long() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let start = std::time::Instant::now();
        for (trailers, expected) in [
            ("X-Sum: 1\r\nSet-Cookie: a=1\r\n\r\n".to_owned(), 1),
            ("\r\n".to_owned(), 0),
            ("\n".to_owned(), 0),
            ("Set-Cookie: a=1\r\n\r\n".to_owned(), 0),
            (format!("X-Sum: {}\r\n\r\n", "1".repeat(16_000)), 1),
        ] {
            let mut input = Input::default();
            input.bytes.extend_from_slice(&[&head[..], b"0\r\n"].concat());
            assert!(input.head().expect("valid").is_some());
            let mut found = None;
            for byte in trailers.bytes() {
                assert!(found.is_none() && !input.is_ended(), "{trailers}");
                input.bytes.extend_from_slice(&[byte]);
                found = input.frame().expect("valid");
            }
            let found = found.map_or(0, |frame| frame.into_trailers().expect("trailers").len());
            assert!(found == expected && input.is_idle(), "{trailers}");
        }
        let mut input = Input::default();
        input.bytes.extend_from_slice(&[&head[..], b"0\r\n", "x".repeat(MAX_TRAILERS).as_bytes()].concat());
        assert!(input.head().expect("valid").is_some());
        assert!(matches!(input.frame(), Err(Failure::Malformed(_))));
        assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn a_body_is_its_own_end_s() {
        let mut input = Input::default();
        input.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
        assert!(input.head().expect("valid").is_some());
        assert_eq!(input.frame().expect("valid").expect("a piece").into_data().expect("data"), "abc");
        assert!(!input.is_ended() && matches!(input.close(), Err(Failure::Closed(_))));
        let mut input = Input::default();
        input.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\nabc");
        assert!(input.head().expect("valid").is_some() && input.frame().expect("valid").is_some());
        assert!(!input.is_ended());
        input.close().expect("its end");
        assert!(input.is_ended() && !input.is_idle());
    }
}
