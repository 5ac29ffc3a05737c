//! A deadline that is moved often and reached seldom.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A time by which something has to be done, again and again. To move it costs nothing: the runtime's timer stays where it
/// is, and is set anew only when it fires too early. A task that polled it may be woken once for nothing.
#[derive(Debug)]
pub struct Deadline {
    due: Instant,
    /// Never later than `due`.
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    /// A deadline at `due`, on the runtime that this is called on.
    pub fn at(due: Instant) -> Self {
        Self { due, timer: Box::pin(sleep_until(due)) }
    }

    /// Moves it. To an earlier time, that is what the timer is set to at once.
    pub fn set(&mut self, due: Instant) {
        self.due = due;
        if self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
    }

    /// Polls until the time has come.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_where_it_was_moved_to() {
        let start = Instant::now();
        let mut deadline = Deadline::at(start + SHORT);
        deadline.set(start + 3 * SHORT);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(start.elapsed() >= 3 * SHORT);
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_moved_to_an_earlier_time() {
        let start = Instant::now();
        let mut deadline = Deadline::at(start + Duration::from_secs(3600));
        deadline.set(start + SHORT);
        tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| deadline.poll(cx))).await.unwrap();
    }
}
