//! How long to wait before the connection is made anew.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);

/// The longest.
const LONGEST: Duration = Duration::from_secs(10);

/// Longest wait that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Waits that double from 0.2 s to 10 s, each shorter by a random part of up to a half, so that clients that lost the same
/// server do not come back at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// How many waits there were.
    count: u32,
}

impl Backoff {
    /// The next wait; not less than what the server asks for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = FIRST.saturating_mul(1 << self.count.min(16)).min(LONGEST);
        self.count = self.count.saturating_add(1);
        let wait = full.mul_f64(0.5 + random() / 2.0);
        asked.map_or(wait, |asked| asked.min(LONGEST_ASKED) + wait.min(FIRST))
    }

    /// Whether there was no wait since the last good connection.
    pub(super) fn is_fresh(&self) -> bool {
        self.count == 0
    }

    /// The connection is good again.
    pub(super) fn reset(&mut self) {
        self.count = 0;
    }
}

/// A number from 0 to 1, good enough to spread clients: the standard library's maps are seeded with the system's.
fn random() -> f64 {
    f64::from(RandomState::new().build_hasher().finish() as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_not_alike() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_fresh());
        for full in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let wait = backoff.next(None).as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        assert!(!backoff.is_fresh());
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        let waits: Vec<_> = (0..20).map(|_| Backoff::default().next(None)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }

    #[test]
    fn a_server_is_not_asked_before_it_wants_to_be() {
        for (asked, least) in [(7, 7), (0, 0), (u64::MAX, 300)] {
            let wait = Backoff::default().next(Some(Duration::from_secs(asked)));
            let least = Duration::from_secs(least);
            assert!((least..=least + FIRST).contains(&wait), "{wait:?}");
        }
    }
}
