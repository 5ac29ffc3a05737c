//! The one response body.
//!
//! On HTTP/2 a stream that has ended cannot be reset any more: what h2 holds of it then waits for the client's window for ever.
//! So a body ends its stream only when there is room for all of it. Where the last byte is known, it goes out by itself: hyper
//! sends it, and the end with it, only when the window has room for what is before it. Elsewhere the end waits until everything
//! has been written.

pub mod pieces;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tracing::Span;

use self::pieces::PiecesBody;
use crate::{
    access::Report,
    client::{ClientWatch, Http2Stream, Piece},
    end_reason::EndReason,
    logs::body::{BodyError, LogBody},
    metrics::streams::StreamGuard,
    proxy::{self, Outcome, body::ProxyBody, tunnel::Tunnel},
};

/// A response's body: nothing, some bytes, a log, a backend's answer, or what is made piece by piece. Reports to the access log when it ends or is dropped.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Boxed, as a log is: a response is moved from hand to hand on its way to hyper.
    report: Option<Box<Report>>,
    client: Option<ClientWatch>,
    /// Boxed, since it is rarely anything.
    rest: Option<Box<Rest>>,
}

/// What is still to be sent when the body's source has ended, on HTTP/2.
#[derive(Debug)]
enum Rest {
    /// The last byte.
    Byte(Bytes),
    /// Trailers, which end the stream.
    Trailers(HeaderMap),
    /// Nothing but the stream's end.
    End,
}

impl Rest {
    /// The frame that it is, if it is one.
    fn frame(self) -> Option<Frame<Bytes>> {
        match self {
            Self::Byte(byte) => Some(Frame::data(byte)),
            Self::Trailers(trailers) => Some(Frame::trailers(trailers)),
            Self::End => None,
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.end_report();
        if self.rest.is_none() {
            self.release_connection();
        }
    }
}

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    Log(Pin<Box<LogBody>>),
    Proxy(ProxyBody),
    Pieces(PiecesBody),
    /// Nothing, behind which the connection becomes something else.
    Tunnel(Option<Box<Tunnel>>),
}

