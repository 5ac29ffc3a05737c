//! Opening a log with an engine: a request on a connection of its own, and the head of its answer.
//!
//! The log's bytes are then read by [`super::exchange::Exchange`].

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http1::{self, framing::BodyDecoder, response_reader::ResponseReader};

/// Room for an answer's head, in bytes: an engine's are shorter.
const FIRST_HEAD: usize = 256;

/// Longest error text that is taken from an engine's refusal, in bytes.
const MAX_REFUSAL: usize = 4 * 1024;

/// How long the head of an answer may take once it has begun, and all of a refusal.
const MAX_HEAD_TIME: Duration = Duration::from_secs(30);

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

/// An answer whose head was read.
#[derive(Debug)]
pub enum Reply<T> {
    /// With status 200.
    Answer(Answer<T>),
    /// With another one.
    Refused(Box<Refusal>),
}

/// An answer with another status than 200.
#[derive(Debug)]
pub struct Refusal {
    /// The head.
    pub head: Response<()>,
    /// The body, as far as it came and is not longer than a few KiB.
    pub body: Vec<u8>,
    /// How the body broke off, if it did.
    pub broken: Option<io::Error>,
}

/// Sends a request for `target` (path and query) to an engine and reads the answer's head.
///
/// Takes as long as the engine does: one of version 20.10 sends no head before the first line (log-pitfalls B1).
/// Dropping the future closes the connection.
///
/// # Errors
///
/// The engine cannot be talked to, or refuses.
pub async fn send_request<T: Transport>(io: T, target: String) -> Result<Answer<T>, OpenError> {
    // The engine ignores the host; HTTP/1.1 demands one (RFC 9112 §3.2).
    let request = format!("GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").into_bytes();
    drop(target);
    match exchange_heads(io, request).await? {
        Reply::Answer(answer) => Ok(answer),
        Reply::Refused(refusal) => {
            Err(OpenError::Refused { status: refusal.head.status().as_u16(), message: refusal.message() })
        }
    }
}

/// Writes a request's whole head and reads the answer's. As [`send_request`], but for any server.
///
/// # Errors
///
/// The server cannot be talked to. [`OpenError::Refused`] is not among them.
pub async fn exchange_heads<T: Transport>(mut io: T, request: Vec<u8>) -> Result<Reply<T>, OpenError> {
    io.write_all(&request).await?;
    io.flush().await?;
    // Nothing of the request is kept in the wait for the answer.
    drop(request);
    // The wait may last for hours: it holds no buffer, and the future has no room for what comes after it.
    poll_fn(|cx| io.poll_readable(cx)).await?;
    Box::pin(answer(io)).await
}

/// Reads the head of an answer, and all of it if it is a refusal.
async fn answer<T: Transport>(mut io: T) -> Result<Reply<T>, OpenError> {
    let mut reader = ResponseReader::default();
    reader.bytes.reserve(FIRST_HEAD);
    if io.read_buf(&mut reader.bytes).await? == 0 {
        return Err(OpenError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    // Only what comes first may be long in coming.
    let begun = tokio::time::timeout(MAX_HEAD_TIME, begun(io, reader)).await;
    begun.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "an answer began, and its head has no end").into())
    })
}

