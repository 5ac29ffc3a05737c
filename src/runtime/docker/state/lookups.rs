//! Engine calls for sandboxes that are not in the cache, shared and bounded: requests without an API key can cause them.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bollard::errors::Error as EngineError;
use tokio::sync::Semaphore;

use super::{find::query_failed, view::ContainerView};
use crate::{
    error::{Error, Family, Kind},
    keyed_lock::KeyedLock,
};

/// How many calls are under way at the same time.
const MAX_CALLS: usize = 16;

/// How many requests may wait for an answer; more are refused at once.
const MAX_WAITING: usize = 2048;

type Outcome = Result<Arc<ContainerView>, Error>;

/// The lookups that are under way, by sandbox.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Lookups {
    /// The latest outcome and when its call began, for as long as a caller waits.
    outcomes: KeyedLock<Option<(Instant, Outcome)>>,
    at_once: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { outcomes: KeyedLock::default(), at_once: Semaphore::new(MAX_CALLS), waiting: AtomicUsize::new(0) }
    }
}

/// Counts a request for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lookups {
    /// What `cached` gives once this caller has the lock; else the outcome of an inspection that began after this call, by
    /// another caller or by `inspect`. So concurrent callers cause at most two inspections, and none gets one that is older
    /// than its call.
    ///
    /// # Errors
    /// Those of `inspect`, or that it took longer than `timeout`, or that too many wait.
    pub(super) async fn share<F: Future<Output = Outcome>>(
        &self,
        id: &str,
        timeout: Duration,
        cached: impl Fn() -> Option<Arc<ContainerView>>,
        inspect: impl FnOnce() -> F,
    ) -> Outcome {
        let called_at = Instant::now();
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let text = "Failed to query sandbox containers: too many requests wait for the engine. Try again.";
            return Err(Error::new(Family::Query, Kind::Overloaded, text));
        }
        let _waiting = Waiting(&self.waiting);
        let shared = async {
            let mut latest = self.outcomes.lock(id).await;
            if let Some(view) = cached() {
                return Ok(view);
            }
            if let Some((_, outcome)) = latest.as_ref().filter(|(begun, _)| *begun >= called_at) {
                return outcome.clone();
            }
            // It is never closed.
            let _permit = self.at_once.acquire().await;
            let begun = Instant::now();
            let outcome = inspect().await;
            *latest = Some((begun, outcome.clone()));
            outcome
        };
        let timed_out = |_| Err(query_failed(EngineError::RequestTimeoutError));
        tokio::time::timeout(timeout, shared).await.unwrap_or_else(timed_out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn missing(count: &AtomicUsize) -> Outcome {
        count.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(Error::not_found("x"))
    }

    #[tokio::test]
    async fn however_many_ask_for_a_sandbox_two_calls_are_made_at_most() {
        let (lookups, count) = (Lookups::default(), AtomicUsize::new(0));
        let all = (0..500).map(|_| lookups.share("x", LONG, || None, || missing(&count)));
        assert!(join_all(all).await.iter().all(Result::is_err));
        assert!(count.load(Ordering::SeqCst) <= 2, "{count:?}");
    }

    #[tokio::test]
    async fn nobody_is_told_what_was_asked_before_the_question() {
        let (lookups, begun) = (Arc::new(Lookups::default()), Arc::new(Mutex::new(Vec::new())));
        let look = |begun: Arc<Mutex<Vec<Instant>>>| async move {
            begun.lock().unwrap().push(Instant::now());
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(Error::not_found("x"))
        };
        let first = lookups.share("x", LONG, || None, || look(begun.clone()));
        let second = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let called_at = Instant::now();
            let _ = lookups.share("x", LONG, || None, || look(begun.clone())).await;
            called_at
        };
        let (_, called_at) = tokio::join!(first, second);
        assert!(*begun.lock().unwrap().last().unwrap() >= called_at);
    }

    #[tokio::test]
    async fn calls_waiters_and_time_are_bounded() {
        let (lookups, running, most) = (Lookups::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let look = async || -> Outcome {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Err(Error::not_found("x"))
        };
        let ids: Vec<String> = (0..MAX_WAITING + 10).map(|n| n.to_string()).collect();
        let all = join_all(ids.iter().map(|id| lookups.share(id, LONG, || None, &look))).await;
        let refused =
            all.iter().filter(|one| one.as_ref().is_err_and(|e| e.key() == (Family::Query, Kind::Overloaded)));
        assert_eq!((refused.count(), most.into_inner()), (10, MAX_CALLS));
        assert_eq!(lookups.waiting.load(Ordering::SeqCst), 0);
        let hangs = lookups.share("x", Duration::from_millis(20), || None, std::future::pending);
        assert_eq!(hangs.await.unwrap_err().key(), (Family::Query, Kind::TimedOut));
    }
}
