//! Bodies of answers: with a length up to 2048 bytes, in chunks above (kubernetes-api.md T3), and those that stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::Value;
use tokio::sync::mpsc;

/// The body of an answer. Each piece of it becomes a chunk; an error cuts the connection.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What Go's HTTP server buffers before it turns to chunks, and the size of these.
pub(super) const BUFFER: usize = 2048;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body with a length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body in pieces of these sizes and without a length.
pub fn pieces(pieces: Vec<Bytes>) -> Body {
    let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// Feeds a [`pipe`]. Dropping it ends the body; an error that is sent cuts it.
pub type Feed = mpsc::Sender<io::Result<Bytes>>;

/// A body that is fed from elsewhere: one chunk a piece. It holds `room` pieces. [`Feed::closed`] tells when the client has left.
pub fn pipe(room: usize) -> (Feed, Body) {
    let (feed, pieces) = mpsc::channel(room);
    (feed, Pipe(pieces).boxed_unsync())
}

struct Pipe(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Pipe {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An answer of `bytes` by the rule of [`BUFFER`].
pub(super) fn sized(bytes: Vec<u8>) -> Response<Body> {
    if bytes.len() <= BUFFER {
        return Response::new(full(bytes));
    }
    Response::new(pieces(vec![bytes.into()]))
}

/// The same in chunks of [`BUFFER`], as a list that is written item by item.
pub(super) fn streamed(bytes: Vec<u8>) -> Response<Body> {
    if bytes.len() <= BUFFER {
        return Response::new(full(bytes));
    }
    let bytes = Bytes::from(bytes);
    let cut = |start: usize| bytes.slice(start..bytes.len().min(start + BUFFER));
    Response::new(pieces((0..bytes.len()).step_by(BUFFER).map(cut).collect()))
}

/// JSON with Go's escapes of `<`, `>` and `&`, which stand in strings only.
pub(super) fn json_text(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&']) {
        return text;
    }
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A 200 with this JSON and a line break behind it.
pub(super) fn json(value: &Value) -> Response<Body> {
    with_media(sized((json_text(value) + "\n").into_bytes()), "application/json")
}

pub(super) fn text(text: &'static str) -> Response<Body> {
    with_media(Response::new(full(text)), "text/plain; charset=utf-8")
}

pub(super) fn with_media(mut response: Response<Body>, media: &'static str) -> Response<Body> {
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(media));
    response
}
