//! One log exchange with an engine: a request, its head, and the answer as a [`LogSource`], on a socket of its own.
//!
//! HTTP/1.1 by hand because every line is a chunk of its own: a client that hands out a frame a chunk costs a hundred
//! times more a line (log-performance.md §1). Dropping the exchange closes the socket.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use super::{
    LogError, LogSource,
    demux::{Demux, Mode},
    head::{self, Head},
    skip::Skip,
    spare,
    window::HEADROOM,
};
use crate::http1::framing::Body;

/// What a read asks for at first and at least, in bytes. Doubles, up to the limit, as long as reads fill it, and is halved
/// when two in a row do not fill a quarter.
const FIRST_READ: usize = 4 * 1024;

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
        /// The engine's own words, as far as it sent some.
        message: String,
    },
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An answer whose head was read, with status 200.
#[derive(Debug)]
pub struct Answer<T> {
    /// The connection.
    pub io: T,
    /// Finds the body in what the connection gives.
    pub body: Body,
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
pub async fn ask<T: Transport>(mut io: T, target: String) -> Result<Answer<T>, OpenError> {
    // The engine looks at no host; a name is needed because HTTP/1.1 demands one (RFC 9112 §3.2).
    let request = format!("GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await?;
    io.flush().await?;
    // Nothing of the question is kept in the wait for the answer.
    drop((request, target));
    // An engine that has nothing to say yet may be waited for for hours: without a buffer.
    poll_fn(|cx| io.poll_readable(cx)).await?;
    let mut buf = BytesMut::with_capacity(FIRST_HEAD);
    let head = loop {
        if io.read_buf(&mut buf).await? == 0 {
            return Err(OpenError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(head) = head::parse(&mut buf)? {
            break head;
        }
    };
    match head.status {
        200 => Ok(Answer { io, body: head.body(), early: buf.freeze() }),
        status => Err(OpenError::Refused { status, message: Box::pin(refusal(io, buf, &head)).await }),
    }
}

/// An answer that is being decoded.
#[derive(Debug)]
pub struct Exchange<T> {
    io: T,
    demux: Demux,
    early: Bytes,
    buf: BytesMut,
    /// What `buf` was taken for, in bytes; 0 while there is none.
    buf_len: usize,
    /// What the next read asks for.
    next_read: usize,
    /// The last read was a short one.
    was_short: bool,
    max_read: usize,
    /// Bytes of this answer, and of those that were read to ask for it.
    read: u64,
}

impl<T: Transport> Exchange<T> {
    /// Decodes `answer`, without what `skip` leaves out, in reads of at most `max_read` bytes. `before` bytes were read to ask
    /// for it.
    pub fn new(answer: Answer<T>, mode: Mode, skip: Skip, max_read: usize, before: u64) -> Self {
        let Answer { io, body, early } = answer;
        let demux = Demux::new(body, mode, skip);
        let next_read = FIRST_READ.min(max_read);
        Self { io, demux, early, buf: BytesMut::new(), buf_len: 0, next_read, was_short: false, max_read, read: before }
    }

    /// Reads once, into a buffer that is there only while there is something to read.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.headroom(early.len());
            self.buf.put_slice(&early);
            self.read += early.len() as u64;
            return Poll::Ready(Ok(early.len()));
        }
        let read = self.poll_read(cx);
        match read {
            Poll::Ready(Ok(read)) => {
                self.read += read as u64;
                self.adapt(read);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.release(),
        }
        read
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_readable(cx))?;
        self.headroom(self.next_read);
        let mut limited = (&mut self.buf).limit(self.next_read);
        poll_read_buf(Pin::new(&mut self.io), cx, &mut limited)
    }

    /// Chooses the size of the next read by what this one gave.
    fn adapt(&mut self, read: usize) {
        let is_short = read <= self.next_read / 4;
        if read == self.next_read {
            self.next_read = (2 * read).min(self.max_read);
        } else if is_short && self.was_short {
            self.next_read = (self.next_read / 2).max(FIRST_READ.min(self.max_read));
        }
        self.was_short = is_short;
    }

    /// Makes the buffer hold [`HEADROOM`] bytes and room for `len` more; takes the old memory again if it is free.
    fn headroom(&mut self, len: usize) {
        let len = HEADROOM + len;
        self.buf.clear();
        if !self.buf.try_reclaim(len) {
            self.release();
            self.buf = spare::take(len);
            self.buf_len = len;
        }
        self.buf.put_bytes(0, HEADROOM);
    }

    fn release(&mut self) {
        spare::give(std::mem::take(&mut self.buf), std::mem::take(&mut self.buf_len));
    }

    /// Decodes what was read and cuts it out of the buffer.
    fn decode(&mut self) -> Result<Bytes, LogError> {
        let payload = self.demux.squeeze(&mut self.buf)?;
        self.buf.truncate(payload.end);
        self.buf.advance(payload.start);
        Ok(self.buf.split().freeze())
    }
}

impl<T: Transport> LogSource for Exchange<T> {
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let this = self.get_mut();
        loop {
            if this.demux.is_ended() {
                return Poll::Ready(this.demux.finish().err().map(Err));
            }
            match ready!(this.poll_fill(cx)) {
                Err(error) => return Poll::Ready(Some(Err(LogError::Disconnected(error)))),
                Ok(0) => return Poll::Ready(this.demux.finish().err().map(Err)),
                Ok(_) => match this.decode() {
                    Ok(payload) if payload.is_empty() => {}
                    decoded => return Poll::Ready(Some(decoded)),
                },
            }
        }
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}

/// Reads what an engine says along with a refusal: `{"message":"…"}` (Engine API, "Errors").
///
/// Not to the connection's end where the text's own is known: an engine need not close it.
async fn refusal<T: Transport>(mut io: T, mut buf: BytesMut, head: &Head) -> String {
    let (mut body, mut text) = (head.body(), Vec::new());
    let mut broken = None;
    while text.len() < MAX_REFUSAL && broken.is_none() {
        match body.next_run(&buf) {
            Ok(run) => {
                text.extend_from_slice(&buf[run.skip..run.skip + run.len]);
                buf.advance(run.skip + run.len);
            }
            Err(error) => broken = Some(error.to_string()),
        }
        if body.is_ended() {
            break;
        }
        if buf.is_empty() {
            match io.read_buf(&mut buf).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => broken = Some(error.to_string()),
            }
        }
    }
    let said = serde_json::from_slice::<serde_json::Value>(&text).ok();
    match said.as_ref().and_then(|said| said["message"].as_str()) {
        Some(message) => message.trim().to_owned(),
        None if text.is_empty() => broken.unwrap_or_default(),
        None => String::from_utf8_lossy(&text).trim().to_owned(),
    }
}
