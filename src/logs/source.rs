//! Where a log stream's bytes come from.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::http1;

/// A stream of a sandbox's bytes, ready to be sent: without frame headers, with timestamps if they were asked for.
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
}

/// Why a log stream could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The connection to the backend failed or ended in mid-stream.
    #[error("the log backend's connection broke off")]
    Disconnected(#[source] std::io::Error),
    /// The backend sent what its protocol does not allow.
    #[error("the log backend broke its protocol: {0}")]
    Protocol(&'static str),
    /// The backend itself reported a failure in the stream (frame type 3) or refused it after the answer had begun.
    #[error("the log backend reported a failure: {0}")]
    Backend(String),
}

impl From<http1::error::Error> for LogError {
    fn from(error: http1::error::Error) -> Self {
        Self::Protocol(error.text())
    }
}
