//! An HTTP/1.1 client that works in bytes, so that a test can leave, stall and misbehave at any point.

mod io;

use std::{fmt, io as std_io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use self::io::Io;
use super::bounded;

/// Longer than anything that is not a failure takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection to the gateway.
pub struct Client {
    io: Io,
    buffer: BytesMut,
    framing: Framing,
}

/// How the body of the response being read is delimited.
#[derive(Debug, Clone, Copy)]
enum Framing {
    /// There is no body, or it was read to its end.
    None,
    /// So many bytes remain.
    Length(usize),
    /// In chunks; so many bytes of the present one remain.
    Chunked(usize),
    /// Until the connection closes.
    Close,
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The fields, names in lower case.
    pub headers: HeaderMap,
}

/// A response that was read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
}

/// The body ended in a way by which a client can tell that something is missing.
#[derive(Debug)]
pub struct Aborted {
    /// What had arrived before.
    pub received: Bytes,
    /// The reset, or none if the connection was closed.
    pub error: Option<std_io::Error>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(bounded("a connection", TcpStream::connect(address)).await.unwrap())
    }

    /// Connects with a receive buffer of about `size` bytes, for a client that soon takes nothing more.
    pub async fn connect_with_window(address: SocketAddr, size: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(size).unwrap();
        Self::over(bounded("a connection", socket.connect(address)).await.unwrap())
    }

    fn over(io: TcpStream) -> Self {
        io.set_nodelay(true).unwrap();
        Self { io: Io::Plain(io), buffer: BytesMut::new(), framing: Framing::None }
    }

    /// The same client when it has shaken hands by TLS.
    ///
    /// # Errors
    ///
    /// The server did not, or is not trusted.
    pub async fn over_tls(self, config: &Arc<ClientConfig>) -> std_io::Result<Self> {
        let Io::Plain(io) = self.io else { panic!("TLS in TLS") };
        let name = ServerName::from(io.peer_addr().unwrap().ip());
        let shaken = TlsConnector::from(Arc::clone(config)).connect(name, io);
        Ok(Self { io: Io::Tls(Box::new(bounded("a handshake", shaken).await?)), ..self })
    }

    /// The TLS that it speaks.
    pub fn tls(&self) -> &rustls::ClientConnection {
        let Io::Tls(io) = &self.io else { panic!("no TLS") };
        io.get_ref().1
    }

    /// Says by TLS that nothing more comes, and leaves the connection open.
    pub async fn close_notify(&mut self) {
        let Io::Tls(io) = &mut self.io else { panic!("no TLS") };
        io.get_mut().1.send_close_notify();
        io.flush().await.unwrap();
    }

    /// Writes bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        };
        bounded("a peer that reads", sent).await.unwrap();
    }

    /// Writes bytes to a peer that may have closed already; says whether it has not.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        bounded("a peer that reads", self.io.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Writes a GET with the header lines given (each `Name: value`).
    pub async fn send_get(&mut self, target: &str, lines: &[&str]) {
        self.send(get(target, lines)).await;
    }

    /// Reads a response's head.
    pub async fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.fill().await.expect("a head"), 0, "closed before a head: {:?}", self.buffer);
        };
        let head = parse_head(&self.buffer.split_to(end));
        self.framing = framing(&head);
        head
    }

    /// Sends a GET and reads the head of the answer.
    pub async fn get(&mut self, target: &str) -> Head {
        self.send_get(target, &[]).await;
        self.head().await
    }

    /// Reads the next piece of the body: `None` at its proper end.
    ///
    /// # Errors
    ///
    /// If the connection ends before the body does; `received` is empty then.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Aborted> {
        loop {
            if let Some(piece) = self.buffered_piece() {
                return Ok(piece);
            }
            match self.fill().await {
                Ok(0) if matches!(self.framing, Framing::Close) => {
                    self.framing = Framing::None;
                }
                Ok(0) => return Err(Aborted { received: Bytes::new(), error: None }),
                Ok(_) => {}
                Err(error) => return Err(Aborted { received: Bytes::new(), error: Some(error) }),
            }
        }
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    ///
    /// If the connection ends before the body does.
    pub async fn body(&mut self) -> Result<Bytes, Aborted> {
        bounded("the end of a body", self.whole_body()).await
    }

    async fn whole_body(&mut self) -> Result<Bytes, Aborted> {
        let mut body = BytesMut::new();
        loop {
            match self.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return Ok(body.freeze()),
                Err(aborted) => return Err(Aborted { received: body.freeze(), ..aborted }),
            }
        }
    }

    /// Reads until `length` bytes of the body are there, and returns these and what came with them.
    pub async fn body_of(&mut self, length: usize) -> Bytes {
        let mut body = BytesMut::new();
        let filled = async {
            while body.len() < length {
                let piece = self.piece().await.expect("the body goes on").expect("the body has not ended");
                body.extend_from_slice(&piece);
            }
        };
        bounded("bytes of a body", filled).await;
        body.freeze()
    }

    /// So many bytes as they come, whatever they mean.
    pub async fn raw(&mut self, count: usize) -> Bytes {
        while self.buffer.len() < count {
            assert_ne!(self.fill().await.expect("more bytes"), 0, "closed after {:?}", self.buffer);
        }
        self.buffer.split_to(count).freeze()
    }

    /// The bytes up to the next line end, whatever they mean.
    pub async fn raw_line(&mut self) -> Bytes {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return self.buffer.split_to(at + 1).freeze();
            }
            assert_ne!(self.fill().await.expect("more bytes"), 0, "closed after {:?}", self.buffer);
        }
    }

    /// All bytes until the peer closes, whatever they mean.
    pub async fn raw_to_end(&mut self) -> Bytes {
        bounded("the peer's end", async { while self.fill().await.expect("an end without a reset") > 0 {} }).await;
        self.buffer.split().freeze()
    }

    /// Nothing of the body arrives for `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.piece()).await.is_err()
    }

    /// A complete exchange.
    pub async fn request(&mut self, method: &str, target: &str, lines: &[&str], body: &str) -> Response {
        self.send(written(method, target, lines, body)).await;
        let head = self.head().await;
        if method == "HEAD" || head.status == StatusCode::NO_CONTENT {
            self.framing = Framing::None;
        }
        let body = self.body().await.expect("a complete response");
        Response { head, body }
    }

    /// Whether the peer has closed; waits for it as long as for anything else.
    pub async fn is_closed(&mut self) -> bool {
        let closed = async { while matches!(self.io.read_buf(&mut self.buffer).await, Ok(1..)) {} };
        timeout(PATIENCE, closed).await.is_ok()
    }

    /// Closes both directions properly (FIN).
    pub fn close(self) {
        drop(self);
    }

    /// Closes with a reset (RST).
    pub fn reset(self) {
        socket2::SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Closes with a reset (RST), or properly (FIN).
    pub fn leave(self, with_reset: bool) {
        if with_reset { self.reset() } else { self.close() }
    }

    /// Shuts down the write side and keeps reading.
    pub async fn half_close(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    /// The address of this end.
    pub fn local_addr(&self) -> SocketAddr {
        self.io.socket().local_addr().unwrap()
    }

    async fn fill(&mut self) -> std_io::Result<usize> {
        timeout(PATIENCE, self.io.read_buf(&mut self.buffer)).await.expect("something arrives in time")
    }

    /// What the buffer holds of the body: a piece, its end, or not enough to tell.
    fn buffered_piece(&mut self) -> Option<Option<Bytes>> {
        match self.framing {
            Framing::None | Framing::Length(0) => Some(None),
            Framing::Close if self.buffer.is_empty() => None,
            Framing::Close => Some(Some(self.buffer.split().freeze())),
            Framing::Length(left) => {
                let piece = self.take(left)?;
                self.framing = Framing::Length(left - piece.len());
                Some(Some(piece))
            }
            Framing::Chunked(0) => self.next_chunk(),
            Framing::Chunked(left) => {
                let piece = self.take(left)?;
                self.framing = Framing::Chunked(left - piece.len());
                Some(Some(piece))
            }
        }
    }

    fn take(&mut self, at_most: usize) -> Option<Bytes> {
        let length = self.buffer.len().min(at_most);
        (length > 0).then(|| self.buffer.split_to(length).freeze())
    }

    fn next_chunk(&mut self) -> Option<Option<Bytes>> {
        // The line end after the chunk before is still there; a size line never starts with one.
        let skip = if self.buffer.starts_with(b"\r\n") { 2 } else { 0 };
        let end = skip + find(&self.buffer[skip..], b"\r\n")?;
        let size = std::str::from_utf8(&self.buffer[skip..end]).expect("a chunk size is ASCII");
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("not a chunk size: {size:?}"));
        if size == 0 {
            find(&self.buffer[end..], b"\r\n\r\n")?;
            let _ = self.buffer.split_to(end + 4);
            self.framing = Framing::None;
            return Some(None);
        }
        let _ = self.buffer.split_to(end + 2);
        self.framing = Framing::Chunked(size);
        self.buffered_piece()
    }
}

