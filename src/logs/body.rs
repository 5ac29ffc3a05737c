//! A log as a response body: owns the source, and all that must last as long as the stream.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http_body::Frame;
use memchr::memrchr;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    LogError, LogSource,
    limits::StreamPermit,
    source::{Ending, Farewell},
};
use crate::{
    client::ClientWatch,
    drain,
    end_reason::EndReason,
    metrics::streams::{StreamGuard, StreamHandle},
};

pin_project! {
    /// The body of a log response. Dropping it releases the backend at once.
    pub struct LogBody {
        state: State,
        client: ClientWatch,
        #[pin]
        drain: WaitForCancellationFutureOwned,
        draining: bool,
        watch: drain::Watch,
        // The drain ends only a followed log: a client must be able to tell the end of another from ours.
        follow: bool,
        at_line_start: bool,
        // What is left of a piece that was longer than the client's frames may be.
        rest: Bytes,
        permit: StreamPermit,
        end_reason: Option<EndReason>,
        is_broken_off: bool,
        live: Option<StreamHandle>,
        // Until the report on the response takes it.
        listed: Option<StreamGuard>,
    }

    impl PinnedDrop for LogBody {
        fn drop(this: Pin<&mut Self>) {
            let end_reason = this.end_reason();
            let this = this.project();
            if matches!(this.state, State::Streaming(_)) {
                release(this.state, this.live.as_ref(), end_reason);
            }
        }
    }
}

enum State {
    /// The source is polled.
    Streaming(Pin<Box<dyn LogSource>>),
    /// The response is to be broken off once what is left of a piece was handed over.
    Breaking(BodyError),
    /// What came before is written first, then the response is broken off.
    Failing { error: BodyError, flushes: u64, linger: Option<Pin<Box<Sleep>>> },
    /// Nothing more comes.
    Ended,
}

/// Why a log response is broken off, so that its client can tell it from an end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client is gone.
    #[error("the client left")]
    ClientGone,
    /// An administrator ended it.
    #[error("an administrator ended the stream")]
    EndedByAdmin,
    /// The gateway is ending, and the log's form cannot tell that.
    #[error("the gateway is ending")]
    Drained,
    /// The client does not keep up and asked to be cut off then, and the log's form cannot tell that.
    #[error("the client does not keep up")]
    SlowClient,
    /// The source failed.
    #[error("the log could not be read to its end")]
    Source(#[source] LogError),
}

impl LogBody {
    /// A body that streams `source` while `permit` is held, to the client that `client` watches; when it is to `follow`,
    /// until `drain`.
    pub fn new(
        source: Pin<Box<dyn LogSource>>,
        follow: bool,
        client: ClientWatch,
        drain: &drain::Watch,
        permit: StreamPermit,
    ) -> Self {
        let state = State::Streaming(source);
        Self {
            state,
            client,
            drain: drain.begun(),
            draining: false,
            watch: drain.clone(),
            follow,
            at_line_start: true,
            rest: Bytes::new(),
            permit,
            end_reason: None,
            is_broken_off: false,
            live: None,
            listed: None,
        }
    }

    /// The same body, counted by `guard`, which is to be taken away with [`Self::take_guard`].
    pub fn listed(mut self, guard: Option<StreamGuard>) -> Self {
        self.live = guard.as_ref().map(StreamGuard::handle);
        self.listed = guard;
        self
    }

    /// The stream's place in the list. It outlives the body, until the client was sent everything.
    pub fn take_guard(self: Pin<&mut Self>) -> Option<StreamGuard> {
        self.project().listed.take()
    }

    /// Why it ended. If it is dropped before its end, the client left, unless it was cut off.
    pub fn end_reason(&self) -> EndReason {
        match self.end_reason {
            Some(end_reason) => end_reason,
            None if self.live.as_ref().is_some_and(StreamHandle::is_ended) => EndReason::EndedByAdmin,
            None if self.client.has_stalled() => EndReason::SlowClient,
            None if self.watch.has_cut() => EndReason::Cut,
            None => EndReason::ClientGone,
        }
    }

