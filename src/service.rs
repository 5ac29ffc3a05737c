//! STEP 2: one request, from its head to its response. Never fails: what goes wrong becomes a response.

pub mod auth;
pub mod cors;
pub mod origin;
pub mod viewer;

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tracing::Instrument;
use uuid::Uuid;

use self::viewer::Viewer;
use crate::{
    access::{self, Report},
    api::{self, Api, Caller},
    body::Body,
    client::{ClientWatch, Http2Stream},
    end_reason::EndReason,
    keys::{KeyName, KeyRing},
    open::Entry,
    peer::{Peer, trusted::TrustedProxies},
    problem::ApiError,
    proxy::tunnel::TunnelSlot,
    response,
    router::{self, NoRoute, PortOf, Route},
    tenants::Tenants,
};

/// The header that names a request, in requests and responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What `Server` says.
const SERVER: HeaderValue = HeaderValue::from_static(concat!("opensandbox-gateway/", env!("CARGO_PKG_VERSION")));

/// What `Connection` says to a client that should ask elsewhere next time.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Longest id of a client's own that a request keeps, in bytes; a longer one gets a new id like none.
const MAX_ID: usize = 256;

/// Heads that are no longer, in bytes, are handed over in any case.
const SHORT_HEAD: u32 = 2 * 1024;

/// What all connections share.
#[derive(Debug)]
pub struct Gateway {
    /// The handlers and what they need.
    pub api: Api,
    /// The API keys; anyone may call when there are none.
    pub keys: Arc<KeyRing>,
    /// The tenants, whose keys there are instead.
    pub tenants: Option<Arc<Tenants>>,
    /// How many requests may be worked on at once, those not counted that `Gateway::room` names
    /// (`server.limit_concurrency`).
    pub concurrency: Option<Semaphore>,
    /// As many requests to sandboxes' own servers may wait for the head of their answer: a server that never answers, which
    /// anyone may ask, must not shut others out of the gateway's own API.
    pub proxy_concurrency: Option<Semaphore>,
    /// The proxies that are believed what they say of their clients.
    pub proxies: TrustedProxies,
    /// Only pages and names of this machine are answered: what a sandbox runs, it runs as this user.
    pub local_only: bool,
    /// Whether the access log has lines for `/health` and `/ready` too (`log.access_health_checks`).
    pub log_health_checks: bool,
}

/// What a connection's requests get, by the listener that it came to.
#[derive(Debug, Clone)]
pub enum Front {
    /// The API.
    Api,
    /// The browser viewer.
    Viewer(Arc<Viewer>),
}

/// One connection's service.
#[derive(Debug, Clone)]
pub struct Service {
    gateway: Arc<Gateway>,
    front: Front,
    peer: Peer,
    entry: Arc<Entry>,
    http1: Option<Http1>,
}

/// What belongs to a connection that carries one response at a time.
#[derive(Debug, Clone)]
struct Http1 {
    client: ClientWatch,
    tunnels: Arc<TunnelSlot>,
}

impl Gateway {
    /// The permits that a request for `route` takes one of. None for what is answered at any load: it asks nobody, or has
    /// limits of its own.
    fn room(&self, route: Option<&Route>) -> Option<&Semaphore> {
        match route {
            Some(route) if is_nobodys(route) => None,
            // `[logs]`: who follows is many, and all of them come back at once.
            Some(Route::Logs(_)) => None,
            Some(Route::Proxy(..)) => self.proxy_concurrency.as_ref(),
            _ => self.concurrency.as_ref(),
        }
    }

    /// Whether a request for `route` is answered also when there is no permit, since it needs no call either. Asked only then:
    /// most requests find a permit.
    fn is_at_hand(&self, route: Option<&Route>, headers: &HeaderMap) -> bool {
        let Some(Route::GetSandbox(id) | Route::Endpoint(PortOf { id, .. })) = route else { return false };
        match &self.tenants {
            None => self.api.runtime.is_at_hand(id),
            Some(tenants) => {
                let tenant = auth::presented(headers).and_then(|key| tenants.find_at_hand(key));
                tenant.and_then(|tenant| self.api.of_tenant(&tenant).ok()).is_some_and(|api| api.runtime.is_at_hand(id))
            }
        }
    }
}

