//! Plain calls of the machine's engine, for what it costs without any server in front.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

/// Where Debian's engine listens.
pub const SOCKET: &str = "/var/run/docker.sock";

/// One call; the answer's status and body, still in chunks if it came in such.
pub fn call(method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let mut io = UnixStream::connect(SOCKET).unwrap();
    let head = format!(
        "{method} /v1.41{path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    io.write_all(head.as_bytes()).unwrap();
    io.write_all(body).unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// A call that must go well.
pub fn must(method: &str, path: &str, content_type: &str, body: &[u8]) -> String {
    let (status, body) = call(method, path, content_type, body);
    assert!((200..300).contains(&status) || status == 304, "{method} {path}: {status} {body}");
    body
}
