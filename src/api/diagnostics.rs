//! `GET /sandboxes/{sandboxId}/diagnostics/*` (http-api.md §18, logs.md §2–§3).
//!
//! With `scope` the answer is a descriptor in JSON, without it the text itself. Logs as text are streamed like those of
//! [`super::logs`], from the engine's socket to the client's; only a descriptor holds its content, and a bounded one.

mod collect;
mod query;

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    num::NonZeroU64,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use self::{
    collect::Tail,
    query::{EventsQuery, LogsQuery, SummaryQuery},
};
use super::{Api, Caller, logs, payload};
use crate::{
    body::Body,
    client::ClientWatch,
    error::{self, Error, Family},
    keys::KeyName,
    logs::{LogError, LogQuery, LogSource, body::LogBody, framed::Framed},
    metrics::{labels::StreamFormat, streams::StreamInfo},
    model::diagnostics::{Descriptor, Kind},
    problem::ApiError,
    response,
    router::Diagnostics,
};

/// How many lines of a log a descriptor has.
const LOG_LINES: usize = 100;

/// How many lines of the events a descriptor has.
const EVENT_LINES: usize = 50;

/// What stands for a log without a byte.
const NO_LOGS: &str = "(no logs)";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// RFC 8594's forerunner, as the existing server writes it.
const DEPRECATION: &str = "deprecation";

/// Who reads a log, and since when.
struct Reader {
    client: ClientWatch,
    address: SocketAddr,
    key: Option<KeyName>,
    agent: Option<Box<str>>,
    begun: Instant,
}

/// Answers one of the four.
///
/// # Errors
/// A query that breaks a rule, an unknown scope, or the runtime's failure.
pub async fn answer(
    api: &Api,
    id: &str,
    kind: Diagnostics,
    req: Request<Incoming>,
    Caller { peer, key, client }: Caller,
) -> Result<Response<Body>, ApiError> {
    let (head, body) = req.into_parts();
    // The existing server passes a body over; left unread it would hide the client's leaving.
    if !body.is_end_stream() {
        payload::read(body).await?;
    }
    let query = head.uri.query().unwrap_or_default();
    let agent = head.headers.get(header::USER_AGENT).map(|agent| StreamInfo::agent(agent.as_bytes()));
    let reader = Reader { client, address: peer.address, key, agent, begun: Instant::now() };
    match kind {
        Diagnostics::Logs => log(api, id, query::logs(query, jiff::Timestamp::now())?, reader).await,
        Diagnostics::Events => events(api, id, query::events(query)?).await,
        Diagnostics::Inspect => Ok(text(api.runtime.inspect(id).await?)),
        Diagnostics::Summary => summary(api, id, query::summary(query)?, reader).await,
    }
}

async fn log(api: &Api, id: &str, query: LogsQuery, reader: Reader) -> Result<Response<Body>, ApiError> {
    let LogsQuery { scope, log, guessed_since } = query;
    if let Some(scope) = scope {
        // One line more than are shown tells whether there are more.
        let log = LogQuery { tail: NonZeroU64::new(LOG_LINES as u64 + 1), since: None, ..log };
        let tail = watched(&reader.client, collected(api, id, &log)).await??;
        return Ok(described(id.to_owned(), scope, tail).await);
    }
    let mut res = stream(api, id, &log, reader, String::new(), "").await?;
    let headers = res.headers_mut();
    headers.insert(DEPRECATION, HeaderValue::from_static("true"));
    if guessed_since {
        headers.insert(header::WARNING, HeaderValue::from_static(query::GUESSED_SINCE));
    }
    Ok(res)
}

async fn events(api: &Api, id: &str, query: EventsQuery) -> Result<Response<Body>, ApiError> {
    let EventsQuery { scope, limit } = query;
    let Some(scope) = scope else {
        let mut res = text(api.runtime.events(id, limit).await?);
        res.headers_mut().insert(DEPRECATION, HeaderValue::from_static("true"));
        return Ok(res);
    };
    let all = api.runtime.events(id, EVENT_LINES + 1).await?;
    let content: String = all.split_inclusive('\n').take(EVENT_LINES).collect();
    let truncated = content.len() < all.len();
    Ok(response::json(StatusCode::OK, &Descriptor::new(Kind::Events, id, scope, content, truncated)))
}

async fn summary(api: &Api, id: &str, query: SummaryQuery, reader: Reader) -> Result<Response<Body>, ApiError> {
    let SummaryQuery { log, lines, limit } = query;
    let inspect = api.runtime.inspect(id).await?;
    let events = api.runtime.events(id, limit).await?;
    let (thick, thin) = ("=".repeat(72), "-".repeat(40));
    let head = format!(
        "{thick}\nSANDBOX DIAGNOSTICS SUMMARY\nSandbox ID: {id}\n{thick}\n\
         \n{thin}\nINSPECT\n{thin}\n{inspect}\n\
         \n{thin}\nEVENTS\n{thin}\n{events}\n\
         \n{thin}\nLOGS (last {lines} lines)\n{thin}\n"
    );
    stream(api, id, &log, reader, head, "\n").await
}

