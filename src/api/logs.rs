//! `GET /sandboxes/{sandboxId}/logs`.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Instant};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    Api, Caller, command_log,
    log_query::{self, Containers, LogRequest},
};
use crate::{
    body::Body,
    error::{Error, Family, Kind},
    logs::{
        LogQuery, LogSource, OpenedLog,
        body::LogBody,
        limits::StreamPermit,
        record_source::RecordSource,
        rendered::{Format, Rendered, Rendering},
    },
    metrics::{labels::StreamFormat, streams::StreamInfo},
    problem::ApiError,
    response,
};

/// Proxies must neither cache a stream nor change it.
const UNCHANGED: HeaderValue = HeaderValue::from_static("no-cache, no-transform");

/// Tells nginx not to collect the stream (its `proxy_buffering`).
const UNBUFFERED: HeaderValue = HeaderValue::from_static("no");

/// The trailer field that says why a text has ended.
const END_TRAILER: HeaderValue = HeaderValue::from_static("X-Log-End");

/// Streams a sandbox's log. The head is answered as soon as the sandbox is known to have one.
pub async fn stream(api: &Api, id: &str, req: &Request<Incoming>, caller: Caller) -> Result<Response<Body>, ApiError> {
    if !req.body().is_end_stream() {
        return Err(ApiError::log_request_with_body());
    }
    let begun = Instant::now();
    let Caller { peer, key, client } = caller;
    let LogRequest { mut query, mut rendering, media, command } = log_query::parse(
        req.uri().query().unwrap_or_default(),
        req.headers(),
        jiff::Timestamp::now(),
        containers(api),
    )?;
    if rendering.format == Format::Text && req.version() > Version::HTTP_10 && log_query::takes_trailers(req.headers())
    {
        rendering.trailer = true;
        query.as_records = true;
    }
    let permit = permit(api, id)?;
    let opened = tokio::select! {
        opened = open(api, id, command.as_deref(), &query, rendering, req.headers()) => opened?,
        // hyper itself would not see it when there are bytes behind the request.
        () = poll_fn(|cx| client.poll_gone(cx)) => return Err(ApiError::client_gone()),
    };
    let Some(source) = opened else {
        let mut res = response::empty(StatusCode::NO_CONTENT);
        uncollected(res.headers_mut());
        return Ok(res);
    };
    let agent = req.headers().get(header::USER_AGENT).map(|agent| StreamInfo::agent(agent.as_bytes()));
    let (sandbox, reader, format) = (Arc::clone(permit.sandbox()), peer.address.into(), label(rendering.format));
    let info = StreamInfo { sandbox, follow: query.follow, format, client: reader, key, agent, begun };
    if query.follow {
        tell_follow(&info);
    }
    let live = api.metrics.log_stream(info, client.clone());
    let body = LogBody::new(source, query.follow, client, &api.drain, permit).listed(live);
    let mut res = Response::new(Body::log(body));
    let headers = res.headers_mut();
    headers.insert(header::CONTENT_TYPE, media.content_type());
    uncollected(headers);
    if rendering.trailer {
        headers.insert(header::TRAILER, END_TRAILER);
    }
    Ok(res)
}

/// What the runtime has of containers.
fn containers(api: &Api) -> Containers {
    if api.runtime.has_containers() { Containers::Several } else { Containers::One }
}

/// Opens the output of a sandbox's main process, or of a command; none behind the end of one that has ended.
async fn open(
    api: &Api,
    id: &str,
    command: Option<&str>,
    query: &LogQuery,
    rendering: Rendering,
    headers: &HeaderMap,
) -> Result<Option<Pin<Box<dyn LogSource>>>, Error> {
    if let Some(command) = command {
        return match command_log::open(api, id, command, query, headers).await {
            Ok(opened) => Ok(opened.map(|source| Box::pin(Rendered::new(source, query, rendering)) as _)),
            Err(error) => {
                let left = command_log::left(command, query.after, error)?;
                Ok(left.map(|source| Box::pin(Rendered::new(source, query, rendering)) as _))
            }
        };
    }
    Ok(match open_main(api, id, query).await? {
        OpenedLog::Text(source) => Some(source),
        OpenedLog::Records(records) => Some(Box::pin(Rendered::new(records, query, rendering))),
        OpenedLog::Ended => None,
    })
}

/// Opens a log, or what is left to say of it to who comes back when its sandbox is gone.
async fn open_main(api: &Api, id: &str, query: &LogQuery) -> Result<OpenedLog, Error> {
    let opened = api.runtime.open_logs(id, query).await;
    match (opened, query.after) {
        (Err(error), Some(after)) if matches!(error.key(), (Family::Sandbox | Family::KubeSandbox, Kind::NotFound)) => {
            Ok(if after.ended { OpenedLog::Ended } else { OpenedLog::Records(RecordSource::removed(&after)) })
        }
        (opened, _) => opened,
    }
}

fn uncollected(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, UNCHANGED);
    headers.insert("x-accel-buffering", UNBUFFERED);
}

fn label(format: Format) -> StreamFormat {
    match format {
        Format::Text => StreamFormat::Text,
        Format::Ndjson => StreamFormat::Ndjson,
        Format::Sse => StreamFormat::Sse,
    }
}

/// Tells the log who follows what; the access line comes only when that is over.
fn tell_follow(info: &StreamInfo) {
    let StreamInfo { sandbox, client, key, agent, .. } = info;
    let key = key.as_ref().map(tracing::field::display);
    tracing::info!(sandbox = &**sandbox, %client, key, user_agent = agent.as_deref(), "a client follows a log");
}

/// The right to one more stream of a sandbox's log. Who does not get it is counted.
pub(super) fn permit(api: &Api, id: &str) -> Result<StreamPermit, ApiError> {
    api.streams.acquire(&api.place(id)).map_err(|limit| {
        api.metrics.log_rejected(limit.rejection());
        limit.into()
    })
}
