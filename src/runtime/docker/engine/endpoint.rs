//! Where the engine listens, and a fresh connection to it.
//!
//! Both bollard's requests and the log reader's own exchanges go through [`Endpoint::connect`], so that there is one
//! reading of `DOCKER_HOST`, one TLS configuration and one set of socket options (docker-runtime.md §1).

use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::tls;
use crate::{host::without_brackets, logs::engine::Transport};

/// The longest that a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time before the first keep-alive probe: an engine whose machine vanished is noticed within a minute and a half.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Time between keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Where the engine listens.
#[derive(Clone)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp {
        /// Name or address, an IPv6 one without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// TCP with TLS.
    Tls {
        /// Name or address, an IPv6 one without brackets; checked against the certificate.
        host: String,
        /// The port.
        port: u16,
        /// The engine's authority and this client's certificate.
        config: Arc<rustls::ClientConfig>,
    },
}

impl Endpoint {
    /// The endpoint that `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` name; else the default socket.
    pub fn from_env() -> io::Result<Self> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let host = set("DOCKER_HOST").unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let certificates = set("DOCKER_CERT_PATH").map(PathBuf::from);
        let tls = set("DOCKER_TLS_VERIFY").is_some() || certificates.is_some();
        Self::parse(&host, tls, certificates)
    }

    /// Reads a `DOCKER_HOST`; `tls` asks for TLS over TCP, with the files in `certificates` (default `~/.docker`).
    pub fn parse(host: &str, tls: bool, certificates: Option<PathBuf>) -> io::Result<Self> {
        let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
        match scheme {
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" if tls || scheme == "https" => {
                let (host, port) = host_and_port(rest, 2376)?;
                let folder = certificates.or_else(default_certificates).unwrap_or_default();
                Ok(Self::Tls { host, port, config: Arc::new(tls::client_config(&folder)?) })
            }
            "tcp" | "http" => {
                let (host, port) = host_and_port(rest, 2375)?;
                Ok(Self::Tcp { host, port })
            }
            _ => Err(invalid(format!("the scheme '{scheme}' is not supported"))),
        }
    }

    /// A fresh connection, at most ten seconds from now.
    pub async fn connect(&self) -> io::Result<Socket> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_at_leisure()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting to the engine took too long")),
        }
    }

    async fn connect_at_leisure(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
            Self::Tcp { host, port } => Ok(Socket::Tcp(connect_tcp(host, *port).await?)),
            Self::Tls { host, port, config } => {
                let name = ServerName::try_from(host.clone()).map_err(|error| invalid(error.to_string()))?;
                let stream = connect_tcp(host, *port).await?;
                let stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
                Ok(Socket::Tls(Box::new(stream)))
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    /// The address alone: a TLS configuration holds a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Tls { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&probes)?;
    Ok(stream)
}

fn host_and_port(address: &str, default_port: u16) -> io::Result<(String, u16)> {
    let address = address.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| invalid(format!("'{port}' is not a port")))?)
        }
        _ => (address, default_port),
    };
    let host = without_brackets(host);
    Ok((if host.is_empty() { "127.0.0.1" } else { host }.to_owned(), port))
}

fn default_certificates() -> Option<PathBuf> {
    env::home_dir().map(|home| Path::new(&home).join(".docker"))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A connection to the engine.
#[derive(Debug)]
pub enum Socket {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over plain TCP.
    Tcp(TcpStream),
    /// Over TCP with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl Socket {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream),
            Self::Tcp(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl Transport for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            // The TLS session may hold decrypted bytes that the socket knows nothing of.
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str) -> (String, u16) {
        match Endpoint::parse(host, false, None).unwrap() {
            Endpoint::Tcp { host, port } => (host, port),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_the_forms_of_docker_host() {
        assert!(
            matches!(Endpoint::parse("unix:///a/b", true, None).unwrap(), Endpoint::Unix(p) if p == Path::new("/a/b"))
        );
        assert_eq!(tcp("tcp://engine:2000"), ("engine".to_owned(), 2000));
        assert_eq!(tcp("engine:2000/"), ("engine".to_owned(), 2000));
        assert_eq!(tcp("http://engine"), ("engine".to_owned(), 2375));
        assert_eq!(tcp("tcp://[::1]:99"), ("::1".to_owned(), 99));
        assert_eq!(tcp("tcp://[::1]"), ("::1".to_owned(), 2375));
        assert_eq!(tcp("tcp://:2375"), ("127.0.0.1".to_owned(), 2375));
    }

    #[test]
    fn refuses_what_it_cannot_reach() {
        assert!(Endpoint::parse("ssh://engine", false, None).is_err());
        assert!(Endpoint::parse("tcp://engine:x", false, None).is_err());
    }

    #[test]
    fn names_the_missing_certificate() {
        let error = Endpoint::parse("tcp://engine", true, Some(PathBuf::from("/nowhere"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
