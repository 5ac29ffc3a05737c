//! Reads of a log: one answer of the API server, or that of an instance before and the present one's behind it.

use std::{
    future::{Future, poll_fn},
    io,
    num::NonZeroU64,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::lease::Lease;
use crate::{
    deadline::Deadline,
    logs::{
        LogError,
        backend::RecordReader,
        cursor::RunId,
        decode::kubelet::LastLine,
        engine::Answer,
        kubelet_exchange::KubeletExchange,
        record::{Record, Records, Stream},
    },
    runtime::kubernetes::client::{LogFailure, LogSocket},
};

/// How long a kubelet may be silent that has more to send: one whose runtime hangs answers, and sends nothing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

type Opening = Pin<Box<dyn Future<Output = Result<Box<KubeletExchange<LogSocket>>, LogFailure>> + Send>>;

enum State {
    /// The API server has not answered yet.
    Opening(Opening),
    Reading(Box<KubeletExchange<LogSocket>>),
}

/// What was read already.
type Read = Option<Result<Records, LogError>>;

/// What an answer is.
pub(super) struct What {
    /// The instance whose log it is.
    pub(super) run: RunId,
    /// The stream that its records are said to be of.
    pub(super) stream: Stream,
    pub(super) last_line: LastLine,
    pub(super) follow: bool,
    /// It leaves out records in front of others.
    pub(super) is_part: bool,
    /// Most bytes of one read.
    pub(super) max_read: usize,
}

/// One answer.
pub(super) struct LogReader {
    state: State,
    /// The instance whose log it is.
    run: RunId,
    peeked: Option<Read>,
    /// Of a log that is not followed.
    silence: Option<Deadline>,
    is_waiting: bool,
    /// What it must have given before its end.
    end: Option<LogEnd>,
    /// Of a pool's pod: by what it may be read.
    lease: Option<Lease>,
    /// Of a log that is followed: until when.
    lost: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The time of the newest record that was read of this log, in nanoseconds since 1970.
    newest: Arc<AtomicI64>,
}

impl LogReader {
    /// Reads `answer`; nothing happens before it is polled.
    pub(super) fn open(
        answer: impl Future<Output = Result<Answer<LogSocket>, LogFailure>> + Send + 'static,
        what: What,
        newest: Arc<AtomicI64>,
    ) -> Self {
        let What { run, stream, last_line, follow, is_part, max_read } = what;
        let answer = Box::pin(answer);
        let opening = Box::pin(async move {
            let exchange = KubeletExchange::new(answer.await?, stream, last_line, max_read);
            Ok(Box::new(if is_part { exchange.may_begin_in_line() } else { exchange }))
        });
        let silence = (!follow).then(|| Deadline::at(Instant::now() + SILENCE_TIMEOUT));
        Self {
            state: State::Opening(opening),
            run,
            peeked: None,
            silence,
            is_waiting: false,
            end: None,
            lease: None,
            lost: None,
            newest,
        }
    }

    /// A proper end before this one is none.
    pub(super) fn is_to_reach(&mut self, end: Option<LogEnd>) {
        self.end = end;
    }

    /// It gives nothing more once the sandbox has the pod no more. One that is followed ends then.
    pub(super) fn ends_with(&mut self, lease: Lease, follow: bool) {
        let held = lease.clone();
        self.lost = follow.then(|| Box::pin(async move { held.lost().await }) as _);
        self.lease = Some(lease);
    }

    /// Waits until the API server has answered.
    pub(super) async fn opened(&mut self) -> Result<(), LogFailure> {
        if let State::Opening(opening) = &mut self.state {
            self.state = State::Reading(opening.await?);
        }
        Ok(())
    }

    /// Waits for what comes first: a kubelet reports within its answer that it has no log.
    pub(super) async fn peek(&mut self) -> Option<LogError> {
        let first = poll_fn(|cx| self.poll_next(cx)).await;
        match first {
            Some(Err(error)) => Some(error),
            first => {
                self.peeked = Some(first);
                None
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        if let Some(lost) = &mut self.lost
            && lost.as_mut().poll(cx).is_ready()
        {
            self.lost = None;
            return Poll::Ready(None);
        }
        let polled = loop {
            match &mut self.state {
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(exchange)) => self.state = State::Reading(exchange),
                    Poll::Ready(Err(failure)) => return Poll::Ready(Some(Err(after_head(failure)))),
                    Poll::Pending => break Poll::Pending,
                },
                State::Reading(exchange) => break exchange.poll_records(cx),
            }
        };
        let Some(silence) = &mut self.silence else { return polled };
        if polled.is_ready() {
            self.is_waiting = false;
            return polled;
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            silence.set(Instant::now() + SILENCE_TIMEOUT);
        }
        ready!(silence.poll(cx));
        let text = format!("the node has sent nothing for {} s", SILENCE_TIMEOUT.as_secs());
        Poll::Ready(Some(Err(LogError::Disconnected(io::Error::new(io::ErrorKind::TimedOut, text)))))
    }
}

impl RecordReader for LogReader {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let mut read = match self.peeked.take() {
            Some(read) => read,
            None => ready!(self.poll_next(cx)),
        };
        // What comes may be another sandbox's.
        if matches!(read, Some(Ok(_))) && self.lease.as_ref().is_some_and(Lease::is_known_to_be_lost) {
            let why = io::Error::other("the sandbox has its pod no more");
            read = Some(Err(LogError::Disconnected(why)));
        }
        if let Some(Ok(records)) = &mut read {
            records.run = Some(self.run);
            if let Some(last) = records.index.last() {
                self.newest.fetch_max(last.place.time, Ordering::Relaxed);
            }
            if let Some(end) = &mut self.end {
                end.note(records);
            }
        }
        if read.is_none() && self.end.take().is_some_and(|end| !end.is_reached()) {
            let why = io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended before the log");
            return Poll::Ready(Some(Err(LogError::Disconnected(why))));
        }
        Poll::Ready(read)
    }

    fn bytes_read(&self) -> u64 {
        match &self.state {
            State::Opening(_) => 0,
            State::Reading(exchange) => exchange.bytes_read(),
        }
    }
}

