//! The reader: takes an answer to its end as fast as it comes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long it takes to read the whole answer to a GET, and how many bytes it has, head included.
pub fn read(address: SocketAddr, path: &str) -> (Duration, u64) {
    read_until(address, path, None)
}

/// The same up to what ends with `last` or one line break more, if that is given.
pub fn read_until(address: SocketAddr, path: &str, last: Option<&[u8]>) -> (Duration, u64) {
    let start = Instant::now();
    let mut io = ask(address, path);
    let (mut buf, mut kept, mut bytes) = (vec![0; 256 * 1024], 0, 0);
    loop {
        let count = io.read(&mut buf[kept..]).unwrap();
        bytes += count as u64;
        let Some(last) = last else {
            if count == 0 {
                return (start.elapsed(), bytes);
            }
            continue;
        };
        assert!(count > 0, "{path}: an end before the last line");
        // With the line break of a chunk behind it, and as much of what came before.
        let (end, length) = (kept + count, last.len() + 2);
        let tail = &buf[end.saturating_sub(length)..end];
        if tail.windows(last.len()).any(|window| window == last) {
            return (start.elapsed(), bytes);
        }
        kept = tail.len();
        buf.copy_within(end - kept..end, 0);
    }
}

/// The whole answer to a GET, head included.
pub fn text(address: SocketAddr, path: &str) -> String {
    let mut text = Vec::new();
    ask(address, path).read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// How long nothing may come: what hangs ends the run.
const SILENCE: Duration = Duration::from_secs(60);

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut io = TcpStream::connect(address).unwrap();
    io.set_read_timeout(Some(SILENCE)).unwrap();
    // In one write: the relay takes what it reads first for the whole request.
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    io
}
