//! STEP 4: request handlers, one file a resource.

pub mod extract;
pub mod failure;
pub mod log_query;
pub mod logs;
pub mod meta;
pub mod payload;
pub mod sandboxes;

use std::{fmt, sync::Arc};

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{
    body::Body, client::ClientWatch, drain, error::ApiError, logs::limits::Streams, router::Route, runtime::Runtime,
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

/// Calls the handler of `route`.
pub async fn handle(
    api: &Api,
    route: Route,
    req: Request<Incoming>,
    client: ClientWatch,
) -> Result<Response<Body>, ApiError> {
    match route {
        Route::Health => Ok(meta::health()),
        Route::Version => Ok(meta::version()),
        Route::OpenApi => Ok(meta::openapi()),
        Route::Logs(id) => logs::stream(api, &id, &req, client).await,
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
