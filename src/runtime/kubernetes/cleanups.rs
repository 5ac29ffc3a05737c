//! What is removed later: what failed creations and deletions leave, while the API server does not take its removal.
//!
//! It may take minutes, so it has places of its own: none of those that clients wait for.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{
    Scope,
    client::ApiFailure,
    namespaces::{MAX_CLEANUP_CALLS, MAX_CLEANUPS},
};

/// The longest pause between two attempts, whatever the API server asks for.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(64);

/// The removals that are under way.
pub(super) struct Cleanups {
    places: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// One that is under way, until it is dropped.
pub(super) struct Cleanup {
    _places: [OwnedSemaphorePermit; 2],
    /// Counts for [`Cleanups::close`].
    _task: TaskTrackerToken,
}

impl Cleanups {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_CLEANUPS as usize)),
            calls: Arc::new(Semaphore::new(MAX_CLEANUP_CALLS as usize)),
            tasks: TaskTracker::new(),
        }
    }

    /// A place for one. None if there are too many: then it has to keep the place of what it comes from.
    pub(super) fn begin(&self, scope: &Scope) -> Option<Cleanup> {
        let of_tenant = Arc::clone(&scope.places().cleanups).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Cleanup { _places: [of_tenant, of_all], _task: self.tasks.token() })
    }

    /// Waits until the API server may be asked, which it may be until what is given is dropped.
    pub(super) async fn turn(&self, scope: &Scope) -> Option<[OwnedSemaphorePermit; 2]> {
        // Nobody closes the semaphores.
        let of_tenant = Arc::clone(&scope.places().cleanup_calls).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.calls).acquire_owned().await.ok()?;
        Some([of_tenant, of_all])
    }

    /// Waits for those that are under way.
    pub(super) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// How long to wait after an attempt that failed.
pub(super) fn pause(own: Duration, failure: &ApiFailure) -> Duration {
    own.max(failure.retry_after.unwrap_or_default()).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_the_api_server_makes_a_pause_endless() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, &ApiFailure::timed_out(second)), second);
        // One that says when to ask again.
        assert_eq!(pause(second, &ApiFailure::limited(5 * second)), 5 * second);
        assert_eq!(pause(second, &ApiFailure::limited(3600 * second)), MAX_PAUSE);
    }
}
