//! The head of an engine's answer (RFC 9112 §4).

use bytes::{Buf, BytesMut};

use super::engine::OpenError;
use crate::http1::framing::Body;

/// Longest head that is accepted, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Most headers that are accepted.
const MAX_HEADERS: usize = 64;

/// What matters of an answer's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The body is in chunks.
    pub chunked: bool,
    /// The body's length, unless it is in chunks or ends with the connection.
    pub length: Option<u64>,
}

impl Head {
    /// A decoder for the body, by RFC 9112 §6.3.
    pub fn body(&self) -> Body {
        match self {
            Self { chunked: true, .. } => Body::chunked(),
            Self { length: Some(length), .. } => Body::with_length(*length),
            Self { .. } => Body::until_close(),
        }
    }
}

/// Takes a head from the front of `buf`; `None` when it is not whole yet. Interim answers (1xx) are stepped over.
pub fn parse(buf: &mut BytesMut) -> Result<Option<Head>, OpenError> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(buf).map_err(|_| OpenError::Protocol("the answer's head is not HTTP"))?;
        let httparse::Status::Complete(length) = parsed else {
            let too_long = buf.len() > MAX_HEAD;
            return if too_long { Err(OpenError::Protocol("the answer's head is too long")) } else { Ok(None) };
        };
        let head = Head {
            status: answer.code.unwrap_or_default(),
            chunked: value(answer.headers, "transfer-encoding").is_some_and(is_chunked),
            length: content_length(value(answer.headers, "content-length"))?,
        };
        buf.advance(length);
        if !(100..200).contains(&head.status) {
            return Ok(Some(head));
        }
    }
}

fn value<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn is_chunked(value: &[u8]) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

fn content_length(value: Option<&[u8]>) -> Result<Option<u64>, OpenError> {
    let Some(value) = value else { return Ok(None) };
    let digits = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    digits.map(Some).ok_or(OpenError::Protocol("the answer's Content-Length is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Head>, OpenError> {
        parse(&mut BytesMut::from(text))
    }

    #[test]
    fn a_head_is_taken_once_it_is_whole() {
        let text = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: Chunked\r\n\r\nrest";
        let mut buf = BytesMut::from(text);
        let head = parse(&mut buf).expect("valid").expect("whole");
        assert_eq!(head, Head { status: 200, chunked: true, length: None });
        assert_eq!(&buf[..], b"rest");
        assert!(parsed(&text[..40]).expect("valid so far").is_none());
    }

    #[test]
    fn interim_answers_are_stepped_over() {
        let head = parsed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 No\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(head.expect("valid"), Some(Head { status: 404, chunked: false, length: Some(5) }));
    }

    #[test]
    fn what_is_not_a_head_is_refused() {
        assert!(parsed("hello\r\n\r\n").is_err());
        assert!(parsed("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").is_err());
        assert!(parsed(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD))).is_err());
    }
}
