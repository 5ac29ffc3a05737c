//! A limit for log lines that anyone can cause without a key: one of each kind within an interval.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a line of one kind is left out after one was written.
pub const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// When a line of each kind was written last. Kinds are constants of the program, so there are few.
#[derive(Debug, Default)]
pub struct RateLimit(Mutex<BTreeMap<&'static str, State>>);

/// A line is to be written.
#[derive(Debug)]
pub struct Due {
    /// How many of its kind were left out since the last one, if any were: a field of the line.
    pub left_out: Option<u64>,
}

#[derive(Debug)]
struct State {
    written: Instant,
    left_out: u64,
}

impl RateLimit {
    /// Nothing was written.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Whether a line of this kind is due, and if so, what it says about those that were left out.
    pub fn due(&self, kind: &'static str) -> Option<Due> {
        let left_out = self.due_at(kind, Instant::now())?;
        Some(Due { left_out: Some(left_out).filter(|count| *count > 0) })
    }

    /// How many lines were left out since the last one, if one is due. Locks also after a panic elsewhere: the state is valid
    /// between any two statements.
    fn due_at(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = match kinds.get_mut(kind) {
            Some(state) if now.saturating_duration_since(state.written) < WARN_INTERVAL => {
                state.left_out += 1;
                return None;
            }
            Some(state) => state.left_out,
            None => 0,
        };
        kinds.insert(kind, State { written: now, left_out: 0 });
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_due_once_an_interval_and_says_what_was_left_out() {
        let (limit, start) = (RateLimit::new(), Instant::now());
        assert_eq!(limit.due_at("a", start), Some(0));
        for step in 0..10 {
            assert_eq!(limit.due_at("a", start + Duration::from_secs(step)), None);
        }
        assert_eq!(limit.due_at("b", start + Duration::from_secs(5)), Some(0));
        assert_eq!(limit.due_at("a", start + WARN_INTERVAL), Some(10));
        assert_eq!(limit.due_at("a", start + WARN_INTERVAL), None);
        assert_eq!(limit.due_at("a", start + 2 * WARN_INTERVAL), Some(1));
        assert_eq!(limit.due_at("a", start + 3 * WARN_INTERVAL), Some(0));
    }
}