/// The last record of a log, which a read that is begun later must reach: the API server ends an answer properly when it has lost
/// the kubelet (kubernetes.md B1).
///
/// It is found by its time and its bytes: clocks are set back, and lines repeat. A read that does not find it since the log was
/// rotated meanwhile is gone on with by another, which has an end of its own.
pub(super) struct LogEnd {
    time: i64,
    bytes: Bytes,
    /// Its line began among the records with which it was read. Else it is a piece of a line that has another time.
    is_exact: bool,
    is_reached: bool,
    /// The last record of the read so far, if it is not exact.
    last: Bytes,
}

impl LogEnd {
    /// How many of the last records it takes to see where the last line begins, if that is of less than 1 MiB.
    pub(super) const RECORDS: NonZeroU64 = NonZeroU64::MIN.saturating_add(63);

    /// The last of these records, which come behind `before`.
    pub(super) fn behind(before: Option<Self>, records: &Records) -> Option<Self> {
        let Some((last, others)) = records.index.split_last() else { return before };
        let ends_line = |record: &Record| records.bytes(record).ends_with(b"\n");
        let is_exact = others.iter().any(ends_line)
            || before.is_some_and(|before| before.is_exact || before.bytes.ends_with(b"\n"));
        let bytes = Bytes::copy_from_slice(records.bytes(last));
        Some(Self { time: last.place.time, bytes, is_exact, is_reached: false, last: Bytes::new() })
    }

    /// Whether a read of what is of `since` and later leaves it out.
    pub(super) fn is_before(&self, since: Timestamp) -> bool {
        i128::from(self.time) < i128::from(since.as_second()) * 1_000_000_000
    }

    fn note(&mut self, records: &Records) {
        if self.is_reached {
            return;
        }
        if self.is_exact {
            let is_it = |(record, bytes): (&Record, &[u8])| record.place.time == self.time && bytes == self.bytes;
            self.is_reached = records.iter().any(is_it);
        } else if let Some(last) = records.index.last() {
            self.is_reached = last.place.time >= self.time;
            self.last = Bytes::copy_from_slice(records.bytes(last));
        }
    }

    fn is_reached(&self) -> bool {
        let (bytes, last) = (&self.bytes, &self.last);
        self.is_reached || !last.is_empty() && (last.ends_with(bytes) || bytes.ends_with(last))
    }
}

/// A refusal as an error of a stream that has begun.
fn after_head(failure: LogFailure) -> LogError {
    match failure {
        LogFailure::Io(error) => LogError::Refused(error),
        LogFailure::Protocol(what) => LogError::Protocol(what),
        LogFailure::Refused(failure) => LogError::Refused(io::Error::other(failure.for_client())),
    }
}

/// Two reads, one behind the other.
pub(super) struct Chained {
    pub(super) first: Option<Box<dyn RecordReader>>,
    pub(super) second: Box<dyn RecordReader>,
    /// Bytes of the first, once that is through.
    pub(super) read: u64,
}

impl RecordReader for Chained {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        if let Some(first) = &mut self.first {
            let polled = ready!(first.poll_records(cx));
            if polled.is_some() {
                return Poll::Ready(polled);
            }
            self.read = first.bytes_read();
            self.first = None;
        }
        self.second.poll_records(cx)
    }

    fn bytes_read(&self) -> u64 {
        self.read + self.first.as_ref().map_or(0, |first| first.bytes_read()) + self.second.bytes_read()
    }
}

#[cfg(test)]
mod tests;
