//! From a command's pipes to the client that waits for it, or to the output that is kept.

use std::{io, sync::Arc};

use jiff::Timestamp;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    process::Command as Spawn,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{
    command::{Batch, Command, Finished, Place, Stream},
    cutter::Cutter,
};

/// The most bytes of one read. The events that are made of it for a client may be sixty times as long.
const READ_SIZE: usize = 8 * 1024;

/// The ends of a command's pipes that are read.
pub(super) enum Pipes {
    /// One for each output.
    Apart(Receiver, Receiver),
    /// One for both, so that what came first stays first.
    Together(Receiver),
}

/// Makes pipes, and lets a command write to them.
///
/// # Errors
/// There is no descriptor left.
pub(super) fn connect(command: &mut Spawn, is_together: bool) -> io::Result<Pipes> {
    let (stdout, to_stdout) = io::pipe()?;
    let stdout = Receiver::from_owned_fd(stdout.into())?;
    if is_together {
        command.stderr(to_stdout.try_clone()?).stdout(to_stdout);
        return Ok(Pipes::Together(stdout));
    }
    let (stderr, to_stderr) = io::pipe()?;
    command.stdout(to_stdout).stderr(to_stderr);
    Ok(Pipes::Apart(stdout, Receiver::from_owned_fd(stderr.into())?))
}

/// Reads the pipes. When the command has exited, what it has written by then is read, and the command is finished. The
/// processes that it left behind may print on; their output is read too, so that they do not block at the pipe, until the pipe
/// is closed, the command is interrupted, or `ended`. Until then the command holds its place, even if a process with the pipe
/// has left its process group.
pub(super) async fn run(
    pipes: Pipes,
    command: Arc<Command>,
    client: Option<mpsc::Sender<Batch>>,
    exit: oneshot::Receiver<Finished>,
    ended: CancellationToken,
    _place: Arc<Place>,
) {
    let (stdout, stderr) = match pipes {
        Pipes::Apart(stdout, stderr) => (stdout, Some(stderr)),
        Pipes::Together(both) => (both, None),
    };
    let (stdout, stderr) = (Pipe::new(Some(stdout), Stream::Stdout), Pipe::new(stderr, Stream::Stderr));
    let mut pump = Pump { stdout, stderr, client, command };
    let outcome = pump.until_exit(exit).await;
    pump.drain().await;
    pump.finish_lines().await;
    pump.command.finish(outcome);
    pump.client = None;
    let command = Arc::clone(&pump.command);
    tokio::select! {
        () = pump.until_closed() => {}
        () = command.interrupted() => {}
        () = ended.cancelled() => {}
    }
    pump.finish_lines().await;
}

struct Pump {
    stdout: Pipe,
    stderr: Pipe,
    client: Option<mpsc::Sender<Batch>>,
    command: Arc<Command>,
}

struct Pipe {
    /// None when it has ended, or there is none.
    io: Option<Receiver>,
    stream: Stream,
    cutter: Cutter,
    buffer: Vec<u8>,
}

impl Pump {
    /// Reads until the command has exited.
    async fn until_exit(&mut self, mut exit: oneshot::Receiver<Finished>) -> Finished {
        loop {
            let mut pieces = Vec::new();
            tokio::select! {
                read = self.stdout.read(), if self.stdout.is_open() => self.stdout.take(read, &mut pieces),
                read = self.stderr.read(), if self.stderr.is_open() => self.stderr.take(read, &mut pieces),
                finished = &mut exit => {
                    return finished.unwrap_or_else(|_| Finished::unknown());
                }
            }
            self.hand(pieces).await;
        }
    }

    /// Reads what is in the pipes now.
    async fn drain(&mut self) {
        let (mut out, mut err) = (self.stdout.waiting(), self.stderr.waiting());
        while (out > 0 && self.stdout.is_open()) || (err > 0 && self.stderr.is_open()) {
            let mut pieces = Vec::new();
            tokio::select! {
                read = self.stdout.read(), if out > 0 && self.stdout.is_open() => {
                    out = out.saturating_sub(self.stdout.buffer.len() as u64);
                    self.stdout.take(read, &mut pieces);
                }
                read = self.stderr.read(), if err > 0 && self.stderr.is_open() => {
                    err = err.saturating_sub(self.stderr.buffer.len() as u64);
                    self.stderr.take(read, &mut pieces);
                }
            }
            self.hand(pieces).await;
        }
    }

    async fn until_closed(&mut self) {
        while self.stdout.is_open() || self.stderr.is_open() {
            let mut pieces = Vec::new();
            tokio::select! {
                read = self.stdout.read(), if self.stdout.is_open() => self.stdout.take(read, &mut pieces),
                read = self.stderr.read(), if self.stderr.is_open() => self.stderr.take(read, &mut pieces),
            }
            self.hand(pieces).await;
        }
    }

    async fn finish_lines(&mut self) {
        let mut pieces = Vec::new();
        self.stdout.cutter.finish(|piece| pieces.push((Stream::Stdout, piece)));
        self.stderr.cutter.finish(|piece| pieces.push((Stream::Stderr, piece)));
        self.hand(pieces).await;
    }

    /// Hands lines over. A client that takes none makes the command wait at its pipe. The lines of one that left are dropped.
    async fn hand(&mut self, pieces: Vec<(Stream, Vec<u8>)>) {
        if pieces.is_empty() {
            return;
        }
        match &self.client {
            Some(client) => {
                let batch = Batch { at: Timestamp::now(), pieces };
                if client.send(batch).await.is_err() {
                    self.client = None;
                }
            }
            None => pieces.into_iter().for_each(|(_, piece)| self.command.keep(piece)),
        }
    }
}

impl Pipe {
    fn new(io: Option<Receiver>, stream: Stream) -> Self {
        Self { io, stream, cutter: Cutter::default(), buffer: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.io.is_some()
    }

    /// Waits for bytes. Cancel safe: bytes count only when this returns.
    async fn read(&mut self) -> io::Result<usize> {
        let Some(io) = &mut self.io else { return Ok(0) };
        self.buffer.reserve(READ_SIZE);
        io.take(READ_SIZE as u64).read_buf(&mut self.buffer).await
    }

    /// Cuts what was read into lines.
    fn take(&mut self, read: io::Result<usize>, pieces: &mut Vec<(Stream, Vec<u8>)>) {
        let stream = self.stream;
        self.cutter.push(&self.buffer, |piece| pieces.push((stream, piece)));
        self.buffer.clear();
        match read {
            Ok(0) => self.io = None,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a command's pipe cannot be read");
                self.io = None;
            }
        }
    }

    /// How many bytes can be read at once. None if that cannot be told: a pipe always can.
    fn waiting(&self) -> u64 {
        self.io.as_ref().map_or(0, |io| rustix::io::ioctl_fionread(io).unwrap_or(0))
    }
}
