//! A log's records as what a client asked for.

mod queue;
mod renderer;

use std::{
    io,
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use self::{
    queue::Queue,
    renderer::{CHUNK, Renderer},
};
pub use super::format::Format;
use super::{
    LogError, LogQuery, LogSource,
    format::{Event, Progress, Told, Writer},
    piece::{End, Piece, PieceSource, Reason},
    record::Records,
    record_source::RecordSource,
    source::{Ending, Farewell},
};
use crate::{deadline::Deadline, end_reason::EndReason, http1::buffer_pool};

/// The trailer field that tells why a text has ended.
pub const LOG_END: HeaderName = HeaderName::from_static("x-log-end");

/// A log that always has something to read, and nothing in it to send, lets others have their turn after so many bytes.
const MAX_TURN: usize = 1024 * 1024;

/// Room behind a chunk for the line that fills it, in bytes, if it is not a long one.
const SLACK: usize = 1024;

/// What a line takes besides its own bytes, about.
const LINE: usize = 256;

/// What is done for a client that does not keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSlow {
    /// The log is not read on until it has taken what was read.
    #[default]
    Block,
    /// Lines are left out, and a gap tells how many.
    Drop,
    /// The stream is ended.
    Cut,
}

/// How records are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendering {
    /// The form.
    pub format: Format,
    /// Text tells of gaps and ends too.
    pub notes: bool,
    /// Text ends with the trailer field `X-Log-End`. The answer's head must announce it.
    pub trailer: bool,
    /// End after the line with which so many bytes of lines are reached, as they are sent: without pings and events.
    pub limit_bytes: Option<NonZeroU64>,
    /// After how much silence a ping is sent; never in text.
    pub heartbeat: Duration,
    /// What is done for a client that does not keep up.
    pub on_slow: OnSlow,
}

impl Default for Rendering {
    fn default() -> Self {
        Self {
            format: Format::Text,
            notes: false,
            trailer: false,
            limit_bytes: None,
            heartbeat: Duration::from_secs(15),
            on_slow: OnSlow::Block,
        }
    }
}

/// A stream of rendered records.
pub struct Rendered<S = RecordSource> {
    feed: Feed<S>,
    /// Writes what is no line: lines are the feed's.
    writer: Writer,
    /// What was handed out.
    progress: Progress,
    format: Format,
    has_trailer: bool,
    heartbeat: Duration,
    /// There while the log is silent.
    ping: Option<Deadline>,
    handed_at: Option<Instant>,
    is_opened: bool,
    /// It was told; if it broke off, how.
    ended: Option<(End, Option<LogError>)>,
}

enum Feed<S> {
    /// Read when the client takes it.
    Direct(Box<Direct<S>>),
    Queue(Queue),
    /// Let go of, after so many bytes.
    Gone(u64),
}

/// What a feed gives.
enum Fed {
    Chunk(Bytes, Progress),
    /// Nothing more comes; how far it has come, if that is further than the last chunk, and how it broke off if it did.
    End(End, Option<Progress>, Option<LogError>),
}

struct Direct<S> {
    /// Until its end.
    source: Option<S>,
    /// How many bytes it had read when it was polled last.
    read: u64,
    renderer: Renderer,
    end: Option<(End, Option<LogError>)>,
    /// Records that are being rendered, and the next of them.
    records: Option<(Records, usize)>,
    buf: BytesMut,
    /// What `buf` was taken for, in bytes; 0 while there is none.
    buf_len: usize,
    /// Others are to have their turn before it goes on.
    rests: bool,
}

impl<S: PieceSource> Rendered<S> {
    /// Renders `source`, which `query` opened. On a runtime: for a slow client that is not to hold the log up, it spawns a task.
    pub fn new(source: S, query: &LogQuery, rendering: Rendering) -> Self {
        let renderer = Renderer::new(&source, query, rendering);
        let Rendering { format, notes, trailer, heartbeat, on_slow, .. } = rendering;
        let writer = Writer::new(format, query.timestamps, notes, Told::by(&source));
        let progress = renderer.progress();
        let feed = match on_slow {
            OnSlow::Block => Feed::Direct(Box::new(Direct {
                read: source.bytes_read(),
                source: Some(source),
                renderer,
                end: None,
                records: None,
                buf: BytesMut::new(),
                buf_len: 0,
                rests: false,
            })),
            OnSlow::Drop | OnSlow::Cut => Feed::Queue(Queue::spawn(source, renderer, on_slow)),
        };
        Self {
            feed,
            writer,
            progress,
            format,
            has_trailer: trailer && format == Format::Text,
            heartbeat,
            ping: None,
            handed_at: None,
            is_opened: false,
            ended: None,
        }
    }