/// A text that is at hand.
fn text(text: String) -> Response<Body> {
    let mut res = Response::new(Body::full(text));
    res.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    res
}

/// Streams a log between `before` and `after`. The first piece is waited for: a log that cannot be read is an error with
/// a status, and one without a byte has a text of its own.
async fn stream(
    api: &Api,
    id: &str,
    query: &LogQuery,
    reader: Reader,
    mut before: String,
    after: &'static str,
) -> Result<Response<Body>, ApiError> {
    let permit = logs::permit(api, id)?;
    let Reader { client, address, key, agent, begun } = reader;
    let opened = async {
        let mut source = open(api, id, query).await?;
        let first = next(id, &mut source).await?;
        Ok::<_, Error>((source, first))
    };
    let (source, first) = match watched(&client, opened).await? {
        // What is told before a log is asked for most when nothing was started.
        Err(error) if error.family == Family::LogStart && !before.is_empty() => {
            return Ok(text(before + NO_LOGS + after));
        }
        opened => opened?,
    };
    let Some(first) = first else {
        before.push_str(NO_LOGS);
        return Ok(text(before + after));
    };
    let before = if before.is_empty() { first } else { [before.as_bytes(), &first[..]].concat().into() };
    let source = Box::pin(Framed::new(before, source, Bytes::from_static(after.as_bytes())));
    let (sandbox, follow, format) = (Arc::clone(permit.sandbox()), false, StreamFormat::Text);
    let info = StreamInfo { sandbox, follow, format, client: address.into(), key, agent, begun };
    let live = api.metrics.log_stream(info, client.clone());
    let mut res = Response::new(Body::log(LogBody::new(source, false, client, &api.drain, permit).listed(live)));
    res.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    Ok(res)
}

/// The end of a log, in memory.
async fn collected(api: &Api, id: &str, query: &LogQuery) -> Result<Tail, ApiError> {
    let _permit = logs::permit(api, id)?;
    let mut source = open(api, id, query).await?;
    let mut tail = Tail::default();
    while let Some(piece) = next(id, &mut source).await? {
        tail.push(&piece);
    }
    Ok(tail)
}

/// The last lines of a log as a descriptor. Long lines make megabytes of it, which are left to a thread that serves no
/// connections.
async fn described(id: String, scope: &'static str, tail: Tail) -> Response<Body> {
    let describe = move || {
        let (content, truncated) = match tail.finish(LOG_LINES) {
            (content, _) if content.is_empty() => (NO_LOGS.to_owned(), false),
            last => last,
        };
        response::json(StatusCode::OK, &Descriptor::new(Kind::Logs, &id, scope, content, truncated))
    };
    let described = tokio::task::spawn_blocking(describe).await;
    described.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))
}

async fn open(api: &Api, id: &str, query: &LogQuery) -> Result<Pin<Box<dyn LogSource>>, Error> {
    let opened = api.runtime.open_logs(id, query).await;
    opened.map(|opened| opened.into_text(query)).map_err(|error| match error.family {
        Family::Logs => unreadable(id, error),
        // The existing server's code for it (kubernetes-runtime.md §16).
        Family::LogContainer => error.within(Family::KubeSandbox),
        _ => error,
    })
}

async fn next(id: &str, source: &mut Pin<Box<dyn LogSource>>) -> Result<Option<Bytes>, Error> {
    let polled = poll_fn(|cx| source.as_mut().poll_chunk(cx)).await;
    polled.transpose().map_err(|error| {
        let is_late = matches!(&error, LogError::Disconnected(cause) if cause.kind() == io::ErrorKind::TimedOut);
        let kind = if is_late { error::Kind::TimedOut } else { error::Kind::Failed };
        unreadable(id, Error::new(Family::Logs, kind, error.to_string()).caused_by(error))
    })
}

/// The existing server has one code for every log that cannot be read (logs.md §2.4).
fn unreadable(id: &str, mut error: Error) -> Error {
    let start = format!("Failed to read logs for sandbox {id}: ");
    if !error.message.starts_with(&start) {
        error.message = start + &error.message;
    }
    if error.kind != error::Kind::TimedOut {
        error.kind = error::Kind::Failed;
    }
    error.within(Family::Query)
}

/// What `work` gives, unless its client leaves before: then it is dropped, and with it the engine's connection.
async fn watched<T>(client: &ClientWatch, work: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::select! {
        done = work => Ok(done),
        () = poll_fn(|cx| client.poll_gone(cx)) => Err(ApiError::client_gone()),
    }
}
