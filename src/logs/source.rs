//! Where a log stream's bytes come from.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    end_reason::EndReason,
    error::{Error, Family, Kind},
    http1,
};

/// A stream of bytes, ready to be sent.
///
/// Dropping it releases everything behind it (the backend's socket, the file, the watch) at once.
pub trait LogSource: Send {
    /// Polls for the next piece, as large as one read gave; never an empty one.
    ///
    /// `None` is a proper end: the backend said that there is no more. Everything else is an error, such as a connection that
    /// broke off. The source is not polled again after either.
    fn poll_chunk(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>>;

    /// How many bytes were read from the backend so far, with framing and what was left out.
    fn bytes_read(&self) -> u64;

    /// The stream is to end here for `reason`, at the end of a line. It is not polled again.
    fn farewell(self: Pin<&mut Self>, reason: EndReason) -> Farewell {
        let _ = reason;
        Farewell::default()
    }

    /// How it has ended, once [`Self::poll_chunk`] has given `None`.
    fn ending(&self) -> Ending {
        Ending::default()
    }
}

/// What a stream says that is to end before its time. [`Farewell::default`]: nothing, and the response is broken off.
#[derive(Debug, Default)]
pub struct Farewell {
    /// What is still to be sent.
    pub bytes: Bytes,
    /// It tells the client that the stream has ended and why, so the response ends properly.
    pub is_told: bool,
}

/// How a stream has ended.
#[derive(Debug)]
pub struct Ending {
    /// For the access line.
    pub reason: EndReason,
    /// The client could not be told that there is more, so the response is broken off.
    pub is_broken: bool,
    /// The trailer fields, for a client that asked for them.
    pub trailers: Option<HeaderMap>,
}

impl Default for Ending {
    fn default() -> Self {
        Self { reason: EndReason::Complete, is_broken: false, trailers: None }
    }
}

/// A log without a byte.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl LogSource for Nothing {
    fn poll_chunk(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        Poll::Ready(None)
    }

    fn bytes_read(&self) -> u64 {
        0
    }
}

/// Why a log stream could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The connection to the backend failed or ended in mid-stream.
    #[error("the log backend's connection broke off")]
    Disconnected(#[source] std::io::Error),
    /// The backend refused a read that was thought to have begun, or could not be reached for it.
    #[error("the log backend refused")]
    Refused(#[source] std::io::Error),
    /// The backend sent what its protocol does not allow.
    #[error("the log backend broke its protocol: {0}")]
    Protocol(&'static str),
    /// The backend itself reported a failure in the stream (frame type 3) or refused it after the answer had begun.
    #[error("the log backend reported a failure: {0}")]
    Backend(String),
    /// The backend reported in the stream that it cannot go on with this read. Another one may tell what comes next.
    #[error("the log backend cannot go on: {0}")]
    Interrupted(String),
}

impl LogError {
    /// What a read ended with before anything of the log was answered, if that is why there is `error`.
    pub fn of(error: &Error) -> Option<&Self> {
        error.cause()?.downcast_ref()
    }

    /// The same before anything of the log was answered.
    pub fn into_error(self) -> Error {
        let (kind, text) = match &self {
            Self::Disconnected(error) | Self::Refused(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                (Kind::TimedOut, "hangs")
            }
            Self::Disconnected(_) | Self::Refused(_) | Self::Interrupted(_) => (Kind::Unavailable, "broke off"),
            Self::Protocol(_) | Self::Backend(_) => (Kind::Failed, "failed"),
        };
        Error::new(Family::Logs, kind, format!("The log's backend {text}: {self}.")).caused_by(self)
    }
}

impl From<http1::error::Error> for LogError {
    fn from(error: http1::error::Error) -> Self {
        Self::Protocol(error.text())
    }
}
