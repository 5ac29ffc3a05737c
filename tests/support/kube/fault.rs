//! Faults on demand, and the body that carries them.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Closed, Shared, body::Body, failure::Failure};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Takes it and never answers.
    Hang,
    /// Closes the connection before a head.
    Drop,
    /// Answers after this time.
    Delay(Duration),
    /// Refuses: [`Failure::initializing`], [`Failure::too_many_requests`], or one of the test's.
    Fail(Failure),
    /// 409 of a write: somebody else was faster.
    Conflict,
    /// Answers with this status and this page, as a load balancer does.
    Html(u16, &'static str),
    /// 410: of a list as a status, of a watch as an event in a 200.
    Expired,
    /// Ends the body after this many bytes as if it were whole.
    End(usize),
    /// Cuts the connection after this many bytes of the body.
    Cut(usize),
    /// Sends nothing after this many bytes of the body, and keeps the connection.
    Silence(usize),
}

/// A fault for requests with this method and this text in their target.
pub(super) struct Fault {
    pub(super) method: &'static str,
    pub(super) text: String,
    pub(super) action: Action,
    /// How often it still comes.
    pub(super) times: usize,
}

impl Fault {
    pub(super) fn is_for(&self, method: &str, target: &str) -> bool {
        self.times > 0 && self.method == method && target.contains(&self.text)
    }
}

/// Where a body stops.
#[derive(Debug, Clone, Copy)]
enum Stop {
    End,
    Cut,
    Silence,
}

/// A body that is counted for as long as it lives, and that may stop early.
pub(super) struct Tracked {
    body: Body,
    stop: Option<(usize, Stop)>,
    shared: Arc<Shared>,
    target: String,
    is_flushed: bool,
    is_over: bool,
}

impl Tracked {
    pub(super) fn wrapped(body: Body, action: Option<&Action>, shared: Arc<Shared>, target: String) -> Body {
        let stop = match action {
            Some(Action::End(after)) => Some((*after, Stop::End)),
            Some(Action::Cut(after)) => Some((*after, Stop::Cut)),
            Some(Action::Silence(after)) => Some((*after, Stop::Silence)),
            _ => None,
        };
        shared.state().open.push(target.clone());
        Self { body, stop, shared, target, is_flushed: false, is_over: false }.boxed_unsync()
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.stop {
            Some((0, Stop::End)) => {
                self.is_over = true;
                return Poll::Ready(None);
            }
            Some((0, Stop::Cut)) if !self.is_flushed => {
                // What came before is sent first.
                self.is_flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some((0, Stop::Cut)) => {
                self.is_over = true;
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            // The connection's task is woken when the client leaves.
            Some((0, Stop::Silence)) => return Poll::Pending,
            _ => {}
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(Ok(frame)) = frame else {
            self.is_over = true;
            return Poll::Ready(frame);
        };
        let Some((left, stop)) = self.stop else { return Poll::Ready(Some(Ok(frame))) };
        let Ok(mut bytes) = frame.into_data() else { return Poll::Ready(None) };
        bytes.truncate(left);
        self.stop = Some((left - bytes.remaining(), stop));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.stop.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.stop {
            // A length would make an early end a cut.
            Some((_, Stop::End)) => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let by_peer = !self.is_over && !self.body.is_end_stream();
        let mut state = self.shared.state();
        if let Some(at) = state.open.iter().position(|target| *target == self.target) {
            state.open.swap_remove(at);
        }
        let target = std::mem::take(&mut self.target);
        state.closed.push(Closed { target, at: Instant::now(), by_peer });
    }
}
