//! STEP 4: request handlers, one file a resource.

pub mod command_log;
mod conditional;
pub mod diagnostics;
pub mod docs;
pub mod endpoints;
pub mod execd;
pub mod extract;
pub mod json_error;
pub mod lifecycle;
pub mod log_query;
pub mod logs;
pub mod meta;
pub mod metadata;
pub mod metrics;
pub mod network_policy;
pub mod payload;
pub mod pools;
pub mod proxy;
pub mod sandboxes;
pub mod snapshots;
pub mod templates;
pub mod ui;

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, uri::Authority};
use hyper::body::Incoming;

use self::{endpoints::PublicAddress, extract::content_type};
use crate::{
    body::Body,
    client::ClientWatch,
    drain,
    error::Error,
    keys::KeyName,
    logs::limits::Streams,
    metrics::Metrics,
    model::tenant::{Tenant, place},
    peer::Peer,
    problem::ApiError,
    proxy::Proxy,
    renew::Renewer,
    response,
    router::{PortOf, Route},
    runtime::{Pausing, Runtime},
    snapshots::Snapshots,
};

/// Tells clients that a sandbox comes from a template.
const TEMPLATE_ORIGIN: HeaderName = HeaderName::from_static("open-sandbox-origin");

/// What handlers need. Clones share all that is counted.
#[derive(Clone)]
pub struct Api {
    /// Where sandboxes run.
    pub runtime: Arc<dyn Runtime>,
    /// Copies of sandboxes.
    pub snapshots: Snapshots,
    /// The log streams that are open.
    pub streams: Arc<Streams>,
    /// How long the execd of a command whose output is followed may be away.
    pub reconnect: Duration,
    /// Tells log streams that the gateway is ending.
    pub drain: drain::Watch,
    /// This server's address that clients are told, from `server.eip`; by their `Host` header without.
    pub public: Option<PublicAddress>,
    /// Forwards requests to sandboxes' own servers.
    pub proxy: Proxy,
    /// Renews sandboxes that are used.
    pub renewer: Renewer,
    /// What is measured.
    pub metrics: Metrics,
    /// Whether sandboxes are kept apart from this program. Local processes of its user are not.
    pub is_apart: bool,
    /// The tenant whose sandboxes alone there are; none where all are one's.
    pub tenant: Option<Tenant>,
}

impl Api {
    /// What handlers need for a tenant's request: for them only its sandboxes exist.
    ///
    /// # Errors
    ///
    /// The runtime keeps no tenants apart, or too many other namespaces are in use.
    pub fn of_tenant(&self, tenant: &Tenant) -> Result<Self, Error> {
        let tenancy = self.runtime.tenancy().ok_or_else(|| Error::not_supported("Keeping tenants apart"))?;
        let runtime = tenancy.of_tenant(tenant)?;
        Ok(Self {
            snapshots: self.snapshots.of_tenant(Arc::clone(&runtime), tenant),
            renewer: self.renewer.of_tenant(&runtime, tenant),
            runtime,
            tenant: Some(tenant.clone()),
            ..self.clone()
        })
    }

