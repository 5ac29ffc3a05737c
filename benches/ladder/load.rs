//! A load of small requests on connections that are kept.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How many connections ask at the same time.
const CONNECTIONS: usize = 8;

/// For how long they do.
const TIME: Duration = Duration::from_secs(2);

/// Answered requests a second.
pub fn rate(address: SocketAddr, path: &str) -> f64 {
    let start = Instant::now();
    let path = path.to_owned();
    let ask = move || {
        let mut connection = Connection::open(address);
        let mut answered = 0_u64;
        while start.elapsed() < TIME {
            connection.get(&path);
            answered += 1;
        }
        answered
    };
    let askers: Vec<_> = (0..CONNECTIONS).map(|_| thread::spawn(ask.clone())).collect();
    let answered: u64 = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    answered as f64 / start.elapsed().as_secs_f64()
}

/// One connection, with what was read too far.
pub struct Connection {
    io: TcpStream,
    address: SocketAddr,
    buf: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let io = TcpStream::connect(address).unwrap();
        io.set_nodelay(true).unwrap();
        Self { io, address, buf: Vec::new() }
    }

    /// Asks and takes the whole answer; gives its body's length.
    pub fn get(&mut self, path: &str) -> usize {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n"))
    }

    /// Sends a request and takes the whole answer; gives its body's length.
    pub fn ask(&mut self, request: &str) -> usize {
        self.exchange(request).len()
    }

    /// Sends a request whose answer is a JSON object with an `id`, and gives that.
    pub fn ask_for_id(&mut self, request: &str) -> String {
        let answer: serde_json::Value = serde_json::from_slice(&self.exchange(request)).unwrap();
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// The body of an answer whose length must be told.
    fn exchange(&mut self, request: &str) -> Vec<u8> {
        self.io.write_all(request.as_bytes()).unwrap();
        let head = loop {
            if let Some(end) = self.buf.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more();
        };
        let text = String::from_utf8_lossy(&self.buf[..head]).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 2"), "{request}: {text}");
        let length =
            text.split("content-length: ").nth(1).map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
        while self.buf.len() < head + length {
            self.more();
        }
        let body = self.buf[head..head + length].to_vec();
        self.buf.drain(..head + length);
        if text.contains("connection: close") {
            *self = Self::open(self.address);
        }
        body
    }

    fn more(&mut self) {
        let mut piece = [0; 64 * 1024];
        let read = self.io.read(&mut piece).unwrap();
        assert!(read > 0, "the server closed in the middle of an answer");
        self.buf.extend_from_slice(&piece[..read]);
    }
}
