//! STEP 4: request handlers, one file a resource.

pub mod diagnostics;
pub mod docs;
pub mod extract;
pub mod failure;
pub mod log_query;
pub mod logs;
pub mod meta;
pub mod metrics;
pub mod payload;
pub mod pools;
pub mod sandboxes;
pub mod templates;

use std::{fmt, net::SocketAddr, sync::Arc};

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{
    body::Body,
    client::ClientWatch,
    drain,
    error::ApiError,
    logs::limits::Streams,
    metrics::Metrics,
    router::Route,
    runtime::{Runtime, RuntimeError},
    service::respond,
};

/// What handlers need.
pub struct Api {
    /// Where sandboxes run.
    pub runtime: Arc<dyn Runtime>,
    /// The log streams that are open.
    pub streams: Arc<Streams>,
    /// Tells log streams that the gateway is ending.
    pub drain: drain::Watch,
    /// What is measured.
    pub metrics: Metrics,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Tells when it leaves.
    pub client: ClientWatch,
}

/// Calls the handler of `route`.
pub async fn handle(
    api: &Api,
    route: Route,
    req: Request<Incoming>,
    caller: Caller,
) -> Result<Response<Body>, ApiError> {
    match route {
        Route::Health => Ok(meta::health()),
        Route::Version => Ok(meta::version()),
        Route::OpenApi => Ok(meta::openapi()),
        Route::Logs(id) => logs::stream(api, &id, &req, caller.client).await,
        // Boxed: a log request's future should not have room for a creation's.
        Route::CreateSandbox => Box::pin(create(api, req)).await,
        Route::ListSandboxes => {
            let page = sandboxes::list(&*api.runtime, req.uri().query().unwrap_or_default()).await?;
            Ok(respond::json(StatusCode::OK, &page))
        }
        Route::GetSandbox(id) => Ok(respond::json(StatusCode::OK, &sandboxes::get(&*api.runtime, &id).await?)),
        Route::DeleteSandbox(id) => {
            sandboxes::delete(&*api.runtime, &id).await?;
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        Route::PatchMetadata(_) => Err(RuntimeError::not_supported("Changing metadata").into()),
        Route::Pause(_) => Err(RuntimeError::not_supported("Pausing").into()),
        Route::Resume(_) => Err(RuntimeError::not_supported("Resuming").into()),
        Route::Renew(_) => Err(RuntimeError::not_supported("Renewing").into()),
        Route::Endpoint(_) => Err(RuntimeError::not_supported("Endpoints").into()),
        Route::Proxy(..) => Err(RuntimeError::not_supported("Proxying").into()),
        Route::NetworkPolicy(_) => Err(RuntimeError::not_supported("Network policy").into()),
        Route::Diagnostics(id, kind) => Box::pin(diagnostics::answer(api, &id, kind, req, caller.client)).await,
        Route::CreateSnapshot(_) | Route::ListSnapshots | Route::GetSnapshot(_) | Route::DeleteSnapshot(_) => {
            Err(RuntimeError::not_supported("Snapshots").into())
        }
        Route::Pools(asked) => Box::pin(pools::answer(asked, req)).await,
        Route::Templates(asked) => Box::pin(templates::answer(asked, req)).await,
        Route::MetricsEvents => Box::pin(metrics::ingest(&api.metrics, req)).await,
        Route::Docs(file) => docs::answer(&file, req.headers()),
    }
}

async fn create(api: &Api, req: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let (head, body) = req.into_parts();
    let body = payload::read(body).await?;
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let created = sandboxes::create(&*api.runtime, content_type, &body).await?;
    Ok(respond::json(StatusCode::ACCEPTED, &created))
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("streams", &self.streams).finish_non_exhaustive()
    }
}