/// Reads the rest of an answer's head, of which some has come.
async fn begun<T: Transport>(mut io: T, mut reader: ResponseReader) -> Result<Reply<T>, OpenError> {
    let head = loop {
        if let Some(head) = reader.final_head()? {
            break head;
        }
        if io.read_buf(&mut reader.bytes).await? == 0 {
            return Err(OpenError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    if head.status() != StatusCode::OK {
        return Ok(Reply::Refused(Box::pin(refusal(io, reader, head)).await));
    }
    let (body, early) = reader.into_body();
    Ok(Reply::Answer(Answer { io, body, early: early.freeze() }))
}

/// Reads what a server says along with a refusal.
///
/// Not to the connection's end where the text's own is known: a server need not close it.
async fn refusal<T: Transport>(mut io: T, mut reader: ResponseReader, head: Response<()>) -> Box<Refusal> {
    let mut text = Vec::new();
    let read = async {
        while text.len() < MAX_REFUSAL && !reader.is_ended() {
            match reader.frame().map_err(io::Error::other)? {
                Some(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
                // The last chunk gives no frame.
                None if reader.is_ended() => break,
                None if io.read_buf(&mut reader.bytes).await? > 0 => {}
                None => break,
            }
        }
        Ok::<_, io::Error>(())
    };
    let broken = read.await.err();
    Box::new(Refusal { head, body: text, broken })
}

impl Refusal {
    /// What an engine says: `{"message":"…"}` (Engine API, "Errors"), or else its text, or how that broke off.
    fn message(&self) -> String {
        let json = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        match (json.as_ref().and_then(|json| json["message"].as_str()), &self.broken) {
            (Some(message), _) => message.trim().to_owned(),
            (None, Some(broken)) if self.body.is_empty() => broken.to_string(),
            (None, _) => String::from_utf8_lossy(&self.body).trim().to_owned(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::scripted::{Scripted, Step, scripted, send};

    impl Transport for Scripted {
        fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Scripted::poll_readable(self, cx)
        }
    }

    async fn opened(steps: impl IntoIterator<Item = Step>) -> Result<Answer<Scripted>, OpenError> {
        send_request(scripted(steps).0, "/logs".to_owned()).await
    }

    async fn refused(steps: impl IntoIterator<Item = Step>) -> (u16, String) {
        match opened(steps).await {
            Err(OpenError::Refused { status, message }) => (status, message),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_sent_and_the_head_is_taken_however_it_comes() {
        let head =
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n";
        for step in 1..=head.len() {
            let pieces =
                head.as_bytes().chunks(step).flat_map(|piece| [Step::Wait(Duration::from_millis(100)), send(piece)]);
            let (io, script) = scripted(pieces);
            let answer = send_request(io, "/v1.41/x?follow=1".to_owned()).await.unwrap();
            assert_eq!(script.written(), "GET /v1.41/x?follow=1 HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
            assert!(b"5\r\n".starts_with(&answer.early) && answer.body.is_between_chunks(), "step {step}");
            drop(answer);
            assert!(script.is_closed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_began_comes_to_an_end_in_time() {
        for begun in ["HTTP/1.1 2", "HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\nno"] {
            let steps =
                [Step::Wait(Duration::from_secs(7200)), send(begun.as_bytes()), Step::Wait(Duration::from_secs(7200))];
            let start = tokio::time::Instant::now();
            match opened(steps).await {
                Err(OpenError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{begun}"),
                other => panic!("{begun}: {other:?}"),
            }
            assert_eq!(start.elapsed().as_secs(), 7200 + MAX_HEAD_TIME.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_engine_is_waited_for_without_a_buffer() {
        let day = Duration::from_secs(24 * 3600);
        let waiting = opened([Step::Wait(day), send("HTTP/1.0 200 OK\r\n\r\nold")]);
        assert!(size_of_val(&waiting) <= 2 * 1024, "{}", size_of_val(&waiting));
        let start = tokio::time::Instant::now();
        let answer = waiting.await.unwrap();
        assert_eq!((start.elapsed(), &answer.early[..]), (day, &b"old"[..]));
        assert!(answer.body.may_close());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_tells_what_the_engine_said() {
        let head = |length: usize| format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n");
        let json = r#"{"message":" no such container "}"#;
        // An engine need not close the connection.
        assert_eq!(refused([send(head(json.len()) + json), Step::Hang]).await, (404, "no such container".to_owned()));
        let chunked = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbad \r\n";
        assert_eq!(
            refused([send(chunked), send("3\r\nday\r\n0\r\n\r\n"), Step::Hang]).await,
            (500, "bad day".to_owned())
        );
        assert_eq!(refused([send("HTTP/1.1 503 No\r\n\r\n"), send("until close")]).await.1, "until close");
        assert_eq!(refused([send(head(0)), Step::Hang]).await.1, "");
        assert_eq!(refused([send("HTTP/1.1 204 No Content\r\n\r\n"), Step::Hang]).await, (204, String::new()));
        assert_eq!(refused([send("HTTP/1.1 101 Switching\r\n\r\n"), Step::Hang]).await, (101, String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_breaks_off_tells_what_came_or_how_it_broke() {
        let head = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused([send(head), send("3\r\nbad\r\nxyz")]).await.1, "bad");
        assert_eq!(refused([send(head), send("xyz")]).await.1, "a chunk size is not hexadecimal");
        let reset = || Step::Fail(io::ErrorKind::ConnectionReset);
        assert_eq!(refused([send(head), reset()]).await.1, io::Error::from(io::ErrorKind::ConnectionReset).to_string());
        let endless = std::iter::once(send("HTTP/1.1 500 No\r\n\r\n")).chain((0..1000).map(|_| send("x".repeat(1000))));
        let message = refused(endless.chain([Step::Hang])).await.1;
        assert!(message.len() >= MAX_REFUSAL && message.len() < 2 * MAX_REFUSAL, "{}", message.len());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_answer_is_an_error() {
        let protocol = async |text: &str| match opened([send(text), Step::Hang]).await {
            Err(OpenError::Protocol(what)) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(protocol("220 ftp.example ready\r\n").await, "the answer's head is not HTTP");
        assert_eq!(protocol("HTTP/1.1 200 OK\r\nno header\r\n\r\n").await, "the answer's head is not HTTP");
        let length = "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n";
        assert_eq!(protocol(length).await, "the answer's Content-Length is not a number");
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(http1::head::MAX_HEAD));
        assert_eq!(protocol(&long).await, "the answer's head is too long");
        for (steps, kind) in [
            (vec![], io::ErrorKind::UnexpectedEof),
            (vec![send("HTTP/1.1 200 OK\r\n")], io::ErrorKind::UnexpectedEof),
            (vec![Step::Fail(io::ErrorKind::ConnectionReset)], io::ErrorKind::ConnectionReset),
        ] {
            let error = opened(steps).await.unwrap_err();
            assert!(matches!(&error, OpenError::Io(error) if error.kind() == kind), "{error:?}");
        }
    }
}
