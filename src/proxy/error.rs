//! Why a request was not forwarded, or its answer not to its end.

use std::{error::Error, fmt, io, time::Duration};

use crate::causes;

/// Why there is no answer of the backend.
#[derive(Debug)]
pub enum ProxyError {
    /// No connection could be made.
    Connect {
        /// The backend's `host:port`.
        authority: String,
        /// Why.
        error: io::Error,
    },
    /// The backend closed the connection or sent what is no answer.
    Response {
        /// The backend's `host:port`.
        authority: String,
        /// What hyper says of it.
        why: String,
    },
    /// The backend did not begin its answer in time.
    Timeout {
        /// The backend's `host:port`.
        authority: String,
        /// The time that it had.
        after: Duration,
    },
    /// The client left, or broke its body off.
    ClientGone,
    /// The path would leave the place that it is to be forwarded to.
    PathEscapes,
    /// The backend's description cannot be made a request of.
    BadBackend,
}

/// Why a forwarded body is broken off, so that its client can tell it from an end.
#[derive(Debug)]
pub enum BodyError {
    /// The client is gone.
    ClientGone,
    /// The backend closed the connection, or broke the protocol.
    Backend(hyper::Error),
}

impl ProxyError {
    /// The backend's answer was none.
    pub fn response(authority: &str, why: impl fmt::Display) -> Self {
        Self::Response { authority: authority.to_owned(), why: why.to_string() }
    }

    /// What hyper says of an exchange that failed.
    pub(super) fn of(authority: &str, error: &hyper::Error) -> Self {
        // The body that was sent is the client's.
        if error.is_user() { Self::ClientGone } else { Self::response(authority, causes::chain(error)) }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientGone => f.write_str("the client left"),
            Self::Backend(_) => f.write_str("the backend's answer could not be read to its end"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ClientGone => None,
            Self::Backend(error) => Some(error),
        }
    }
}