impl Head {
    /// A field's value; empty if it is absent.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Response {
    /// The status as a number.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The `code` member of an error.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.head.status, String::from_utf8_lossy(&self.body))
    }
}

/// One exchange on a connection of its own.
pub async fn request(address: SocketAddr, method: &str, target: &str, lines: &[&str], body: &str) -> Response {
    Client::connect(address).await.request(method, target, lines, body).await
}

/// One GET on a connection of its own.
pub async fn get_once(address: SocketAddr, target: &str) -> Response {
    request(address, "GET", target, &[], "").await
}

/// The bytes of a GET.
pub fn get(target: &str, lines: &[&str]) -> Vec<u8> {
    written("GET", target, lines, "")
}

/// The bytes of a request; a body brings its length with it.
pub fn written(method: &str, target: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn parse_head(bytes: &[u8]) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    assert!(parsed.parse(bytes).expect("a valid head").is_complete());
    let mut headers = HeaderMap::new();
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(field.value).unwrap());
    }
    Head { status: StatusCode::from_u16(parsed.code.unwrap()).unwrap(), headers }
}

fn framing(head: &Head) -> Framing {
    let bodiless = head.status.is_informational() || head.status == 204 || head.status == 304;
    match (head.field("transfer-encoding"), head.field("content-length")) {
        _ if bodiless => Framing::None,
        ("chunked", _) => Framing::Chunked(0),
        (_, "") => Framing::Close,
        (_, length) => Framing::Length(length.parse().expect("a length is a number")),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
