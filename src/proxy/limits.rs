//! How many connections to sandboxes' servers may be open, in all and of one sandbox.
//!
//! A connection counts from before it is made until its socket is closed: while a head is waited for, while a body or a
//! tunnel lasts, and while it is idle in the [`super::pool`]. A client that knows a sandbox's id can open connections without a
//! key. Without a limit they would take the descriptors that the API and log streams need.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::telemetry::rate_limit::{Due, RateLimit};

/// The default limit on all connections is no higher: each holds a descriptor and a buffer of up to 128 KiB, 256 of them of
/// up to 512 KiB ([`super::buffers`]).
const MAX_DEFAULT: usize = 16_384;

/// Descriptors that are left for the engine, for log streams, files and listeners.
const RESERVE: usize = 1_024;

/// The part of all connections that one sandbox may have, if nothing is configured.
const SHARE: usize = 8;

/// The default limit on one sandbox's connections is no lower: as many may be idle.
const MIN_PER_SANDBOX: usize = 64;

/// The limits, and what counts against them.
#[derive(Debug)]
pub struct Limits {
    total: usize,
    per_sandbox: usize,
    /// How many connections there are; written under the lock.
    open: AtomicUsize,
    /// How many sandboxes have as many as they may; written under the lock.
    full: AtomicUsize,
    /// How many connections each sandbox has that has any.
    sandboxes: Mutex<HashMap<String, usize>>,
    /// Which of the warnings that a limit is reached were written when.
    warned: RateLimit,
}

/// The permit of one connection: it counts until this is dropped.
#[derive(Debug)]
pub struct Permit {
    limits: Arc<Limits>,
    id: String,
}

/// There are as many connections as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// So many, in all.
    Total(usize),
    /// So many, of the sandbox.
    PerSandbox(usize),
}

impl Limits {
    /// At most `total` connections, and `per_sandbox` of one sandbox.
    pub fn new(total: usize, per_sandbox: usize) -> Self {
        Self {
            total,
            per_sandbox,
            open: 0.into(),
            full: 0.into(),
            sandboxes: Mutex::default(),
            warned: RateLimit::new(),
        }
    }

    /// The limits that are configured. Where one is not: in all, half of the process's `descriptors` that `clients` leave, at
    /// least an eighth of all; of one sandbox, an eighth of that. `None` is a process whose descriptors have no limit.
    pub fn configured(
        total: Option<usize>,
        per_sandbox: Option<usize>,
        descriptors: Option<usize>,
        clients: usize,
    ) -> Self {
        let total = total.unwrap_or_else(|| {
            let descriptors = descriptors.unwrap_or(usize::MAX);
            let left = descriptors.saturating_sub(clients).saturating_sub(RESERVE);
            (left / 2).max(descriptors / 8).clamp(1, MAX_DEFAULT)
        });
        Self::new(total, per_sandbox.unwrap_or_else(|| (total / SHARE).max(MIN_PER_SANDBOX)).min(total))
    }

    /// How many connections there may be in all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A permit for one more connection to the sandbox `id`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn take(self: &Arc<Self>, id: &str) -> Result<Permit, LimitReached> {
        let mut sandboxes = self.sandboxes();
        let count = sandboxes.get(id).copied().unwrap_or_default();
        // Checked first, so that no other sandbox's connection is closed for one that has as many as it may.
        if count >= self.per_sandbox {
            return Err(LimitReached::PerSandbox(self.per_sandbox));
        }
        if self.open() >= self.total {
            return Err(LimitReached::Total(self.total));
        }
        sandboxes.insert(id.to_owned(), count + 1);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.full.fetch_add(usize::from(count + 1 == self.per_sandbox), Ordering::Relaxed);
        Ok(Permit { limits: Arc::clone(self), id: id.to_owned() })
    }

    /// Why the sandbox `id` can have no further connection, if it cannot. Costs two loads while no limit is reached.
    pub fn reached(&self, id: &str) -> Option<LimitReached> {
        let may_be_full = self.full.load(Ordering::Relaxed) > 0;
        if may_be_full && self.sandboxes().get(id).is_some_and(|count| *count >= self.per_sandbox) {
            return Some(LimitReached::PerSandbox(self.per_sandbox));
        }
        (self.open() >= self.total).then_some(LimitReached::Total(self.total))
    }

    /// Logs that the sandbox `id` was refused a connection. The rate is limited, since a client can repeat its requests.
    pub fn warn_rate_limited(&self, limit: LimitReached, id: &str) {
        let kind = match limit {
            LimitReached::Total(_) => "total",
            LimitReached::PerSandbox(_) => "per_sandbox",
        };
        let Some(Due { left_out }) = self.warned.due(kind) else { return };
        match limit {
            LimitReached::Total(limit) => {
                tracing::warn!(left_out, "all {limit} connections to sandboxes are in use (proxy.max_connections)");
            }
            LimitReached::PerSandbox(limit) => tracing::warn!(
                sandbox = id,
                left_out,
                "all {limit} connections to a sandbox are in use (proxy.max_connections_per_sandbox)"
            ),
        }
    }

    /// Locks also after a panic elsewhere: the counts are valid between any two statements.
    fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Limits {
    /// No limits.
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Limits { per_sandbox, open, full, .. } = &*self.limits;
        let mut sandboxes = self.limits.sandboxes();
        open.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = sandboxes.get_mut(&self.id) {
            full.fetch_sub(usize::from(*count == *per_sandbox), Ordering::Relaxed);
            *count -= 1;
            if *count == 0 {
                sandboxes.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_counted_in_all_and_of_each_sandbox() {
        let limits = Arc::new(Limits::new(3, 2));
        let a = [limits.take("a").unwrap(), limits.take("a").unwrap()];
        assert_eq!(limits.take("a").unwrap_err(), LimitReached::PerSandbox(2));
        assert_eq!((limits.reached("a"), limits.reached("b")), (Some(LimitReached::PerSandbox(2)), None));
        let b = limits.take("b").unwrap();
        assert_eq!(limits.take("b").unwrap_err(), LimitReached::Total(3));
        assert_eq!(limits.reached("nobody"), Some(LimitReached::Total(3)));
        drop(a);
        assert_eq!((limits.open(), limits.reached("a"), limits.full.load(Ordering::Relaxed)), (1, None, 0));
        drop(b);
        assert!(limits.sandboxes().is_empty(), "a sandbox without connections leaves nothing behind");
    }

    #[test]
    fn what_is_not_configured_leaves_descriptors_for_others() {
        let of = |total, per_sandbox, descriptors| {
            let limits = Limits::configured(total, per_sandbox, descriptors, 16_384);
            (limits.total, limits.per_sandbox)
        };
        assert_eq!(of(None, None, Some(1 << 20)), (16_384, 2_048));
        assert_eq!(of(None, None, None), (16_384, 2_048));
        assert_eq!(of(None, None, Some(20_000)), (2_500, 312));
        assert_eq!(of(None, None, Some(1_024)), (128, 64));
        assert_eq!(of(None, None, Some(64)), (8, 8));
        assert_eq!(of(Some(100), None, Some(1_024)), (100, 64));
        assert_eq!(of(Some(100), Some(7), Some(1_024)), (100, 7));
        assert_eq!(of(Some(100), Some(700), Some(1_024)), (100, 100));
    }
}
