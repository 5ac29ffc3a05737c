//! What a connection is read through: its socket alone, or TLS over it.
//!
//! TLS is below the [`Shared`](super::Shared) state and not above it: a client that leaves may only say so inside TLS
//! (`close_notify`), and what the watch reads of a request that waits has to be plain text for hyper.

use std::{
    io::{self, IoSlice, Read},
    mem::{self, MaybeUninit},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures_util::FutureExt;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, tcp::OwnedReadHalf},
};
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use crate::open::Entry;

/// How much is read ahead at a time, in bytes.
const AHEAD: usize = 1024;

/// What a connection is read through; with TLS also what it is written through.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Nothing but the socket. It is written to by its other half, without a lock.
    Plain {
        /// What is read from.
        half: OwnedReadHalf,
        /// The runtime was made to forget that there is something to read.
        unseen: bool,
    },
    /// Boxed: a plain connection has no room for it.
    Tls(Box<TlsStream<Socket>>),
}

/// The socket under TLS. Counts what the system takes, which is more than what was to be written.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    entry: Arc<Entry>,
    is_blind: bool,
    /// The system does not take what there is to write.
    is_blocked: bool,
    /// It has taken something since [`Socket::take_progress`].
    has_moved: bool,
    /// As that of [`Transport::Plain`].
    unseen: bool,
}

/// How far the system takes what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// It has taken something.
    pub(crate) has_moved: bool,
    /// It does not take what is left.
    pub(crate) is_blocked: bool,
}

impl Transport {
    /// Reads what is there to the end of `side`.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>, side: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain { half, .. } => {
                // No room is needed for what may never come.
                ready!(half.as_ref().poll_read_ready(cx))?;
                side.reserve(AHEAD);
                poll_read_buf(Pin::new(half), cx, side)
            }
            Self::Tls(stream) => {
                let mut room = [MaybeUninit::uninit(); AHEAD];
                let mut buf = ReadBuf::uninit(&mut room);
                ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
                side.extend_from_slice(buf.filled());
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Polls until the client has hung up, and takes nothing of what it has sent. The runtime tells that something is to be
    /// read, or that the client has hung up, but waits for the second only while the first is not so. So it is made to forget
    /// what is to be read.
    ///
    /// With TLS this is the end of the TCP connection: what is not taken cannot be deciphered.
    pub(super) fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (stream, unseen) = match self {
            Self::Plain { half, unseen } => {
                let half: &OwnedReadHalf = half;
                (half.as_ref(), unseen)
            }
            Self::Tls(stream) => {
                let Socket { stream, unseen, .. } = stream.get_mut().0;
                (&*stream, unseen)
            }
        };
        while ready!(stream.poll_read_ready(cx)).is_ok() {
            match stream.ready(Interest::READABLE).now_or_never() {
                Some(Ok(ready)) if !ready.is_read_closed() => {}
                Some(_) => return Poll::Ready(()),
                None => continue,
            }
            *unseen = true;
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _: io::Result<()> = stream.try_io(Interest::READABLE, nothing);
        }
        Poll::Ready(())
    }

    /// The TLS.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn tls(&mut self) -> Pin<&mut TlsStream<Socket>> {
        match self {
            Self::Tls(stream) => Pin::new(stream),
            Self::Plain { .. } => unreachable!("a plain connection is written to by its socket's other half"),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { half, unseen } => {
                if let Some(read) = read_unseen(half.as_ref(), unseen, buf) {
                    return Poll::Ready(read);
                }
                Pin::new(half).poll_read(cx, buf)
            }
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

/// Reads what the system has that the runtime was made to forget, if that is so.
fn read_unseen(stream: &TcpStream, unseen: &mut bool, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
    if !*unseen {
        return None;
    }
    match (&*SockRef::from(stream)).read(buf.initialize_unfilled()) {
        Ok(count) => {
            buf.advance(count);
            Some(Ok(()))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            *unseen = false;
            None
        }
        Err(error) => Some(Err(error)),
    }
}

impl Socket {
    /// The socket `stream` of `entry`. If `is_blind`, the system cuts off a client that takes nothing, and what it says then
    /// is the first that is known of it.
    pub(crate) fn new(stream: TcpStream, entry: Arc<Entry>, is_blind: bool) -> Self {
        Self { stream, entry, is_blind, is_blocked: false, has_moved: false, unseen: false }
    }

    /// Whether the system has taken something since the last call, and whether it does not take the rest. TLS writes until the
    /// second is so: by that alone a client that reads slowly is none that reads nothing.
    pub(super) fn take_progress(&mut self) -> Progress {
        Progress { has_moved: mem::take(&mut self.has_moved), is_blocked: self.is_blocked }
    }

    /// Tells the client's system that nothing more comes.
    pub(crate) fn close(&self) {
        // It may have left already.
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_blocked = written.is_pending();
        match &written {
            Poll::Ready(Ok(count)) => {
                self.has_moved |= *count > 0;
                self.entry.add_written(*count);
            }
            Poll::Ready(Err(error)) => self.entry.note_error(error, self.is_blind),
            Poll::Pending => {}
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match read_unseen(&this.stream, &mut this.unseen, buf) {
            Some(read) => Poll::Ready(read),
            None => Pin::new(&mut this.stream).poll_read(cx, buf),
        };
        if let Poll::Ready(Err(error)) = &read {
            this.entry.note_error(error, this.is_blind);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
