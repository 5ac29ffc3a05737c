//! One request and the head of its answer: on a resting connection, or on a new one.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use http::{Method, Request, Response};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::Instant;

use super::{
    Head, Times,
    error::ProxyError,
    is_idempotent,
    link::{self, Link},
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
    /// No resting connection will do.
    pub(super) is_fresh: bool,
    /// Makes the head; once more for a second try.
    pub(super) request: &'a (dyn Fn() -> Result<Head, ProxyError> + Sync),
}

/// An exchange without an answer.
struct Failed {
    error: ProxyError,
    /// The request, if nothing of it was written.
    unsent: Option<Box<Request<Upload>>>,
    /// The connection ended, or was found to have ended, without an answer.
    is_cut: bool,
}

impl Exchange<'_> {
    /// Sends a request with the body `upload`, and waits for the head of the answer.
    ///
    /// A resting connection may have been closed a moment ago. Then the request goes out once more, on a new connection: if
    /// nothing of it was written, or if it has no body and a method that may be repeated.
    pub(super) async fn run(&self, method: &Method, upload: Upload) -> Result<(Link, Response<Incoming>), ProxyError> {
        let is_repeatable = upload.is_empty() && is_idempotent(method);
        let mut request = self.request(upload)?;
        let rested = if self.is_fresh { None } else { self.pool.take(self.key, !is_repeatable) };
        if let Some(mut link) = rested {
            match self.send(&mut link, request).await {
                Ok(answer) => return Ok((link, answer)),
                Err(Failed { unsent: Some(unsent), .. }) => request = *unsent,
                Err(Failed { is_cut: true, .. }) if is_repeatable => {
                    request = self.request(Upload::empty())?;
                }
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        // Boxed, with the room that it needs: most requests go over a resting one.
        let mut link = Box::pin(self.or_gone(self.open())).await?;
        match self.send(&mut link, request).await {
            Ok(answer) => Ok((link, answer)),
            Err(failed) => Err(failed.error),
        }
    }

    async fn open(&self) -> Result<Link, ProxyError> {
        Link::open(&self.key.authority, self.times, self.pool.buffers.take()).await
    }

    fn request(&self, upload: Upload) -> Result<Request<Upload>, ProxyError> {
        let mut request = (self.request)()?.map(|()| upload);
        Upload::listen(&mut request);
        Ok(request)
    }

    /// Sends a request over `link`, and waits for the head of the answer.
    fn send(
        &self,
        link: &mut Link,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failed>> {
        let taken = request.body().progress();
        link.late.set(Instant::now() + self.times.answer);
        // Before the future that waits, which then has no room for the request.
        let sending = link.sender.try_send_request(request);
        self.wait(link, sending, taken)
    }

    async fn wait(
        &self,
        link: &mut Link,
        sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>,
        taken: Option<Arc<AtomicU64>>,
    ) -> Result<Response<Incoming>, Failed> {
        let mut sending = pin!(sending);
        let mut seen = 0;
        let failed = |error| Err(Failed { error, unsent: None, is_cut: false });
        let mut is_sent = false;
        poll_fn(|cx| {
            let mut ask = || sending.as_mut().poll(&mut link::quiet());
            let answered = if is_sent {
                link.poll_until(cx, ask)
            } else {
                // At once for the task: what has just been asked is not answered yet.
                let _ = link.poll(cx);
                is_sent = true;
                ask()
            };
            if let Poll::Ready(answer) = answered {
                return Poll::Ready(answer.map_err(|mut error| {
                    let unsent = error.take_message().map(Box::new);
                    let error = error.into_error();
                    let is_cut = !error.is_parse() && !error.is_user();
                    Failed { error: ProxyError::of(&self.key.authority, &error), unsent, is_cut }
                }));
            }
            if self.client.poll_hung_up(cx).is_ready() {
                return Poll::Ready(failed(ProxyError::ClientGone));
            }
            // Late is who has for so long neither taken anything of the request nor answered.
            while link.late.poll(cx).is_ready() {
                let now = taken.as_ref().map_or(0, |taken| taken.load(Ordering::Relaxed));
                if now == seen {
                    return Poll::Ready(failed(self.timeout()));
                }
                seen = now;
                link.late.set(Instant::now() + self.times.answer);
            }
            Poll::Pending
        })
        .await
    }

    fn timeout(&self) -> ProxyError {
        ProxyError::Timeout { authority: self.key.authority.clone(), after: self.times.answer }
    }

    /// Waits for `future`, unless the client leaves.
    async fn or_gone<T>(&self, future: impl Future<Output = Result<T, ProxyError>>) -> Result<T, ProxyError> {
        tokio::select! {
            done = future => done,
            () = poll_fn(|cx| self.client.poll_hung_up(cx)) => Err(ProxyError::ClientGone),
        }
    }
}