/// Why a body is broken off.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Broken {
    /// A log's.
    Log(BodyError),
    /// A backend's answer's.
    Proxy(proxy::error::BodyError),
    /// One that is made piece by piece.
    Pieces(pieces::BodyError),
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self { kind: Kind::Full(None), report: None, client: None, rest: None }
    }

    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes| !bytes.is_empty());
        Self { kind: Kind::Full(bytes), report: None, client: None, rest: None }
    }

    /// A body that streams a log.
    pub fn log(log: LogBody) -> Self {
        Self { kind: Kind::Log(Box::pin(log)), report: None, client: None, rest: None }
    }

    /// A body that is made piece by piece.
    pub fn pieces(pieces: PiecesBody) -> Self {
        Self { kind: Kind::Pieces(pieces), report: None, client: None, rest: None }
    }

    /// The place in the list of open streams, if this is a log.
    pub fn take_guard(&mut self) -> Option<StreamGuard> {
        match &mut self.kind {
            Kind::Log(log) => log.as_mut().take_guard(),
            Kind::Full(_) | Kind::Proxy(_) | Kind::Pieces(_) | Kind::Tunnel(_) => None,
        }
    }

    /// Whether this is a log that is followed.
    pub fn is_following(&self) -> bool {
        matches!(&self.kind, Kind::Log(log) if log.is_following())
    }

    /// What the connection is to become.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.kind {
            Kind::Tunnel(tunnel) => tunnel.take(),
            Kind::Full(_) | Kind::Log(_) | Kind::Proxy(_) | Kind::Pieces(_) => None,
        }
    }

    /// The same body, which goes to `client` and tells `report` how it went.
    pub fn reporting(mut self, report: Box<Report>, client: ClientWatch) -> Self {
        self.report = Some(report);
        self.client = Some(client);
        self
    }

    /// Gives a backend's connection to the pool whose response was sent.
    fn release_connection(&mut self) {
        if let Kind::Proxy(proxy) = &mut self.kind {
            proxy.release_connection();
        }
    }

    /// Ends the report, which waits until what was handed over has been written.
    fn end_report(&mut self) {
        let Some(mut report) = self.report.take() else { return };
        let end_reason = self.end_reason();
        report.ended(end_reason);
        match &self.client {
            Some(client) if self.kind.has_proper_end(end_reason) => client.settle(report),
            _ => drop(report),
        }
    }

    /// How the body has ended, if it ends here.
    fn end_reason(&self) -> EndReason {
        let end_reason = self.kind.end_reason();
        if !self.kind.has_proper_end(end_reason) {
            return end_reason;
        }
        match &self.client {
            Some(client) if client.has_stalled() => EndReason::SlowClient,
            _ if self.rest.is_some() => EndReason::ClientGone,
            _ => end_reason,
        }
    }

    /// Polls for the next frame of the source.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match &mut self.kind {
            Kind::Full(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Kind::Log(log) => ready!(log.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Broken::Log)),
            Kind::Proxy(proxy) => ready!(proxy.poll_frame(cx)).map(|frame| frame.map_err(Broken::Proxy)),
            Kind::Pieces(pieces) => ready!(pieces.poll_frame(cx)).map(|frame| frame.map_err(Broken::Pieces)),
            Kind::Tunnel(_) => None,
        })
    }

    fn is_source_ended(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Log(log) => log.is_ended(),
            Kind::Proxy(proxy) => proxy.is_ended(),
            Kind::Pieces(pieces) => pieces.is_ended(),
            Kind::Tunnel(_) => true,
        }
    }

    /// Polls for the next frame to a stream of HTTP/2.
    fn poll_frame_http2(
        &mut self,
        stream: &Arc<Http2Stream>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(rest) = &self.rest {
                if !matches!(**rest, Rest::Byte(_)) {
                    ready!(stream.poll_taken(cx));
                }
                return Poll::Ready(self.rest.take().and_then(|rest| rest.frame()).map(Ok));
            }
            let frame = match ready!(self.poll_source(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.rest = Some(Box::new(Rest::End));
                    continue;
                }
            };
            match frame.into_data() {
                Ok(mut data) => {
                    if data.len() > 1 && self.is_source_ended() {
                        self.rest = Some(Box::new(Rest::Byte(data.split_off(data.len() - 1))));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => self.rest = Some(Box::new(Rest::Trailers(trailers))),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Piece;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let stream = this.client.as_ref().and_then(ClientWatch::stream).cloned();
        // A log that goes on elsewhere asks the backend again.
        let traced = this.report.as_ref().and_then(|report| report.traced_span().cloned());
        let entered = traced.as_ref().map(Span::enter);
        let frame = match &stream {
            Some(stream) => ready!(this.poll_frame_http2(stream, cx)),
            None => ready!(this.poll_source(cx)),
        };
        drop(entered);
        if let Some(report) = &mut this.report {
            match &frame {
                Some(Ok(frame)) => report.add(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(error)) => report.note(error),
                None => {}
            }
        }
        if stream.is_some() && this.is_end_stream() {
            // hyper's task, and the body with it, may go on for longer than the answer.
            this.end_report();
            this.release_connection();
        }
        let piece = |bytes| match &stream {
            Some(stream) => Piece::of_http2(bytes, stream),
            None => Piece::of_http1(bytes),
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.is_source_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Log(_) => SizeHint::default(),
            Kind::Proxy(proxy) => proxy.size_hint(),
            Kind::Pieces(pieces) => pieces.size_hint(),
            Kind::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl From<Outcome> for Body {
    fn from(outcome: Outcome) -> Self {
        let kind = match outcome {
            Outcome::Body(proxy) => Kind::Proxy(proxy),
            Outcome::Tunnel(tunnel) => Kind::Tunnel(Some(tunnel)),
        };
        Self { kind, report: None, client: None, rest: None }
    }
}

impl Kind {
    /// Whether a body that ended for this reason was handed over to its end.
    fn has_proper_end(&self, end_reason: EndReason) -> bool {
        let is_broken_off = matches!(self, Self::Log(log) if log.is_broken_off());
        matches!(end_reason, EndReason::Complete | EndReason::Drained) && !is_broken_off
    }

    /// How the body has ended, if it ends here.
    fn end_reason(&self) -> EndReason {
        match self {
            Self::Full(None) => EndReason::Complete,
            Self::Full(Some(_)) => EndReason::ClientGone,
            Self::Log(log) => log.end_reason(),
            Self::Proxy(proxy) => proxy.end_reason(),
            Self::Pieces(pieces) => pieces.end_reason(),
            Self::Tunnel(_) => EndReason::Complete,
        }
    }
}
