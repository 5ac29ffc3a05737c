//! The access line: one a request, written when the response's *body* ends.

use std::{error::Error, net::SocketAddr, time::Instant};

use http::{Method, StatusCode, Version};
use tracing::Span;

use crate::{error, logs::finish::Finish};

/// What the access line says of a request; written by [`Report::write`].
#[derive(Debug)]
pub struct Report {
    request: Request,
    status: StatusCode,
    bytes: u64,
    error: Option<String>,
}

/// What is known of a request when it arrives.
#[derive(Debug)]
pub struct Request {
    /// The client's address.
    pub peer: SocketAddr,
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
    /// A report on a request that was answered with `status`.
    pub fn new(request: Request, status: StatusCode) -> Self {
        Self { request, status, bytes: 0, error: None }
    }

    /// Counts body bytes that were handed over.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Keeps why the body broke off, with its causes.
    pub fn note(&mut self, error: &dyn Error) {
        self.error = Some(error::chain(error));
    }

    /// Writes the line.
    pub fn write(self, end: Finish) {
        let Self { request: Request { peer, method, path, version, start, span }, status, bytes, error } = self;
        let _entered = span.enter();
        let ms = start.elapsed().as_millis() as u64;
        let status = status.as_u16();
        match (end, error) {
            (Finish::BackendLost | Finish::BackendFailed, Some(error)) => tracing::warn!(
                target: "access", bytes, ms, %end, error, "{peer} - \"{method} {path} {version:?}\" {status}"
            ),
            _ => tracing::info!(target: "access", bytes, ms, %end, "{peer} - \"{method} {path} {version:?}\" {status}"),
        }
    }
}
