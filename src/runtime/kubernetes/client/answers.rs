//! HTTP below kube's client: what is no success becomes an error here, with the `Retry-After` that kube would drop.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use kube::client::Body;
use tower::{BoxError, Service};

use super::{connector::Connector, failure, pool::Pool};

/// The most bytes that are read of a refusal.
pub(super) const MAX_REFUSAL: usize = 64 * 1024;

/// The most bytes of one answer that is no watch: a page of 500 objects is at most 750 MB by etcd's limit, and a few by nature.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// Sends requests over pooled connections.
#[derive(Clone)]
pub(super) struct Answers(Pool);

impl Answers {
    pub(super) fn new(connector: Connector) -> Self {
        Self(Pool::new(connector))
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
        let pool = self.0.clone();
        Box::pin(async move {
            let (parts, body) = pool.ask(request).await?.into_parts();
            if parts.status.is_success() {
                let limit = if is_watch { usize::MAX } else { MAX_ANSWER };
                return Ok(Response::from_parts(parts, Limited::new(body, limit)));
            }
            let body = what_comes(body).await;
            let status = failure::status_of(parts.status.as_u16(), &parts.headers, &body);
            Err(kube::Error::Api(status.boxed()).into())
        })
    }
}

/// What comes of a refusal: its first bytes count, also if it breaks off or is longer than [`MAX_REFUSAL`].
async fn what_comes(mut body: impl HttpBody<Data = Bytes> + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_REFUSAL
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    bytes.truncate(MAX_REFUSAL);
    bytes
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    #[tokio::test]
    async fn a_refusal_that_breaks_off_or_is_too_long_is_what_came_of_it() {
        let data = |bytes: Vec<u8>| Ok::<_, std::io::Error>(Frame::data(Bytes::from(bytes)));
        let broken = Err(std::io::ErrorKind::ConnectionReset.into());
        let body = StreamBody::new(stream::iter([data(b"no".to_vec()), data(b" room".to_vec()), broken]));
        assert_eq!(what_comes(body).await, b"no room");
        let body = StreamBody::new(stream::iter((0..3).map(|_| data(vec![b'x'; MAX_REFUSAL / 2 + 1]))));
        assert_eq!(what_comes(body).await.len(), MAX_REFUSAL);
    }
}
