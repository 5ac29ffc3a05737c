//! A program's two pipes into its log file.

use std::{io, os::fd::AsFd, sync::Arc};

use rustix::io::{Errno, read};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use super::{cutter::Cutter, log::Log};
use crate::logs::record::Stream;

/// The most that one read takes, in bytes: what a pipe holds.
const READ: usize = 64 * 1024;
/// How much of a buffer is kept for the next write, in bytes. One read of empty lines makes a buffer of 4 MiB.
const KEEP: usize = 256 * 1024;

/// The most that is read of a pipe that is not waited for any more, in bytes: what a pipe of an unprivileged program can hold.
const MAX_PIPE: usize = 1024 * 1024;

/// Copies both pipes into the log until both have ended, or until `is_over`: then what they hold is copied, and nothing is
/// waited for.
///
/// While a write is under way nothing is read, so a slow disk slows the program down; nothing is ever dropped. All
/// records of one read bear the time of that read.
pub(super) async fn run<O: Output, E: Output>(stdout: O, stderr: E, log: Arc<Log>, is_over: CancellationToken) {
    let mut stdout = Pipe::new(stdout, Stream::Stdout);
    let mut stderr = Pipe::new(stderr, Stream::Stderr);
    let mut records = Vec::new();
    while stdout.open || stderr.open {
        tokio::select! {
            () = is_over.cancelled() => {
                stdout.take_rest(&mut records);
                stderr.take_rest(&mut records);
            }
            read = stdout.read(), if stdout.open => stdout.take(read, &mut records),
            read = stderr.read(), if stderr.open => stderr.take(read, &mut records),
        }
        if !records.is_empty() {
            records = log.append(records).await;
            records.shrink_to(KEEP);
        }
    }
}

/// A non-blocking pipe's end to read from.
pub(super) trait Output: AsyncRead + AsFd + Unpin + Send {}

impl<T: AsyncRead + AsFd + Unpin + Send> Output for T {}

struct Pipe<R> {
    io: R,
    cutter: Cutter,
    buffer: Vec<u8>,
    open: bool,
}

impl<R: Output> Pipe<R> {
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

    /// Appends the records of what the pipe holds, and closes it.
    ///
    /// The pipe itself is asked: whether it can be read, the runtime's reactor may tell only later.
    fn take_rest(&mut self, records: &mut Vec<u8>) {
        let mut left = MAX_PIPE;
        while self.open && left > 0 {
            let mut block = vec![0; READ.min(left)];
            match read(&self.io, &mut block) {
                Ok(length) => {
                    left -= length;
                    self.buffer.extend_from_slice(&block[..length]);
                    self.take(Ok(length), records);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if self.open {
            self.close(&jiff::Timestamp::now().to_string(), records);
        }
    }

    fn close(&mut self, time: &str, records: &mut Vec<u8>) {
        self.open = false;
        self.cutter.finish(time, records);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use tokio::net::unix::pipe;

    use super::*;
    use crate::logs::decode::json_file::JsonFile;

    /// A pipe whose writer blocks and whose reader does not.
    fn pipes() -> (std::io::PipeWriter, pipe::Receiver) {
        let (reader, writer) = io::pipe().unwrap();
        (writer, pipe::Receiver::from_owned_fd(reader.into()).unwrap())
    }

    /// What of a stream is in the log.
    fn text(log: &Log, stream: Stream) -> String {
        let mut file = vec![0; usize::try_from(log.progress().borrow().written).unwrap()];
        std::os::unix::fs::FileExt::read_exact_at(&log.file, &mut file, 0).unwrap();
        let records = JsonFile::default().decode(file).unwrap();
        let of_stream = records.iter().filter(|(record, _)| record.stream == stream);
        of_stream.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[tokio::test]
    async fn what_a_pipe_holds_when_it_is_over_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::create(&directory.path().join("log")).unwrap());
        let ((mut stdout, out), (mut stderr, err)) = (pipes(), pipes());
        let is_over = CancellationToken::new();
        let lines: String = (10_000..20_000).map(|number| format!("{number}\n")).collect();
        // All of it is there before the pump is polled for the first time, and the writers stay open.
        stdout.write_all(lines.as_bytes()).unwrap();
        stderr.write_all(b"last").unwrap();
        is_over.cancel();
        tokio::time::timeout(Duration::from_secs(60), run(out, err, Arc::clone(&log), is_over)).await.unwrap();
        assert!(text(&log, Stream::Stdout) == lines);
        assert_eq!(text(&log, Stream::Stderr), "last");
    }

    #[tokio::test]
    async fn who_floods_a_pipe_does_not_hold_its_end_up() {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::create(&directory.path().join("log")).unwrap());
        let ((mut stdout, out), (_stderr, err)) = (pipes(), pipes());
        let is_over = CancellationToken::new();
        let flood = std::thread::spawn(move || while stdout.write_all(&[b'\n'; 4096]).is_ok() {});
        let over = is_over.clone();
        let pump = tokio::spawn(run(out, err, Arc::clone(&log), over));
        log.progress().changed().await.unwrap();
        is_over.cancel();
        tokio::time::timeout(Duration::from_secs(60), pump).await.unwrap().unwrap();
        // Its reader is gone.
        flood.join().unwrap();
    }
}
