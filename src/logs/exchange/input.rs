//! Reading from an engine, into a buffer that is there only while there is something to read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use crate::{
    http1::{buffer_pool, read_size::ReadSize},
    logs::engine::Transport,
};

/// What a read asks for at first and at least, in bytes.
const FIRST_READ: usize = 4 * 1024;

/// A connection and what was read of it.
#[derive(Debug)]
pub(in crate::logs) struct Input<T> {
    io: T,
    /// What came with the answer's head.
    early: Bytes,
    /// The last read.
    pub(in crate::logs) buf: BytesMut,
    /// What `buf` was taken for, in bytes; 0 while there is none.
    buf_len: usize,
    next_read: ReadSize,
    /// Bytes of this answer that were read.
    pub(in crate::logs) read: u64,
}

impl<T: Transport> Input<T> {
    /// Gives `early` first, and then what `io` gives, in reads of at most `max_read` bytes.
    pub(in crate::logs) fn new(io: T, early: Bytes, max_read: usize) -> Self {
        let next_read = ReadSize::new(FIRST_READ, max_read);
        Self { io, early, buf: BytesMut::new(), buf_len: 0, next_read, read: 0 }
    }

    /// Reads once, into the buffer behind a copy of `front`.
    pub(in crate::logs) fn poll_fill(&mut self, cx: &mut Context<'_>, front: &[u8]) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.make_room(early.len(), front);
            self.buf.put_slice(&early);
            self.read += early.len() as u64;
            return Poll::Ready(Ok(early.len()));
        }
        let read = self.poll_read(cx, front);
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

    fn poll_read(&mut self, cx: &mut Context<'_>, front: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.io.poll_readable(cx))?;
        self.make_room(self.next_read.next(), front);
        let mut limited = (&mut self.buf).limit(self.next_read.next());
        poll_read_buf(Pin::new(&mut self.io), cx, &mut limited)
    }

    /// Makes the buffer hold `front` and room for `len` more; takes the old memory again if it is free.
    fn make_room(&mut self, len: usize, front: &[u8]) {
        let len = front.len() + len;
        self.buf.clear();
        if !self.buf.try_reclaim(len) {
            self.release();
            self.buf = buffer_pool::take(len);
            self.buf_len = len;
        }
        self.buf.put_slice(front);
    }

    fn release(&mut self) {
        buffer_pool::give(std::mem::take(&mut self.buf), std::mem::take(&mut self.buf_len));
    }

    /// The room that the buffer has, and what it was taken for.
    #[cfg(test)]
    pub(in crate::logs) fn held(&self) -> (usize, usize) {
        (self.buf.capacity(), self.buf_len)
    }
}
