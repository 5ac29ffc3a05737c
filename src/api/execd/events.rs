//! The events of a command (contract `execd-api.md`, "Event"), each a server-sent event with one JSON object.

use jiff::Timestamp;
use serde::Serialize;

use crate::execd::command::{Batch, Command, Finished, Stream};

/// What the error of a command that is no success is called.
const COMMAND_ERROR: &str = "CommandExecError";

/// One event.
#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// When, in Unix milliseconds.
    timestamp: i64,
    /// How long the command ran, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure<'a>>,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    ename: &'static str,
    /// The exit code: clients read it from here.
    evalue: String,
    traceback: [&'a str; 1],
}

impl<'a> Event<'a> {
    fn new(kind: &'static str, text: Option<&'a str>, at: Timestamp) -> Self {
        Self { kind, text, timestamp: at.as_millisecond(), execution_time: None, error: None }
    }
}

/// The command has begun; its id.
pub(super) fn init(command: &Command, out: &mut Vec<u8>) {
    write(&Event::new("init", Some(command.id()), command.started()), out);
}

/// Nothing has happened, and the stream is alive.
pub(super) fn ping(out: &mut Vec<u8>) {
    write(&Event::new("ping", Some("pong"), Timestamp::now()), out);
}

/// What was printed: an event a line. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn output(batch: &Batch, out: &mut Vec<u8>) {
    for (stream, piece) in &batch.pieces {
        let kind = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        write(&Event::new(kind, Some(&String::from_utf8_lossy(piece)), batch.at), out);
    }
}

/// The command has been started, and nobody waits for it.
pub(super) fn left_running(command: &Command, out: &mut Vec<u8>) {
    let now = Timestamp::now();
    let event = Event { execution_time: Some(ran(command, now)), ..Event::new("execution_complete", None, now) };
    write(&event, out);
}

/// How the command has ended.
pub(super) fn end(command: &Command, finished: &Finished, out: &mut Vec<u8>) {
    let time = Some(ran(command, finished.at));
    let event = match &finished.error {
        None => Event { execution_time: time, ..Event::new("execution_complete", None, finished.at) },
        Some(why) => {
            let error = Failure { ename: COMMAND_ERROR, evalue: finished.code.to_string(), traceback: [why] };
            Event { execution_time: time, error: Some(error), ..Event::new("error", None, finished.at) }
        }
    };
    write(&event, out);
}

fn ran(command: &Command, until: Timestamp) -> i64 {
    until.as_millisecond().saturating_sub(command.started().as_millisecond()).max(0)
}

pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    // The values have string keys and finite numbers only, which always serialise; and JSON has no line ends in it.
    serde_json::to_writer(&mut *out, value).expect("events serialise");
    out.extend_from_slice(b"\n\n");
}
