//! An engine's log as a source: being opened, being read, ended by its own time.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Sleep, sleep};

use super::{Container, RECORD_LIMIT, ask, tail};
use crate::{
    logs::{
        LogError, LogQuery, LogSource,
        demux::Mode,
        engine::{Exchange, OpenError},
    },
    runtime::docker::endpoint::Socket,
};

/// How long after its `until` a followed log is ended: records of that time may still be under way.
const LATE: Duration = Duration::from_millis(250);

/// A log that the engine gives.
pub(super) struct EngineLog {
    state: State,
    /// When a followed log with an `until` ends: the engine itself ends it only at the next record after that.
    deadline: Option<Pin<Box<Sleep>>>,
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
        Self {
            state: State::Opening(Box::pin(open(container, query))),
            deadline: deadline.map(|left| Box::pin(sleep(left + LATE))),
        }
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
        let Self { state, deadline } = self.get_mut();
        loop {
            let polled = match state {
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(exchange)) => {
                        *state = State::Reading(exchange);
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(late_refusal(error)))),
                    Poll::Pending => Poll::Pending,
                },
                State::Reading(exchange) => Pin::new(exchange).poll_chunk(cx),
            };
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

/// Boxes what is soon over, so that it takes no room in the wait for an engine that may say nothing for hours.
async fn open(container: Container, mut query: LogQuery) -> Result<Exchange<Socket>, OpenError> {
    let Container { tty, buffer, .. } = container;
    let window = match query.tail {
        Some(lines) => Some(Box::pin(tail::window(&container, &query, lines)).await?),
        None => None,
    };
    if let Some(window) = window {
        query = window.narrow(query);
    }
    let target = ask::target(&container, &query, window.map(|window| window.records));
    let answer = container.ask(&target).await?;
    let mode = Mode { tty, timestamps: query.timestamps, record_limit: RECORD_LIMIT };
    let (skip, counted) = window.map(|window| (window.skip, window.read)).unwrap_or_default();
    Ok(Exchange::new(answer, mode, skip, buffer, counted))
}

/// What a refusal is to a client that has its answer's head already.
fn late_refusal(error: OpenError) -> LogError {
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
