//! A server of one log of numbered lines that does what a script says, connection by connection.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use socket2::SockRef;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What is done with one connection. Numbers count records.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// The log behind the token that is asked for, and its end.
    Whole,
    /// So many records and half of the next; then the connection is closed.
    Cut(usize),
    /// The same, then the connection is reset.
    Reset(usize),
    /// So many records, then the answer is over as if that were all.
    Short(usize),
    /// So many records, then silence until the client leaves.
    Silent(usize),
    /// Not even a head until the client leaves.
    Mute,
    /// An answer with this status, these fields and this body.
    Refusal(&'static str, &'static str, &'static str),
}

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

trait Io: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Io for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Io for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Server {
    /// Serves `count` lines; the last turn is played for ever.
    pub(crate) fn start(count: usize, turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::with(None, count, turns)
    }

    /// The same over TLS, as `localhost` and 127.0.0.1.
    pub(crate) fn tls(count: usize, turns: impl IntoIterator<Item = Turn>) -> Self {
        Self::tls_with(&certificates().join("server.pem"), &certificates().join("server-key.pem"), count, turns)
    }

    /// The same with another certificate.
    pub(crate) fn tls_with(
        certificate: &Path,
        key: &Path,
        count: usize,
        turns: impl IntoIterator<Item = Turn>,
    ) -> Self {
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Self::with(Some(Arc::new(config.with_single_cert(vec![certificate], key).unwrap())), count, turns)
    }

    fn with(tls: Option<Arc<ServerConfig>>, count: usize, turns: impl IntoIterator<Item = Turn>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::default());
        let (mut turns, requests): (VecDeque<Turn>, _) = (turns.into_iter().collect(), Arc::clone(&asked));
        thread::spawn(move || {
            for io in listener.incoming() {
                let turn = if turns.len() > 1 { turns.pop_front() } else { turns.front().cloned() }.unwrap();
                let (tls, requests) = (tls.clone(), Arc::clone(&requests));
                thread::spawn(move || {
                    let io = io.unwrap();
                    let io: Box<dyn Io> = match tls {
                        None => Box::new(io),
                        Some(tls) => Box::new(StreamOwned::new(ServerConnection::new(tls).unwrap(), io)),
                    };
                    serve(io, count, &turn, &requests);
                });
            }
        });
        Self { port, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The folder of certificates for tests.
pub(crate) fn certificates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker_runtime/tls"))
}

/// Whether a line of the log was printed to stderr.
pub(crate) fn is_error(number: usize) -> bool {
    number.is_multiple_of(3)
}

fn record(number: usize) -> String {
    let stream = if is_error(number) { "stderr" } else { "stdout" };
    format!(
        "{{\"log\":\"{number}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-31T08:00:00.123456789Z\",\"id\":\"v1.{number}\"}}\n"
    )
}

fn chunk(line: &str) -> String {
    format!("{:x}\r\n{line}\r\n", line.len())
}

/// Plays one turn. The client may leave at any time, which ends it.
fn serve(mut io: Box<dyn Io>, count: usize, turn: &Turn, requests: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match io.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let after = request.split("after=v1.").nth(1).map(|rest| rest.split(['&', ' ']).next().unwrap().parse().unwrap());
    let behind: usize = after.unwrap_or(0);
    requests.lock().unwrap().push(request);
    let log = |length: usize| -> String {
        let numbers = (behind + 1..=count).take(length);
        HEAD.chars().chain(numbers.flat_map(|number| chunk(&record(number)).into_bytes()).map(char::from)).collect()
    };
    let half = |length: usize| log(length) + &chunk(&record(behind + length + 1))[..60];
    let end = chunk("{\"event\":\"end\",\"reason\":\"exited\",\"exit_code\":0,\"id\":\"v1.0\"}\n") + "0\r\n\r\n";
    let answer = match *turn {
        // A log that is cut for ever is come back to until all of it was had.
        Turn::Cut(length) | Turn::Reset(length) if behind + length < count => half(length),
        Turn::Short(length) => log(length) + "0\r\n\r\n",
        Turn::Silent(length) => log(length),
        Turn::Mute => String::new(),
        Turn::Whole | Turn::Cut(_) | Turn::Reset(_) => log(count) + &end,
        Turn::Refusal(status, fields, body) => {
            format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
        }
    };
    if io.write_all(answer.as_bytes()).and_then(|()| io.flush()).is_err() {
        return;
    }
    match turn {
        Turn::Reset(_) => SockRef::from(io.socket()).set_linger(Some(Duration::ZERO)).unwrap(),
        Turn::Silent(_) | Turn::Mute => while matches!(io.read(&mut byte), Ok(1)) {},
        _ => {}
    }
}
