//! A connection whose other end follows a script, for tests with a paused clock.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What the other end does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Bytes),
    /// Does nothing for so long.
    Wait(Duration),
    /// Does nothing any more.
    Hang,
    /// Breaks the connection.
    Fail(io::ErrorKind),
}

/// This end. At the end of the script the other one closes.
#[derive(Debug)]
pub(crate) struct Scripted(Arc<Mutex<State>>);

/// The test's view of a [`Scripted`] connection.
#[derive(Debug)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    steps: VecDeque<Step>,
    timer: Option<Pin<Box<Sleep>>>,
    written: Vec<u8>,
    /// How many bytes the other end still takes.
    room: usize,
    /// How many bytes a write takes at most.
    max_write: usize,
    writer: Option<Waker>,
}

/// A step that sends `bytes`.
pub(crate) fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(Bytes::copy_from_slice(bytes.as_ref()))
}

/// A connection and the test's view of it.
pub(crate) fn scripted(steps: impl IntoIterator<Item = Step>) -> (Scripted, Script) {
    let state = Arc::new(Mutex::new(State {
        steps: steps.into_iter().collect(),
        timer: None,
        written: Vec::new(),
        room: usize::MAX,
        max_write: usize::MAX,
        writer: None,
    }));
    (Scripted(Arc::clone(&state)), Script(state))
}

impl Script {
    /// What was written to the other end, as text.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0).written).into_owned()
    }

    /// Whether this end was closed.
    pub(crate) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Lets a write take at most `max` bytes.
    pub(crate) fn set_max_write(&self, max: usize) {
        lock(&self.0).max_write = max;
    }

    /// Lets the other end take `room` bytes more, and nothing after them.
    pub(crate) fn set_room(&self, room: usize) {
        let mut state = lock(&self.0);
        state.room = room;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }
}

impl Scripted {
    /// Polls until there is something to read, or the connection has ended.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_readable(cx).map(Ok)
    }
}

impl State {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.steps.front() {
                Some(Step::Hang) => return Poll::Pending,
                Some(Step::Wait(time)) => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(*time)));
                    ready!(timer.as_mut().poll(cx));
                    self.timer = None;
                    self.steps.pop_front();
                }
                Some(Step::Send(_) | Step::Fail(_)) | None => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Scripted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        ready!(state.poll_readable(cx));
        match state.steps.front_mut() {
            Some(Step::Send(bytes)) => {
                let count = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..count]);
                bytes.advance(count);
                if bytes.is_empty() {
                    state.steps.pop_front();
                }
                Poll::Ready(Ok(()))
            }
            Some(Step::Fail(kind)) => Poll::Ready(Err((*kind).into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        let count = buf.len().min(state.max_write).min(state.room);
        if count == 0 && !buf.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.room -= count;
        state.written.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
