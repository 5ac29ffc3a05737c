//! Logs: each on a connection of its own, read by the exchange of [`crate::logs::engine`] under kube's credentials.

use std::{
    future::{Future, Ready, ready},
    io::{self, Write},
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, header, request::Parts};
use kube::{
    Config,
    client::{Body, middleware::AuthLayer},
};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

use super::{
    Cluster,
    failure::{ApiFailure, is_distrust, status_of},
    socket::Socket,
};
use crate::logs::engine::{Answer, OpenError, Reply, exchange_heads};

/// Why a log was not opened.
#[derive(Debug)]
pub(in crate::runtime::kubernetes) enum LogFailure {
    /// There was no connection, or it failed before the answer's head was whole.
    Io(io::Error),
    /// The answer is not HTTP.
    Protocol(&'static str),
    /// The API server answered with another status than 200: also with 204, where a pod is on no node yet.
    Refused(ApiFailure),
}

/// Gives a request back with all that it needs.
pub(super) type Dressed = BoxCloneSyncService<Request<Body>, Response<Parts>, BoxError>;

pub(super) fn dressed(config: &Config, auth: Option<&AuthLayer>) -> kube::Result<Dressed> {
    super::dressed(config, auth, Echo)
}

/// Stands where a request would be sent.
#[derive(Clone)]
struct Echo;

impl Service<Request<Body>> for Echo {
    type Response = Response<Parts>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(request.into_parts().0)))
    }
}

impl Cluster {
    /// `GET target` (path and query) on a connection of its own, which closes when the answer or this future is dropped.
    ///
    /// The head comes within the deadline of any call, unless it `may_wait`: that of a follow of one stream alone comes with
    /// the stream's first line (kubernetes-api.md §2). Holds no buffer while it waits. Rate limits do not count it.
    pub(in crate::runtime::kubernetes) fn open_log(
        &self,
        target: String,
        may_wait: bool,
    ) -> impl Future<Output = Result<Answer<Socket>, LogFailure>> + Send + use<> {
        let (keeper, limit) = (self.0.keeper.clone(), self.0.deadline);
        let counted = self.0.calls.begin_log();
        // Each is boxed by itself, so that the long wait has no room for the others.
        let connected = Box::pin(async move {
            let live = keeper.current().await.map_err(|error| credentials(error.into()))?;
            let request =
                Request::get(target).header(header::ACCEPT, "*/*").header(header::ACCEPT_ENCODING, "identity");
            let request = request.body(Body::empty()).map_err(io::Error::other)?;
            let parts = live.dressed.clone().oneshot(request).await.map_err(credentials)?.into_body();
            let head = head(&parts)?;
            let socket = live.connector.connect().await.inspect_err(|error| {
                if is_distrust(error) {
                    keeper.refused(&live);
                }
            })?;
            Ok::<_, LogFailure>((socket, head, (keeper, live)))
        });
        let connected = async move { within(limit, connected).await };
        let answer = Box::pin(async move {
            let (socket, head, (keeper, live)) = Box::pin(connected).await?;
            let reply = exchange_heads(socket, head).await?;
            if matches!(&reply, Reply::Refused(refusal) if refusal.head.status() == StatusCode::UNAUTHORIZED) {
                keeper.refused(&live);
            }
            Ok::<_, LogFailure>(reply)
        });
        async move {
            let reply = if may_wait { answer.await } else { Box::pin(within(limit, answer)).await };
            match reply {
                Ok(Reply::Answer(answer)) => {
                    counted.answered(200);
                    Ok(answer)
                }
                Ok(Reply::Refused(refusal)) => {
                    let status = refusal.head.status().as_u16();
                    counted.answered(status);
                    Err(LogFailure::Refused(ApiFailure::answered(status, refusal.head.headers(), &refusal.body)))
                }
                Err(failure) => {
                    counted.failed();
                    Err(failure)
                }
            }
        }
    }
}

async fn within<T>(
    limit: std::time::Duration,
    opening: impl Future<Output = Result<T, LogFailure>>,
) -> Result<T, LogFailure> {
    match tokio::time::timeout(limit, opening).await {
        Ok(result) => result,
        Err(_) => Err(LogFailure::Refused(ApiFailure::timed_out(limit))),
    }
}

/// A request's head as it is written.
fn head(parts: &Parts) -> io::Result<Vec<u8>> {
    let host = parts.uri.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = Vec::with_capacity(512);
    write!(head, "GET {target} HTTP/1.1\r\nhost: {host}\r\n")?;
    for (name, value) in &parts.headers {
        write!(head, "{name}: ")?;
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    Ok(head)
}

/// The layers of credentials failed.
fn credentials(error: BoxError) -> LogFailure {
    LogFailure::Refused(ApiFailure::from(kube::Error::Service(error)))
}

impl From<io::Error> for LogFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<OpenError> for LogFailure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => Self::Io(error),
            OpenError::Protocol(what) => Self::Protocol(what),
            OpenError::Refused { status, message } => {
                let status = status_of(status, &http::HeaderMap::new(), message.as_bytes());
                Self::Refused(ApiFailure::from_status(status))
            }
        }
    }
}
