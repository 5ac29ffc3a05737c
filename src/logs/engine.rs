//! Opening a log with an engine: a request on a connection of its own, and the head of its answer.
//!
//! The log's bytes are then read by [`super::exchange::Exchange`].

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http1::{self, framing::BodyDecoder, head, response_reader::ResponseReader};

/// Room for an answer's head, in bytes: an engine's are shorter.
const FIRST_HEAD: usize = 256;

/// Longest error text that is taken from an engine's refusal, in bytes.
const MAX_REFUSAL: usize = 4 * 1024;

/// A connection to an engine.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Polls until a read is worth a buffer, so that a silent stream holds none.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Transport for tokio::net::UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl Transport for tokio::net::TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

/// Why an engine did not open the log.
#[derive(Debug)]
pub enum OpenError {
    /// The connection failed before the answer's head was whole.
    Io(io::Error),
    /// The answer is not HTTP.
    Protocol(&'static str),
    /// The engine answered with another status than 200.
    Refused {
        /// The status code.
        status: u16,
        /// The engine's own message, as far as it sent one.
        message: String,
    },
}

/// An answer whose head was read, with status 200.
#[derive(Debug)]
pub struct Answer<T> {
    /// The connection.
    pub io: T,
    /// Finds the body in what the connection gives.
    pub body: BodyDecoder,
    /// Bytes of the body that came with the head.
    pub early: Bytes,
}

/// Sends a request for `target` (path and query) and reads the answer's head.
///
/// Takes as long as the engine does: one of version 20.10 sends no head before the first line (log-pitfalls B1).
/// Dropping the future closes the connection.
///
/// # Errors
///
/// The engine cannot be talked to, or refuses.
pub async fn send_request<T: Transport>(mut io: T, target: String) -> Result<Answer<T>, OpenError> {
    // The engine ignores the host; HTTP/1.1 demands one (RFC 9112 §3.2).
    let request = format!("GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await?;
    io.flush().await?;
    // Nothing of the request is kept in the wait for the answer.
    drop((request, target));
    // The wait may last for hours: it holds no buffer, and the future has no room for what comes after it.
    poll_fn(|cx| io.poll_readable(cx)).await?;
    Box::pin(answer(io)).await
}

/// Reads the head of an answer, and all of it if it is a refusal.
async fn answer<T: Transport>(mut io: T) -> Result<Answer<T>, OpenError> {
    let mut reader = ResponseReader::default();
    reader.bytes.reserve(FIRST_HEAD);
    let status = loop {
        if io.read_buf(&mut reader.bytes).await? == 0 {
            return Err(OpenError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(status) = final_status(&mut reader)? {
            break status;
        }
    };
    if status != 200 {
        return Err(OpenError::Refused { status, message: Box::pin(refusal(io, reader)).await });
    }
    let (body, early) = reader.into_body();
    Ok(Answer { io, body, early: early.freeze() })
}

/// The status of the final response, once its head is whole. Informational ones (1xx) are stepped over.
fn final_status(reader: &mut ResponseReader) -> Result<Option<u16>, http1::error::Error> {
    while let Some(response) = reader.head()? {
        if head::is_final(&response) {
            return Ok(Some(response.status().as_u16()));
        }
    }
    Ok(None)
}

/// Reads what an engine says along with a refusal: `{"message":"…"}` (Engine API, "Errors").
///
/// Not to the connection's end where the text's own is known: an engine need not close it.
async fn refusal<T: Transport>(mut io: T, mut reader: ResponseReader) -> String {
    let mut text = Vec::new();
    let read = async {
        while text.len() < MAX_REFUSAL && !reader.is_ended() {
            match reader.frame().map_err(io::Error::other)? {
                Some(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
                None if io.read_buf(&mut reader.bytes).await? > 0 => {}
                None => break,
            }
        }
        Ok::<_, io::Error>(())
    };
    let broken = read.await.err();
    let json = serde_json::from_slice::<serde_json::Value>(&text).ok();
    match json.as_ref().and_then(|json| json["message"].as_str()) {
        Some(message) => message.trim().to_owned(),
        None if text.is_empty() => broken.map(|error| error.to_string()).unwrap_or_default(),
        None => String::from_utf8_lossy(&text).trim().to_owned(),
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<http1::error::Error> for OpenError {
    fn from(error: http1::error::Error) -> Self {
        use http1::error::Error;
        Self::Protocol(match error {
            Error::HeadTooLong => "the answer's head is too long",
            Error::InvalidContentLength => "the answer's Content-Length is not a number",
            Error::InvalidChunk(why) => why,
            _ => "the answer's head is not HTTP",
        })
    }
}
