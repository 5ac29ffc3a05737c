//! One request and the head of its answer: on a resting connection, or on a new one.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

use http::{Method, Response};
use tokio::time::Instant;

use super::{
    Head, Times,
    error::{Failure, ProxyError},
    is_idempotent,
    link::Link,
    pool::{Key, Pool},
    upload::Upload,
};
use crate::client::ClientWatch;

/// What an exchange needs.
pub(super) struct Exchange<'a> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) key: &'a Key,
    pub(super) times: Times,
    pub(super) client: &'a ClientWatch,
    /// A new connection counts against the limits.
    pub(super) needs_permit: bool,
    /// No resting connection will do.
    pub(super) is_fresh: bool,
    pub(super) head: &'a Head,
}

/// An exchange without an answer.
struct Failed {
    error: ProxyError,
    /// The request's body, if nothing of the request was written.
    unsent: Option<Upload>,
    /// The connection ended, or was found to have ended, without an answer.
    is_cut: bool,
}

impl Exchange<'_> {
    /// Sends a request with the body `upload`, and waits for the head of the answer.
    ///
    /// A resting connection may have been closed a moment ago. Then the request goes out once more, on a new connection: if
    /// nothing of it was written, or if it has no body and a method that may be repeated.
    pub(super) async fn run(
        &self,
        method: &Method,
        mut upload: Upload,
    ) -> Result<(Box<Link>, Response<()>), ProxyError> {
        let is_repeatable = upload.is_empty() && is_idempotent(method);
        let rested = if self.is_fresh { None } else { self.pool.take(self.key, !is_repeatable) };
        if let Some(mut link) = rested {
            link.ask(self.head, upload);
            upload = match self.wait(&mut link).await {
                Ok(answer) => return Ok((link, answer)),
                Err(Failed { unsent: Some(unsent), .. }) => unsent,
                Err(Failed { is_cut: true, .. }) if is_repeatable => Upload::empty(),
                Err(Failed { error, .. }) => return Err(error),
            };
        }
        // Boxed, with the room that it needs: most requests go over a resting one.
        let mut link = Box::pin(self.or_gone(self.open())).await?;
        link.ask(self.head, upload);
        match self.wait(&mut link).await {
            Ok(answer) => Ok((link, answer)),
            Err(failed) => Err(failed.error),
        }
    }

    async fn open(&self) -> Result<Box<Link>, ProxyError> {
        let permit = if self.needs_permit { Some(self.pool.permit(&self.key.id)?) } else { None };
        Link::open(&self.key.authority, self.times, self.pool.buffers.take(), permit).await
    }

    /// Sends what `link` was asked, and waits for the head of the answer.
    async fn wait(&self, link: &mut Link) -> Result<Response<()>, Failed> {
        let mut seen = 0;
        link.late.set(Instant::now() + self.times.answer);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = link.poll_answer(cx) {
                return Poll::Ready(answer.map_err(|failure| self.failed(link, &failure)));
            }
            if self.client.poll_hung_up(cx).is_ready() {
                return Poll::Ready(Err(given_up(ProxyError::ClientGone)));
            }
            // Late is who has for so long neither taken anything of the request nor answered.
            while link.late.poll(cx).is_ready() {
                if link.taken() == seen {
                    let (authority, after) = (self.key.authority.clone(), self.times.answer);
                    return Poll::Ready(Err(given_up(ProxyError::Timeout { authority, after })));
                }
                seen = link.taken();
                link.late.set(Instant::now() + self.times.answer);
            }
            Poll::Pending
        })
        .await
    }

    fn failed(&self, link: &mut Link, failure: &Failure) -> Failed {
        let is_cut = matches!(failure, Failure::Io(_) | Failure::Closed(_));
        let unsent = link.untouched().filter(|_| is_cut);
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

fn given_up(error: ProxyError) -> Failed {
    Failed { error, unsent: None, is_cut: false }
}
