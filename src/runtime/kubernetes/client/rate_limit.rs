//! How many calls a second are made of the API server (`read_qps`, `read_burst`, `write_qps`, `write_burst`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The longest that a call waits for its turn. One that would wait longer is refused at once.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The slowest rate, in calls a second: less is this.
const MIN_RATE: f64 = 1e-3;

/// A token bucket. Calls wait in the order in which they came, without holding a thread. Who leaves takes no turn.
#[derive(Debug)]
pub(super) struct RateLimit(Option<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// The time between two calls in the long run.
    interval: Duration,
    /// How far the next turn may lie behind a full bucket: `interval` for each call beyond the first at once.
    slack: Duration,
    /// Held by the first of those who wait; fair, so that the others are behind it in their order.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the next call would have its turn if none came at once (the "theoretical arrival time" of GCRA).
    next: Instant,
    waiting: u32,
}

/// One who waits.
struct Place<'a>(&'a Bucket);

impl RateLimit {
    /// `rate` calls a second, 0 being without a limit; `burst` at once, 0 being as many as in a second, but at least 1.
    pub(super) fn new(rate: f64, burst: u32) -> Self {
        if rate <= 0.0 {
            return Self(None);
        }
        let rate = rate.max(MIN_RATE);
        let interval = Duration::from_secs_f64(rate.recip());
        let slack = match burst {
            0 => Duration::from_secs(1).saturating_sub(interval),
            burst => interval.saturating_mul(burst - 1),
        };
        let state = Mutex::new(State { next: Instant::now(), waiting: 0 });
        Self(Some(Bucket { interval, slack, queue: tokio::sync::Mutex::new(()), state }))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// The wait would be longer than [`MAX_WAIT`]: how long it would be.
    pub(super) async fn turn(&self) -> Result<(), Duration> {
        self.turn_within(MAX_WAIT).await
    }

    /// The same, however long it takes.
    pub(super) async fn turn_at_last(&self) {
        // No wait is longer than that.
        let _: Result<(), Duration> = self.turn_within(Duration::MAX).await;
    }

    async fn turn_within(&self, longest: Duration) -> Result<(), Duration> {
        let Some(bucket) = &self.0 else { return Ok(()) };
        let place = bucket.enter(Instant::now(), longest)?;
        let first = bucket.queue.lock().await;
        sleep_until(bucket.turn(0)).await;
        let mut state = bucket.state();
        state.next = state.next.max(Instant::now()) + bucket.interval;
        drop((state, first, place));
        Ok(())
    }
}

impl Bucket {
    /// Takes a place behind those who wait, unless the wait would be too long.
    fn enter(&self, now: Instant, longest: Duration) -> Result<Place<'_>, Duration> {
        let waiting = self.state().waiting;
        let wait = self.turn(waiting).saturating_duration_since(now);
        if wait > longest {
            return Err(wait);
        }
        self.state().waiting += 1;
        Ok(Place(self))
    }

    /// When one has its turn who has so many before it.
    fn turn(&self, before: u32) -> Instant {
        let now = Instant::now();
        let ideal = self.state().next.max(now) + self.interval.saturating_mul(before);
        ideal.checked_sub(self.slack).map_or(now, |turn| turn.max(now))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turns(limit: &RateLimit, count: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut turns = Vec::new();
        for _ in 0..count {
            limit.turn().await.unwrap();
            turns.push(start.elapsed().as_millis());
        }
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn calls_come_at_the_rate_after_a_burst() {
        assert_eq!(turns(&RateLimit::new(0.0, 0), 1000).await, vec![0; 1000]);
        let limit = RateLimit::new(10.0, 3);
        assert_eq!(turns(&limit, 5).await, [0, 0, 0, 100, 200]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(turns(&limit, 5).await, [0, 0, 0, 100, 200], "a bucket holds no more than its burst");
        assert_eq!(turns(&RateLimit::new(2.0, 0), 4).await, [0, 0, 500, 1000], "the burst is a second's");
        assert_eq!(turns(&RateLimit::new(0.5, 0), 2).await, [0, 2000], "or one");
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_refused_and_does_not_take_a_turn() {
        let limit = RateLimit::new(0.1, 1);
        let start = Instant::now();
        limit.turn().await.unwrap();
        let mut waiting = std::pin::pin!(limit.turn());
        assert!(futures_util::poll!(&mut waiting).is_pending(), "waits 10 s");
        for _ in 0..100 {
            assert_eq!(limit.turn().await, Err(Duration::from_secs(20)));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_wait_for_long_may_all_the_same() {
        let limit = RateLimit::new(0.1, 1);
        let start = Instant::now();
        futures_util::future::join_all((0..5).map(|_| limit.turn_at_last())).await;
        assert_eq!(start.elapsed(), Duration::from_secs(40));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_takes_no_turn() {
        let limit = RateLimit::new(1.0, 1);
        let start = Instant::now();
        limit.turn().await.unwrap();
        let mut others: Vec<_> = (0..10).map(|_| Box::pin(limit.turn())).collect();
        for other in &mut others {
            assert!(futures_util::poll!(other).is_pending());
        }
        assert_eq!(limit.turn().await, Err(Duration::from_secs(11)));
        let last = others.pop().unwrap();
        drop(others);
        last.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
