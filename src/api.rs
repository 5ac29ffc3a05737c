//! STEP 4: request handlers, one file a resource.

pub mod extract;
pub mod failure;
pub mod json_error;
pub mod log_query;
pub mod logs;
pub mod meta;
pub mod payload;
pub mod sandboxes;

use std::{fmt, net::SocketAddr, sync::Arc};

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{
    body::Body,
    client::ClientWatch,
    drain,
    error::ApiError,
    logs::limits::Streams,
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
        Route::Diagnostics(..) => Err(RuntimeError::not_supported("Diagnostics").into()),
        Route::CreateSnapshot(_) | Route::ListSnapshots | Route::GetSnapshot(_) | Route::DeleteSnapshot(_) => {
            Err(RuntimeError::not_supported("Snapshots").into())
        }
        Route::Pools(_) => Err(RuntimeError::not_supported("Pool management").into()),
        Route::Templates(_) => Err(RuntimeError::not_supported("Template management").into()),
        Route::MetricsEvents => Err(RuntimeError::not_supported("Metrics").into()),
        Route::Docs(_) => Err(RuntimeError::not_supported("Documentation").into()),
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
