//! A response as it comes: heads, pieces of a body, trailers. Does no IO, and gives the same however the bytes are split.

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response};
use http_body::{Frame, SizeHint};

use super::{
    error::Error,
    framing::BodyDecoder,
    head::{self, Head, MAX_HEADERS, is_final},
};

/// Longest trailers, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;

/// Most informational responses (1xx) before the final one.
const MAX_INFORMATIONAL: u8 = 32;

/// Shorter pieces, in bytes, are copied: each that shares the read buffer keeps all of it, and of a body in tiny chunks a
/// client that takes nothing would keep thousands.
const MIN_SHARED: usize = 1024;

/// Reads one response after another. First [`Self::head`] until it gives a final one, then [`Self::frame`].
#[derive(Debug)]
pub struct ResponseReader {
    /// What was read and not used yet. Whoever reads the connection appends to it.
    pub bytes: BytesMut,
    /// The request's method: it decides whether there is a body.
    method: Method,
    /// How many informational responses came.
    informational: u8,
    /// How much of `bytes` was seen not to be a whole head, or not all of the trailers.
    seen: usize,
    /// What follows in `bytes`.
    body: BodyDecoder,
    keeps_alive: bool,
}

impl Default for ResponseReader {
    /// A reader for the response to a GET.
    fn default() -> Self {
        let body = BodyDecoder::with_length(0);
        Self { bytes: BytesMut::new(), method: Method::GET, informational: 0, seen: 0, body, keeps_alive: true }
    }
}

impl ResponseReader {
    /// The response to a request with this `method` is to come.
    pub fn begin(&mut self, method: Method) {
        (self.method, self.informational) = (method, 0);
    }

    /// Takes the next head, which may be an informational one; `None` if it is not whole yet.
    ///
    /// # Errors
    ///
    /// It is no response.
    pub fn head(&mut self) -> Result<Option<Response<()>>, Error> {
        if self.bytes.len() == self.seen {
            return Ok(None);
        }
        let Some(Head { response, body, keeps_alive }) = head::take(&mut self.bytes, self.seen, &self.method)? else {
            self.seen = self.bytes.len();
            return Ok(None);
        };
        (self.seen, self.body, self.keeps_alive) = (0, body, keeps_alive);
        self.informational += u8::from(response.status().is_informational());
        if self.informational > MAX_INFORMATIONAL {
            return Err(Error::TooManyInformational);
        }
        Ok(Some(response))
    }

    /// Takes the head of the final response; `None` if it is not whole yet. Informational ones are stepped over.
    ///
    /// # Errors
    ///
    /// As [`Self::head`].
    pub fn final_head(&mut self) -> Result<Option<Response<()>>, Error> {
        loop {
            match self.head()? {
                Some(head) if !is_final(&head) => {}
                head => return Ok(head),
            }
        }
    }

    /// Takes the next piece of the body, or its trailers; `None` if there is nothing more yet, or not at all.
    ///
    /// # Errors
    ///
    /// The body's chunks or its trailers are not valid.
    pub fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Error> {
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
        if length >= MIN_SHARED {
            return self.bytes.split_to(length).freeze();
        }
        let piece = Bytes::copy_from_slice(&self.bytes[..length]);
        self.bytes.advance(length);
        piece
    }

    fn trailers(&mut self) -> Result<Option<Frame<Bytes>>, Error> {
        // Their end is looked for first, so that trailers that come byte by byte are not parsed again and again.
        let is_empty = self.bytes.starts_with(b"\r\n") || self.bytes[0] == b'\n';
        let end = if is_empty { Some(0) } else { head::length(&self.bytes, self.seen) };
        if end.is_none() && self.bytes.len() < MAX_TRAILERS {
            self.seen = self.bytes.len();
            return Ok(None);
        }
        self.seen = 0;
        let source = Bytes::copy_from_slice(&self.bytes[..self.bytes.len().min(MAX_TRAILERS)]);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match httparse::parse_headers(&source, &mut headers) {
            Ok(httparse::Status::Complete((length, parsed))) => {
                let trailers = head::header_map(&source, parsed)?;
                self.bytes.advance(length);
                self.body = BodyDecoder::with_length(0);
                Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
            }
            Ok(httparse::Status::Partial) if self.bytes.len() < MAX_TRAILERS => Ok(None),
            _ => Err(Error::InvalidTrailers),
        }
    }

