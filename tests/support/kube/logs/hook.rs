//! What stands behind the test API server's `pods/log`.

use std::{future::Future, io, pin::Pin};

use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::{Body, LogBody, LogRequest, Piece, PodLogs};
use crate::support::kube::{self, LogAsked, body};

impl kube::Logs for PodLogs {
    fn answer(&self, asked: LogAsked) -> Pin<Box<dyn Future<Output = Response<kube::Body>> + Send>> {
        let logs = self.clone();
        Box::pin(async move {
            let request = LogRequest {
                namespace: &asked.namespace,
                name: &asked.name,
                query: asked.query.pairs(),
                accept: asked.accept.as_deref(),
                pod: asked.pod.as_deref(),
            };
            let answer = PodLogs::answer(&logs, request).await;
            let mut response = Response::new(match answer.body {
                Body::None => body::empty(),
                Body::Whole(bytes) => body::full(bytes),
                Body::Stream(log) => streamed(log),
            });
            *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
            if let Some(content_type) = answer.content_type {
                let content_type = HeaderValue::try_from(content_type).expect("a header");
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            response
        })
    }
}

/// A body of a chunk a piece; an abort is an error, which cuts the connection.
fn streamed(log: LogBody) -> kube::Body {
    let frames = futures_util::stream::unfold(Some(log), async |log| {
        let mut log = log?;
        match log.next().await {
            Piece::Chunk(chunk) => Some((Ok(Frame::data(chunk)), Some(log))),
            Piece::End => None,
            Piece::Abort => Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}
