//! The one response body.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    access::Report,
    logs::{
        body::{BodyError, LogBody},
        finish::Finish,
    },
    proxy::{self, body::ProxyBody, tunnel::Tunnel},
};

pin_project! {
    /// A response's body: nothing, some bytes, a log, or a backend's answer. Reports to the access log when it ends or is dropped.
    #[derive(Debug)]
    pub struct Body {
        #[pin]
        kind: Kind,
        report: Option<Report>,
    }

    impl PinnedDrop for Body {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(report) = this.report {
                report.ended(this.kind.finish());
            }
        }
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind {
        Full { bytes: Option<Bytes> },
        Log { #[pin] log: LogBody },
        Proxy { proxy: ProxyBody },
        // Nothing, behind which the connection becomes something else.
        Tunnel { tunnel: Option<Box<Tunnel>> },
    }
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
        Self { kind: Kind::Full { bytes: None }, report: None }
    }

    /// A body of these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = Some(bytes.into()).filter(|bytes| !bytes.is_empty());
        Self { kind: Kind::Full { bytes }, report: None }
    }

    /// A body that streams a log.
    pub fn log(log: LogBody) -> Self {
        Self { kind: Kind::Log { log }, report: None }
    }

    /// A body that passes on a backend's answer.
    pub fn proxy(proxy: ProxyBody) -> Self {
        Self { kind: Kind::Proxy { proxy }, report: None }
    }

    /// No body; the connection is to become `tunnel`.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self { kind: Kind::Tunnel { tunnel: Some(Box::new(tunnel)) }, report: None }
    }

    /// What the connection is to become.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.kind {
            Kind::Tunnel { tunnel } => tunnel.take(),
            Kind::Full { .. } | Kind::Log { .. } | Kind::Proxy { .. } => None,
        }
    }

    /// The same body, which tells `report` how it went.
    pub fn reporting(mut self, report: Report) -> Self {
        self.report = Some(report);
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = match this.kind.as_mut().project() {
            KindProjection::Full { bytes } => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            KindProjection::Log { log } => ready!(log.poll_frame(cx)).map(|frame| frame.map_err(Broken::Log)),
            KindProjection::Proxy { proxy } => ready!(proxy.poll_frame(cx)).map(|frame| frame.map_err(Broken::Proxy)),
            KindProjection::Tunnel { .. } => None,
        };
        if let Some(report) = this.report {
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
            Kind::Full { bytes } => bytes.is_none(),
            Kind::Log { log } => log.is_ended(),
            Kind::Proxy { proxy } => proxy.is_ended(),
            Kind::Tunnel { .. } => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Log { .. } => SizeHint::default(),
            Kind::Proxy { proxy } => proxy.size_hint(),
            Kind::Tunnel { .. } => SizeHint::with_exact(0),
        }
    }
}

impl Kind {
    /// How the body has ended, if it ends here.
    fn finish(&self) -> Finish {
        match self {
            Self::Full { bytes: None } => Finish::Complete,
            Self::Full { bytes: Some(_) } => Finish::ClientGone,
            Self::Log { log } => log.finish(),
            Self::Proxy { proxy } => proxy.finish(),
            Self::Tunnel { .. } => Finish::Complete,
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
