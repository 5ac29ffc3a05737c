//! How long an engine may be silent that has more to send.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::deadline::Deadline;

/// How long an engine has sent nothing, counted from when it was first waited for.
pub(super) struct Silence {
    pub(super) limit: Duration,
    timer: Option<Deadline>,
    is_counting: bool,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, is_counting: false }
    }

    /// The engine has sent something.
    pub(super) fn broken(&mut self) {
        self.is_counting = false;
    }

    /// Polls until it has lasted too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            self.is_counting = true;
            return self.timer.insert(Deadline::at(Instant::now() + self.limit)).poll(cx);
        };
        if !self.is_counting {
            self.is_counting = true;
            timer.set(Instant::now() + self.limit);
        }
        timer.poll(cx)
    }
}
