//! An engine's answer with a log, which is waited for and read: as text or as records.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;

use super::{silence::Silence, wait::timed_out};
use crate::{
    logs::{
        LogError, LogSource,
        backend::RecordReader,
        engine::{Answer, OpenError},
        exchange::Exchange,
        record::Records,
        record_exchange::RecordExchange,
    },
    runtime::docker::engine::endpoint::Socket,
};

/// A log that the engine gives, and that an `X` reads.
pub(super) struct EngineLog<X> {
    state: State<X>,
    /// Of a log that is not followed: the engine has all of it and must go on sending.
    silence: Option<Silence>,
}

type Opening<X> = Pin<Box<dyn Future<Output = Result<X, OpenError>> + Send>>;

enum State<X> {
    /// The engine has not answered yet.
    Opening(Opening<X>),
    Reading(X),
}

impl<X: Send + 'static> EngineLog<X> {
    /// Reads `answer` with what `exchange` makes of it; nothing happens before it is polled. A log that is not followed is
    /// given up when the engine is silent for `silence`.
    ///
    /// The exchange is made in a future of its own, so that the wait for an engine that may say nothing for hours has no room
    /// for it.
    pub(super) fn open(
        answer: impl Future<Output = Result<Answer<Socket>, OpenError>> + Send + 'static,
        exchange: impl FnOnce(Answer<Socket>) -> X + Send + 'static,
        silence: Option<Duration>,
    ) -> Self {
        let answer = Box::pin(answer);
        let opening = Box::pin(async move { Ok(exchange(answer.await?)) });
        Self { state: State::Opening(opening), silence: silence.map(Silence::new) }
    }

    /// Waits until the engine has answered.
    pub(super) async fn opened(&mut self) -> Result<(), OpenError> {
        if let State::Opening(opening) = &mut self.state {
            self.state = State::Reading(opening.await?);
        }
        Ok(())
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut X, &mut Context<'_>) -> Poll<Option<Result<T, LogError>>>,
    ) -> Poll<Option<Result<T, LogError>>> {
        let Self { state, silence } = self;
        let polled = loop {
            match state {
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(Ok(exchange)) => *state = State::Reading(exchange),
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(refusal_after_head(error)))),
                    Poll::Pending => break Poll::Pending,
                },
                State::Reading(exchange) => break read(exchange, cx),
            }
        };
        let Some(silence) = silence else { return polled };
        if polled.is_ready() {
            silence.broken();
            return polled;
        }
        ready!(silence.poll(cx));
        Poll::Ready(Some(Err(LogError::Disconnected(timed_out(silence.limit)))))
    }

    fn read(&self, bytes: impl Fn(&X) -> u64) -> u64 {
        match &self.state {
            State::Opening(_) => 0,
            State::Reading(exchange) => bytes(exchange),
        }
    }
}

impl LogSource for EngineLog<Box<Exchange<Socket>>> {
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        self.get_mut().poll(cx, |exchange, cx| Pin::new(&mut **exchange).poll_chunk(cx))
    }

    fn bytes_read(&self) -> u64 {
        self.read(|exchange| exchange.bytes_read())
    }
}

impl RecordReader for EngineLog<Box<RecordExchange<Socket>>> {
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Records, LogError>>> {
        self.poll(cx, |exchange, cx| exchange.poll_records(cx))
    }

    fn bytes_read(&self) -> u64 {
        self.read(|exchange| exchange.bytes_read())
    }
}

/// A refusal as an error of the stream, for a client that already has the response's head.
fn refusal_after_head(error: OpenError) -> LogError {
    match error {
        OpenError::Io(error) => LogError::Disconnected(error),
        OpenError::Protocol(what) => LogError::Protocol(what),
        OpenError::Refused { status, message } => LogError::Backend(format!("{status} {message}")),
    }
}
