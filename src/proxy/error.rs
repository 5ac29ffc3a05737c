//! Why a request was not forwarded, or its answer not to its end.

use std::{error::Error, fmt, io, time::Duration};

use super::limits::LimitReached;
use crate::{error_chain, http1};

/// Why there is no response of the backend.
#[derive(Debug)]
pub enum ProxyError {
    /// No connection could be made.
    Connect {
        /// The backend's `host:port`.
        authority: String,
        /// Why.
        error: io::Error,
    },
    /// The backend closed the connection or sent what is no response.
    Response {
        /// The backend's `host:port`.
        authority: String,
        /// What is wrong with it.
        why: String,
    },
    /// The backend did not begin its response in time.
    Timeout {
        /// The backend's `host:port`.
        authority: String,
        /// The time that it had.
        after: Duration,
    },
    /// The client left, or broke its body off.
    ClientGone,
    /// The client sends its body too slowly.
    SlowUpload,
    /// The path would leave the backend's prefix.
    PathEscapes,
    /// The path is percent-encoded more often than is checked.
    PathEncodedTooOften,
    /// As many connections to sandboxes are open as there may be.
    LimitReached(LimitReached),
    /// The gateway itself listens where the request would go.
    OwnListener,
    /// The request has come through the proxy of this process too often.
    Loop,
    /// The backend's address or headers are not valid.
    BadBackend,
}

/// Why a forwarded body is broken off, so that its client can tell it from an end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client is gone.
    #[error("the client left")]
    ClientGone,
    /// The backend closed the connection, or broke the protocol.
    #[error("the backend's answer could not be read to its end")]
    Backend(#[source] Failure),
}

/// Why an exchange with a backend does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client broke off the body that it was sending.
    #[error("the client broke its body off")]
    Client(#[source] Box<dyn Error + Send + Sync>),
    /// The client sends its body too slowly.
    #[error("the client sends its body too slowly")]
    SlowUpload,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The backend closed the connection; when.
    #[error("it closed the connection {0}")]
    Closed(&'static str),
    /// What the backend sent is no response; why.
    #[error("{0}")]
    Malformed(&'static str),
}

impl ProxyError {
    /// What the backend sent is no response.
    pub fn response(authority: &str, why: impl fmt::Display) -> Self {
        Self::Response { authority: authority.to_owned(), why: why.to_string() }
    }

    /// Why an exchange has no response.
    pub(super) fn of(authority: &str, failure: &Failure) -> Self {
        match failure {
            Failure::Client(_) => Self::ClientGone,
            Failure::SlowUpload => Self::SlowUpload,
            failure => Self::response(authority, error_chain::text(failure)),
        }
    }
}

impl From<LimitReached> for ProxyError {
    fn from(limit: LimitReached) -> Self {
        Self::LimitReached(limit)
    }
}

impl From<http1::error::Error> for Failure {
    fn from(error: http1::error::Error) -> Self {
        match error {
            http1::error::Error::Truncated => Self::Closed("in the middle of its answer"),
            malformed => Self::Malformed(malformed.text()),
        }
    }
}
