//! The one response body.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{
    access::Report,
    logs::{
        body::{BodyError, LogBody},
        finish::Finish,
    },
    proxy::{self, body::ProxyBody, tunnel::Tunnel},
};

/// A response's body: nothing, some bytes, a log, or a backend's answer. Reports to the access log when it ends or is dropped.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Boxed, as a log is: a response is moved from hand to hand on its way to hyper.
    report: Option<Box<Report>>,
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(report) = &mut self.report {
            report.ended(self.kind.finish());
        }
    }
}

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    Log(Pin<Box<LogBody>>),
    Proxy(ProxyBody),
    /// Nothing, behind which the connection becomes something else.
    Tunnel(Option<Box<Tunnel>>),
}

/// Why a body is broken off.
#[derive(Debug)]
pub enum Broken {
    /// A log's.
    Log(BodyError),
    /// A backend's answer's.
    Proxy(proxy::error::BodyError),
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self { kind: Kind::Full(None), report: None }
    }

    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes| !bytes.is_empty());
        Self { kind: Kind::Full(bytes), report: None }
    }

    /// A body that streams a log.
    pub fn log(log: LogBody) -> Self {
        Self { kind: Kind::Log(Box::pin(log)), report: None }
    }

    /// A body that passes on a backend's answer.
    pub fn proxy(proxy: ProxyBody) -> Self {
        Self { kind: Kind::Proxy(proxy), report: None }
    }

    /// No body; the connection is to become `tunnel`.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self { kind: Kind::Tunnel(Some(Box::new(tunnel))), report: None }
    }

    /// Whether this is a log that is followed.
    pub fn is_following(&self) -> bool {
        matches!(&self.kind, Kind::Log(log) if log.is_following())
    }

    /// What the connection is to become.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.kind {
            Kind::Tunnel(tunnel) => tunnel.take(),
            Kind::Full(_) | Kind::Log(_) | Kind::Proxy(_) => None,
        }
    }

    /// The same body, which tells `report` how it went.
    pub fn reporting(mut self, report: Box<Report>) -> Self {
        self.report = Some(report);
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.kind {
            Kind::Full(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Kind::Log(log) => ready!(log.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Broken::Log)),
            Kind::Proxy(proxy) => ready!(proxy.poll_frame(cx)).map(|frame| frame.map_err(Broken::Proxy)),
            Kind::Tunnel(_) => None,
        };
        if let Some(report) = &mut this.report {
            match &frame {
                Some(Ok(frame)) => report.add(frame.data_ref().map_or(0, Bytes::len)),
                Some(Err(error)) => report.note(error),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Log(log) => log.is_ended(),
            Kind::Proxy(proxy) => proxy.is_ended(),
            Kind::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Log(_) => SizeHint::default(),
            Kind::Proxy(proxy) => proxy.size_hint(),
            Kind::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl Kind {
    /// How the body has ended, if it ends here.
    fn finish(&self) -> Finish {
        match self {
            Self::Full(None) => Finish::Complete,
            Self::Full(Some(_)) => Finish::ClientGone,
            Self::Log(log) => log.finish(),
            Self::Proxy(proxy) => proxy.finish(),
            Self::Tunnel(_) => Finish::Complete,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Proxy(error) => error.fmt(f),
        }
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Log(error) => error.source(),
            Self::Proxy(error) => error.source(),
        }
    }
}