    /// Lets go of the log and gives what tells of its end.
    fn end(&mut self, end: End, error: Option<LogError>) -> Bytes {
        self.feed = Feed::Gone(self.feed.bytes_read());
        self.ping = None;
        let mut progress = self.progress;
        progress.cursor.ended = end.reason.is_final();
        let mut out = BytesMut::new();
        self.writer.event(Event::End(&end), &progress, &mut out);
        let error = error.or_else(|| (end.reason == Reason::BackendLost).then(lost));
        self.ended = Some((end, error));
        out.freeze()
    }

    /// Polls for a ping, while there is nothing else.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let ping = self.writer.ping();
        if ping.is_empty() {
            return Poll::Pending;
        }
        let due = *self.handed_at.get_or_insert_with(Instant::now) + self.heartbeat;
        let deadline = self.ping.get_or_insert_with(|| Deadline::at(due));
        deadline.set(due);
        if deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.hand(Bytes::from_static(ping))
    }

    fn hand(&mut self, bytes: Bytes) -> Poll<Option<Result<Bytes, LogError>>> {
        if self.format != Format::Text {
            self.handed_at = Some(Instant::now());
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl<S: PieceSource> LogSource for Rendered<S> {
    fn poll_chunk(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.is_opened, true) && !this.writer.opening().is_empty() {
            return this.hand(Bytes::from_static(this.writer.opening()));
        }
        if let Some((_, error)) = &mut this.ended {
            return Poll::Ready(error.take().map(Err));
        }
        match this.feed.poll(cx) {
            Poll::Pending => this.poll_ping(cx),
            Poll::Ready(Fed::Chunk(bytes, progress)) => {
                this.progress = progress;
                this.hand(bytes)
            }
            Poll::Ready(Fed::End(end, progress, error)) => {
                this.progress = progress.unwrap_or(this.progress);
                let told = this.end(end, error);
                if told.is_empty() { self.poll_chunk(cx) } else { this.hand(told) }
            }
        }
    }

    fn bytes_read(&self) -> u64 {
        self.feed.bytes_read()
    }

    fn farewell(mut self: Pin<&mut Self>, reason: EndReason) -> Farewell {
        let is_told = self.format != Format::Text;
        if self.ended.is_some() {
            return Farewell { bytes: Bytes::new(), is_told };
        }
        let reason = match reason {
            EndReason::SlowClient => Reason::SlowClient,
            EndReason::EndedByAdmin => Reason::EndedByAdmin,
            EndReason::BackendLost | EndReason::BackendFailed => Reason::BackendLost,
            EndReason::Drained | EndReason::Cut | EndReason::Complete | EndReason::ClientGone => Reason::Drain,
        };
        if let Feed::Direct(direct) = &self.feed {
            // What was rendered was handed out. Lines that were left out since need not be read again.
            self.progress = direct.renderer.progress();
        }
        Farewell { bytes: self.end(End::of(reason), None), is_told }
    }

    fn ending(&self) -> Ending {
        let Some((end, _)) = &self.ended else { return Ending::default() };
        let is_slow = end.reason == Reason::SlowClient;
        let reason = if is_slow { EndReason::SlowClient } else { EndReason::Complete };
        let is_broken = is_slow && self.format == Format::Text;
        Ending { reason, is_broken, trailers: self.has_trailer.then(|| trailers(end)).filter(|_| !is_broken) }
    }
}

impl<S: PieceSource> Feed<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fed> {
        match self {
            Self::Direct(direct) => direct.poll(cx),
            Self::Queue(queue) => queue.poll(cx),
            Self::Gone(_) => Poll::Pending,
        }
    }

    fn bytes_read(&self) -> u64 {
        match self {
            Self::Direct(direct) => direct.read,
            Self::Queue(queue) => queue.bytes_read(),
            Self::Gone(read) => *read,
        }
    }
}

