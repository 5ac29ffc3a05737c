//! What is beneath TLS, read in large pieces: rustls asks for 4 KiB at a time, which would be five system calls a record.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::http1::buffer_pool;

/// Most bytes that are read ahead.
const MAX_ROOM: usize = 256 * 1024;

/// A connection that is read ahead. Holds nothing but what was read and not yet taken: as long as that is everything at once, no
/// buffer at all.
#[derive(Debug)]
pub(in crate::runtime::kubernetes) struct ReadAhead<T> {
    io: T,
    /// What was read and not taken.
    rest: BytesMut,
    /// What `rest` was taken for, in bytes; 0 while there is none.
    rest_len: usize,
    /// How many bytes the next read may have.
    room: usize,
    /// What the next read tells, behind `rest`.
    failure: Option<io::Error>,
}

impl<T> ReadAhead<T> {
    /// Reads nothing ahead before [`Self::set_room`].
    pub(in crate::runtime::kubernetes::client) fn new(io: T) -> Self {
        Self { io, rest: BytesMut::new(), rest_len: 0, room: 0, failure: None }
    }

    /// Lets reads from now on have so many bytes.
    pub(super) fn set_room(&mut self, room: usize) {
        self.room = room.min(MAX_ROOM);
    }

    /// Whether there is nothing to be taken, and nothing to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.failure.is_none()
    }

    /// Lets a read tell this, once what was read is taken: what is above has found it, and could not tell it then.
    pub(super) fn fail(&mut self, failure: io::Error) {
        self.failure.get_or_insert(failure);
    }

    /// What is read.
    pub(super) fn beneath(&self) -> &T {
        &self.io
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            if let Some(failure) = this.failure.take() {
                return Poll::Ready(Err(failure));
            }
            if this.room <= buf.remaining() {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            }
            let mut ahead = buffer_pool::take(this.room);
            let read = poll_read_buf(Pin::new(&mut this.io), cx, &mut (&mut ahead).limit(this.room));
            if !matches!(read, Poll::Ready(Ok(1..))) {
                buffer_pool::give(ahead, this.room);
                return read.map_ok(drop);
            }
            (this.rest, this.rest_len) = (ahead, this.room);
        }
        let count = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        if this.rest.is_empty() {
            buffer_pool::give(std::mem::take(&mut this.rest), std::mem::take(&mut this.rest_len));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ReadAhead<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_read_ahead_comes_in_its_order_and_leaves_no_buffer() {
        let (mut peer, io) = duplex(1024 * 1024);
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        peer.write_all(&sent).await.unwrap();
        drop(peer);
        let (mut ahead, mut piece, mut seen) = (ReadAhead::new(io), [0; 4096], Vec::new());
        for room in [0, 32 * 1024, 20 * 1024, usize::MAX].into_iter().cycle() {
            ahead.set_room(room);
            match ahead.read(&mut piece).await.unwrap() {
                0 => break,
                count => seen.extend_from_slice(&piece[..count]),
            }
        }
        assert!(seen == sent && ahead.is_empty());
        assert_eq!((ahead.rest.capacity(), ahead.rest_len), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_holds_no_buffer() {
        let (_peer, io) = duplex(1024);
        let mut ahead = ReadAhead::new(io);
        ahead.set_room(64 * 1024);
        let mut piece = [0; 4096];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut ahead).poll_read(&mut cx, &mut ReadBuf::new(&mut piece)).is_pending());
        assert_eq!((ahead.rest.capacity(), ahead.rest_len), (0, 0));
    }
}
