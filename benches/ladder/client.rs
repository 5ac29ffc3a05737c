//! The reader: takes an answer to its end as fast as it comes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long it takes to read the whole answer to a GET, and how many bytes it has, head included.
pub fn read(address: SocketAddr, path: &str) -> (Duration, u64) {
    let start = Instant::now();
    let mut io = TcpStream::connect(address).unwrap();
    // In one write: the relay takes what it reads first for the whole request.
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let (mut buf, mut bytes) = (vec![0; 256 * 1024], 0);
    loop {
        match io.read(&mut buf).unwrap() {
            0 => return (start.elapsed(), bytes),
            n => bytes += n as u64,
        }
    }
}
