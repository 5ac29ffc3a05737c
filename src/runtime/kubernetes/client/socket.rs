//! A connection to the API server, perhaps through a proxy, perhaps under TLS, or both.

mod read_ahead;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
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
    Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
}

/// When a connection was made; what hyper's client tells of one has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made(pub(super) Instant);

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
            Self::Tls(stream) => poll_readable_tls(stream, |tcp| tcp.poll_read_ready(cx)),
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

impl Transport for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(link) => link.poll_readable(cx),
            Self::Tls(stream) => poll_readable_tls(stream, |link| link.poll_readable(cx)),
        }
    }
}

/// Reads once from beneath, about as much as `buf` has room for, and decrypts all of it. Each line of a log that is followed may be
/// in a TLS record of its own, and a stream gives no more than one at a time.
fn poll_read_tls<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut TlsStream<ReadAhead<T>>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    stream.get_mut().0.set_room(buf.remaining());
    ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
    let mut failure = None;
    while buf.remaining() > 0 {
        let (ahead, session) = stream.get_ref();
        if ahead.is_empty() && session.wants_read() {
            break;
        }
        let before = buf.filled().len();
        match Pin::new(&mut *stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {}
            Poll::Ready(Err(error)) => {
                failure = Some(error);
                break;
            }
            _ => break,
        }
    }
    // The stream may hold back an error of its own too. The session tells a broken one each time that it is asked.
    let (ahead, session) = stream.get_mut();
    let broken = || session.process_new_packets().err().map(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    if let Some(error) = failure.or_else(broken) {
        ahead.fail(error);
    }
    Poll::Ready(Ok(()))
}

/// Whether a read of `stream` is worth a buffer: it holds decrypted bytes, or its peer's end, or what broke it, of which what is
/// beneath knows nothing; else what `beneath` says.
fn poll_readable_tls<T>(
    stream: &TlsStream<ReadAhead<T>>,
    beneath: impl FnOnce(&T) -> Poll<io::Result<()>>,
) -> Poll<io::Result<()>> {
    let (ahead, session) = stream.get_ref();
    // By its contract, false while there is plaintext to be taken (rustls, `CommonState::wants_read`).
    if !session.wants_read() || !ahead.is_empty() {
        return Poll::Ready(Ok(()));
    }
    beneath(ahead.beneath())
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => poll_read_tls(stream, cx, buf),
        }
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
        Connected::new().extra(Made(Instant::now()))
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector, server};

    use super::*;

    type Ours = TlsStream<ReadAhead<DuplexStream>>;
    type Peer = server::TlsStream<DuplexStream>;

    /// Both ends of a connection, from which the first bytes were read.
    async fn pair() -> (Peer, Ours) {
        let pem = |name: &str| std::fs::read(format!("tests/support/kube/tls/{name}.pem")).unwrap();
        let certificate = |name| CertificateDer::from_pem_slice(&pem(name)).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&pem("server-key")).unwrap();
        let provider = || Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![certificate("server")], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca")).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
        let (theirs, ours) = duplex(1024 * 1024);
        let accepted = TlsAcceptor::from(Arc::new(server)).accept(theirs);
        let connected = client.connect("localhost".try_into().unwrap(), ReadAhead::new(ours));
        let (mut peer, mut stream) = tokio::try_join!(accepted, connected).unwrap();
        peer.write_all(b"hi").await.unwrap();
        peer.flush().await.unwrap();
        assert_eq!(read(&mut stream, 2).await.unwrap(), b"hi");
        (peer, stream)
    }

    async fn read(stream: &mut Ours, room: usize) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; room];
        let mut buf = ReadBuf::new(&mut piece);
        poll_fn(|cx| poll_read_tls(stream, cx, &mut buf)).await?;
        Ok(buf.filled().to_vec())
    }

    #[tokio::test]
    async fn a_record_that_breaks_the_session_is_told_wherever_it_lies() {
        // The peer says no more, and does not close.
        for length in 8100..8250 {
            let (mut peer, mut stream) = pair().await;
            peer.write_all(&vec![b'x'; length]).await.unwrap();
            peer.flush().await.unwrap();
            peer.get_mut().0.write_all(b"\x17\x03\x03\x00\x05wrong").await.unwrap();
            let mut pieces = 0;
            while let Ok(piece) = read(&mut stream, 64 * 1024).await {
                pieces += 1;
                assert!(!piece.is_empty() && pieces < 3, "{length}");
                assert!(poll_readable_tls(&stream, |_| Poll::Pending).is_ready(), "{length}");
            }
        }
    }
}
