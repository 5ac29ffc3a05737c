//! A log stream out of a sandbox's log file.

use std::{
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use memchr::memrchr;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::ReusableBoxFuture;

use super::{
    log::{Log, Progress},
    select::{Renderer, Selection},
    tail::{self, BLOCK},
};
use crate::logs::{LogError, LogQuery, LogSource};

/// How long after `until` the file is read for the last time: a record gets its time before it is written.
const GRACE: Duration = Duration::from_millis(20);

type Chunk = Option<Result<Bytes, LogError>>;

/// A stream that a client pulls on: one read of the file a chunk, and no task. It holds a buffer only while it is
/// behind the program.
pub(super) struct LogReader {
    /// Bytes of the file, up to the last piece.
    read: u64,
    step: ReusableBoxFuture<'static, (Reader, Chunk)>,
}

impl LogReader {
    /// Begins at the place that `query` asks for.
    pub(super) async fn open(log: Arc<Log>, query: &LogQuery) -> Result<Self, LogError> {
        let reader = Reader::open(log, query).await?;
        Ok(Self { read: 0, step: ReusableBoxFuture::new(reader.next()) })
    }
}

impl LogSource for LogReader {
    fn poll_chunk(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let (reader, chunk) = ready!(self.step.poll(cx));
        self.read = reader.read;
        self.step.set(reader.next());
        Poll::Ready(chunk)
    }

    fn bytes_read(&self) -> u64 {
        self.read
    }
}

struct Reader {
    log: Arc<Log>,
    progress: watch::Receiver<Progress>,
    renderer: Renderer,
    /// The offset of the next record.
    at: u64,
    /// Read up to here and no further; as far as the program gets when absent.
    end: Option<u64>,
    /// When to stop following.
    deadline: Option<Instant>,
    buffer: Vec<u8>,
    /// Bytes that were read so far.
    read: u64,
}

impl Reader {
    async fn open(log: Arc<Log>, query: &LogQuery) -> Result<Self, LogError> {
        let progress = log.progress();
        let written = progress.borrow().written;
        let mut selection = Selection::new(query);
        let mut start = [0; 2];
        if let Some(lines) = query.tail {
            let file = Arc::clone(&log);
            let find = move || {
                let start = tail::find(&file.file, written, lines.get(), &mut selection);
                start.map(|start| (start, selection))
            };
            (start, selection) = tokio::task::spawn_blocking(find).await.expect("a search does not panic")?;
        }
        let (follow, deadline) = following(query);
        Ok(Self {
            log,
            progress,
            renderer: Renderer::new(selection, query.timestamps, start),
            at: start[0].min(start[1]),
            end: (!follow).then_some(written),
            deadline,
            buffer: Vec::new(),
            read: 0,
        })
    }

    async fn next(mut self) -> (Self, Chunk) {
        let chunk = self.chunk().await;
        (self, chunk.transpose())
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, LogError> {
        loop {
            let Progress { written, finished } = *self.progress.borrow_and_update();
            let end = self.end.unwrap_or(written);
            if self.at < end {
                let chunk = self.read(end).await?;
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
            } else if finished || self.end.is_some() {
                return Ok(None);
            } else {
                self.buffer = Vec::new();
                self.wait().await;
            }
        }
    }

    /// Waits until there is more in the file, or there will be no more.
    async fn wait(&mut self) {
        let deadline = async |at: Option<Instant>| match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        };
        let over = tokio::select! {
            changed = self.progress.changed() => changed.is_err(),
            () = deadline(self.deadline) => true,
        };
        if over {
            self.end = Some(self.progress.borrow().written);
        }
    }

    /// Reads the whole records of one block.
    async fn read(&mut self, end: u64) -> Result<Bytes, LogError> {
        let length = BLOCK.min(usize::try_from(end - self.at).unwrap_or(BLOCK));
        self.buffer = read_block(&self.log, std::mem::take(&mut self.buffer), self.at, length)
            .await
            .map_err(LogError::Disconnected)?;
        self.read += length as u64;
        let whole = memrchr(b'\n', &self.buffer).map_or(0, |last| last + 1);
        if whole == 0 {
            return Err(LogError::Protocol("a record of the log file is too long"));
        }
        let mut chunk = Vec::with_capacity(whole);
        self.renderer.render(&self.buffer[..whole], self.at, &mut chunk)?;
        self.at += whole as u64;
        Ok(chunk.into())
    }
}

/// Whether to follow, and until when.
fn following(query: &LogQuery) -> (bool, Option<Instant>) {
    let Some(until) = query.until.filter(|_| query.follow) else { return (query.follow, None) };
    match Duration::try_from(until.duration_since(Timestamp::now())) {
        // A time too far away to be told is never reached.
        Ok(left) => (true, Instant::now().checked_add(left.saturating_add(GRACE))),
        Err(_) => (false, None),
    }
}

async fn read_block(log: &Arc<Log>, mut buffer: Vec<u8>, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let log = Arc::clone(log);
    let read = move || {
        buffer.resize(length, 0);
        log.file.read_exact_at(&mut buffer, at).map(|()| buffer)
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
