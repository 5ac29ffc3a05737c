//! The socket of a backend.

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
};

use super::limits::Permit;
use crate::own_listeners;

/// Silence before the first keep-alive probe of a connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Unanswered probes after which the connection is closed: a container that was cut off its network sends nothing.
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection's socket.
#[derive(Debug)]
pub struct BackendIo {
    stream: TcpStream,
    /// Given back after the socket is closed; none for the gateway's own requests.
    permit: Option<Permit>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The system says so, or it took too long.
    Io(io::Error),
    /// The gateway itself listens there.
    OwnListener,
}

impl BackendIo {
    /// Connects to `authority`, which is `host:port`, within `time`. The connection holds `permit`.
    ///
    /// # Errors
    ///
    /// The connection is refused, not made in time, or would be one to the gateway itself.
    pub async fn connect(authority: &str, time: Duration, permit: Option<Permit>) -> Result<Self, ConnectError> {
        let stream = tokio::time::timeout(time, connect(authority)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", time.as_secs()))
        })??;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Self { stream, permit })
    }

    /// Whether it counts against the limits, as all connections for clients do.
    pub fn has_permit(&self) -> bool {
        self.permit.is_some()
    }

    /// Polls until there may be something to read.
    ///
    /// # Errors
    ///
    /// The runtime is ending.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Whether the runtime was told of something to read.
    pub fn was_told(&self) -> bool {
        self.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Whether the system has something to read. On an idle connection that is its end, or bytes that belong to no response.
    pub fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Connects to the first of the addresses of `authority` that answers.
async fn connect(authority: &str) -> Result<TcpStream, ConnectError> {
    connect_to_any(lookup_host(authority).await?).await
}

/// Connects to the first of these addresses that answers and is not the gateway's own. The addresses are compared, and not the
/// host, so that no name leads to the gateway. The error is the last address's.
async fn connect_to_any(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, ConnectError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address").into();
    for address in addresses {
        last = match own_listeners::contains(address) {
            Ok(true) => ConnectError::OwnListener,
            Ok(false) => match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error.into(),
            },
            Err(error) => {
                let text = format!("whether the address is the gateway's own cannot be checked: {error}");
                io::Error::new(error.kind(), text).into()
            }
        };
    }
    Err(last)
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_of_the_gateway_s_own_is_passed_over() {
        let (own, other) =
            (TcpListener::bind("127.0.0.7:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (own, other) = (own.local_addr().unwrap(), other.local_addr().unwrap());
        own_listeners::add(own);
        for addresses in [[own, other], [other, own]] {
            assert_eq!(connect_to_any(addresses.into_iter()).await.unwrap().peer_addr().unwrap(), other);
        }
        let error = connect_to_any([own].into_iter()).await.unwrap_err();
        assert!(matches!(error, ConnectError::OwnListener), "{error:?}");
        let error = connect_to_any([].into_iter()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Io(_)), "{error:?}");
    }
}
