//! `GET /sandboxes/{sandboxId}/logs`.

use std::{future::poll_fn, sync::Arc, time::Instant};

use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{Api, Caller, log_query};
use crate::{
    body::Body,
    logs::{body::LogBody, limits::StreamPermit},
    metrics::streams::StreamInfo,
    problem::ApiError,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Proxies must neither cache a stream nor change it.
const UNCHANGED: HeaderValue = HeaderValue::from_static("no-cache, no-transform");

/// Tells nginx not to collect the stream (its `proxy_buffering`).
const UNBUFFERED: HeaderValue = HeaderValue::from_static("no");

/// Streams a sandbox's log. The head is answered as soon as the sandbox is known to have one.
pub async fn stream(api: &Api, id: &str, req: &Request<Incoming>, caller: Caller) -> Result<Response<Body>, ApiError> {
    if !req.body().is_end_stream() {
        return Err(ApiError::log_request_with_body());
    }
    let begun = Instant::now();
    let Caller { peer, key, client } = caller;
    let query = log_query::parse(req.uri().query().unwrap_or_default(), jiff::Timestamp::now())?;
    let permit = permit(api, id)?;
    let source = tokio::select! {
        opened = api.runtime.open_logs(id, &query) => opened?,
        // hyper itself would not see it when there are bytes behind the request.
        () = poll_fn(|cx| client.poll_gone(cx)) => return Err(ApiError::client_gone()),
    };
    let agent = req.headers().get(header::USER_AGENT).map(|agent| StreamInfo::agent(agent.as_bytes()));
    let (sandbox, reader) = (Arc::clone(permit.sandbox()), peer.address.into());
    let info = StreamInfo { sandbox, follow: query.follow, client: reader, key, agent, begun };
    if query.follow {
        tell_follow(&info);
    }
    let live = api.metrics.log_stream(info, client.clone());
    let body = LogBody::new(source, query.follow, client, &api.drain, permit).listed(live);
    let mut res = Response::new(Body::log(body));
    let headers = res.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(header::CACHE_CONTROL, UNCHANGED);
    headers.insert("x-accel-buffering", UNBUFFERED);
    Ok(res)
}

/// Tells the log who follows what; the access line comes only when that is over.
fn tell_follow(info: &StreamInfo) {
    let StreamInfo { sandbox, client, key, agent, .. } = info;
    let key = key.as_ref().map(tracing::field::display);
    tracing::info!(sandbox = &**sandbox, %client, key, user_agent = agent.as_deref(), "a client follows a log");
}

/// The right to one more stream of a sandbox's log. Who does not get it is counted.
pub(super) fn permit(api: &Api, id: &str) -> Result<StreamPermit, ApiError> {
    api.streams.acquire(id).map_err(|limit| {
        api.metrics.log_rejected(limit.rejection());
        limit.into()
    })
}