    /// The connection has ended. Of a body that ends with it, that is the end.
    ///
    /// # Errors
    ///
    /// The body is not whole.
    pub fn close(&mut self) -> Result<(), Error> {
        self.keeps_alive = false;
        if !self.body.may_close() {
            return Err(Error::Truncated);
        }
        self.body = BodyDecoder::with_length(0);
        Ok(())
    }

    /// Whether the whole response was taken.
    pub fn is_ended(&self) -> bool {
        self.body.is_ended()
    }

    /// Whether the connection may carry another request, and nothing came that belongs to none.
    pub fn is_idle(&self) -> bool {
        self.keeps_alive && self.bytes.is_empty() && self.body.is_ended()
    }

    /// What is known of the length that is left.
    pub fn size_hint(&self) -> SizeHint {
        self.body.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// What finds the body, and what of it was read already, for a user that decodes the body itself.
    pub fn into_body(self) -> (BodyDecoder, BytesMut) {
        (self.body, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_pieces_do_not_keep_the_buffer() {
        let mut reader = ResponseReader::default();
        reader.begin(Method::GET);
        reader.bytes.reserve(8 * 1024);
        reader.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        drop(reader.head().expect("valid").expect("whole"));
        let room = reader.bytes.capacity();
        let mut pieces = Vec::new();
        for _ in 0..2 * room / 6 {
            reader.bytes.reserve(6);
            reader.bytes.extend_from_slice(b"1\r\nx\r\n");
            pieces.push(reader.frame().expect("valid").expect("a piece"));
        }
        assert!(reader.bytes.capacity() <= 8 * 1024, "{}", reader.bytes.capacity());
    }

    #[test]
    fn trailers_are_the_same_however_they_come_and_cost_what_they_are_long() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let start = std::time::Instant::now();
        for (trailers, expected) in [
            ("X-Sum: 1\r\nX-Other: a=1\r\n\r\n".to_owned(), 2),
            ("\r\n".to_owned(), 0),
            ("\n".to_owned(), 0),
            ("X-Sum: 1\n\n".to_owned(), 1),
            (format!("X-Sum: {}\r\n\r\n", "1".repeat(16_000)), 1),
        ] {
            let mut reader = ResponseReader::default();
            reader.bytes.extend_from_slice(&[&head[..], b"0\r\n"].concat());
            assert!(reader.head().expect("valid").is_some());
            let mut found = None;
            for byte in trailers.bytes() {
                assert!(found.is_none() && !reader.is_ended(), "{trailers}");
                reader.bytes.extend_from_slice(&[byte]);
                found = reader.frame().expect("valid");
            }
            let found = found.map_or(0, |frame| frame.into_trailers().expect("trailers").len());
            assert!(found == expected && reader.is_idle(), "{trailers}");
        }
        let mut reader = ResponseReader::default();
        reader.bytes.extend_from_slice(&[&head[..], b"0\r\n", "x".repeat(MAX_TRAILERS).as_bytes()].concat());
        assert!(reader.head().expect("valid").is_some());
        assert!(matches!(reader.frame(), Err(Error::InvalidTrailers)));
        assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn a_body_is_its_own_end_s() {
        let mut reader = ResponseReader::default();
        reader.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
        assert!(reader.head().expect("valid").is_some());
        assert_eq!(reader.frame().expect("valid").expect("a piece").into_data().expect("data"), "abc");
        assert!(!reader.is_ended() && matches!(reader.close(), Err(Error::Truncated)));
        let mut reader = ResponseReader::default();
        reader.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\nabc");
        assert!(reader.head().expect("valid").is_some() && reader.frame().expect("valid").is_some());
        assert!(!reader.is_ended());
        reader.close().expect("its end");
        assert!(reader.is_ended() && !reader.is_idle());
    }
}
