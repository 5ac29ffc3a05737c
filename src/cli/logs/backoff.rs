//! How long to wait before the connection is made anew.

use std::time::Duration;

use crate::backoff::{Backoff, spread};

/// The first wait.
const FIRST: Duration = Duration::from_millis(200);

/// The longest.
const LONGEST: Duration = Duration::from_secs(10);

/// Longest wait that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Waits that double from 0.2 s to 10 s, each shorter by a random part of up to a half.
#[derive(Debug)]
pub(super) struct Waits(Backoff);

impl Default for Waits {
    fn default() -> Self {
        Self(Backoff::new(FIRST, LONGEST))
    }
}

impl Waits {
    /// The next wait; not less than what the server asks for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let wait = spread(self.0.pause());
        asked.map_or(wait, |asked| asked.min(LONGEST_ASKED) + wait.min(FIRST))
    }

    /// Whether there was no wait since the last good connection.
    pub(super) fn is_fresh(&self) -> bool {
        self.0.is_fresh()
    }

    /// The connection is good again.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_not_asked_before_it_wants_to_be() {
        for (asked, least) in [(7, 7), (0, 0), (u64::MAX, 300)] {
            let wait = Waits::default().next(Some(Duration::from_secs(asked)));
            let least = Duration::from_secs(least);
            assert!((least..=least + FIRST).contains(&wait), "{wait:?}");
        }
        assert!((FIRST / 2..=FIRST).contains(&Waits::default().next(None)));
    }
}
