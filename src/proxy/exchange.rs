//! One request and the head of its response: on an idle connection, or on a new one.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

use http::{Method, Response};
use tokio::time::Instant;

use super::{
    Head, Timeouts,
    connection::Connection,
    error::{Failure, ProxyError},
    is_idempotent,
    pool::{Key, Pool},
    upload::Upload,
};
use crate::client::ClientWatch;

/// What an exchange needs.
pub(super) struct Exchange<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) key: &'a Key,
    pub(super) timeouts: Timeouts,
    pub(super) client: &'a ClientWatch,
    /// A new connection counts against the limits.
    pub(super) needs_permit: bool,
    /// An idle connection must not be used.
    pub(super) is_fresh: bool,
    pub(super) head: &'a Head,
}

/// An exchange without a response.
struct Failed {
    error: ProxyError,
    /// The request's body, if nothing of the request was written.
    unsent: Option<Upload>,
    /// The connection ended, or was found to have ended, without a response.
    is_cut: bool,
}

impl Exchange<'_> {
    /// Sends a request with the body `upload`, and waits for the head of the response.
    ///
    /// An idle connection may have been closed a moment ago. Then the request is sent once more, on a new connection: if
    /// nothing of it was written, or if it has no body and a method that may be repeated.
    pub(super) async fn run(
        &self,
        method: &Method,
        mut upload: Upload,
    ) -> Result<(Box<Connection>, Response<()>), ProxyError> {
        let is_repeatable = upload.is_empty() && is_idempotent(method);
        let idle = if self.is_fresh { None } else { self.pool.take(self.key, !is_repeatable) };
        if let Some(mut connection) = idle {
            connection.send_request(self.head, upload);
            upload = match self.wait(&mut connection).await {
                Ok(response) => return Ok((connection, response)),
                Err(Failed { unsent: Some(unsent), .. }) => unsent,
                Err(Failed { is_cut: true, .. }) if is_repeatable => Upload::empty(),
                Err(Failed { error, .. }) => return Err(error),
            };
        }
        // Boxed, so that requests on idle connections, which most are, need no room for it.
        let mut connection = Box::pin(self.or_gone(self.open())).await?;
        connection.send_request(self.head, upload);
        match self.wait(&mut connection).await {
            Ok(response) => Ok((connection, response)),
            Err(failed) => Err(failed.error),
        }
    }

    async fn open(&self) -> Result<Box<Connection>, ProxyError> {
        let permit = if self.needs_permit { Some(self.pool.permit(&self.key.id)?) } else { None };
        Connection::open(&self.key.authority, self.timeouts, self.pool.buffers.take(), permit).await
    }

    /// Sends the request that `connection` was given, and waits for the head of the response.
    async fn wait(&self, connection: &mut Connection) -> Result<Response<()>, Failed> {
        let mut seen = 0;
        connection.deadline.set(Instant::now() + self.timeouts.response);
        poll_fn(|cx| {
            if let Poll::Ready(response) = connection.poll_response(cx) {
                return Poll::Ready(response.map_err(|failure| self.failed(connection, &failure)));
            }
            if self.client.poll_hung_up(cx).is_ready() {
                return Poll::Ready(Err(without_retry(ProxyError::ClientGone)));
            }
            // The deadline counts from the last piece of the request that the backend took.
            while connection.deadline.poll(cx).is_ready() {
                if connection.pieces_taken() == seen {
                    let (authority, after) = (self.key.authority.clone(), self.timeouts.response);
                    return Poll::Ready(Err(without_retry(ProxyError::Timeout { authority, after })));
                }
                seen = connection.pieces_taken();
                connection.deadline.set(Instant::now() + self.timeouts.response);
            }
            Poll::Pending
        })
        .await
    }

    fn failed(&self, connection: &mut Connection, failure: &Failure) -> Failed {
        let is_cut = matches!(failure, Failure::Io(_) | Failure::Closed(_));
        let unsent = connection.take_unsent().filter(|_| is_cut);
        Failed { error: ProxyError::of(&self.key.authority, failure), unsent, is_cut }
    }

    /// Waits for `future`, unless the client leaves.
    async fn or_gone<T>(&self, future: impl Future<Output = Result<T, ProxyError>>) -> Result<T, ProxyError> {
        tokio::select! {
            done = future => done,
            () = poll_fn(|cx| self.client.poll_hung_up(cx)) => Err(ProxyError::ClientGone),
        }
    }
}

fn without_retry(error: ProxyError) -> Failed {
    Failed { error, unsent: None, is_cut: false }
}