    /// What a sandbox is counted under. Tenants' namespaces may have sandboxes of the same id, which must not take each
    /// other's places or connections.
    pub fn place(&self, id: &str) -> String {
        place(self.tenant.as_ref(), id)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The other end of the connection.
    pub peer: Peer,
    /// The key that it presented, where one was needed.
    pub key: Option<KeyName>,
    /// Tells when it leaves.
    pub client: ClientWatch,
}

/// What a handler answers in the end.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, ApiError>> + Send + 'a>>;

/// Calls the handler of `route`. What it returns is boxed, each handler by itself: the request's future is moved a few times
/// before it rests, and would have room for the largest of them.
pub fn handle<'a>(api: &'a Api, route: Route, req: Request<Incoming>, caller: Caller) -> Answer<'a> {
    match route {
        Route::Health => at_once(Ok(meta::health())),
        Route::Ready => at_once(Ok(meta::ready(api))),
        Route::Version => at_once(Ok(meta::version())),
        Route::OpenApi => at_once(Ok(meta::openapi())),
        Route::Logs(id) => Box::pin(async move { logs::stream(api, &id, &req, caller).await }),
        Route::CreateSandbox => Box::pin(create(api, req)),
        Route::ListSandboxes => Box::pin(async move {
            let page = sandboxes::list(&*api.runtime, req.uri().query().unwrap_or_default()).await?;
            Ok(response::json_bytes(page.to_json().into()))
        }),
        Route::GetSandbox(id) => {
            Box::pin(async move { Ok(response::json(StatusCode::OK, &sandboxes::get(&*api.runtime, &id).await?)) })
        }
        Route::DeleteSandbox(id) => Box::pin(async move {
            sandboxes::delete(&*api.runtime, &id).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }),
        Route::PatchMetadata(id) => Box::pin(patch_metadata(api, id, req)),
        // Whatever the request's body and its type are, they mean nothing.
        Route::Pause(id) => Box::pin(async move {
            pausing(api, "Pausing")?.pause(&id).await?;
            Ok(accepted())
        }),
        Route::Resume(id) => Box::pin(async move {
            pausing(api, "Resuming")?.resume(&id).await?;
            Ok(accepted())
        }),
        Route::Renew(id) => Box::pin(renew(api, id, req)),
        Route::Endpoint(of) => Box::pin(async move { endpoint(api, &of, &req).await }),
        Route::Proxy(port, path) => Box::pin(proxy::forward(api, port, path, req, caller)),
        Route::NetworkPolicy(id) => Box::pin(network_policy::forward(api, id, req, caller)),
        Route::Diagnostics(id, kind) => Box::pin(async move { diagnostics::answer(api, &id, kind, req, caller).await }),
        Route::CreateSnapshot(id) => Box::pin(async move { snapshots::create(&api.snapshots, &id, req).await }),
        Route::ListSnapshots => Box::pin(async move {
            let page = snapshots::list(&api.snapshots, req.uri().query().unwrap_or_default()).await?;
            Ok(response::json(StatusCode::OK, &page))
        }),
        Route::GetSnapshot(id) => {
            Box::pin(async move { Ok(response::json(StatusCode::OK, &api.snapshots.get(&id).await?)) })
        }
        Route::DeleteSnapshot(id) => Box::pin(async move {
            api.snapshots.delete(&id).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }),
        Route::Pools(asked) => Box::pin(pools::answer(&*api.runtime, asked, req)),
        Route::Templates(asked) => Box::pin(templates::answer(&*api.runtime, asked, req)),
        Route::MetricsEvents => Box::pin(metrics::ingest(&api.metrics, req)),
        Route::Docs(file) => Box::pin(async move { docs::answer(&file, req.headers(), api.is_apart).await }),
    }
}

fn at_once<'a>(answer: Result<Response<Body>, ApiError>) -> Answer<'a> {
    Box::pin(ready(answer))
}

async fn create(api: &Api, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let (head, body) = req.into_parts();
    let body = payload::read(body).await?;
    let created = sandboxes::create(&*api.runtime, &api.snapshots, content_type(&head.headers), &body).await?;
    Ok(response::json(StatusCode::ACCEPTED, &created))
}

async fn patch_metadata(api: &Api, id: String, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let (head, body) = req.into_parts();
    let body = payload::read(body).await?;
    let sandbox = metadata::patch(&*api.runtime, &id, content_type(&head.headers), &body).await?;
    Ok(response::json(StatusCode::OK, &sandbox))
}

async fn renew(api: &Api, id: String, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let (head, body) = req.into_parts();
    let body = payload::read(body).await?;
    let renewed = lifecycle::renew(&*api.runtime, &id, content_type(&head.headers), &body).await?;
    Ok(response::json(StatusCode::OK, &renewed))
}

async fn endpoint(api: &Api, of: &PortOf, req: &Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let host = req.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let host = host.or(req.uri().authority().map(Authority::as_str));
    let query = req.uri().query().unwrap_or_default();
    let endpoint = endpoints::get(&*api.runtime, of, query, api.public.as_ref(), host).await?;
    let mut res = response::json(StatusCode::OK, &endpoint);
    if endpoints::is_of_template(&of.id) {
        res.headers_mut().insert(TEMPLATE_ORIGIN, HeaderValue::from_static("template"));
    }
    Ok(res)
}

fn pausing<'a>(api: &'a Api, what: &str) -> Result<&'a dyn Pausing, Error> {
    api.runtime.pausing().ok_or_else(|| Error::not_supported(what))
}

/// A 202 without a body, and with a length that says so.
fn accepted() -> Response<Body> {
    response::empty(StatusCode::ACCEPTED)
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("streams", &self.streams).finish_non_exhaustive()
    }
}