impl<S: PieceSource> Direct<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fed> {
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.renderer.begin_turn();
        let mut turn = 0;
        loop {
            if let Some((records, at)) = &mut self.records {
                *at = self.renderer.records(records, *at, &mut self.buf);
                turn += records.buf.len();
                let is_through = *at == records.index.len();
                if (is_through || self.renderer.is_over())
                    && let Some((records, _)) = self.records.take()
                {
                    records.recycle();
                }
                let is_turn_over = self.renderer.is_turn_over();
                if let Some(chunk) = self.chunk() {
                    self.rests = is_turn_over;
                    return Poll::Ready(chunk);
                }
                if turn > MAX_TURN || is_turn_over {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            if let Some((end, error)) = self.end.take() {
                return Poll::Ready(Fed::End(end, Some(self.renderer.progress()), error));
            }
            if self.renderer.is_over() {
                self.end(End::of(Reason::Limit), None);
            } else {
                let Some(source) = &mut self.source else { return Poll::Pending };
                let piece = source.poll_piece(cx);
                self.read = source.bytes_read();
                match piece {
                    Poll::Pending => {
                        self.release();
                        return Poll::Pending;
                    }
                    Poll::Ready(piece) => self.take(piece),
                }
            }
            if let Some(chunk) = self.chunk() {
                return Poll::Ready(chunk);
            }
        }
    }

    fn take(&mut self, piece: Option<Result<Piece, LogError>>) {
        match piece {
            Some(Ok(Piece::Notice(notice))) => self.renderer.notice(notice, &mut self.buf),
            Some(Ok(Piece::Begin(begin))) => self.renderer.begin(&begin),
            Some(Ok(Piece::Records(records))) => {
                self.make_room(records.buf.len().saturating_add(records.index.len().saturating_mul(LINE)));
                self.records = Some((records, 0));
            }
            Some(Ok(Piece::Seen { mark, is_part })) => self.renderer.seen(mark, is_part),
            Some(Ok(Piece::Gap(gap))) => self.renderer.gap(&gap, &mut self.buf),
            Some(Ok(Piece::Restart { started_at, run })) => self.renderer.restart(started_at, run, &mut self.buf),
            Some(Ok(Piece::End(end))) => self.end(end, None),
            Some(Err(error)) => self.end(End::of(Reason::BackendLost), Some(error)),
            None => self.end(End::of(Reason::Complete), None),
        }
    }

    /// Lets go of the source and renders what was not ended.
    fn end(&mut self, end: End, error: Option<LogError>) {
        self.source = None;
        self.end = Some((self.renderer.end(end, &mut self.buf), error));
    }

    /// What was rendered, if it is anything.
    fn chunk(&mut self) -> Option<Fed> {
        (!self.buf.is_empty()).then(|| Fed::Chunk(self.buf.split().freeze(), self.renderer.progress()))
    }

    /// Makes the buffer have room for `len` bytes, or for a chunk if that is less; takes the old memory again if it is free.
    fn make_room(&mut self, len: usize) {
        let len = len.min(CHUNK) + SLACK;
        if !self.buf.try_reclaim(len) {
            self.release();
            self.buf = buffer_pool::take(len);
            self.buf_len = len;
        }
    }

    /// A silent log holds no buffer.
    fn release(&mut self) {
        buffer_pool::give(std::mem::take(&mut self.buf), std::mem::take(&mut self.buf_len));
    }
}

fn trailers(end: &End) -> HeaderMap {
    let text = match end.exit.code {
        Some(code) => format!("{}; exit_code={code}", end.reason.name()),
        None => end.reason.name().to_owned(),
    };
    // Words and digits, which a field's value may have.
    HeaderValue::try_from(text).map(|value| HeaderMap::from_iter([(LOG_END, value)])).unwrap_or_default()
}

/// A backend that could not be reached again.
fn lost() -> LogError {
    LogError::Disconnected(io::Error::new(io::ErrorKind::NotConnected, "it could not be reached again in time"))
}

#[cfg(test)]
mod tests;
