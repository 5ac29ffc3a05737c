//! What a server sends that is no HTTP/1.1 response.

use std::{error, fmt};

/// How bytes from a server are no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// They do not begin with `HTTP/1.`.
    NotHttp1,
    /// The head is longer than [`super::head::MAX_HEAD`].
    HeadTooLong,
    /// The head has more headers than [`super::head::MAX_HEADERS`].
    TooManyHeaders,
    /// The head breaks the grammar.
    InvalidHead,
    /// The status code is out of range.
    InvalidStatus,
    /// A header's name has bytes that no name has.
    InvalidHeaderName,
    /// A header's value has bytes that no value has.
    InvalidHeaderValue,
    /// `Content-Length` is no number, or several that differ.
    InvalidContentLength,
    /// An HTTP/1.0 response has a `Transfer-Encoding`.
    CodedHttp10,
    /// More informational responses (1xx) come before the final one than are taken.
    TooManyInformational,
    /// The chunks break the grammar; how.
    InvalidChunk(&'static str),
    /// The trailers break the grammar, or are too long.
    InvalidTrailers,
    /// The connection ended before the body did.
    Truncated,
}

impl Error {
    /// What is wrong, said of the server.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotHttp1 => "it does not speak HTTP/1",
            Self::HeadTooLong => "its head is too long",
            Self::TooManyHeaders => "its head has too many fields",
            Self::InvalidHead => "its head is not valid",
            Self::InvalidStatus => "its status is no status",
            Self::InvalidHeaderName => "a field's name is not valid",
            Self::InvalidHeaderValue => "a field's value is not valid",
            Self::InvalidContentLength => "its Content-Length is no length",
            Self::CodedHttp10 => "its HTTP/1.0 has a transfer coding",
            Self::TooManyInformational => "it says too much before its answer",
            Self::InvalidChunk(why) => why,
            Self::InvalidTrailers => "its trailers are not valid",
            Self::Truncated => "it closed the connection in the middle of its answer",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl error::Error for Error {}