impl Front {
    /// The template of a path, as metrics have it.
    fn template(&self, path: &str) -> &'static str {
        let own = matches!(self, Self::Viewer(_)).then(|| viewer::template(path)).flatten();
        own.unwrap_or_else(|| router::template(path))
    }
}

impl Service {
    /// A service for the HTTP/1.1 connection `entry` of `peer` that `client` watches. What it is to become it leaves in
    /// `tunnels`.
    pub fn http1(
        gateway: Arc<Gateway>,
        front: Front,
        peer: Peer,
        entry: Arc<Entry>,
        client: ClientWatch,
        tunnels: Arc<TunnelSlot>,
    ) -> Self {
        Self { gateway, front, peer, entry, http1: Some(Http1 { client, tunnels }) }
    }

    /// A service for the HTTP/2 connection `entry` of `peer`.
    pub fn http2(gateway: Arc<Gateway>, front: Front, peer: Peer, entry: Arc<Entry>) -> Self {
        Self { gateway, front, peer, entry, http1: None }
    }

    /// The client of the request that the current task works on.
    fn client(&self) -> ClientWatch {
        match &self.http1 {
            Some(http1) => http1.client.clone(),
            None => ClientWatch::Http2(Http2Stream::current()),
        }
    }

    async fn answer(
        self,
        req: Request<Incoming>,
        id: HeaderValue,
        mut report: Box<Report>,
    ) -> Result<Response<Body>, Infallible> {
        let metrics = self.gateway.api.metrics.clone();
        let timer = metrics.request(req.method(), || self.front.template(req.uri().path()), report.request().start);
        drop(metrics);
        let is_head = req.method() == Method::HEAD;
        let is_quiet = !self.gateway.log_health_checks && router::HEALTH_CHECKS.contains(&req.uri().path());
        let origin = req.headers().get(header::ORIGIN).cloned();
        let mut is_gone = false;
        let (is_http1, drain) = (self.http1.is_some(), self.gateway.api.drain.clone());
        let tunnels = self.http1.as_ref().map(|http1| Arc::clone(&http1.tunnels));
        let (client, front) = (self.client(), self.front.clone());
        client.set_upload(!req.body().is_end_stream());
        let mut is_preflight = false;
        let mut answered = |answer: Result<Response<Body>, ApiError>| {
            answer.unwrap_or_else(|error| {
                is_gone = error.is_client_gone();
                response::error(error)
            })
        };
        let is_api = matches!(front, Front::Api);
        let mut res = if is_api && self.gateway.local_only && !origin::is_local(&req) {
            response::error(ApiError::foreign_origin())
        } else if !origin::names_one_host(&req) {
            response::error(ApiError::several_hosts())
        } else if let Front::Viewer(viewer) = &front {
            // Boxed, so that requests of the API have no room for it.
            match Box::pin(viewer.answer(&req, self.entry.local().ip())).await {
                Ok(Some(own)) => own,
                Ok(None) => answered(self.routed(req, client.clone()).await),
                Err(error) => response::error(error),
            }
        } else if let Some(preflight) = cors::preflight(req.method(), req.headers()) {
            is_preflight = true;
            preflight
        } else {
            answered(self.routed(req, client.clone()).await)
        };
        let id = match client.stream() {
            Some(stream) => {
                let mut length = head_length(res.headers());
                if length > SHORT_HEAD && !stream.has_room(length) {
                    res = response::overloaded();
                    length = 0;
                }
                stream.hand_head(id, length)
            }
            None => id,
        };
        match front {
            Front::Api => cors::allow(res.headers_mut(), origin, is_preflight),
            Front::Viewer(_) => viewer::protect(res.headers_mut()),
        }
        res.headers_mut().insert(REQUEST_ID, id);
        res.headers_mut().insert(header::SERVER, SERVER);
        // So that a balancer's kept connections go before the listener does. HTTP/2 is told when the drain begins.
        if is_http1 && drain.is_announced() && res.status() != StatusCode::SWITCHING_PROTOCOLS {
            res.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        if is_gone {
            // A report without an answer says that the client left before it.
            if client.has_stalled() {
                report.ended(EndReason::SlowClient);
            }
            return Ok(res);
        }
        report.answered(res.status());
        report.set_following(res.body().is_following());
        report.set_stream(res.body_mut().take_guard());
        report.set_quiet(is_quiet && res.status().is_success());
        if let Some(timer) = timer {
            timer.answered(res.status());
        }
        if is_head {
            response::without_body(&mut res);
        }
        if let (Some(tunnel), Some(tunnels)) = (res.body_mut().take_tunnel(), tunnels) {
            tunnels.put(Box::new(tunnel.reporting(report)));
            return Ok(res);
        }
        Ok(res.map(|body| body.reporting(report, client)))
    }

    /// Authenticates, finds the route and calls its handler (the order of http-api.md §3).
    async fn routed(self, req: Request<Incoming>, client: ClientWatch) -> Result<Response<Body>, ApiError> {
        let Self { gateway, peer, .. } = self;
        let route = router::route(req.method(), req.uri().path());
        let asked = route.as_ref().ok();
        let permit = gateway.room(asked).map(Semaphore::try_acquire).transpose();
        if permit.is_err() && !gateway.is_at_hand(asked, req.headers()) {
            return Ok(response::overloaded());
        }
        let path = || router::decoded_path(req.uri().path());
        if let Some(tenants) = &gateway.tenants {
            let tenant = auth::check_tenant(tenants, &path(), req.headers()).await?;
            let Some(tenant) = tenant else {
                // What needs no key is nobody's: no spelling of a path may lead from there to a sandbox.
                if route.as_ref().is_ok_and(|route| !is_nobodys(route)) {
                    return Err(ApiError::missing_key());
                }
                return answered(&gateway.api, route, req, Caller { peer, key: None, client }).await;
            };
            let api = gateway.api.of_tenant(&tenant)?;
            return answered(&api, route, req, Caller { peer, key: Some(KeyName::new(&tenant.name)), client }).await;
        }
        let key =
            if gateway.keys.is_open() { None } else { auth::check(&gateway.keys, &path(), &route, req.headers())? };
        answered(&gateway.api, route, req, Caller { peer, key, client }).await
    }
}

/// Whether a route tells nothing of sandboxes.
fn is_nobodys(route: &Route) -> bool {
    matches!(route, Route::Health | Route::Ready | Route::Version | Route::OpenApi | Route::Docs(_))
}

/// Calls the handler of what was found.
async fn answered(
    api: &Api,
    route: Result<Route, NoRoute>,
    req: Request<Incoming>,
    caller: Caller,
) -> Result<Response<Body>, ApiError> {
    match route {
        Ok(route) => api::handle(api, route, req, caller).await,
        Err(NoRoute::NotFound) => Err(ApiError::no_route()),
        Err(NoRoute::MethodNotAllowed { allow }) => Err(ApiError::method_not_allowed(allow)),
        Err(NoRoute::TrailingSlash) => Ok(response::without_slash(req.uri())),
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, req: Request<Incoming>) -> Self::Future {
        let id = request_id(&req);
        let (method, path) = (req.method().clone(), Box::<str>::from(access::shown(req.uri().path())));
        // Of the highest level, so that whatever line is written has its request's id.
        let span =
            tracing::error_span!("request", request_id = &*String::from_utf8_lossy(id.as_bytes()), %method, path);
        // From here on the client is whom a trusted proxy names.
        let peer = self.peer.client(req.headers(), &self.gateway.proxies);
        let (peer, service) = (peer.address, Self { peer, ..self.clone() });
        let (version, start) = (req.version(), Instant::now());
        let request = access::Request { peer, method, path, version, start, span: span.clone() };
        let report = Report::new(request, &self.entry, &self.gateway.api.drain);
        Box::pin(service.answer(req, id, Box::new(report)).instrument(span))
    }
}

/// How long a head is, as HTTP/2 counts (RFC 9113 §6.5.2).
fn head_length(fields: &HeaderMap) -> u32 {
    let length: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The client's own id, trimmed, or a new one: 32 lower-case hexadecimal digits (http-api.md §2). Which characters it has is
/// the client's affair: HTTP has no line ends in a header, and the log escapes what it writes.
fn request_id(req: &Request<Incoming>) -> HeaderValue {
    let own = req
        .headers()
        .get(REQUEST_ID)
        .map(|id| id.as_bytes().trim_ascii())
        .filter(|id| (1..=MAX_ID).contains(&id.len()));
    own.and_then(|id| HeaderValue::from_bytes(id).ok()).unwrap_or_else(|| {
        let mut digits = Uuid::encode_buffer();
        let id = Uuid::new_v4().simple().encode_lower(&mut digits);
        HeaderValue::from_str(id).expect("hexadecimal digits are a header value")
    })
}
