//! What a scripted engine's log stream does, step by step.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::Semaphore;

/// A container that the engine knows.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The sandbox's id; the container is named `sandbox-<id>`.
    pub id: String,
    /// `Config.Tty`.
    pub tty: bool,
    /// `HostConfig.LogConfig.Type`.
    pub log_driver: String,
    /// `State.Status`, such as `running`, `exited`, `removing`.
    pub state: String,
    /// Labels besides `opensandbox.io/id`.
    pub labels: Vec<(String, String)>,
    /// How long inspecting it takes.
    pub inspect_delay: Duration,
    /// What its log does.
    pub script: Script,
}

impl Sandbox {
    /// A running container without a terminal.
    pub fn new(script: Script) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            tty: false,
            log_driver: "json-file".into(),
            state: "running".into(),
            labels: Vec::new(),
            inspect_delay: Duration::ZERO,
            script,
        }
    }

    /// The same with a terminal: the script's bytes go out without frames.
    pub fn tty(script: Script) -> Self {
        Self { tty: true, ..Self::new(script) }
    }
}

/// How a log request is answered.
#[derive(Debug, Clone)]
pub struct Script {
    /// The head.
    pub head: Head,
    /// What follows it. The last step should be one that ends the stream; a script without one ends cut.
    pub steps: Vec<Step>,
}

/// The head of the answer to a log request.
#[derive(Debug, Clone)]
pub enum Head {
    /// Together with the first byte of the log, as engine 20.10 does.
    Withheld,
    /// At once, as newer engines do.
    AtOnce,
    /// One byte at a time with this pause between two.
    Trickled(Duration),
    /// The first half of it, then the connection closes.
    Half,
    /// An error, with this message in the engine's form.
    Error(u16, &'static str),
    /// These bytes instead.
    Raw(Bytes),
}

/// A step of a log stream.
#[derive(Debug, Clone)]
pub enum Step {
    /// One HTTP chunk with these bytes, in one write.
    Chunk(Bytes),
    /// These bytes as they are, in one write: chunk headers and all are the test's.
    Raw(Bytes),
    /// This many lines of `length` bytes (newline included), each a frame and a chunk of its own.
    Lines {
        /// How many.
        count: u64,
        /// Bytes a line, newline included; at least 1.
        length: usize,
        /// In blocks of 256 KiB, as fast as they are taken; otherwise one write a line.
        batched: bool,
    },
    /// Silence.
    Wait(Duration),
    /// Silence until the test opens the gate.
    Gate(Gate),
    /// All that is there was sent: a read that does not follow ends properly here, and one that does goes on.
    Present,
    /// Back to the first step of the script.
    Again,
    /// The terminal chunk: a proper end.
    End,
    /// Open and silent until the peer leaves.
    Open,
    /// The connection closes without a terminal chunk.
    Cut,
    /// The connection is reset. On a unix socket, which has no reset, it is a cut.
    Reset,
}

/// Lets a test say when a script goes on. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Opens it, for good.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn passed(&self) {
        // A closed semaphore is an open gate; there are no permits, so this cannot be anything else.
        let _ = self.0.acquire().await;
    }
}

impl Script {
    /// With the head withheld until the first byte.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { head: Head::Withheld, steps: steps.into_iter().collect() }
    }

    /// With another head.
    pub fn with_head(self, head: Head) -> Self {
        Self { head, ..self }
    }

    /// Prints nothing and stays open; not even the head is sent.
    pub fn silent() -> Self {
        Self::new([Step::Open])
    }

    /// Sends the head at once, prints nothing and stays open.
    pub fn quiet() -> Self {
        Self::silent().with_head(Head::AtOnce)
    }

    /// One standard output line, then silence.
    pub fn line_then_open(line: &str) -> Self {
        Self::new([Step::output(line), Step::Open])
    }

    /// Lines of a kilobyte, more than anybody reads.
    pub fn endless() -> Self {
        Self::new([Step::Lines { count: 1_000, length: 1_000, batched: true }, Step::Again])
    }

    /// These standard output texts, a frame each, then the end.
    pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(texts.into_iter().map(Step::output).chain([Step::End]))
    }

    /// `count` lines of `length` bytes, then the end.
    pub fn lines(count: u64, length: usize, batched: bool) -> Self {
        Self::new([Step::Lines { count, length, batched }, Step::End])
    }

    /// Refuses the log.
    pub fn error(status: u16, message: &'static str) -> Self {
        Self::new([]).with_head(Head::Error(status, message))
    }
}

impl Step {
    /// A chunk with a frame of standard output.
    pub fn output(text: &str) -> Self {
        Self::Chunk(frame(1, text.as_bytes()).into())
    }

    /// A chunk with a frame of the stream `id`.
    pub fn on(id: u8, text: &[u8]) -> Self {
        Self::Chunk(frame(id, text).into())
    }

    /// The bytes of `framed`, `size` of them a chunk.
    pub fn cut_into(framed: &[u8], size: usize) -> Vec<Self> {
        framed.chunks(size).map(|piece| Self::Chunk(Bytes::copy_from_slice(piece))).collect()
    }
}

/// `payload` with the engine's header for the stream `id`: id, three zeros, length.
pub fn frame(id: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame is shorter than 4 GiB");
    let mut framed = vec![id, 0, 0, 0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(payload);
    framed
}

/// `bytes` as one HTTP chunk.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Line `number` of a log as [`Step::Lines`] prints it: its number, filled to `length` bytes with the newline.
pub fn line(number: u64, length: usize) -> Vec<u8> {
    let mut line = format!("{number:09} ").into_bytes();
    while line.len() < length {
        line.push(b'a' + u8::try_from((number + line.len() as u64) % 26).expect("less than 26"));
    }
    line.truncate(length.saturating_sub(1));
    line.push(b'\n');
    line
}
