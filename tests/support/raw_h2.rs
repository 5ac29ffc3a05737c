//! An HTTP/2 client that writes frames by hand, so that a test can send what no library sends, and never read.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::LONGEST;

/// Types of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags: the end of a stream (or an acknowledgement), the end of a header block.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One connection.
pub struct RawH2 {
    io: TcpStream,
}

/// A frame that was read.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl RawH2 {
    /// Connects, granting `window` bytes a stream; with a receive buffer of about `buffer` bytes if that is not 0.
    pub async fn connect(address: SocketAddr, window: u32, buffer: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if buffer != 0 {
            socket.set_recv_buffer_size(buffer).unwrap();
        }
        let io = socket.connect(address).await.unwrap();
        io.set_nodelay(true).unwrap();
        let mut connection = Self { io };
        connection.io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        connection.settings(window).await;
        connection
    }

    /// Sends a frame; says whether the peer has not closed.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.io.write_all(&frame(kind, flags, stream, payload)).await.is_ok()
    }

    /// Writes bytes until the peer takes no more for a while or closes; says how many it took.
    pub async fn flood(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let mut taken = 0;
        while let Ok(Ok(count)) = timeout(patience, self.io.write(&bytes[taken % bytes.len()..])).await {
            taken += count;
            if count == 0 || taken > 256 << 20 {
                break;
            }
        }
        taken
    }

    /// Writes bytes once; says how many the peer took.
    pub async fn flood_once(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            match timeout(Duration::from_secs(4), self.io.write(&bytes[taken..])).await {
                Ok(Ok(count @ 1..)) => taken += count,
                Ok(_) | Err(_) => break,
            }
        }
        taken
    }

    /// Sets the window that streams have to begin with, which changes that of those that are open.
    pub async fn settings(&mut self, window: u32) {
        let mut payload = vec![0, 4];
        payload.extend(window.to_be_bytes());
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    /// Grants a stream, or with 0 the connection, `count` bytes.
    pub async fn grant(&mut self, stream: u32, count: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &count.to_be_bytes()).await;
    }

    /// Asks for `target` on a stream.
    pub async fn get(&mut self, stream: u32, target: &str) {
        let head = head("GET", target);
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &head).await;
    }

    /// The next frame; `None` when the peer has closed or reset the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let whole = async {
            self.io.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.io.read_exact(&mut payload).await?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            io::Result::Ok(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        timeout(Duration::from_secs(90), whole).await.expect("a frame in time").ok()
    }

    /// Reads until `stream` is reset or the connection has ended, acknowledging settings and pings; how long that took. What came
    /// before is left in `seen`.
    pub async fn until_reset(&mut self, stream: u32, seen: &mut Vec<Frame>) -> Duration {
        let start = Instant::now();
        while let Some(frame) = self.frame().await {
            assert!(start.elapsed() < 2 * LONGEST, "stream {stream} is not reset");
            match (frame.kind, frame.flags & 1) {
                (SETTINGS, 0) => drop(self.send(SETTINGS, 1, 0, &[]).await),
                (PING, 0) => drop(self.send(PING, 1, 0, &frame.payload).await),
                (RST_STREAM, _) if frame.stream == stream => break,
                _ => seen.push(frame),
            }
        }
        start.elapsed()
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A request's header block: fields of the static table and literals, nothing compressed (RFC 7541 §6).
pub fn head(method: &str, target: &str) -> Vec<u8> {
    let mut head = vec![0x86];
    literal(&mut head, 2, method);
    literal(&mut head, 4, target);
    literal(&mut head, 1, "localhost");
    head
}

/// The header block of a request that leaves its target in the connection's table, and that of the same request again.
pub fn until_indexed(target: &str) -> (Vec<u8>, Vec<u8>) {
    let mut first = vec![0x82, 0x86];
    literal(&mut first, 0x44, target);
    // The second that is added, which makes the target's place the one behind it.
    literal(&mut first, 0x41, "localhost");
    (first, vec![0x82, 0x86, 0xbf, 0xbe])
}

fn literal(to: &mut Vec<u8>, name: u8, value: &str) {
    to.push(name);
    let length = value.len();
    if length < 127 {
        to.push(length as u8);
    } else {
        to.push(127);
        let mut left = length - 127;
        while left >= 128 {
            to.push((left % 128) as u8 | 128);
            left /= 128;
        }
        to.push(left as u8);
    }
    to.extend(value.as_bytes());
}
