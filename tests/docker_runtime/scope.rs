//! One test's part of an engine: what is made gets the test's label, and what is listed, or told by an event, must have it. The
//! engine's id is the test's own too, since gateways share files by it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io;

use form_urlencoded::Serializer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

const END: &str = "\r\n\r\n";

/// A request to the engine. What comes after a body without a length is not part of it.
pub(crate) struct Request {
    /// All lines of the head, without the empty one at its end.
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads a request; nothing if the client leaves before its head has come.
    pub(crate) async fn read(client: &mut UnixStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(END.len()).position(|part| part == END.as_bytes()) {
                break at;
            }
            if client.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut request = Self { head, body: bytes.split_off(end + END.len()) };
        if request.makes() {
            let (length, read) = (request.length()?, request.body.len());
            request.body.resize(length.max(read), 0);
            client.read_exact(&mut request.body[read..]).await.ok()?;
        }
        Some(request)
    }

    /// Method, target and version.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), END.as_bytes(), &self.body].concat()
    }

    /// The path without the version before it, and the query.
    fn target(&self) -> (&str, &str) {
        let target = self.line().split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let versioned = path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/'));
        (versioned.map_or(path.trim_start_matches('/'), |(_, rest)| rest), query)
    }

    fn makes(&self) -> bool {
        self.line().starts_with("POST ") && matches!(self.target().0, "containers/create" | "volumes/create")
    }

    fn lists(&self) -> bool {
        self.line().starts_with("GET ") && matches!(self.target().0, "containers/json" | "volumes")
    }

    /// Whether the answer is what the engine says of itself.
    pub(crate) fn asks_for_info(&self) -> bool {
        self.line().starts_with("GET ") && self.target().0 == "info"
    }

    /// Whether the answer is the engine's events.
    pub(crate) fn asks_for_events(&self) -> bool {
        self.line().starts_with("GET ") && self.target().0 == "events"
    }

    fn length(&self) -> Option<usize> {
        self.head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
    }

    fn set_body(&mut self, body: Vec<u8>) {
        let is_other = |line: &&str| !line.to_ascii_lowercase().starts_with("content-length:");
        let lines: Vec<&str> = self.head.lines().filter(is_other).collect();
        self.head = format!("{}\r\ncontent-length: {}", lines.join("\r\n"), body.len());
        self.body = body;
    }

    fn set_query(&mut self, query: &str) {
        let line = self.line().to_owned();
        let mut words = line.split(' ');
        let (method, target, version) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let path = target.split('?').next().unwrap();
        self.head.replace_range(..line.len(), &format!("{method} {path}?{query} {version}"));
    }
}

/// Keeps a request within the scope, a label `key=value`.
pub(crate) fn apply(request: &mut Request, scope: &str) {
    if request.makes() {
        let (key, value) = scope.split_once('=').unwrap();
        // What is no JSON is the engine's to refuse.
        let Ok(mut body) = serde_json::from_slice::<Value>(&request.body) else { return };
        let labels = &mut body["Labels"];
        if labels.is_null() {
            *labels = json!({});
        }
        labels[key] = json!(value);
        request.set_body(body.to_string().into_bytes());
    } else if request.lists() {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(request.target().1.as_bytes()).into_owned().collect();
        let mut filters = pairs
            .iter()
            .find(|(name, _)| name == "filters")
            .map_or_else(|| json!({}), |(_, filters)| serde_json::from_str(filters).expect("filters are JSON"));
        match filters["label"].as_array_mut() {
            Some(labels) => labels.push(json!(scope)),
            None => filters["label"] = json!([scope]),
        }
        let mut query = Serializer::new(String::new());
        query.extend_pairs(pairs.iter().filter(|(name, _)| name != "filters"));
        let query = query.append_pair("filters", &filters.to_string()).finish();
        request.set_query(&query);
    }
}

/// Passes on what an engine says of itself, with an id of the scope's own and as long.
pub(crate) async fn pass_info(engine: &mut UnixStream, client: &mut UnixStream, scope: &str) -> io::Result<()> {
    const BEFORE: &[u8] = b"\"ID\":\"";
    let mut answer = Vec::new();
    let (start, end) = loop {
        let start = answer.windows(BEFORE.len()).position(|part| part == BEFORE).map(|at| at + BEFORE.len());
        let length = start.and_then(|start| answer[start..].iter().position(|byte| *byte == b'"'));
        if let (Some(start), Some(length)) = (start, length) {
            break (start, start + length);
        }
        if engine.read_buf(&mut answer).await? == 0 {
            return client.write_all(&answer).await;
        }
    };
    let own = scope.rsplit('=').next().unwrap().bytes().cycle();
    answer[start..end].iter_mut().zip(own).for_each(|(byte, own)| *byte = own);
    client.write_all(&answer).await?;
    tokio::io::copy_bidirectional(client, engine).await.map(|_| ())
}

/// Passes on events, but those of containers only if they have the scope's label; each is a chunk.
pub(crate) async fn pass_events(engine: &mut UnixStream, client: &mut UnixStream, scope: &str) -> io::Result<()> {
    let (mut leaving, mut to) = client.split();
    let tell = async {
        let (mut from, mut line) = (BufReader::new(engine), Vec::new());
        while line != b"\r\n" {
            line.clear();
            if from.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            to.write_all(&line).await?;
        }
        loop {
            line.clear();
            if from.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let size = std::str::from_utf8(&line).ok().and_then(|line| usize::from_str_radix(line.trim(), 16).ok());
            let size = size.ok_or(io::ErrorKind::InvalidData)?;
            let mut event = vec![0; size + 2];
            from.read_exact(&mut event).await?;
            if is_told(&event[..size], scope) {
                line.extend_from_slice(&event);
                to.write_all(&line).await?;
            }
        }
    };
    let mut byte = [0];
    tokio::select! {
        told = tell => told,
        _ = leaving.read(&mut byte) => Ok(()),
    }
}

fn is_told(event: &[u8], scope: &str) -> bool {
    let (key, value) = scope.split_once('=').unwrap();
    let Ok(event) = serde_json::from_slice::<Value>(event) else { return true };
    event["Type"] != "container" || event["Actor"]["Attributes"][key] == value
}
