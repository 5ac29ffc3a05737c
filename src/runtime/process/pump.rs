//! A program's two pipes into its log file.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{ChildStderr, ChildStdout},
};

use super::{cutter::Cutter, log::Log};
use crate::logs::record::Stream;

/// The most that one read takes, in bytes: what a pipe holds.
const READ: usize = 64 * 1024;
/// How much of a buffer is kept for the next write, in bytes. One read of empty lines makes a buffer of 4 MiB.
const KEEP: usize = 256 * 1024;

/// Copies both pipes into the log until both have ended.
///
/// While a write is under way nothing is read, so a slow disk slows the program down; nothing is ever dropped. All
/// records of one read bear the time of that read.
pub(super) async fn run(stdout: ChildStdout, stderr: ChildStderr, log: Arc<Log>) {
    let mut stdout = Pipe::new(stdout, Stream::Stdout);
    let mut stderr = Pipe::new(stderr, Stream::Stderr);
    let mut records = Vec::new();
    while stdout.open || stderr.open {
        tokio::select! {
            read = stdout.read(), if stdout.open => stdout.take(read, &mut records),
            read = stderr.read(), if stderr.open => stderr.take(read, &mut records),
        }
        if !records.is_empty() {
            records = log.append(records).await;
            records.shrink_to(KEEP);
        }
    }
}

struct Pipe<R> {
    io: R,
    cutter: Cutter,
    buffer: Vec<u8>,
    open: bool,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(io: R, stream: Stream) -> Self {
        Self { io, cutter: Cutter::new(stream), buffer: Vec::new(), open: true }
    }

    /// Waits for bytes. Safe to drop: what was read is in the buffer, and counted only when this returns.
    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ);
        (&mut self.io).take(READ as u64).read_buf(&mut self.buffer).await
    }

    /// Appends the records that a read completed.
    fn take(&mut self, read: io::Result<usize>, records: &mut Vec<u8>) {
        let time = jiff::Timestamp::now().to_string();
        self.cutter.push(&self.buffer, &time, records);
        self.buffer.clear();
        match read {
            Ok(0) => self.close(&time, records),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a sandbox's pipe cannot be read");
                self.close(&time, records);
            }
        }
    }

    fn close(&mut self, time: &str, records: &mut Vec<u8>) {
        self.open = false;
        self.cutter.finish(time, records);
    }
}
