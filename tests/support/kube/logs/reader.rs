//! How the kubelet reads a log: from a place in the newest file on, record by record, and at its end it waits for more.

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    container::{Container, File, Record, Stream},
    kubelet::Chosen,
    node::{Inotify, Node, Runtime, Watch},
    query::Query,
};

/// How many records are read in one go.
const BATCH: usize = 64;

/// The reading of one log for one request.
pub(super) struct Reader {
    source: Option<Source>,
    node: Node,
    chosen: Chosen,
    query: Query,
    since: Option<Timestamp>,
    opened: Instant,
    /// Cancelled when the kubelet dies.
    alive: CancellationToken,
    runtime: watch::Receiver<Runtime>,
    has_begun: bool,
    has_format: bool,
    is_new_line: bool,
    /// Records that may still be read, if a tail was asked for without follow.
    tail_left: Option<u64>,
    /// Bytes that may still be sent.
    limit_left: Option<u64>,
    watch: Option<Watch>,
    /// The container has ended: the next end of the file is the end.
    is_last_round: bool,
    queue: VecDeque<Bytes>,
    is_done: bool,
}

/// The log that is read, and where in it the reader stands.
struct Source {
    container: Container,
    changes: watch::Receiver<()>,
    file: Arc<File>,
    at: usize,
}

impl Reader {
    /// Reads `container`, which is `None` if the runtime has it no longer.
    pub(super) fn new(node: &Node, container: Option<Container>, chosen: Chosen, query: Query) -> Self {
        let source = container.map(|container| Source {
            changes: container.changes(),
            file: container.newest(),
            container,
            at: 0,
        });
        Self {
            source,
            node: node.clone(),
            chosen,
            since: query.since(Timestamp::now()),
            opened: Instant::now(),
            alive: node.alive(),
            runtime: node.runtime(),
            has_begun: false,
            has_format: false,
            is_new_line: true,
            tail_left: query.tail.filter(|_| !query.follow),
            limit_left: query.limit,
            watch: None,
            is_last_round: false,
            queue: VecDeque::new(),
            is_done: false,
            query,
        }
    }

    /// The next write of the kubelet: a record, or its own text of an error. None at the end, which is also the
    /// kubelet's death.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let alive = self.alive.clone();
        tokio::select! {
            biased;
            () = alive.cancelled() => {
                self.finish();
                None
            }
            bytes = self.read() => bytes,
        }
    }

    async fn read(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                // The write that comes after the limit of the kubelet's HTTP server fails: with it the stream ends.
                if self.opened.elapsed() > self.node.stream_limit() {
                    self.finish();
                    return None;
                }
                return Some(bytes);
            }
            if self.is_done {
                self.finish();
                return None;
            }
            if !self.has_begun {
                self.begin().await;
            } else if !self.fill() {
                self.wait().await;
            }
        }
    }

    /// Gives back what it holds.
    fn finish(&mut self) {
        self.is_done = true;
        self.queue.clear();
        self.watch = None;
    }

    fn fail(&mut self, text: String) {
        self.queue.push_back(text.into());
        self.is_done = true;
    }

    /// Asks the runtime, and finds the place where a tail begins.
    async fn begin(&mut self) {
        let runtime = *self.runtime.wait_for(|runtime| *runtime != Runtime::Frozen).await.expect("the node holds it");
        self.has_begun = true;
        let Some(source) = self.source.as_mut().filter(|_| runtime == Runtime::Up) else {
            return self.fail(format!("unable to retrieve container logs for {}", self.chosen.id));
        };
        if source.container.is_lost() {
            let path = &self.chosen.path;
            let text =
                format!("failed to try resolving symlinks in path {path:?}: lstat {path}: no such file or directory");
            return self.fail(text);
        }
        source.file = source.container.newest();
        let records = source.file.records();
        let tail = self.query.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(usize::MAX);
        source.at = records.len().saturating_sub(tail);
    }

    /// Reads a batch of records; false at the end of the file.
    fn fill(&mut self) -> bool {
        let source = self.source.as_mut().expect("it has begun");
        let (file, first) = (source.file.clone(), source.at);
        let records = file.records();
        let mut at = first;
        while let Some(record) = records.get(at)
            && self.queue.len() < BATCH
            && !self.is_done
        {
            if self.tail_left == Some(0) {
                self.is_done = true;
                break;
            }
            at += 1;
            self.take(record);
        }
        self.source.as_mut().expect("it has begun").at = at;
        at > first || self.is_done
    }

    fn take(&mut self, record: &Record) {
        let (time, stream, bytes) = match record {
            Record::Text { time, stream, bytes } => (*time, *stream, bytes),
            // One that comes later is skipped without a word.
            Record::Garbage(_) if self.has_format => return,
            Record::Garbage(line) => {
                let line = String::from_utf8_lossy(line);
                return self
                    .fail(format!("failed to get parse function: unsupported log format: {:?}", format!("{line}\n")));
            }
        };
        self.has_format = true;
        if let Some(left) = &mut self.tail_left {
            *left -= 1;
        }
        // One flag for both streams, and also for records that are not shown: hence the broken joint (B4).
        let is_new_line = mem::replace(&mut self.is_new_line, bytes.ends_with(b"\n") || bytes.is_empty());
        if self.since.is_some_and(|since| time < since) {
            return;
        }
        let is_shown = self.query.only().is_none_or(|only: Stream| only == stream);
        if is_shown {
            let mut text = self.render(time, bytes, is_new_line);
            if let Some(left) = &mut self.limit_left {
                text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= text.len() as u64;
            }
            self.queue.push_back(text);
        }
        self.is_done |= self.limit_left == Some(0);
    }

    fn render(&self, time: Timestamp, bytes: &Bytes, is_new_line: bool) -> Bytes {
        if !self.query.timestamps || !is_new_line {
            return bytes.clone();
        }
        let offset = self.node.offset();
        let zone = if offset.seconds() == 0 { "Z" } else { "%:z" };
        let time = offset.to_datetime(time).to_zoned(offset.to_time_zone()).expect("in range");
        let mut text = BytesMut::with_capacity(bytes.len() + 40);
        text.extend_from_slice(time.strftime(&format!("%Y-%m-%dT%H:%M:%S.%9f{zone} ")).to_string().as_bytes());
        text.extend_from_slice(bytes);
        text.freeze()
    }

    /// At the end of the file: goes on with a newer one, waits for more, or is done.
    async fn wait(&mut self) {
        if !self.query.follow {
            self.is_done = true;
            return;
        }
        if self.watch.is_none() {
            match self.node.watch() {
                Ok(watch) => self.watch = Some(watch),
                Err(Inotify::NoWatches) => {
                    let directory = &self.chosen.directory;
                    return self.fail(format!("failed to watch directory {directory:?}: no space left on device"));
                }
                Err(_) => return self.fail("failed to create fsnotify watcher: too many open files".to_owned()),
            }
        }
        let source = self.source.as_mut().expect("it has begun");
        // The newest file, whatever came between.
        if let Some(newer) = source.container.after(&source.file, source.at) {
            source.file = newer;
            source.at = 0;
            return;
        }
        if self.is_last_round {
            self.is_done = true;
            return;
        }
        match source.container.ended() {
            Some(ended) => {
                sleep_until(ended + self.node.end_lag()).await;
                self.is_last_round = true;
            }
            None => source.changes.changed().await.expect("the container holds it"),
        }
    }
}
