//! An engine's log as a [`LogSource`]: opened, read, and ended at its `until`.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, Sleep, sleep};

use super::{Container, RECORD_LIMIT, tail, target, wait::timed_out};
use crate::{
    deadline::Deadline,
    logs::{
        LogError, LogQuery, LogSource,
        decode::Mode,
        engine::{Answer, OpenError},
        exchange::Exchange,
        skip::Skip,
    },
    runtime::docker::engine::endpoint::Socket,
};

/// How long after its `until` a followed log is ended: records of that time may still be under way.
const UNTIL_GRACE: Duration = Duration::from_millis(250);

/// A log that the engine gives.
pub(super) struct EngineLog {
    state: State,
    /// When a followed log with an `until` ends: the engine itself ends it only at the next record after that.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Of a log that is not followed: the engine has all of it and must go on sending.
    silence: Option<Silence>,
}

/// How long an engine has sent nothing, counted from when it was first waited for.
struct Silence {
    limit: Duration,
    timer: Option<Deadline>,
    is_counting: bool,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None, is_counting: false }
    }

    /// The engine has sent something.
    fn broken(&mut self) {
        self.is_counting = false;
    }

    /// Polls until it has lasted too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            self.is_counting = true;
            return self.timer.insert(Deadline::at(Instant::now() + self.limit)).poll(cx);
        };
        if !self.is_counting {
            self.is_counting = true;
            timer.set(Instant::now() + self.limit);
        }
        timer.poll(cx)
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Exchange<Socket>, OpenError>> + Send>>;

#[expect(clippy::large_enum_variant, reason = "a stream spends nearly all its life in the large one")]
enum State {
    /// The engine has not answered yet.
    Opening(Opening),
    Reading(Exchange<Socket>),
}

impl EngineLog {
    /// Begins to open the log; nothing happens before it is polled.
    pub(super) fn open(container: Container, mut query: LogQuery) -> Self {
        let left = query.until.map(|until| until.duration_since(Timestamp::now()));
        query.follow &= left.is_none_or(|left| left.is_positive());
        let deadline = left.filter(|_| query.follow).and_then(|left| Duration::try_from(left).ok());
        let silence = (!query.follow).then(|| Silence::new(container.timeout));
        Self {
            silence,
            state: State::Opening(Box::pin(open(container, query))),
            deadline: deadline.map(|left| Box::pin(sleep(left + UNTIL_GRACE))),
        }
    }

    /// Whether the log may be silent for as long as it likes.
    pub(super) fn is_followed(&self) -> bool {
        self.silence.is_none()
    }

    /// Waits until the engine has answered.
    pub(super) async fn opened(&mut self) -> Result<(), OpenError> {
        if let State::Opening(opening) = &mut self.state {
            self.state = State::Reading(opening.await?);
        }
        Ok(())
    }
}

impl LogSource for EngineLog {
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        let Self { state, deadline, silence } = self.get_mut();
        loop {
            let polled = match state {
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(exchange)) => {
                        *state = State::Reading(exchange);
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(refusal_after_head(error)))),
                    Poll::Pending => Poll::Pending,
                },
                State::Reading(exchange) => Pin::new(exchange).poll_chunk(cx),
            };
            if let Some(silence) = silence {
                if polled.is_ready() {
                    silence.broken();
                    return polled;
                }
                ready!(silence.poll(cx));
                return Poll::Ready(Some(Err(LogError::Disconnected(timed_out(silence.limit)))));
            }
            let Some(deadline) = deadline.as_mut().filter(|_| polled.is_pending()) else { return polled };
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(None);
        }
    }

    fn bytes_read(&self) -> u64 {
        match &self.state {
            State::Opening(_) => 0,
            State::Reading(exchange) => exchange.bytes_read(),
        }
    }
}

/// Opens the log of `container` when it is polled. Each step is a future of its own, so that the wait for an engine that may
/// say nothing for hours keeps nothing of the steps before it.
fn open(container: Container, query: LogQuery) -> Opening {
    let sent = Box::pin(send(container, query));
    Box::pin(async move {
        let Sent { answer, mode, skip, buffer, counted } = sent.await?;
        Ok(Exchange::new(answer.await?, mode, skip, buffer, counted))
    })
}

/// A request that is under way, and how its answer is to be decoded.
struct Sent<F> {
    answer: Pin<Box<F>>,
    mode: Mode,
    skip: Skip,
    buffer: usize,
    /// Bytes that were read to count.
    counted: u64,
}

async fn send(
    container: Container,
    mut query: LogQuery,
) -> Result<Sent<impl Future<Output = Result<Answer<Socket>, OpenError>> + Send>, OpenError> {
    let window = match query.tail {
        Some(lines) => Some(Box::pin(tail::window(&container, &query, lines)).await?),
        None => None,
    };
    if let Some(window) = window {
        query = window.narrow(query);
    }
    let target = target::reading(&container, &query, window.map(|window| window.records));
    let mode = Mode { tty: container.tty, timestamps: query.timestamps, record_limit: RECORD_LIMIT };
    let (skip, counted) = window.map(|window| (window.skip, window.read)).unwrap_or_default();
    let answer = Box::pin(container.send_request(target, query.follow));
    Ok(Sent { answer, mode, skip, buffer: container.buffer, counted })
}

/// A refusal as an error of the stream, for a client that already has the response's head.
fn refusal_after_head(error: OpenError) -> LogError {
    match error {
        OpenError::Io(error) => LogError::Disconnected(error),
        OpenError::Protocol(what) => LogError::Protocol(what),
        OpenError::Refused { status, message } => LogError::Backend(format!("{status} {message}")),
    }
}

/// A log without a byte.
pub(super) struct Nothing;

impl LogSource for Nothing {
    fn poll_chunk(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        Poll::Ready(None)
    }

    fn bytes_read(&self) -> u64 {
        0
    }
}
