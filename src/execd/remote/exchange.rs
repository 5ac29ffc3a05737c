//! One request to a sandbox's execd, on a connection of its own.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::failed;
use crate::{
    error::{Error, Family, Kind},
    execd::TOKEN,
    http1::{self, response_reader::ResponseReader},
    model::endpoint::Backend,
    proxy::io::{BackendIo, ConnectError},
    secret::Secret,
};

/// The index of the last line of a command's output, or what else execd counts.
const CURSOR: HeaderName = HeaderName::from_static("execd-commands-tail-cursor");

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the head of an answer, each next piece of it, or a short answer as a whole may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes that are read at once.
const READ_SIZE: usize = 64 * 1024;

/// Longest answer that is read as a whole, in bytes.
const MAX_WHOLE: usize = 64 * 1024;

/// How much of execd's own words a message shows, in bytes.
const MAX_SHOWN: usize = 200;

/// An answer's body.
pub(super) struct Answer {
    io: BackendIo,
    reader: ResponseReader,
}

/// A good answer, and the cursor that it tells.
pub(super) struct Asked {
    pub(super) answer: Answer,
    pub(super) cursor: Option<u64>,
}

/// An answer to what execd does not do.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Asks for `path`, which is one of execd's own and needs no encoding.
///
/// # Errors
/// execd cannot be reached or does not answer in time ([`Kind::Unavailable`], [`Kind::TimedOut`]); it does not know the command
/// ([`Kind::NotFound`]), wants a token ([`Kind::Unauthenticated`]), has no output of this command ([`Kind::Invalid`]), or
/// answers anything but 200 ([`Kind::Failed`]).
pub(super) async fn ask(backend: &Backend, path: &str, token: Option<&Secret>) -> Result<Asked, Error> {
    let io = BackendIo::connect(&backend.authority, CONNECT_TIMEOUT, None).await.map_err(|error| match error {
        ConnectError::Io(error) if error.kind() == io::ErrorKind::TimedOut => hangs(),
        ConnectError::Io(error) => unreachable(error),
        ConnectError::OwnListener => failed("its port is the gateway's own"),
    })?;
    let mut answer = Answer { io, reader: ResponseReader::default() };
    let request = request(backend, path, token);
    let head = timeout(TIMEOUT, answer.head(request.as_bytes())).await.map_err(|_| hangs())??;
    match head.status() {
        StatusCode::OK => {
            let cursor = cursor(head.headers())?;
            Ok(Asked { answer, cursor })
        }
        status => {
            // Without a body, a status is a status.
            let said = answer.whole().await.ok().and_then(|body| serde_json::from_slice(&body).ok());
            Err(refused(status, said.map(|Refusal { message }| shown(&message, token))))
        }
    }
}

fn request(Backend { authority, path_prefix, headers, .. }: &Backend, path: &str, token: Option<&Secret>) -> String {
    let mut request =
        format!("GET {path_prefix}{path} HTTP/1.1\r\nhost: {authority}\r\naccept: */*\r\nconnection: close\r\n");
    // One that the runtime knows is right; a client's may be.
    let known = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TOKEN));
    let token = token.filter(|_| !known).map(|token| (TOKEN, token.expose()));
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in headers.chain(token) {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request + "\r\n"
}

/// The cursor of an answer. Of an empty output some execds tell -1, which is none.
fn cursor(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get(CURSOR) else { return Ok(None) };
    let value = value.to_str().unwrap_or("?").trim();
    if value == "-1" {
        return Ok(None);
    }
    let cursor = value.parse().map_err(|_| failed("its cursor is no number"))?;
    Ok(Some(cursor))
}

impl Answer {
    /// Sends the request and waits for the answer's head.
    async fn head(&mut self, request: &[u8]) -> Result<http::Response<()>, Error> {
        self.io.write_all(request).await.map_err(unreachable)?;
        loop {
            if let Some(head) = self.reader.final_head().map_err(not_http)? {
                return Ok(head);
            }
            if self.receive().await? == 0 {
                return Err(unreachable(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// It does not come in time, or the connection breaks off.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        timeout(TIMEOUT, self.next_chunk()).await.map_err(|_| hangs())?
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.reader.frame().map_err(not_http)? {
                Some(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                None if self.reader.is_ended() => return Ok(None),
                None if self.receive().await? == 0 => self.reader.close().map_err(not_http)?,
                None => {}
            }
        }
    }

    /// A short body, within the time of one wait.
    ///
    /// # Errors
    /// It is too long, or as [`Self::chunk`].
    pub(super) async fn whole(&mut self) -> Result<BytesMut, Error> {
        let read = async {
            let mut body = BytesMut::new();
            while let Some(bytes) = self.next_chunk().await? {
                if body.len() + bytes.len() > MAX_WHOLE {
                    return Err(failed("its answer is too long"));
                }
                body.extend_from_slice(&bytes);
            }
            Ok(body)
        };
        timeout(TIMEOUT, read).await.map_err(|_| hangs())?
    }

    async fn receive(&mut self) -> Result<usize, Error> {
        self.reader.bytes.reserve(READ_SIZE);
        let mut limited = (&mut self.io).take(READ_SIZE as u64);
        limited.read_buf(&mut self.reader.bytes).await.map_err(unreachable)
    }
}

fn refused(status: StatusCode, said: Option<String>) -> Error {
    let error = |kind, text: &str| {
        let said = said.as_ref().map_or_else(String::new, |said| format!(" It says: {said:?}"));
        Error::new(Family::Command, kind, format!("{text}{said}"))
    };
    match status {
        StatusCode::NOT_FOUND => error(Kind::NotFound, "The sandbox's execd knows no such command."),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error(
            Kind::Unauthenticated,
            "The sandbox's execd wants its token: send the header X-EXECD-ACCESS-TOKEN, which is passed on to it.",
        ),
        StatusCode::BAD_REQUEST => error(
            Kind::Invalid,
            "The sandbox's execd does not give the command's output: only that of one in the background is kept.",
        ),
        status => error(Kind::Failed, &format!("The sandbox's execd answers with status {}.", status.as_u16())),
    }
}

/// The beginning of what execd says, without what a terminal would take for more than text, and without the token.
fn shown(text: &str, token: Option<&Secret>) -> String {
    let text = match token.map(Secret::expose).filter(|token| !token.is_empty()) {
        Some(token) => text.replace(token, "***"),
        None => text.to_owned(),
    };
    let end = text.floor_char_boundary(MAX_SHOWN);
    let more = if end < text.len() { "…" } else { "" };
    text[..end].chars().filter(|char| !char.is_control()).chain(more.chars()).collect()
}

fn hangs() -> Error {
    let text = "The sandbox's execd (port 44772) does not answer in time.";
    Error::new(Family::Command, Kind::TimedOut, text)
}

fn unreachable(error: io::Error) -> Error {
    let text = "The sandbox's execd (port 44772) cannot be reached, or broke its answer off. \
                Only a sandbox with an execd that runs has commands.";
    Error::new(Family::Command, Kind::Unavailable, text).caused_by(error)
}

fn not_http(error: http1::error::Error) -> Error {
    match error {
        http1::error::Error::Truncated => unreachable(io::ErrorKind::UnexpectedEof.into()),
        error => failed(error.text()),
    }
}