    /// Whether it goes on with what comes.
    pub fn is_following(&self) -> bool {
        self.follow
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended) && self.rest.is_empty()
    }

    /// Whether the response is, or was, broken off.
    pub fn is_broken_off(&self) -> bool {
        self.is_broken_off
    }

    /// Polls for the next piece.
    pub fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        if let Some(live) = &*this.live
            && let State::Streaming(source) = this.state
        {
            live.wakes(cx.waker());
            if live.is_ended() {
                let Farewell { bytes, is_told } = source.as_mut().farewell(EndReason::EndedByAdmin);
                *this.end_reason = Some(EndReason::EndedByAdmin);
                live.released(None);
                if is_told {
                    *this.rest = [mem::take(this.rest), bytes].concat().into();
                    *this.state = State::Ended;
                } else {
                    *this.rest = Bytes::new();
                    *this.is_broken_off = true;
                    *this.state = State::Breaking(BodyError::EndedByAdmin);
                }
            }
        }
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(slice(this.rest, this.client.max_frame())))));
        }
        if *this.follow && !*this.draining && this.drain.poll(cx).is_ready() {
            *this.draining = true;
        }
        if *this.draining
            && *this.at_line_start
            && let State::Streaming(source) = this.state
        {
            let Farewell { bytes, is_told } = source.as_mut().farewell(EndReason::Drained);
            release(this.state, this.live.as_ref(), EndReason::Drained);
            *this.end_reason = Some(EndReason::Drained);
            *this.rest = bytes;
            if !is_told {
                *this.is_broken_off = true;
                *this.state = State::Breaking(BodyError::Drained);
            }
            if !this.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(slice(this.rest, this.client.max_frame())))));
            }
        }
        let source = match this.state {
            State::Ended => return Poll::Ready(None),
            State::Breaking(_) => {
                break_off(this.state, this.client);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Failing { flushes, linger, .. } => {
                ready!(this.client.poll_flushed(cx, *flushes));
                if let Some(linger) = linger {
                    ready!(linger.as_mut().poll(cx));
                }
                return fail(this.state);
            }
            State::Streaming(source) => source,
        };
        match source.as_mut().poll_chunk(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                if let Some(live) = &*this.live {
                    live.add(bytes.len(), source.bytes_read());
                }
                *this.rest = if *this.draining { up_to_line_end(bytes) } else { bytes };
                *this.at_line_start = this.rest.last() == Some(&b'\n');
                Poll::Ready(Some(Ok(Frame::data(slice(this.rest, this.client.max_frame())))))
            }
            Poll::Ready(Some(Err(error))) => {
                *this.end_reason = Some(cause(&error));
                *this.is_broken_off = true;
                *this.state = State::Breaking(BodyError::Source(error));
                break_off(this.state, this.client);
                this.live.iter().for_each(|live| live.released(None));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                let Ending { reason, is_broken, trailers } = source.ending();
                release(this.state, this.live.as_ref(), reason);
                *this.end_reason = Some(reason);
                if is_broken {
                    *this.is_broken_off = true;
                    *this.state = State::Breaking(BodyError::SlowClient);
                    break_off(this.state, this.client);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Poll::Pending => {
                ready!(this.client.poll_gone(cx));
                let how = if this.client.has_stalled() { EndReason::SlowClient } else { EndReason::ClientGone };
                release(this.state, this.live.as_ref(), how);
                *this.end_reason = Some(how);
                Poll::Ready(Some(Err(BodyError::ClientGone)))
            }
        }
    }
}

/// Drops the source, and tells `live`.
fn release(state: &mut State, live: Option<&StreamHandle>, how: EndReason) {
    let left = live.filter(|_| how == EndReason::ClientGone).map(|_| Instant::now());
    *state = State::Ended;
    if let Some(live) = live {
        live.released(left.map(|left| left.elapsed()));
    }
}

/// Breaks the response off once what came before is written. hyper writes what it holds only when the body is pending: the error
/// comes after that. The caller wakes the task.
fn break_off(state: &mut State, client: &ClientWatch) {
    if let State::Breaking(error) = mem::replace(state, State::Ended) {
        let linger = client.linger().map(|time| Box::pin(sleep(time)));
        *state = State::Failing { error, flushes: client.flushes(), linger };
    }
}

fn fail<T>(state: &mut State) -> Poll<Option<Result<T, BodyError>>> {
    match mem::replace(state, State::Ended) {
        State::Failing { error, .. } => Poll::Ready(Some(Err(error))),
        _ => Poll::Ready(None),
    }
}

fn cause(error: &LogError) -> EndReason {
    match error {
        LogError::Disconnected(_) | LogError::Refused(_) | LogError::Interrupted(_) => EndReason::BackendLost,
        LogError::Protocol(_) | LogError::Backend(_) => EndReason::BackendFailed,
    }
}

/// Takes at most `most` bytes from the front, without copying.
fn slice(bytes: &mut Bytes, most: usize) -> Bytes {
    if bytes.len() <= most { mem::take(bytes) } else { bytes.split_to(most) }
}

/// Cuts after the last line that is whole, where a drained stream may end.
fn up_to_line_end(mut bytes: Bytes) -> Bytes {
    if let Some(newline) = memrchr(b'\n', &bytes) {
        bytes.truncate(newline + 1);
    }
    bytes
}

impl fmt::Debug for LogBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogBody")
            .field("draining", &self.draining)
            .field("end_reason", &self.end_reason)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
