//! A body that the gateway itself makes piece by piece: the events of a command, a file.

use std::{
    fmt, io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{client::ClientWatch, drain, end_reason::EndReason};

/// What a body is made of. Dropped with the body, also when the client leaves.
pub trait Pieces: Send {
    /// Polls for the next piece, which is not empty. After the last one, or an error, it is not asked again.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;

    /// How many bytes are left, if that is known.
    fn left(&self) -> Option<u64> {
        None
    }
}

/// The body. Nothing is asked for that the client has no room for.
pub struct PiecesBody {
    pieces: Option<Box<dyn Pieces>>,
    client: ClientWatch,
    drain: drain::Watch,
    /// What the last piece was too long for.
    rest: Bytes,
    end_reason: Option<EndReason>,
}

/// Why such a body is broken off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client is gone.
    #[error("the client left")]
    ClientGone,
    /// The next piece cannot be had.
    #[error("the content could not be read to its end")]
    Io(#[source] io::Error),
}

impl PiecesBody {
    /// A body for the client that `client` watches.
    pub fn new(pieces: impl Pieces + 'static, client: ClientWatch, drain: drain::Watch) -> Self {
        Self { pieces: Some(Box::new(pieces)), client, drain, rest: Bytes::new(), end_reason: None }
    }

    /// Why it ended. Dropped before its end it was the client that left, unless we have cut it.
    pub fn end_reason(&self) -> EndReason {
        let left = self.left();
        match self.end_reason {
            Some(end_reason) if self.rest.is_empty() => end_reason,
            // hyper does not ask once more when all bytes have come that were promised.
            None if left == Some(0) => EndReason::Complete,
            _ if self.client.has_stalled() => EndReason::SlowClient,
            _ if self.drain.has_cut() => EndReason::Cut,
            _ => EndReason::ClientGone,
        }
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.rest.is_empty() && (self.pieces.is_none() || self.left() == Some(0))
    }

    /// What is known of the length that is left.
    pub fn size_hint(&self) -> SizeHint {
        self.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    fn left(&self) -> Option<u64> {
        let pieces = self.pieces.as_ref().map_or(Some(0), |pieces| pieces.left())?;
        Some(pieces + self.rest.len() as u64)
    }

    /// Polls for the next frame.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.hand())));
        }
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        let (end_reason, error) = match pieces.poll_piece(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.rest = piece;
                return Poll::Ready(Some(Ok(self.hand())));
            }
            Poll::Ready(Some(Err(error))) => (EndReason::BackendFailed, Some(BodyError::Io(error))),
            Poll::Ready(None) => (EndReason::Complete, None),
            Poll::Pending => {
                ready!(self.client.poll_gone(cx));
                (EndReason::ClientGone, Some(BodyError::ClientGone))
            }
        };
        self.pieces = None;
        self.end_reason = Some(end_reason);
        Poll::Ready(error.map(Err))
    }

    fn hand(&mut self) -> Frame<Bytes> {
        let most = self.client.max_frame();
        Frame::data(if self.rest.len() <= most { std::mem::take(&mut self.rest) } else { self.rest.split_to(most) })
    }
}

impl fmt::Debug for PiecesBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PiecesBody").field("end_reason", &self.end_reason).finish_non_exhaustive()
    }
}
