//! Pauses between tries.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Pauses that double, from a first one to a longest one.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// How many pauses there were since the last success.
    count: u32,
}

impl Backoff {
    /// Begins with `first`; no pause is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, count: 0 }
    }

    /// The next pause. The one after it is twice as long.
    pub fn pause(&mut self) -> Duration {
        let pause = self.peek();
        self.count = self.count.saturating_add(1);
        pause
    }

    /// How long the next pause is.
    pub fn peek(&self) -> Duration {
        self.first.saturating_mul(1 << self.count.min(16)).min(self.longest)
    }

    /// Whether there was no pause since the last success.
    pub const fn is_fresh(&self) -> bool {
        self.count == 0
    }

    /// A success: the next pause is a first one.
    pub const fn reset(&mut self) {
        self.count = 0;
    }
}

/// `pause` without a random part of up to a half: who lost the same thing at once does not come back at once.
pub fn spread(pause: Duration) -> Duration {
    // Good enough for that: the standard library's maps are seeded with the system's random numbers.
    let random = f64::from(RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        assert!(backoff.is_fresh());
        for pause in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            assert_eq!(backoff.peek(), Duration::from_millis(pause));
            assert_eq!(backoff.pause(), Duration::from_millis(pause));
        }
        (0..100).for_each(|_| assert_eq!(backoff.pause(), Duration::from_secs(10)));
        assert!(!backoff.is_fresh());
        backoff.reset();
        assert_eq!((backoff.is_fresh(), backoff.pause()), (true, Duration::from_millis(200)));
    }

    #[test]
    fn spread_pauses_are_not_alike() {
        let full = Duration::from_secs(1);
        let pauses: Vec<_> = (0..20).map(|_| spread(full)).collect();
        assert!(pauses.iter().all(|pause| (full / 2..=full).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
