//! TLS on the gateway's own port (`server.tls_cert`, `server.tls_key`): the handshake of a connection.
//!
//! TLS 1.2 and 1.3 by rustls with ring, and HTTP/2 by ALPN. There is no renegotiation, no early data that could be replayed, and
//! no list of sessions here: a client takes its session with it in a ticket.

pub mod certificates;
mod pair;
mod validity;

use std::{io, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsAcceptor;

pub use self::certificates::Certificates;
use super::io::WatchedIo;
use crate::{client::Socket, open::Entry};

/// How long a handshake may take from the connection on: a few round trips, and little work on both sides.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The content type of a handshake's records, which is a connection's first byte (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What is answered to a client that speaks HTTP without TLS.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\n\
                     Content-Type: text/plain; charset=utf-8\r\n\
                     Content-Length: 55\r\n\
                     Connection: close\r\n\r\n\
                     This port speaks TLS: ask by https:// instead of http.\n";

/// Shakes hands with the client of `entry` at the other end of `stream`. None if it was no TLS that came first: that client was
/// told so. Its first byte may take as long as `first_byte`. If `is_blind`, the system cuts off a client that takes nothing.
///
/// # Errors
///
/// The client left, or it and this server have no version or cipher in common, or it does not trust the certificate. Which of
/// them it is the error says.
pub(super) async fn accept(
    certificates: &Certificates,
    stream: TcpStream,
    entry: &Arc<Entry>,
    first_byte: Duration,
    is_blind: bool,
) -> io::Result<Option<Box<WatchedIo>>> {
    let mut first = [0];
    if tokio::time::timeout(first_byte, stream.peek(&mut first)).await?? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first != [HANDSHAKE] {
        let mut plain = WatchedIo::new(stream, Arc::clone(entry), is_blind);
        // It is still sending, perhaps: without waiting for that, a reset could overtake the answer.
        plain.watch().set_upload(true);
        plain.write_all(PLAIN.as_bytes()).await?;
        plain.shutdown().await?;
        return Ok(None);
    }
    let socket = Socket::new(stream, Arc::clone(entry), is_blind);
    let stream = TlsAcceptor::from(certificates.current()).accept(socket).await?;
    Ok(Some(Box::new(WatchedIo::over_tls(stream, Arc::clone(entry)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_without_tls_has_the_length_that_it_tells() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
