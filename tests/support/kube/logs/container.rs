//! One instance of a container: what it prints, as the runtime (containerd) writes it down.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use super::Node;

/// More of a line than this is written as `P` records of this size (B3).
pub const PIECE: usize = 16384;

/// The stream that a record was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and everything that a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, with the words by which tests call them.
    pub fn both() -> [(Self, &'static str); 2] {
        [(Self::Stdout, "out"), (Self::Stderr, "err")]
    }
}

/// A record of a log file, in the format of the container runtime interface (CRI).
#[derive(Debug, Clone)]
pub(super) enum Record {
    /// A line or a piece of one.
    Text {
        time: Timestamp,
        stream: Stream,
        /// With the line feed if its tag is `F`, without if it is `P`.
        bytes: Bytes,
    },
    /// A line that is no record.
    Garbage(Bytes),
}

impl Record {
    /// Its bytes in the file: time, blank, stream, blank, tag, blank, text, line feed.
    fn size(&self) -> usize {
        match self {
            Self::Text { bytes, .. } => {
                "2026-11-26T12:55:05.786977775Z stdout P ".len() + bytes.strip_suffix(b"\n").unwrap_or(bytes).len() + 1
            }
            Self::Garbage(bytes) => bytes.len() + 1,
        }
    }
}

/// One of the files that a log is kept in. A reader holds the one that it reads, also after it was rotated away.
#[derive(Default)]
pub(super) struct File(Mutex<Vec<Record>>);

impl File {
    pub(super) fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// An instance of a container with its log; clones are the same.
#[derive(Clone)]
pub struct Container(Arc<Inner>);

struct Inner {
    id: String,
    node: Node,
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    newest: Arc<File>,
    size: usize,
    max: Option<usize>,
    rotations: usize,
    /// Of each stream, the line that is not yet written.
    rests: [BytesMut; 2],
    ended: Option<Instant>,
    is_lost: bool,
}

impl State {
    fn append(&mut self, record: Record) {
        self.size += record.size();
        self.newest.records().push(record);
        if self.max.is_some_and(|max| self.size >= max) {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        self.newest = Arc::default();
        self.size = 0;
        self.rotations += 1;
    }

    /// Takes in what was printed, and writes down as much of it as the runtime would.
    fn take(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let rest = &mut self.rests[stream as usize];
            rest.extend_from_slice(piece);
            if !rest.ends_with(b"\n") {
                while self.rests[stream as usize].len() > PIECE {
                    let bytes = self.rests[stream as usize].split_to(PIECE).freeze();
                    self.append(Record::Text { time, stream, bytes });
                }
                continue;
            }
            let mut line = mem::take(rest);
            // The runtime drops a CR in front of the LF (B1).
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                line.extend_from_slice(b"\n");
            }
            while line.len() > PIECE + 1 {
                let bytes = line.split_to(PIECE).freeze();
                self.append(Record::Text { time, stream, bytes });
            }
            self.append(Record::Text { time, stream, bytes: line.freeze() });
        }
    }
}

impl Container {
    pub(super) fn new(node: Node) -> Self {
        let id = format!("containerd://{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        Self(Arc::new(Inner { id, node, state: Mutex::default(), changes: watch::Sender::new(()) }))
    }

    /// `containerd://` and 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The node on which it runs.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of the lock panics")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changes.send_replace(());
    }

    /// Prints to standard output, now.
    pub fn out(&self, text: impl AsRef<[u8]>) {
        self.print(Stream::Stdout, text);
    }

    /// Prints to standard error, now.
    pub fn err(&self, text: impl AsRef<[u8]>) {
        self.print(Stream::Stderr, text);
    }

    /// Prints, now. A line without its LF is held back until the LF or the exit comes (B5).
    pub fn print(&self, stream: Stream, text: impl AsRef<[u8]>) {
        self.print_at(Timestamp::now(), stream, text);
    }

    /// Prints in one go, at a time of the test's.
    pub fn print_at(&self, time: Timestamp, stream: Stream, text: impl AsRef<[u8]>) {
        self.change(|state| state.take(time, stream, text.as_ref()));
    }

    /// Writes a line that is no record into the log file (E5).
    pub fn garbage(&self, line: impl AsRef<[u8]>) {
        self.change(|state| state.append(Record::Garbage(Bytes::copy_from_slice(line.as_ref()))));
    }

    /// Rotates the log files as soon as the newest one has so many bytes.
    pub fn rotate_at(&self, size: usize) {
        self.state().max = Some(size);
    }

    /// Rotates the log files now: what was printed can be read on by those who are reading it, by nobody else.
    pub fn rotate(&self) {
        self.change(State::rotate);
    }

    /// How often the files were rotated.
    pub fn rotations(&self) -> usize {
        self.state().rotations
    }

    /// Loses its log file (E1).
    pub fn lose_file(&self) {
        self.state().is_lost = true;
    }

    /// Ends: what was held back is written, and followers end up to [`Node::set_end_lag`] later. The exit code is in the
    /// pod object only.
    pub fn exit(&self) {
        let time = Timestamp::now();
        self.change(|state| {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let rest = mem::take(&mut state.rests[stream as usize]);
                if !rest.is_empty() {
                    state.append(Record::Text { time, stream, bytes: rest.freeze() });
                }
            }
            state.ended = Some(Instant::now());
        });
    }

    /// When it ended.
    pub fn ended(&self) -> Option<Instant> {
        self.state().ended
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state().is_lost
    }

    pub(super) fn newest(&self) -> Arc<File> {
        self.state().newest.clone()
    }

    /// The file to go on with after `file` was read up to record `at`: none if there is more in it or none is newer.
    pub(super) fn after(&self, file: &Arc<File>, at: usize) -> Option<Arc<File>> {
        let state = self.state();
        // Appending takes the same lock: a file that is not the newest has its last record.
        (!Arc::ptr_eq(file, &state.newest) && file.records().len() == at).then(|| state.newest.clone())
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }
}
