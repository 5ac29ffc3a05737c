//! `GET /sandboxes/{sandboxId}/logs`.

use std::future::poll_fn;

use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{Api, log_query};
use crate::{body::Body, client::ClientWatch, error::ApiError, logs::body::LogBody};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Nobody may keep, change or hold back what is streamed.
const UNCHANGED: HeaderValue = HeaderValue::from_static("no-cache, no-transform");

/// Tells nginx not to collect the stream (its `proxy_buffering`).
const UNBUFFERED: HeaderValue = HeaderValue::from_static("no");

/// Streams a sandbox's log. The head is answered as soon as the sandbox is known to have one.
pub async fn stream(
    api: &Api,
    id: &str,
    req: &Request<Incoming>,
    client: ClientWatch,
) -> Result<Response<Body>, ApiError> {
    if !req.body().is_end_stream() {
        return Err(ApiError::log_request_with_body());
    }
    let query = log_query::parse(req.uri().query().unwrap_or_default(), jiff::Timestamp::now())?;
    let permit = api.streams.acquire(id)?;
    let source = tokio::select! {
        opened = api.runtime.open_logs(id, &query) => opened?,
        // hyper itself would not see it when there are bytes behind the request.
        () = poll_fn(|cx| client.poll_gone(cx)) => return Err(ApiError::client_gone()),
    };
    let mut res = Response::new(Body::log(LogBody::new(source, query.follow, client, &api.drain, permit)));
    let headers = res.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(header::CACHE_CONTROL, UNCHANGED);
    headers.insert("x-accel-buffering", UNBUFFERED);
    Ok(res)
}
