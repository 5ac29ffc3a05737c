//! The access line: one a request, written when the response's *body* ends.

use std::{error::Error, time::Instant};

use http::{Method, StatusCode, Version};
use tracing::{Level, Span};

use crate::{causes, logs::finish::Finish, peer::Peer};

/// What the access line says of a request; written when this is dropped.
#[derive(Debug)]
pub struct Report {
    request: Request,
    /// None as long as there is no answer.
    status: Option<StatusCode>,
    bytes: u64,
    error: Option<String>,
    end: Finish,
}

/// What is known of a request when it arrives.
#[derive(Debug)]
pub struct Request {
    /// The client, whom a trusted proxy may have named.
    pub peer: Peer,
    /// The method.
    pub method: Method,
    /// The path, without the query: that may hold what is nobody's business.
    pub path: String,
    /// The protocol's version.
    pub version: Version,
    /// When the head was there.
    pub start: Instant,
    /// The request's span, in which the line is written.
    pub span: Span,
}

impl Report {
    /// A report on a request. Dropped as it is, it says that the client left before the answer.
    pub fn new(request: Request) -> Self {
        Self { request, status: None, bytes: 0, error: None, end: Finish::ClientGone }
    }

    /// What is reported on.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Notes the answer's status.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Counts body bytes that were handed over.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Keeps why the body broke off, with its causes.
    pub fn note(&mut self, error: &dyn Error) {
        self.error = Some(causes::chain(error));
    }

    /// Notes how the body ended.
    pub fn ended(&mut self, end: Finish) {
        self.end = end;
    }
}

impl Report {
    fn write(&self) {
        let Self { request: Request { peer, method, path, version, start, span }, status, bytes, error, end } = self;
        let _entered = span.enter();
        let peer = peer.address;
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = status.map_or(0, |status| status.as_u16());
        match (*end, error) {
            (Finish::BackendLost | Finish::BackendFailed, Some(error)) => tracing::warn!(
                target: "access", bytes, ms, %end, error, "{peer} - \"{method} {path} {version:?}\" {status}"
            ),
            _ => tracing::info!(target: "access", bytes, ms, %end, "{peer} - \"{method} {path} {version:?}\" {status}"),
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // To enter the span for nothing would cost more than all else here.
        if self.error.is_some() || tracing::enabled!(target: "access", Level::INFO) {
            self.write();
        }
    }
}
