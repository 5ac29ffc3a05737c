//! An HTTP/1.1 client that sees every chunk as it was sent, with TLS or without.

use std::{io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::support::kube::{Server, tls};

/// Longer than anything that is not a failure takes.
const PATIENCE: Duration = Duration::from_secs(20);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection.
pub(super) struct Wire {
    io: BufReader<Box<dyn Io>>,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// How the next piece of a body came, or how the body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A chunk, or a body with a length.
    Chunk(String),
    /// The 0-size chunk, or all of the length.
    End,
    /// The connection broke.
    Cut,
}

/// An answer's head.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Names as they were sent.
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// A header, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        let own = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        own.map_or("", |(_, value)| value.as_str())
    }
}

/// A request.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), ..Self::default() }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body of this media type.
    pub(super) fn body(self, media: &str, body: &Value) -> Self {
        let mut with = self.header("Content-Type", media);
        with.body = body.to_string();
        with
    }
}

impl Wire {
    /// Connects to a server; `user` has a certificate if the server speaks TLS.
    pub(super) async fn connect(server: &Server, user: Option<&str>) -> Self {
        let io = TcpStream::connect(server.address()).await.unwrap();
        io.set_nodelay(true).unwrap();
        if server.url().starts_with("http:") {
            return Self::over(io);
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(tls::CA.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match user {
            None => config.with_no_client_auth(),
            Some(user) => {
                let (certificate, key) = tls::user(user);
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let name = ServerName::from(server.address().ip());
        Self::over(TlsConnector::from(Arc::new(config)).connect(name, io).await.unwrap())
    }

    fn over(io: impl Io + 'static) -> Self {
        Self { io: BufReader::new(Box::new(io)), framing: Framing::None }
    }

    /// Sends a request and reads the head of its answer.
    pub(super) async fn ask(&mut self, request: &Request) -> Head {
        self.send(request).await;
        self.head().await.expect("a head")
    }

    /// Sends a request.
    pub(super) async fn send(&mut self, request: &Request) {
        let has_name = request.headers.iter().any(|(name, _)| name == "User-Agent");
        let mut text = format!("{} {} HTTP/1.1\r\nHost: test\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !has_name {
            text += "User-Agent: t/1\r\n";
        }
        if request.method != "GET" {
            text += &format!("Content-Length: {}\r\n", request.body.len());
        }
        text += "\r\n";
        text += &request.body;
        self.io.write_all(text.as_bytes()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    async fn head(&mut self) -> io::Result<Head> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut head = Head { status, headers: Vec::new() };
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else { break };
            head.headers.push((name.to_owned(), value.to_owned()));
        }
        self.framing = match (head.header("content-length").parse(), head.header("transfer-encoding")) {
            (Ok(length), _) => Framing::Length(length),
            (_, "chunked") => Framing::Chunked,
            _ => Framing::None,
        };
        Ok(head)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        timeout(PATIENCE, self.io.read_line(&mut line)).await.expect("not silent for so long")?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The next piece of the body.
    pub(super) async fn piece(&mut self) -> Piece {
        self.read().await.unwrap_or(Piece::Cut)
    }

    async fn read(&mut self) -> io::Result<Piece> {
        let size = match self.framing {
            Framing::None => return Ok(Piece::End),
            Framing::Length(size) => {
                self.framing = Framing::None;
                if size == 0 {
                    return Ok(Piece::End);
                }
                size
            }
            Framing::Chunked => {
                let size = usize::from_str_radix(&self.line().await?, 16).map_err(io::Error::other)?;
                if size == 0 {
                    self.line().await?;
                    self.framing = Framing::None;
                    return Ok(Piece::End);
                }
                size
            }
        };
        let is_chunk = self.framing == Framing::Chunked;
        let mut bytes = vec![0; size];
        timeout(PATIENCE, self.io.read_exact(&mut bytes)).await.expect("not silent for so long")?;
        if is_chunk {
            self.line().await?;
        }
        Ok(Piece::Chunk(String::from_utf8(bytes).unwrap()))
    }

    /// The chunks until the body's end, which is clean.
    pub(super) async fn rest(&mut self) -> Vec<String> {
        let mut chunks = Vec::new();
        loop {
            match self.piece().await {
                Piece::Chunk(chunk) => chunks.push(chunk),
                Piece::End => return chunks,
                Piece::Cut => panic!("cut after {chunks:?}"),
            }
        }
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn whole(&mut self, request: &Request) -> (Head, String) {
        let head = self.ask(request).await;
        (head, self.rest().await.concat())
    }

    /// The same as JSON.
    pub(super) async fn json(&mut self, request: &Request) -> (u16, Value) {
        let (head, text) = self.whole(request).await;
        (head.status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Whether the connection was closed and nothing more came.
    pub(super) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = timeout(PATIENCE, self.io.read(&mut byte)).await.expect("not silent for so long");
        !matches!(read, Ok(1))
    }
}
