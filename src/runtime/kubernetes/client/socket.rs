//! A connection to the API server, perhaps through a proxy, perhaps under TLS, or both.

mod read_ahead;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

pub(super) use self::read_ahead::ReadAhead;
use crate::logs::engine::Transport;

/// A connection to the API server.
#[derive(Debug)]
pub(in crate::runtime::kubernetes) enum Socket {
    /// Without TLS of the API server's own.
    Plain(Link),
    /// With it.
    Tls(Box<TlsStream<ReadAhead<Link>>>),
}

/// A connection to the API server's machine, or through a proxy.
#[derive(Debug)]
pub(in crate::runtime::kubernetes) enum Link {
    /// TCP.
    Tcp(TcpStream),
    /// A proxy that is reached with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl Link {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => poll_plaintext(stream, |tcp| tcp.poll_read_ready(cx)),
        }
    }
}

impl Socket {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Self::Plain(link) => Pin::new(link),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(link) => Pin::new(link).poll_read(cx, buf),
            Self::Tls(stream) => poll_read_tls(stream, cx, buf),
        }
    }
}

/// Reads once from beneath, about as much as `buf` has room for, and decrypts all of it. Each line of a log that is followed may be
/// in a TLS record of its own, and a stream gives no more than one at a time.
fn poll_read_tls(
    stream: &mut TlsStream<ReadAhead<Link>>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    stream.get_mut().0.set_room(buf.remaining());
    ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
    while buf.remaining() > 0 {
        let (ahead, session) = stream.get_ref();
        if ahead.is_empty() && session.wants_read() {
            break;
        }
        let before = buf.filled().len();
        // What is wrong with what follows is told again by the next read.
        let read = Pin::new(&mut *stream).poll_read(cx, buf);
        if !matches!(read, Poll::Ready(Ok(()))) || buf.filled().len() == before {
            break;
        }
    }
    Poll::Ready(Ok(()))
}

impl Transport for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(link) => link.poll_readable(cx),
            Self::Tls(stream) => poll_plaintext(stream, |ahead| {
                if ahead.is_empty() { ahead.beneath().poll_readable(cx) } else { Poll::Ready(Ok(())) }
            }),
        }
    }
}

/// Whether a read of `stream` is worth a buffer: it holds decrypted bytes, or its peer's end, of which what is beneath knows
/// nothing; else what `beneath` says.
fn poll_plaintext<T>(stream: &TlsStream<T>, beneath: impl FnOnce(&T) -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    let (io, session) = stream.get_ref();
    // By its contract, false while there is plaintext to be taken (rustls, `CommonState::wants_read`).
    if !session.wants_read() {
        return Poll::Ready(Ok(()));
    }
    ready!(beneath(io))?;
    Poll::Ready(Ok(()))
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

/// Passes writes on to `io()`.
macro_rules! pass_on {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                self.io().poll_write(cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.io().poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.io().poll_shutdown(cx)
            }
        }
    };
}

pass_on!(Link);
pass_on!(Socket);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
