//! At most one renewal of a sandbox within an interval.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most sandboxes that are remembered. Beyond that, the one that was renewed longest ago is forgotten, and may be renewed
/// sooner than it should.
const MAX_SANDBOXES: usize = 8192;

/// When sandboxes were renewed.
#[derive(Debug)]
pub struct Cooldown {
    interval: Duration,
    renewed: Mutex<HashMap<String, Instant>>,
}

impl Cooldown {
    /// One renewal of a sandbox in `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, renewed: Mutex::default() }
    }

    /// Whether `id` may be renewed at `now`; if so, it counts as renewed.
    pub fn admits(&self, id: &str, now: Instant) -> bool {
        // Also after a panic elsewhere: the map is valid between any two statements.
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |then: &Instant| now.saturating_duration_since(*then) >= self.interval;
        if let Some(then) = renewed.get_mut(id) {
            let due = is_due(then);
            if due {
                *then = now;
            }
            return due;
        }
        if renewed.len() >= MAX_SANDBOXES {
            renewed.retain(|_, then| !is_due(then));
        }
        if renewed.len() >= MAX_SANDBOXES {
            forget_oldest(&mut renewed);
        }
        renewed.insert(id.to_owned(), now);
        true
    }
}

fn forget_oldest(renewed: &mut HashMap<String, Instant>) {
    let oldest = renewed.iter().min_by_key(|(_, then)| **then).map(|(id, _)| id.clone());
    if let Some(id) = oldest {
        renewed.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_renewal_in_the_time() {
        let cooldown = Cooldown::new(Duration::from_secs(60));
        let start = Instant::now();
        let admits = |id: &str, seconds| cooldown.admits(id, start + Duration::from_secs(seconds));
        assert!(admits("a", 0) && admits("b", 1));
        assert!(!admits("a", 59) && !admits("b", 60));
        assert!(admits("a", 60) && !admits("a", 61) && admits("b", 61));
    }

    #[test]
    fn the_memory_is_bounded() {
        let cooldown = Cooldown::new(Duration::from_secs(60));
        let start = Instant::now();
        for number in 0..MAX_SANDBOXES + 10 {
            assert!(cooldown.admits(&number.to_string(), start + Duration::from_nanos(number as u64)));
        }
        assert_eq!(cooldown.renewed.lock().unwrap().len(), MAX_SANDBOXES);
        assert!(!cooldown.admits("20", start), "kept");
        assert!(cooldown.admits("1", start), "forgotten");
        assert!(cooldown.admits("new", start + Duration::from_secs(61)));
        assert_eq!(cooldown.renewed.lock().unwrap().len(), 1, "what is over is not kept");
    }
}
