//! For tests: what a source does, step by step.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::LogError;

/// What a source does next.
pub(super) enum Step<T> {
    /// It gives this.
    Piece(T),
    /// It has nothing for so long.
    Wait(Duration),
    /// It has nothing any more.
    Hang,
    /// It breaks off.
    Fail(LogError),
}

/// A source's steps. At their end it ends.
pub(super) struct Steps<T> {
    steps: VecDeque<Step<T>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Steps<T> {
    pub(super) fn new(steps: impl IntoIterator<Item = Step<T>>) -> Self {
        Self { steps: steps.into_iter().collect(), timer: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, LogError>>> {
        loop {
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Piece(piece)) => return Poll::Ready(Some(Ok(piece))),
                Some(Step::Fail(error)) => return Poll::Ready(Some(Err(error))),
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Wait(time)) => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
                    if timer.as_mut().poll(cx).is_pending() {
                        self.steps.push_front(Step::Wait(time));
                        return Poll::Pending;
                    }
                    self.timer = None;
                }
            }
        }
    }
}
