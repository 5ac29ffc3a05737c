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

/// One connection, with what was read too far. As light as it can be: what the asker does with the processor and its caches,
/// the servers under measurement lack.
pub struct Connection {
    io: TcpStream,
    address: SocketAddr,
    buf: Vec<u8>,
    /// What is read into; made once.
    piece: Box<[u8]>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let io = TcpStream::connect(address).unwrap();
        io.set_nodelay(true).unwrap();
        Self { io, address, buf: Vec::new(), piece: vec![0; 64 * 1024].into() }
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
        let Head { size, length, is_last } = loop {
            match Head::of(&self.buf, request) {
                Some(head) => break head,
                None => self.more(),
            }
        };
        while self.buf.len() < size + length {
            self.more();
        }
        let body = self.buf[size..size + length].to_vec();
        self.buf.drain(..size + length);
        if is_last {
            *self = Self::open(self.address);
        }
        body
    }

    fn more(&mut self) {
        let read = self.io.read(&mut self.piece).unwrap();
        assert!(read > 0, "the server closed in the middle of an answer");
        self.buf.extend_from_slice(&self.piece[..read]);
    }
}

/// What is to be known of an answer's head.
struct Head {
    /// Its own length in bytes, and the body's.
    size: usize,
    length: usize,
    /// The server closes the connection.
    is_last: bool,
}

impl Head {
    /// The head of the answer to `request` that is in `buf`, if it is whole.
    fn of(buf: &[u8], request: &str) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(size) = answer.parse(buf).unwrap() else { return None };
        assert!(answer.code.is_some_and(|code| (200..300).contains(&code)), "{request}: {answer:?}");
        let field = |name: &str| {
            let field = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(field.value).ok()
        };
        let length = field("content-length").map_or(0, |length| length.parse().unwrap());
        let is_last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Some(Self { size, length, is_last })
    }
}
