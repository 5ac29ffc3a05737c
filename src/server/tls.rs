//! TLS on the gateway's own port (`server.tls_cert`, `server.tls_key`): the handshake of a connection.
//!
//! TLS 1.2 and 1.3 by rustls with ring, and HTTP/2 by ALPN. There is no renegotiation, no early data that could be replayed, and
//! no list of sessions here: a client takes its session with it in a ticket.

pub mod certificates;
mod pair;
mod validity;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;

pub use self::certificates::Certificates;
use super::io::WatchedIo;
use crate::{
    client::Socket,
    metrics::{Metrics, labels::HandshakeFailure},
    open::Entry,
    telemetry::rate_limit::{Due, RateLimit},
};

/// How long a handshake may take from the connection on: a few round trips, and little work on both sides.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The content type of a handshake's records, which is a connection's first byte (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What is answered to a client that speaks HTTP without TLS.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\n\
                     Content-Type: text/plain; charset=utf-8\r\n\
                     Content-Length: 55\r\n\
                     Connection: close\r\n\r\n\
                     This port speaks TLS: ask by https:// instead of http.\n";

/// Why there is no TLS on a connection.
#[derive(Debug)]
pub(super) struct Failure {
    /// None if the client sent nothing: that was no handshake yet.
    reason: Option<HandshakeFailure>,
    error: io::Error,
}

/// Shakes hands with the client of `entry` at the other end of `stream`. A client that speaks something else is told so. Its first
/// byte may take as long as `first_byte`, which is less than [`HANDSHAKE_TIMEOUT`] for all. If `is_blind`, the system cuts off a
/// client that takes nothing.
///
/// # Errors
///
/// The client sends nothing, or no TLS, or left, or it and this server have no version or cipher in common, or it does not trust
/// the certificate, or it takes too long. Which of them it is the error says.
pub(super) async fn accept(
    certificates: &Certificates,
    stream: TcpStream,
    entry: &Arc<Entry>,
    first_byte: Duration,
    is_blind: bool,
) -> Result<Box<WatchedIo>, Failure> {
    let end = Instant::now() + HANDSHAKE_TIMEOUT;
    let mut first = [0];
    let silent = |error| Failure { reason: None, error };
    match timeout(first_byte, stream.peek(&mut first)).await {
        Ok(Ok(0)) => return Err(silent(io::ErrorKind::UnexpectedEof.into())),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(silent(error)),
        Err(_) => return Err(silent(io::Error::new(io::ErrorKind::TimedOut, "nothing came"))),
    }
    if first != [HANDSHAKE] {
        let told = timeout_at(end, tell_plain(WatchedIo::new(stream, Arc::clone(entry), is_blind))).await;
        let error = match told {
            Ok(Ok(())) => io::Error::new(io::ErrorKind::InvalidData, "the client speaks no TLS"),
            Ok(Err(error)) => error,
            Err(late) => late.into(),
        };
        return Err(Failure { reason: Some(HandshakeFailure::NotTls), error });
    }
    let socket = Socket::new(stream, Arc::clone(entry), is_blind);
    match timeout_at(end, TlsAcceptor::from(certificates.current()).accept(socket)).await {
        Ok(Ok(stream)) => Ok(Box::new(WatchedIo::over_tls(stream, Arc::clone(entry)))),
        Ok(Err(error)) => Err(Failure { reason: Some(reason(&error)), error }),
        Err(_) => {
            let error = io::Error::new(io::ErrorKind::TimedOut, "it takes too long");
            Err(Failure { reason: Some(HandshakeFailure::Timeout), error })
        }
    }
}

/// Answers in plain text, and waits for what the client is still sending, perhaps: a reset could overtake the answer.
async fn tell_plain(mut plain: WatchedIo) -> io::Result<()> {
    plain.watch().set_upload(true);
    plain.write_all(PLAIN.as_bytes()).await?;
    plain.shutdown().await
}

/// Why rustls, or the system, has ended a handshake.
fn reason(error: &io::Error) -> HandshakeFailure {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::ClientAlert,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(_) => HandshakeFailure::Invalid,
        None if error.kind() == io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
        None => HandshakeFailure::ClientGone,
    }
}

impl Failure {
    /// Counts it, and tells the log of each kind once in a while: who has no key can make handshakes fail again and again.
    pub(super) fn tell(&self, peer: SocketAddr, metrics: &Metrics) {
        static WRITTEN: RateLimit = RateLimit::new();
        if let Some(reason) = self.reason {
            metrics.handshake_failed(reason);
        }
        let reason = self.reason.map_or("silent", HandshakeFailure::label);
        if let Some(Due { left_out }) = WRITTEN.due(reason) {
            tracing::debug!(%peer, reason, error = %self.error, left_out, "no TLS handshake");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, path::PathBuf, pin::Pin};

    use futures_util::FutureExt;
    use rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    };
    use socket2::SockRef;
    use tokio::{
        io::{AsyncReadExt, AsyncWrite},
        net::{TcpListener, TcpSocket},
    };
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;
    use crate::config::TlsFiles;

    /// A client of 4 KiB of window, over a network's segments, and this end with a send buffer of 16 KiB: on the loopback interface
    /// both would be much larger.
    async fn shaken() -> (TlsStream<TcpStream>, Box<WatchedIo>) {
        let file = |name: &str| PathBuf::from(format!("tests/support/kube/tls/{name}.pem"));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca")).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let certificates = Certificates::load(&TlsFiles { cert: file("server"), key: file("server-key") }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let connected = async {
            let io = socket.connect(listener.local_addr().unwrap()).await.unwrap();
            TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), io).await.unwrap()
        };
        let accepted = async {
            let (stream, _) = listener.accept().await.unwrap();
            SockRef::from(&stream).set_send_buffer_size(16_384).unwrap();
            accept(&certificates, stream, &Entry::detached(), HANDSHAKE_TIMEOUT, false).await.unwrap()
        };
        tokio::join!(connected, accepted)
    }

    /// TLS writes until the system takes nothing more. So a write waits again at once when the client has made some room.
    #[tokio::test]
    async fn a_client_that_reads_slowly_does_not_count_as_stalled() {
        let (mut client, mut io) = shaken().await;
        let watch = io.watch();
        let mut piece = [0; 4_096];
        while poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &piece)).now_or_never().is_some() {}
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, mut read) = (watch.blocked_for(), 0);
        assert!(before > Duration::from_secs(1), "{before:?}");
        while watch.blocked_for() >= before {
            // The rest of what rustls holds, 64 KiB, waits all the time.
            assert!(read < 40_000, "the client has read {read} bytes");
            read += client.read(&mut piece).await.unwrap();
            let written = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &[0; 4_096]));
            // There may be no room for it yet.
            let _ = timeout(Duration::from_millis(300), written).await;
        }
    }

    #[test]
    fn the_answer_without_tls_has_the_length_that_it_tells() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
