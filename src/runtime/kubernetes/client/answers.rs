//! HTTP below kube's client: what is no success becomes an error here, with the `Retry-After` that kube would drop.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use tower::{BoxError, Service};

use super::{IDLE_TIMEOUT, connector::Connector, failure};

/// The most connections that are kept for later calls.
const MAX_IDLE: usize = 32;

/// The most bytes that are read of a refusal.
pub(super) const MAX_REFUSAL: usize = 64 * 1024;

/// The most bytes of one answer that is no watch: a page of 500 objects is at most 750 MB by etcd's limit, and a few by nature.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// Sends requests over pooled connections.
#[derive(Clone)]
pub(super) struct Answers(legacy::Client<Connector, Body>);

impl Answers {
    pub(super) fn new(connector: Connector) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(MAX_IDLE).pool_timer(TokioTimer::new());
        Self(builder.build(connector))
    }
}

impl Service<Request<Body>> for Answers {
    type Response = Response<Limited<Incoming>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let answer = self.0.request(request);
        Box::pin(async move {
            let (parts, body) = answer.await?.into_parts();
            if parts.status.is_success() {
                let limit = if is_watch { usize::MAX } else { MAX_ANSWER };
                return Ok(Response::from_parts(parts, Limited::new(body, limit)));
            }
            // What came counts, if the rest does not.
            let body = Limited::new(body, MAX_REFUSAL).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let status = failure::status_of(parts.status.as_u16(), &parts.headers, &body);
            Err(kube::Error::Api(status.boxed()).into())
        })
    }
}
