//! A command: its state, and the task that watches it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::{
    sync::{OwnedMutexGuard, OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Execd,
    output::{Excerpt, Lines, Output},
};
use crate::children::{group::Group, has_company, leader::Leader, notes::Note};

/// How long a command that is interrupted may take to end by itself.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the processes that a command left behind are checked for their end.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// What is to be run, and how. Without a `Debug` form: its variables may hold secrets.
pub struct Order {
    /// What is run.
    pub program: Program,
    /// Where: a path, `~` and `$NAME` in it; by default the sandbox's working directory.
    pub cwd: Option<String>,
    /// Variables over the sandbox's own.
    pub envs: Vec<(String, String)>,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// Whether the client waits for it.
    pub is_background: bool,
}

/// What is run.
#[derive(Debug, Clone)]
pub enum Program {
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments, as they are.
    Argv(Vec<String>),
    /// A line for the shell of a session.
    InSession {
        /// The line.
        line: String,
        /// What the session's shell remembers.
        state: PathBuf,
        /// The session's first working directory.
        begin: PathBuf,
    },
}

/// A command, running or finished.
#[derive(Debug)]
pub struct Command {
    id: String,
    content: String,
    started: Timestamp,
    finished: watch::Sender<Option<Finished>>,
    /// The output of a command in the background.
    output: Option<Mutex<Output>>,
    stop: CancellationToken,
    /// Its processes, as long as they may be signalled.
    pub(super) group: Group,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code, as a shell would tell it.
    pub code: i32,
    /// The reason of a failure.
    pub error: Option<String>,
    /// The time of its end.
    pub at: Timestamp,
}

/// One of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What one read gave.
#[derive(Debug)]
pub struct Batch {
    /// When it was read.
    pub at: Timestamp,
    /// Lines with their ends.
    pub pieces: Vec<(Stream, Vec<u8>)>,
}

/// A command that was started. Dropped before its end, the command is killed, unless it runs in the background.
#[derive(Debug)]
pub struct Started {
    /// The command.
    pub command: Arc<Command>,
    /// What it prints, if the client waits for it; ends when the command has finished.
    pub batches: Option<mpsc::Receiver<Batch>>,
    /// Whether it was begun in the background; it may have ended by now.
    pub is_background: bool,
    /// Cancels the token of the client when it is dropped.
    pub(super) _client: Option<DropGuard>,
}

/// Why the gateway ends a command.
#[derive(Debug, Clone, Copy)]
enum Why {
    Timeout(Duration),
    Interrupted,
    ClientGone,
    SandboxEnded,
}

/// What a command holds as long as its group may be signalled.
pub(super) struct Held {
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) note: Option<Note>,
    /// The lock of its session.
    pub(super) session: Option<OwnedMutexGuard<()>>,
    pub(super) place: Arc<Place>,
}

/// What a command holds as long as it has processes left or outputs open. Meanwhile it is not forgotten, so that it can be
/// paused and interrupted.
pub(super) struct Place {
    pub(super) execd: Arc<Execd>,
    pub(super) id: String,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.execd.state().finished(std::mem::take(&mut self.id));
    }
}

impl Command {
    /// A command without a process yet.
    pub(super) fn new(content: String, is_background: bool) -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            content,
            started: Timestamp::now(),
            finished: watch::Sender::new(None),
            output: is_background.then(Mutex::default),
            stop: CancellationToken::new(),
            group: Group::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What was asked for.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How it ended, if it has.
    pub fn finished(&self) -> Option<Finished> {
        self.finished.borrow().clone()
    }

    /// What it printed after a line; None if its output went to the client that waited for it.
    pub fn output(&self, cursor: Option<u64>) -> Option<Excerpt> {
        let output = self.output.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(output.after(cursor))
    }

    /// The same line by line.
    pub fn lines(&self, cursor: Option<u64>) -> Option<Lines> {
        let output = self.output.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(output.lines_after(cursor))
    }

    /// The bytes that it takes to remember it.
    pub(super) fn cost(&self) -> usize {
        let output = |output: &Mutex<Output>| output.lock().unwrap_or_else(PoisonError::into_inner).cost();
        self.content.len() + self.output.as_ref().map_or(0, output)
    }

