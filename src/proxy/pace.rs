//! How slow an upload may be before its response begins. Otherwise a client that sends a byte now and then would hold a
//! connection to a sandbox for ever.
//!
//! Over HTTP/1.1 bytes count as they come. Over HTTP/2 they count when their frame is whole, up to 16 KiB at once. So no window
//! is shorter there than the 256 s that such a frame takes at the least rate ([`MAX_FRAME`]).

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Version;
use tokio::time::Instant;

use crate::deadline::Deadline;

/// The least rate of an upload, in bytes a second of the time in which its client is waited for.
pub const MIN_RATE: u64 = 64;

/// The largest DATA frame that the server takes, in bytes: no `SETTINGS_MAX_FRAME_SIZE` may be smaller (RFC 9113 §6.5.2).
pub const MAX_FRAME: u32 = 16_384;

/// The pace of one upload: in each `window` in which its client is waited for, it brings [`MIN_RATE`] on average.
///
/// The time that the backend takes to accept what has come does not count. There is no timer before the client is first waited
/// for, and one for the whole upload from then on.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    /// How long the client was waited for in the present window, until `since`.
    waited: Duration,
    /// Since when it is waited for now.
    since: Option<Instant>,
    /// What came in the present window, in bytes.
    came: u64,
    deadline: Option<Deadline>,
}

impl Pace {
    /// The pace of a request of this version, judged each `window`; over HTTP/2 at most as often as its frames allow.
    pub fn of(version: Version, window: Duration) -> Self {
        let is_framed = version == Version::HTTP_2;
        Self::new(if is_framed {
            window.max(Duration::from_secs(u64::from(MAX_FRAME).div_ceil(MIN_RATE)))
        } else {
            window
        })
    }

    /// A pace that is judged each `window`.
    pub fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, since: None, came: 0, deadline: None }
    }

    /// Notes that so many bytes came.
    pub fn came(&mut self, count: usize) {
        self.came += count as u64;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Polls, while nothing comes, until the client is too slow.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let since = *self.since.get_or_insert_with(Instant::now);
            let due = since + self.window.saturating_sub(self.waited);
            let deadline = self.deadline.get_or_insert_with(|| Deadline::at(due));
            deadline.set(due);
            ready!(deadline.poll(cx));
            if (self.came as f64) < self.window.as_secs_f64() * MIN_RATE as f64 {
                return Poll::Ready(());
            }
            (self.waited, self.since, self.came) = (Duration::ZERO, None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// In which 32 bytes must come.
    const WINDOW: Duration = Duration::from_millis(500);

    const STEP: Duration = Duration::from_millis(50);

    /// Sends `count` bytes after each step; how long until it is too slow, if that is within four windows.
    async fn late_after(count: usize) -> Option<Duration> {
        let (start, mut pace) = (Instant::now(), Pace::new(WINDOW));
        while start.elapsed() < WINDOW * 4 {
            if tokio::time::timeout(STEP, poll_fn(|cx| pace.poll_late(cx))).await.is_ok() {
                return Some(start.elapsed());
            }
            pace.came(count);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_too_slow_and_a_kilobyte_a_second_is_not() {
        for (count, most) in [(0, 2), (1, 2)] {
            let late = late_after(count).await.expect("too slow");
            assert!(late >= WINDOW - STEP && late < WINDOW * most, "{count}: {late:?}");
        }
        assert_eq!(late_after(50).await, None);
    }

    #[test]
    fn no_window_of_http_2_is_shorter_than_a_frame_takes() {
        for seconds in [1, 60, 256, 300] {
            let window = Pace::of(Version::HTTP_2, Duration::from_secs(seconds)).window;
            assert_eq!(window.as_secs(), seconds.max(256));
            assert!(window.as_secs() * MIN_RATE >= MAX_FRAME.into());
        }
        assert_eq!(Pace::of(Version::HTTP_11, WINDOW).window, WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_fast_at_first_is_no_excuse_for_long() {
        let (start, mut pace) = (Instant::now(), Pace::new(WINDOW));
        pace.came(1 << 30);
        poll_fn(|cx| pace.poll_late(cx)).await;
        assert!(start.elapsed() >= 2 * WINDOW && start.elapsed() < 4 * WINDOW, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_backend_s_time_is_not_the_client_s() {
        let mut pace = Pace::new(WINDOW);
        for _ in 0..2 {
            assert!(tokio::time::timeout(STEP, poll_fn(|cx| pace.poll_late(cx))).await.is_err());
            pace.came(1);
            // Nobody asks for more until this has been taken.
            tokio::time::sleep(WINDOW).await;
        }
        let start = Instant::now();
        poll_fn(|cx| pace.poll_late(cx)).await;
        assert!(start.elapsed() > WINDOW / 2, "{:?}", start.elapsed());
    }
}
