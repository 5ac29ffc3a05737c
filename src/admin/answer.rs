//! What the operator's listener answers: `/metrics`, `/admin/streams` and `/admin/streams/{id}`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::{sync::Mutex, time::timeout};

use super::Admin;
use crate::{
    body::Body,
    keys::{KeyName, Role},
    metrics::{prometheus::Format, streams::StreamState},
    model::timestamp::Timestamp as WireTime,
    problem::ApiError,
    response,
    service::{auth, origin},
};

/// How long a scrape waits for the runtime to tell its sandboxes.
const LIST: Duration = Duration::from_secs(1);

/// How long what was told is taken for new: whoever scrapes without a pause makes the engine no work.
const FRESH: Duration = Duration::from_secs(5);

/// How long a stream that was told to end is waited for.
const ENDING: Duration = Duration::from_secs(2);

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// Nobody may keep what is true now.
const UNKEPT: HeaderValue = HeaderValue::from_static("no-store");

/// When the runtime last told its sandboxes.
#[derive(Debug, Default)]
pub(super) struct Sandboxes(Mutex<Option<Instant>>);

/// The open streams on the wire.
#[derive(Debug, Serialize)]
struct Listed {
    streams: Vec<Stream>,
}

/// An open stream on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    /// Text, so that no reader makes a number of it that it cannot hold.
    id: String,
    sandbox_id: String,
    follow: bool,
    started_at: WireTime,
    client: String,
    /// The name of the key that the client presented.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// What was handed over for the client, in bytes.
    bytes: u64,
    /// How long the client has taken nothing of what there is for it.
    stalled_seconds: f64,
}

/// Whoever is lost here may look for the API, which is elsewhere.
const NO_ROUTE: &str = "There is no such route; this listener has /metrics and /admin/streams. The API has its own.";

impl Admin {
    /// Answers one request, which came from `peer` to an address that is this machine's own if `is_local`.
    pub(super) async fn answer(&self, req: Request<Incoming>, peer: SocketAddr, is_local: bool) -> Response<Body> {
        let (method, path) = (req.method(), req.uri().path());
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let answered = match path {
            "/metrics" if is_read => Ok(self.metrics(&req).await),
            "/metrics" => Err(ApiError::method_not_allowed("GET, HEAD")),
            "/admin/streams" if is_read => self.allowed(&req, is_local).map(|_| self.streams()),
            "/admin/streams" => Err(ApiError::method_not_allowed("GET, HEAD")),
            _ => match path.strip_prefix("/admin/streams/") {
                Some(id) if *method == Method::DELETE => match self.allowed(&req, is_local) {
                    Ok(key) => self.end(id, peer, key).await,
                    Err(error) => Err(error),
                },
                Some(id) if !id.is_empty() && !id.contains('/') => Err(ApiError::method_not_allowed("DELETE")),
                _ => Err(ApiError::no_route_of(NO_ROUTE)),
            },
        };
        let mut res = answered.unwrap_or_else(response::error);
        res.headers_mut().insert(header::CACHE_CONTROL, UNKEPT);
        if method == Method::HEAD {
            response::without_body(&mut res);
        }
        res
    }

    async fn metrics(&self, req: &Request<Incoming>) -> Response<Body> {
        self.count_sandboxes().await;
        self.prometheus.set_draining(self.drain.is_announced());
        let accept: Vec<&str> =
            req.headers().get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).collect();
        let format = Format::accepted(&accept.join(","));
        let mut res = Response::new(Body::full(self.prometheus.encode(format)));
        res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        res.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        res
    }

    /// Asks the runtime for its sandboxes, unless it was asked just now. What it does not tell in time is not known.
    async fn count_sandboxes(&self) {
        let counted = timeout(LIST, async {
            let mut last = self.sandboxes.0.lock().await;
            if last.is_some_and(|last| last.elapsed() < FRESH) {
                return true;
            }
            let Ok(sandboxes) = self.runtime.list().await else { return false };
            self.prometheus.set_sandboxes(Some(&sandboxes));
            *last = Some(Instant::now());
            true
        });
        if !counted.await.unwrap_or(false) {
            self.prometheus.set_sandboxes(None);
        }
    }

    /// Whether the request may see and end streams, and with which key.
    fn allowed(&self, req: &Request<Incoming>, is_local: bool) -> Result<Option<KeyName>, ApiError> {
        match auth::check_key(&self.keys, req.headers())? {
            Some(principal) if principal.role == Role::Reader => {
                return Err(ApiError::insufficient_role(&principal, "it may neither see nor end streams."));
            }
            Some(principal) => return Ok(Some(principal.name)),
            // There are no keys. Pages of other sites are not this machine's, though the browser that shows them is.
            None if is_local && origin::is_local(req) => return Ok(None),
            None => {}
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "ADMIN::KEY_NEEDED",
            "Without an API key (server.api_key), streams are shown to this machine only: set a key, or have \
             metrics.listen be a loopback address and ask for it by that address.",
        ))
    }

    fn streams(&self) -> Response<Body> {
        let (now, here) = (Timestamp::now(), Instant::now());
        let streams =
            self.prometheus.streams().list().into_iter().map(|stream| Stream::of(stream, now, here)).collect();
        response::json(StatusCode::OK, &Listed { streams })
    }

    /// Ends a stream, and waits until it has ended.
    async fn end(&self, id: &str, peer: SocketAddr, key: Option<KeyName>) -> Result<Response<Body>, ApiError> {
        let streams = self.prometheus.streams();
        let known = id.parse::<u64>().ok().filter(|number| number.to_string() == id);
        let Some((number, state)) = known.and_then(|number| Some((number, streams.end(number)?))) else {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "ADMIN::STREAM_NOT_FOUND", "There is no such stream."));
        };
        let (info, key) = (state.info, key.as_ref().map(tracing::field::display));
        tracing::info!(sandbox = &*info.sandbox, client = %info.client, key, "{peer} ends a log stream");
        let ended = timeout(ENDING, async {
            while streams.is_open(number) {
                tokio::time::sleep(LOOK).await;
            }
        });
        // It was told to end; that it takes long is for the caller to see.
        Ok(response::empty(if ended.await.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED }))
    }
}

impl Stream {
    fn of(StreamState { id, info, sent, stalled }: StreamState, now: Timestamp, here: Instant) -> Self {
        let age = SignedDuration::try_from(here.saturating_duration_since(info.begun)).unwrap_or(SignedDuration::ZERO);
        Self {
            id: id.to_string(),
            sandbox_id: info.sandbox.to_string(),
            follow: info.follow,
            started_at: now.checked_sub(age).unwrap_or(now).into(),
            client: info.client.to_string(),
            key: info.key.map(|key| key.to_string()),
            user_agent: info.agent.map(String::from),
            bytes: sent,
            stalled_seconds: stalled.as_secs_f64(),
        }
    }
}
