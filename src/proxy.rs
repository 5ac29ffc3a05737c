//! Forwarding a request to a server inside a sandbox, and its response back (http-api.md §12).
//!
//! ```text
//! request ─▶ target, request_headers ─▶ exchange ─▶ response_headers ─▶ ProxyBody ─▶ hyper
//!            forwarded (who asked)      connection ◀─ pool              or Tunnel, after a 101
//! ```
//!
//! A [`connection::Connection`] is one HTTP/1.1 connection to a backend. It is no task: the task that waits for something
//! from it polls it. So an exchange runs in the task of its client's connection (or HTTP/2 stream) alone, a chunk passes from
//! one socket to the other without a wake-up of another thread and without a copy, and dropping the body closes the backend's
//! socket. A connection whose response was read to its end goes to the [`pool`].

pub mod body;
pub mod buffers;
pub mod connection;
mod cookie;
pub mod error;
pub mod exchange;
pub mod forwarded;
pub mod hops;
pub mod io;
pub mod limits;
pub mod pace;
pub mod pool;
pub mod request_headers;
mod request_writer;
pub mod response_headers;
pub mod target;
pub mod tunnel;
pub mod upload;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use hyper::upgrade::OnUpgrade;
use opentelemetry::trace::SpanContext;
use tokio::runtime::Handle;

use self::{
    body::{PoolSlot, ProxyBody},
    connection::Connection,
    error::ProxyError,
    exchange::Exchange,
    limits::Limits,
    pool::{Key, Pool},
    response_headers::Public,
    tunnel::Tunnel,
    upload::Upload,
};
use crate::{client::ClientWatch, drain, model::endpoint::Backend};

/// How long a connection to a backend may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a backend may take to begin its response, counted from the last piece of the request that it took. The existing
/// server's 180 s; here they end with the response's head.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a client that waits for a `100 Continue` has to wait for a backend that sends none.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the steps of an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection to be made.
    pub connect: Duration,
    /// For the head of a response.
    pub response: Duration,
    /// For a `100 Continue`.
    pub resume: Duration,
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

/// How long an upload may bring too little by default.
const UPLOAD_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Forwards requests. One for the process, whose clones share its connections.
#[derive(Debug, Clone)]
pub struct Proxy {
    pool: Arc<Pool>,
    timeouts: Timeouts,
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
    /// The client's head. Its method, query and headers count.
    pub head: Parts,
    /// What is said of the client.
    pub forwarded: forwarded::Forwarded,
    /// The gateway's span, which is the backend's parent. None where spans are not made: what the client says is passed on then.
    pub trace: Option<SpanContext>,
    /// Where the client finds the backend's root, for paths and cookies in the response. `None` for what the gateway's API
    /// requests from a sandbox's helper: that response sets nothing in a browser, and the connection counts against no limit.
    pub public: Option<Public>,
}

impl Proxy {
    /// A proxy without connections; the bodies that it makes know of `drain`.
    pub fn new(drain: drain::Watch, Options { limits, upload_stall }: Options) -> Self {
        let timeouts = Timeouts {
            connect: CONNECT_TIMEOUT,
            response: RESPONSE_TIMEOUT,
            resume: CONTINUE_TIMEOUT,
            upload: upload_stall.unwrap_or(UPLOAD_STALL_TIMEOUT),
        };
        Self { pool: Arc::new(Pool::new(limits)), timeouts, drain }
    }

    /// How long the steps of an exchange may take.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Checks whether a request with these headers to the sandbox `id` can be forwarded at all, before the sandbox is looked
    /// up. Costs a few loads while there is room.
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

    /// Forwards a request with the body `upload`, and gives the backend's response, its headers filtered. `upgrade` is the
    /// client's end of a handshake that is to become a tunnel.
    ///
    /// # Errors
    ///
    /// The backend cannot be reached or gives no response, the client leaves, or the path must not be forwarded.
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
        let shape = request_headers::Shape::of(&upload, upgrade.is_some());
        let exchange = Exchange {
            pool: &self.pool,
            key: &key,
            timeouts: self.timeouts,
            client: &client,
            needs_permit: forward.public.is_some(),
            // A tunnel never returns its connection, and a new one cannot have been closed a moment ago.
            is_fresh: upgrade.is_some(),
            head: &request_headers::request(&forward, target, shape)?,
        };
        let (connection, mut response) = exchange.run(&forward.head.method, upload).await?;
        let filtered = response_headers::filter(response.headers_mut(), forward.public.as_ref());
        filtered.map_err(|failure| ProxyError::of(&key.authority, &failure))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(connection, response, upgrade, &key, client);
        }
        Ok(self.respond(connection, response, key, client))
    }

    fn respond(
        &self,
        connection: Box<Connection>,
        response: Response<()>,
        key: Key,
        client: ClientWatch,
    ) -> Response<Outcome> {
        let slot = PoolSlot { pool: Arc::clone(&self.pool), key };
        response.map(|()| Outcome::Body(ProxyBody::new(connection, slot, client, self.drain.clone())))
    }

    /// Grants a handshake, and makes the connections a tunnel.
    fn switch(
        &self,
        connection: Box<Connection>,
        mut response: Response<()>,
        upgrade: Option<OnUpgrade>,
        key: &Key,
        client: ClientWatch,
    ) -> Result<Response<Outcome>, ProxyError> {
        let Some(upgrade) = upgrade else {
            return Err(ProxyError::response(&key.authority, "it switched protocols unasked"));
        };
        if !connection.is_sent() {
            return Err(ProxyError::response(&key.authority, "it switched protocols before it had the whole request"));
        }
        let (io, early) = connection.into_io();
        request_headers::mark_upgrade(response.headers_mut());
        let tunnel = Tunnel::new(upgrade, io, early, client, self.drain.clone());
        Ok(response.map(|()| Outcome::Tunnel(Box::new(tunnel))))
    }
}

/// What follows the head of a backend's response.
#[derive(Debug)]
pub enum Outcome {
    /// A body, which may be empty.
    Body(ProxyBody),
    /// The connections are to become a tunnel.
    Tunnel(Box<Tunnel>),
}

/// Whether a request may be sent again when it is unknown what became of the first (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// A head without a body.
type Head = Request<()>;
