//! One HTTP/1.1 connection to a backend, polled by whoever uses it.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{
    Times,
    error::ProxyError,
    io::{BackendIo, Probe},
    upload::Upload,
};
use crate::deadline::Deadline;

/// The largest buffer that a backend's answer is read into, in bytes. hyper begins with 8 KiB and doubles while reads fill
/// the buffer. One of this size goes back to the system every time (`lg_tcache_max` in `.cargo/config.toml`), which costs less
/// than to read in smaller pieces: with 128 KiB a large file came at 0.8 of nginx's speed, with this at 1.1.
const LARGE: usize = 512 * 1024;

/// The same where many connections are open.
const SMALL: usize = 128 * 1024;

/// Most connections that may have a large buffer at a time, those that rest included: beyond, their memory counts for more
/// than their speed.
const MOST_LARGE: usize = 256;

/// Deals out the large buffers.
#[derive(Debug, Default)]
pub struct Buffers(Arc<AtomicUsize>);

/// How large a connection's buffer may grow, until this is dropped.
#[derive(Debug)]
pub struct Buffer {
    max: usize,
    large: Arc<AtomicUsize>,
}

impl Buffers {
    /// A buffer for one more connection.
    pub fn take(&self) -> Buffer {
        let is_large = |count| (count < MOST_LARGE).then_some(count + 1);
        let max = match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_large) {
            Ok(_) => LARGE,
            Err(_) => SMALL,
        };
        Buffer { max, large: Arc::clone(&self.0) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.max == LARGE {
            self.large.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection.
pub struct Link {
    connection: Box<Connection<TokioIo<BackendIo>, Upload>>,
    /// Hands requests to the connection.
    pub sender: SendRequest<Upload>,
    /// By when the backend has to answer; kept, so that the next request only moves it.
    pub late: Deadline,
    probe: Probe,
    has_ended: bool,
    _buffer: Buffer,
}

/// What to poll a [`Link`]'s answer and its body with. Whatever comes for them comes while the link is polled, right before
/// they are; to wake the task that does so would only have it polled once more.
pub fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Link {
    /// Connects to `authority`; answers are read into `buffer`.
    ///
    /// # Errors
    ///
    /// No connection could be made.
    pub async fn open(authority: &str, times: Times, buffer: Buffer) -> Result<Self, ProxyError> {
        let io = BackendIo::connect(authority, times.connect)
            .await
            .map_err(|error| ProxyError::Connect { authority: authority.to_owned(), error })?;
        let probe = io.probe();
        let (sender, connection) = Builder::new()
            .max_buf_size(buffer.max)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| ProxyError::response(authority, error))?;
        let late = Deadline::at(Instant::now() + times.answer);
        Ok(Self { connection: Box::new(connection), sender, late, probe, has_ended: false, _buffer: buffer })
    }

    /// Lets the connection read and write. Ready when it has ended; those that wait for an answer are told why.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_ended {
            match self.connection.poll_without_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => tracing::debug!(%error, "the connection to a backend ended with an error"),
            }
            self.has_ended = true;
        }
        Poll::Ready(())
    }

    /// Lets the connection read and write until `fed` has what it needs from it.
    ///
    /// First without the task's waker: hyper's body wakes whoever polled its connection as soon as a piece is taken, to have
    /// the next one read, but the next one is asked for anyway.
    pub fn poll_until<T>(&mut self, cx: &mut Context<'_>, mut fed: impl FnMut() -> Poll<T>) -> Poll<T> {
        // Also when it has ended: who waits is told.
        let _ = self.poll(&mut quiet());
        let polled = fed();
        if polled.is_ready() {
            return polled;
        }
        let _ = self.poll(cx);
        fed()
    }

    /// Whether it waits for a request.
    pub fn is_idle(&self) -> bool {
        !self.has_ended && self.sender.is_ready()
    }

    /// Whether a connection that has rested can be used, as far as the runtime has heard; with `probe`, as far as the
    /// system knows.
    pub fn is_alive(&mut self, probe: bool) -> bool {
        if probe {
            self.probe.ask();
        }
        self.poll(&mut quiet()).is_pending() && self.is_idle()
    }

    /// The socket of a connection that has switched protocols, and what came behind the answer.
    pub async fn into_io(mut self) -> (BackendIo, Bytes) {
        poll_fn(|cx| self.poll(cx)).await;
        let parts = self.connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_few_and_come_back() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..=MOST_LARGE).map(|_| buffers.take()).collect();
        assert_eq!((taken[0].max, taken[MOST_LARGE].max), (LARGE, SMALL));
        taken.truncate(1);
        assert_eq!(buffers.take().max, LARGE);
        drop(taken);
        assert_eq!(buffers.0.load(Ordering::Relaxed), 0);
    }
}
