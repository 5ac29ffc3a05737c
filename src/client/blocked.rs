//! How long a client has taken nothing of what there is for it.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// What times are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Since when nothing is taken: milliseconds after [`START`], which may have gone round, made odd; 0 while there is nothing to
/// take, or it is taken. Small, since every connection has one; and no client is waited for as long as it takes to go round.
#[derive(Debug, Default)]
pub(super) struct Blocked(AtomicU32);

impl Blocked {
    /// Nothing has been taken since now.
    pub(super) fn begin(&self) {
        self.0.store(now() | 1, Ordering::Relaxed);
    }

    /// Something was taken.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How long nothing has been taken; zero when there is nothing to take.
    pub(super) fn time(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((now() | 1).wrapping_sub(since).into()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it goes round after 49 days")]
fn now() -> u32 {
    START.elapsed().as_millis() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_blocked_counts() {
        let blocked = Blocked::default();
        assert_eq!(blocked.time(), Duration::ZERO);
        blocked.begin();
        std::thread::sleep(Duration::from_millis(20));
        assert!(blocked.time() >= Duration::from_millis(19), "{:?}", blocked.time());
        blocked.end();
        assert_eq!(blocked.time(), Duration::ZERO);
    }
}
