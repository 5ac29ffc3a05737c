//! How many log streams may be open. A permit lives in the body, so it counts for as long as the stream does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::metrics::labels::Rejection;

/// The limits on open log streams; 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// In all.
    pub total: usize,
    /// A sandbox.
    pub per_sandbox: usize,
}

/// The streams that are open.
#[derive(Debug)]
pub struct Streams {
    limits: StreamLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_sandbox: HashMap<Arc<str>, usize>,
}

/// The right to one open stream; given back when dropped.
#[derive(Debug)]
pub struct StreamPermit {
    streams: Arc<Streams>,
    sandbox: Arc<str>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The one on all streams: so many.
    Total(usize),
    /// The one on a sandbox's streams: so many.
    PerSandbox(usize),
}

impl StreamPermit {
    /// The sandbox whose log it is.
    pub fn sandbox(&self) -> &Arc<str> {
        &self.sandbox
    }
}

impl LimitReached {
    /// The reason under which it is counted.
    pub fn rejection(self) -> Rejection {
        match self {
            Self::Total(_) => Rejection::GlobalLimit,
            Self::PerSandbox(_) => Rejection::SandboxLimit,
        }
    }
}

impl Streams {
    /// No stream is open yet.
    pub fn new(limits: StreamLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Counts one more stream of `sandbox`.
    ///
    /// # Errors
    ///
    /// A limit is reached.
    pub fn acquire(self: &Arc<Self>, sandbox: &str) -> Result<StreamPermit, LimitReached> {
        let StreamLimits { total, per_sandbox } = self.limits;
        let mut open = self.open();
        if total != 0 && open.total >= total {
            return Err(LimitReached::Total(total));
        }
        let (name, count) = match open.by_sandbox.get_key_value(sandbox) {
            Some((_, count)) if per_sandbox != 0 && *count >= per_sandbox => {
                return Err(LimitReached::PerSandbox(per_sandbox));
            }
            Some((name, count)) => (Arc::clone(name), count + 1),
            None => (Arc::from(sandbox), 1),
        };
        open.total += 1;
        open.by_sandbox.insert(Arc::clone(&name), count);
        Ok(StreamPermit { streams: Arc::clone(self), sandbox: name })
    }

    /// How many streams are open.
    pub fn count(&self) -> usize {
        self.open().total
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.total -= 1;
        if let Some(count) = open.by_sandbox.get_mut(&self.sandbox) {
            *count -= 1;
            if *count == 0 {
                open.by_sandbox.remove(&self.sandbox);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_count_until_they_are_dropped() {
        let streams = Streams::new(StreamLimits { total: 3, per_sandbox: 2 });
        let first = streams.acquire("a").expect("room");
        let _second = streams.acquire("a").expect("room");
        assert_eq!(streams.acquire("a").expect_err("full"), LimitReached::PerSandbox(2));
        let _third = streams.acquire("b").expect("room");
        assert_eq!(streams.acquire("c").expect_err("full"), LimitReached::Total(3));
        drop(first);
        assert_eq!(streams.count(), 2);
        streams.acquire("a").expect("room again");
    }

    #[test]
    fn zero_is_no_limit_and_nothing_remains_of_a_sandbox() {
        let streams = Streams::new(StreamLimits { total: 0, per_sandbox: 0 });
        let permits: Vec<_> = (0..100).map(|_| streams.acquire("a").expect("no limit")).collect();
        drop(permits);
        assert!(streams.open().by_sandbox.is_empty());
    }
}
