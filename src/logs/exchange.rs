//! One log exchange with an engine: its answer as a [`LogSource`], on a connection of its own.
//!
//! HTTP/1.1 by hand because every line is a chunk of its own: a client that hands out a frame a chunk costs a hundred
//! times more a line (log-performance.md §1). Dropping the exchange closes the socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use super::{
    LogError, LogSource,
    compact::HEADROOM,
    decode::{Decoder, Mode},
    engine::{Answer, Transport},
    skip::Skip,
};
use crate::http1::{buffer_pool, read_size::ReadSize};

/// What a read asks for at first and at least, in bytes.
const FIRST_READ: usize = 4 * 1024;

/// An answer that is being decoded.
#[derive(Debug)]
pub struct Exchange<T> {
    io: T,
    decoder: Decoder,
    early: Bytes,
    buf: BytesMut,
    /// What `buf` was taken for, in bytes; 0 while there is none.
    buf_len: usize,
    next_read: ReadSize,
    /// Bytes of this answer, and of those that were read to ask for it.
    read: u64,
}

impl<T: Transport> Exchange<T> {
    /// Decodes `answer`, without what `skip` leaves out, in reads of at most `max_read` bytes. `before` bytes were read to ask
    /// for it.
    pub fn new(answer: Answer<T>, mode: Mode, skip: Skip, max_read: usize, before: u64) -> Self {
        let Answer { io, body, early } = answer;
        let decoder = Decoder::new(body, mode, skip);
        let next_read = ReadSize::new(FIRST_READ, max_read);
        Self { io, decoder, early, buf: BytesMut::new(), buf_len: 0, next_read, read: before }
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
            Poll::Ready(Ok(count)) => {
                self.read += count as u64;
                self.next_read.note(count, self.next_read.next());
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.release(),
        }
        read
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_readable(cx))?;
        self.headroom(self.next_read.next());
        let mut limited = (&mut self.buf).limit(self.next_read.next());
        poll_read_buf(Pin::new(&mut self.io), cx, &mut limited)
    }

    /// Makes the buffer hold [`HEADROOM`] bytes and room for `len` more; takes the old memory again if it is free.
    fn headroom(&mut self, len: usize) {
        let len = HEADROOM + len;
        self.buf.clear();
        if !self.buf.try_reclaim(len) {
            self.release();
            self.buf = buffer_pool::take(len);
            self.buf_len = len;
        }
        self.buf.put_bytes(0, HEADROOM);
    }

    fn release(&mut self) {
        buffer_pool::give(std::mem::take(&mut self.buf), std::mem::take(&mut self.buf_len));
    }

    /// Decodes what was read and cuts it out of the buffer.
    fn decode(&mut self) -> Result<Bytes, LogError> {
        let payload = self.decoder.compact(&mut self.buf)?;
        self.buf.truncate(payload.end);
        self.buf.advance(payload.start);
        Ok(self.buf.split().freeze())
    }
}

impl<T: Transport> LogSource for Exchange<T> {
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let this = self.get_mut();
        loop {
            if this.decoder.is_ended() {
                return Poll::Ready(this.decoder.finish().err().map(Err));
            }
            match ready!(this.poll_fill(cx)) {
                Err(error) => return Poll::Ready(Some(Err(LogError::Disconnected(error)))),
                Ok(0) => return Poll::Ready(this.decoder.finish().err().map(Err)),
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
