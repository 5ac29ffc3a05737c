//! How long one stream may keep its thread.
//!
//! Many streams share a thread, and an expression that a client chose can cost a thousand times more a line than another.

use std::time::{Duration, Instant};

/// Longest turn, about: a piece of work is not broken off.
pub const TURN: Duration = Duration::from_millis(5);

/// Most pieces of work between two looks at the clock. A look costs as much as an easy line.
const MAX_STEPS: u32 = 64;

/// One stream's turn.
#[derive(Debug)]
pub struct Turn {
    begun: Instant,
    looked: Instant,
    /// How many pieces of work there are between two looks: fewer when they were found to be hard.
    steps: u32,
    left: u32,
}

impl Turn {
    /// Begins one.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, looked: now, steps: 1, left: 1 }
    }

    /// Begins another one.
    pub fn begin(&mut self) {
        self.begun = Instant::now();
        self.looked = self.begun;
    }

    /// A piece of work was done: whether others are to have their turn.
    #[inline]
    pub fn is_over(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && self.look(Instant::now())
    }

    fn look(&mut self, now: Instant) -> bool {
        let is_hard = now.duration_since(self.looked) > TURN / 8;
        self.steps = if is_hard { (self.steps / 8).max(1) } else { (self.steps * 2).min(MAX_STEPS) };
        self.left = self.steps;
        self.looked = now;
        now.duration_since(self.begun) > TURN
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_work_is_looked_at_more_often() {
        let mut turn = Turn::new();
        let mut now = turn.begun;
        for _ in 0..10 {
            assert!(!turn.look(now));
        }
        assert_eq!(turn.left, MAX_STEPS);
        for steps in [MAX_STEPS / 8, 1, 1] {
            now += TURN / 4;
            assert!(!turn.look(now));
            assert_eq!(turn.left, steps);
        }
        assert!(turn.look(now + TURN));
    }
}
