//! A log with something before and after it.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{LogError, LogSource};

/// Some bytes, a log, some bytes. Nothing comes after a log that broke off.
pub struct Framed {
    before: Bytes,
    source: Option<Pin<Box<dyn LogSource>>>,
    after: Bytes,
    /// What the log had read when it was let go of.
    read: u64,
}

impl Framed {
    /// `before` may be what was read ahead of `source`.
    pub fn new(before: Bytes, source: Pin<Box<dyn LogSource>>, after: Bytes) -> Self {
        Self { before, source: Some(source), after, read: 0 }
    }
}

impl LogSource for Framed {
    fn poll_chunk(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
        if !self.before.is_empty() {
            return Poll::Ready(Some(Ok(mem::take(&mut self.before))));
        }
        if let Some(source) = &mut self.source {
            if let Some(piece) = ready!(source.as_mut().poll_chunk(cx)) {
                return Poll::Ready(Some(piece));
            }
            // The backend's connection is closed before a slow client has taken the rest.
            self.read = source.bytes_read();
            self.source = None;
        }
        let after = mem::take(&mut self.after);
        Poll::Ready(Some(after).filter(|after| !after.is_empty()).map(Ok))
    }

    fn bytes_read(&self) -> u64 {
        self.source.as_ref().map_or(self.read, |source| source.bytes_read())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use super::*;

    struct Pieces(VecDeque<&'static str>);

    impl LogSource for Pieces {
        fn poll_chunk(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, LogError>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Bytes::from(piece))))
        }

        fn bytes_read(&self) -> u64 {
            0
        }
    }

    fn framed(before: &'static str, pieces: &[&'static str], after: &'static str) -> String {
        let pieces = Box::pin(Pieces(pieces.iter().copied().collect()));
        let mut framed = Box::pin(Framed::new(before.into(), pieces, after.into()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut text = String::new();
        while let Poll::Ready(Some(Ok(piece))) = framed.as_mut().poll_chunk(&mut cx) {
            assert!(!piece.is_empty());
            text += std::str::from_utf8(&piece).unwrap();
        }
        text
    }

    #[test]
    fn comes_in_order() {
        assert_eq!(framed("a", &["b", "c"], "d"), "abcd");
        assert_eq!(framed("", &["b"], ""), "b");
        assert_eq!(framed("", &[], ""), "");
    }
}
