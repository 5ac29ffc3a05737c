//! A server inside a sandbox, scripted byte by byte: what it is asked is kept as it came over the wire.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A listening server; it ends with its connections when this is dropped.
pub struct Backend {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

/// One connection.
pub struct Conn {
    /// The socket.
    pub io: TcpStream,
    buffer: BytesMut,
    closed: Arc<Mutex<Vec<Instant>>>,
}

impl Backend {
    /// Serves every connection with `serve`; the connection is closed when that ends.
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Conn) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepted, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, times) = (accepted.clone(), closed.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                io.set_nodelay(true).unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(Conn { io, buffer: BytesMut::new(), closed: times.clone() }));
            }
        });
        Self { port, accepted, closed, task }
    }

    /// A server that answers everything with the request's own bytes, head and body, and keeps its connections.
    pub async fn mirror() -> Self {
        Self::start(|mut conn| async move {
            while let Some(head) = conn.head().await {
                let body = conn.body_of(&head).await;
                let text = head.clone() + &String::from_utf8_lossy(&body);
                conn.answer("200 OK", &[], text.as_bytes()).await;
            }
        })
        .await
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// When connections were seen to be closed by the peer.
    pub fn closed(&self) -> Vec<Instant> {
        self.closed.lock().unwrap().clone()
    }

    /// Waits for the end of the next connection after the first `seen`: when it was seen.
    pub async fn wait_closed(&self, seen: usize) -> Instant {
        super::eventually("a closed backend connection", Duration::from_secs(10), || self.closed().len() > seen).await;
        self.closed()[seen]
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Conn {
    /// The next request's head, with the empty line; `None` if the peer closes first.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return Some(String::from_utf8_lossy(&self.buffer.split_to(at + 4)).into_owned());
            }
            if !matches!(self.io.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The body that belongs to a head, unchunked; the trailers of a chunked one are left in front of an empty line.
    pub async fn body_of(&mut self, head: &str) -> Vec<u8> {
        let head = head.to_ascii_lowercase();
        if head.contains("\r\ntransfer-encoding: chunked") {
            let mut body = Vec::new();
            loop {
                let size = usize::from_str_radix(self.line().await.trim(), 16).expect("a chunk's size");
                if size == 0 {
                    while !self.line().await.trim().is_empty() {}
                    return body;
                }
                body.extend(self.bytes(size).await);
                self.bytes(2).await;
            }
        }
        let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        self.bytes(length.map_or(0, |length| length.parse().unwrap())).await
    }

    /// The next line.
    pub async fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return String::from_utf8_lossy(&self.buffer.split_to(at + 1)).into_owned();
            }
            self.fill().await;
        }
    }

    /// So many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            self.fill().await;
        }
        self.buffer.split_to(count).to_vec()
    }

    /// Writes bytes as they are; says whether the peer took them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.io.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Writes an answer with its length.
    pub async fn answer(&mut self, status: &str, lines: &[&str], body: &[u8]) {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// Reads until the peer closes, and notes when.
    pub async fn wait_closed(&mut self) {
        loop {
            self.buffer.clear();
            if !matches!(self.io.read_buf(&mut self.buffer).await, Ok(1..)) {
                break self.closed.lock().unwrap().push(Instant::now());
            }
        }
    }

    /// What comes next; `None` when the peer has closed.
    pub async fn some(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() && !matches!(self.io.read_buf(&mut self.buffer).await, Ok(1..)) {
            return None;
        }
        Some(self.buffer.split().to_vec())
    }

    /// Notes that the peer was seen to have closed.
    pub fn note_closed(&self) {
        self.closed.lock().unwrap().push(Instant::now());
    }

    /// Closes with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.io).set_linger(Some(Duration::ZERO)).unwrap();
    }

    async fn fill(&mut self) {
        let read = timeout(PATIENCE, self.io.read_buf(&mut self.buffer)).await.expect("something arrives in time");
        assert_ne!(read.unwrap_or(0), 0, "closed in the middle: {:?}", self.buffer);
    }
}
