//! One HTTP/1.1 connection to a backend, polled by whoever uses it.

use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::{
    Times,
    error::ProxyError,
    io::{BackendIo, Probe},
    upload::Upload,
};

/// The largest buffer that a backend's answer is read into, and the longest head of one, in bytes. hyper begins with 8 KiB
/// and doubles while reads fill the buffer. Above this size the allocator gives memory back to the system every time
/// (`lg_tcache_max` in `.cargo/config.toml`), which costs less than to read in smaller pieces: with 128 KiB a large file
/// came at 0.8 of nginx's speed, with this at 1.1.
const BUFFER: usize = 512 * 1024;

/// A connection.
pub struct Link {
    connection: Box<Connection<TokioIo<BackendIo>, Upload>>,
    /// Hands requests to the connection.
    pub sender: SendRequest<Upload>,
    probe: Probe,
    has_ended: bool,
}

impl Link {
    /// Connects to `authority`.
    ///
    /// # Errors
    ///
    /// No connection could be made.
    pub async fn open(authority: &str, times: Times) -> Result<Self, ProxyError> {
        let io = BackendIo::connect(authority, times.connect)
            .await
            .map_err(|error| ProxyError::Connect { authority: authority.to_owned(), error })?;
        let probe = io.probe();
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| ProxyError::response(authority, error))?;
        Ok(Self { connection: Box::new(connection), sender, probe, has_ended: false })
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
        self.poll(&mut Context::from_waker(Waker::noop())).is_pending() && self.is_idle()
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