    /// Sends SIGTERM to it and to what it left behind, and SIGKILL some seconds later. Returns at once.
    pub fn interrupt(&self) {
        self.stop.cancel();
    }

    /// Waits until it is interrupted.
    pub(super) async fn interrupted(&self) {
        self.stop.cancelled().await;
    }

    /// Keeps a line, if it runs in the background.
    pub(super) fn keep(&self, line: Vec<u8>) {
        if let Some(output) = &self.output {
            output.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    pub(super) fn finish(&self, finished: Finished) {
        self.finished.send_replace(Some(finished));
    }
}

impl Finished {
    /// The command could not be started.
    pub(super) fn not_started(code: i32, error: String) -> Self {
        Self { code, error: Some(error), at: Timestamp::now() }
    }

    /// How it ended is not known.
    pub fn unknown() -> Self {
        Self::not_started(255, "it is unknown how it ended".to_owned())
    }

    fn new(code: i32, why: Option<Why>) -> Self {
        let error = match (why, code) {
            (Some(Why::Timeout(after)), _) => Some(format!("ended after its timeout of {} ms", after.as_millis())),
            (Some(Why::Interrupted), _) => Some("interrupted".to_owned()),
            (Some(Why::ClientGone), _) => Some("ended: its client left".to_owned()),
            (Some(Why::SandboxEnded), _) => Some("ended with its sandbox".to_owned()),
            (None, 0) => None,
            (None, 129..=192) => Some(format!("ended by signal {}", code - 128)),
            (None, _) => Some(format!("exit status {code}")),
        };
        Self { code, error, at: Timestamp::now() }
    }
}

impl Execd {
    /// Watches a command until no process of it is left. It ends the command if a time-out, a request, its client or the
    /// sandbox's end asks for that, and reports the exit to `exit`.
    pub(super) async fn watch(
        self: Arc<Self>,
        command: Arc<Command>,
        mut leader: Leader,
        timeout: Option<Duration>,
        client: CancellationToken,
        exit: oneshot::Sender<Finished>,
        held: Held,
    ) {
        let group = &command.group;
        let (code, why) = {
            let mut exited = std::pin::pin!(leader.exited());
            let early = async {
                tokio::select! {
                    () = after(timeout) => Why::Timeout(timeout.unwrap_or_default()),
                    () = command.stop.cancelled() => Why::Interrupted,
                    () = client.cancelled() => Why::ClientGone,
                    () = self.ended.cancelled() => Why::SandboxEnded,
                }
            };
            tokio::select! {
                code = &mut exited => (code, None),
                why = early => {
                    let grace = match why {
                        Why::Interrupted => INTERRUPT_TIMEOUT,
                        Why::Timeout(_) | Why::ClientGone | Why::SandboxEnded => Duration::ZERO,
                    };
                    let code = if grace.is_zero() {
                        None
                    } else {
                        group.signal(Signal::TERM);
                        tokio::select! {
                            code = &mut exited => Some(code),
                            () = sleep(grace) => None,
                            () = self.ended.cancelled() => None,
                        }
                    };
                    // Also what the command left behind.
                    group.signal(Signal::KILL);
                    (match code { Some(code) => code, None => exited.await }, Some(why))
                }
            }
        };
        // The receiver is gone if the outputs could not be read.
        let _ = exit.send(Finished::new(code, why));
        let Held { permit, note, session, place } = held;
        drop(session);
        let is_killed = why.is_some() || self.outlast(&command, &leader).await;
        // From here on the kernel may give the group's number to other processes.
        group.clear();
        if is_killed {
            leader.end().await
        } else {
            leader.reap().await
        };
        drop((note, permit, place));
    }

    /// Waits until the processes that a command left behind have ended, or must be killed; returns whether they must be.
    async fn outlast(&self, command: &Command, leader: &Leader) -> bool {
        let group = leader.group();
        // A panic is impossible.
        while tokio::task::spawn_blocking(move || has_company(group)).await.unwrap_or(false) {
            tokio::select! {
                () = self.ended.cancelled() => return true,
                () = command.stop.cancelled() => return true,
                () = sleep(POLL_INTERVAL) => {}
            }
        }
        false
    }
}

async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => sleep(timeout).await,
        None => std::future::pending().await,
    }
}
