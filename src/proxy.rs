//! Forwarding a request to a server inside a sandbox, and its answer back (http-api.md §12).
//!
//! ```text
//! request ─▶ target, head (rules for path and fields) ─▶ exchange ─▶ ProxyBody ─▶ hyper
//!            forwarded (who asked)                       link ◀─ pool   or Tunnel, after a 101
//! ```
//!
//! A [`link::Link`] is one HTTP/1.1 connection to a backend, and nobody's task: whoever waits for something that comes
//! over it polls it. So an exchange runs in the task of its client's connection (or HTTP/2 stream)
//! alone, a chunk passes from one socket to the other without a wake-up of another thread and without a copy, and to drop
//! the body is to close the backend's socket. A link whose answer was read to its end goes to the [`pool`].

pub mod answer;
pub mod body;
pub mod buffers;
mod cookie;
pub mod error;
pub mod exchange;
pub mod forwarded;
pub mod head;
pub mod hops;
pub mod input;
pub mod io;
pub mod limits;
pub mod link;
mod output;
pub mod pace;
pub mod pool;
pub mod target;
pub mod tunnel;
pub mod upload;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use hyper::upgrade::OnUpgrade;
use tokio::runtime::Handle;

use self::{
    answer::fields::{self, Public},
    body::{Home, ProxyBody},
    error::ProxyError,
    exchange::Exchange,
    limits::Limits,
    link::Link,
    pool::{Key, Pool},
    tunnel::Tunnel,
    upload::Upload,
};
use crate::{client::ClientWatch, drain, model::endpoint::Backend};

/// How long a connection to a backend may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a backend may take to begin its answer, counted from the last piece of the request that it took. The existing
/// server's 180 s; here they end with the answer's head.
const ANSWER: Duration = Duration::from_secs(180);

/// How long a client that waits for a `100 Continue` is made to wait for a backend that sends none.
const CONTINUE: Duration = Duration::from_secs(1);

/// How long the pieces of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For a connection to be made.
    pub connect: Duration,
    /// For the head of an answer.
    pub answer: Duration,
    /// For the word to send a body.
    pub go_on: Duration,
    /// How often the pace of a body that the client sends is judged, as [`pace`] says: over HTTP/2 it may be longer.
    pub upload: Duration,
}

/// What an operator decides about the proxy.
#[derive(Debug, Default)]
pub struct Options {
    /// How many connections to sandboxes may be open.
    pub limits: Limits,
    /// How long an upload may bring too little (`proxy.upload_stall_timeout_seconds`); the default is 60 s.
    pub upload_stall: Option<Duration>,
}

/// How long an upload may bring too little, if nobody decides.
const UPLOAD: Duration = Duration::from_secs(60);

/// Forwards requests. One for the process.
#[derive(Debug)]
pub struct Proxy {
    pool: Arc<Pool>,
    times: Times,
    drain: drain::Watch,
}

/// What is to be forwarded. Boxed on its way: futures that hold it are moved too.
#[derive(Debug)]
pub struct Forward {
    /// The sandbox.
    pub id: String,
    /// Where it goes.
    pub backend: Backend,
    /// What follows the backend's prefix in the target, as the client sent it; without a query.
    pub path: String,
    /// The client's head. Its method, query and fields count.
    pub head: Parts,
    /// What is said of the client.
    pub forwarded: forwarded::Forwarded,
    /// Where the client finds the backend's root, for paths and cookies in the answer. `None` for what the gateway's API asks
    /// a sandbox's helper: that answer sets nothing in a browser, and the connection counts against no limit.
    pub public: Option<Public>,
}

impl Proxy {
    /// A proxy without connections; the bodies that it makes know of `drain`.
    pub fn new(drain: drain::Watch, Options { limits, upload_stall }: Options) -> Self {
        let upload = upload_stall.unwrap_or(UPLOAD);
        let times = Times { connect: CONNECT, answer: ANSWER, go_on: CONTINUE, upload };
        Self { pool: Arc::new(Pool::new(limits)), times, drain }
    }

    /// How long the pieces of an exchange may take.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Checks whether a request with these fields to the sandbox `id` can be forwarded at all, before anybody is asked where
    /// that is. Costs a few loads while there is room.
    ///
    /// # Errors
    ///
    /// The request has come through this proxy too often, or all connections that it could use are in use.
    pub fn admit(&self, id: &str, headers: &HeaderMap) -> Result<(), ProxyError> {
        if hops::goes_round(headers) {
            return Err(ProxyError::Loop);
        }
        self.pool.exhausted(id).map_or(Ok(()), |limit| Err(limit.into()))
    }

    /// Forwards a request with the body `upload`, and answers with the backend's answer, its fields filtered. `upgrade` is
    /// the client's end of a handshake that is to become a tunnel.
    ///
    /// # Errors
    ///
    /// The backend cannot be reached or gives no answer, the client leaves, or the path must not be forwarded.
    pub async fn forward(
        &self,
        mut forward: Box<Forward>,
        upload: Upload,
        upgrade: Option<OnUpgrade>,
        client: ClientWatch,
    ) -> Result<Response<Outcome>, ProxyError> {
        let id = std::mem::take(&mut forward.id);
        let key = Key { id, authority: forward.backend.authority.clone(), runtime: Handle::current().id() };
        let target = target::target(&forward.backend.path_prefix, &forward.path, forward.head.uri.query())?;
        let shape = head::Shape::of(&upload, upgrade.is_some());
        let exchange = Exchange {
            pool: &self.pool,
            key: &key,
            times: self.times,
            client: &client,
            needs_permit: forward.public.is_some(),
            // A tunnel never comes back, and a connection that is new cannot be one that has just been closed.
            is_fresh: upgrade.is_some(),
            head: &head::request(&forward, target, shape)?,
        };
        let (link, mut answer) = exchange.run(&forward.head.method, upload).await?;
        let filtered = fields::filter(answer.headers_mut(), forward.public.as_ref());
        filtered.map_err(|failure| ProxyError::of(&key.authority, &failure))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(link, answer, upgrade, &key, client);
        }
        Ok(self.answer(link, answer, key, client))
    }

    fn answer(&self, link: Box<Link>, answer: Response<()>, key: Key, client: ClientWatch) -> Response<Outcome> {
        let home = Home { pool: Arc::clone(&self.pool), key };
        answer.map(|()| Outcome::Body(ProxyBody::new(link, home, client, self.drain.clone())))
    }

    /// Answers a handshake, and lets the connections become a tunnel.
    fn switch(
        &self,
        link: Box<Link>,
        mut answer: Response<()>,
        upgrade: Option<OnUpgrade>,
        key: &Key,
        client: ClientWatch,
    ) -> Result<Response<Outcome>, ProxyError> {
        let Some(upgrade) = upgrade else {
            return Err(ProxyError::response(&key.authority, "it switched protocols unasked"));
        };
        if !link.is_sent() {
            return Err(ProxyError::response(&key.authority, "it switched protocols before it had the whole request"));
        }
        let (io, early) = link.into_io();
        head::mark_upgrade(answer.headers_mut());
        let tunnel = Tunnel::new(upgrade, io, early, client, self.drain.clone());
        Ok(answer.map(|()| Outcome::Tunnel(Box::new(tunnel))))
    }
}

/// What a backend's answer comes with.
#[derive(Debug)]
pub enum Outcome {
    /// A body, which may be empty.
    Body(ProxyBody),
    /// The connections are to become a tunnel.
    Tunnel(Box<Tunnel>),
}

/// Whether a request may be sent once more when nothing is known of the first time (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// A head without a body.
type Head = Request<()>;
