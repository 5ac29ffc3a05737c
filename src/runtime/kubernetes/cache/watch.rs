//! The task behind a cache: lists, watches, and begins anew.
//!
//! Not kube's `watcher`, which does not show bookmarks and the beginnings of watches: they are how an idle namespace's cache
//! knows that it is not stale.

use std::{collections::hash_map::RandomState, hash::BuildHasher, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use tokio::time::{Instant, sleep, timeout};

use super::{IDLE_MARGIN, Shared, Watched, kind};
use crate::runtime::kubernetes::client::ApiFailure;

/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(800);

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// After so many failures in a row everything is listed again: whatever was done to the API server meanwhile, its versions may
/// be others.
const RELIST_AFTER: u32 = 3;

/// A watch that ends sooner is a failure: else one that a server always ends at once would be asked for without a pause.
const MIN_WATCH: Duration = Duration::from_millis(500);

/// Where nothing was heard for longer, what happened meanwhile may still be on its way behind the head of the next watch: the
/// API server sends it at once, and until that has passed again the cache is not taken for complete.
const SETTLING: Duration = Duration::from_secs(1);

/// From where a watch goes on.
struct Place {
    version: String,
    /// Until then everything had come.
    whole: Instant,
}

/// Watches for as long as it is polled.
pub(super) async fn run<K: Watched>(shared: Arc<Shared<K>>) {
    let kind = kind::<K>();
    let mut place = None;
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let Err(failure) = round(&shared, &mut place).await else {
            failures = 0;
            continue;
        };
        shared.metrics.restarted();
        // One that went well for long enough begins anew at the first wait.
        failures = if begun.elapsed() >= MAX_WAIT { 1 } else { failures + 1 };
        if failure.is_expired() || failure.is_missing_kind() || failures >= RELIST_AFTER {
            place = None;
        }
        shared.failed(&failure);
        if failures <= 2 {
            tracing::info!("the watch of {kind} begins anew: {failure}");
        } else {
            tracing::warn!("{kind} cannot be watched, so they are asked for one by one: {failure}");
        }
        shared.pause(wait(failures, random()).max(failure.retry_after.unwrap_or_default().min(MAX_WAIT))).await;
    }
}

/// Lists if there is no version to go on from, and watches until the watch ends as it should.
async fn round<K: Watched>(shared: &Shared<K>, place: &mut Option<Place>) -> Result<(), ApiFailure> {
    let from = match place {
        Some(from) => from,
        None => place.insert(Place { version: shared.list_anew().await?, whole: Instant::now() }),
    };
    let time = shared.watch_time();
    let params = WatchParams::default().labels(shared.label).timeout(u32::try_from(time.as_secs()).unwrap_or(1));
    let events = shared.cluster.observe("watch", shared.api.watch(&params, &from.version)).await?;
    let begun = Instant::now();
    let mut is_settling = from.whole.elapsed() > SETTLING;
    if !is_settling {
        shared.contact();
    }
    let mut events = pin!(events);
    let silence = time + IDLE_MARGIN;
    let mut has_told = false;
    loop {
        let patience = if is_settling { SETTLING.saturating_sub(begun.elapsed()) } else { silence };
        let event = match timeout(patience, events.next()).await {
            Ok(event) => event,
            Err(_) if is_settling => {
                is_settling = false;
                shared.contact();
                continue;
            }
            Err(_) => return Err(ApiFailure::timed_out(silence)),
        };
        let seen = match event {
            None if begun.elapsed() < MIN_WATCH => {
                return Err(ApiFailure::unintelligible("the API server ended the watch at once"));
            }
            // A watch from a version that is not there yet is silent: so is that of a store that was put back to an older state.
            None if !has_told && shared.went_back().await? => {
                *place = None;
                return Ok(());
            }
            None => {
                from.whole = Instant::now();
                return Ok(());
            }
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(WatchEvent::Error(status))) => return Err(ApiFailure::from_status(*status)),
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                let seen = object.meta().resource_version.clone();
                shared.lock().entries.note(object, None);
                seen
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                shared.lock().entries.delete(&object);
                object.meta().resource_version.clone()
            }
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                is_settling = false;
                Some(bookmark.metadata.resource_version)
            }
        };
        if let Some(seen) = seen {
            shared.lock().entries.complete(&seen);
            from.version = seen;
        }
        has_told = true;
        is_settling &= begun.elapsed() < SETTLING;
        if !is_settling {
            shared.contact();
        }
    }
}

impl<K: Watched> Shared<K> {
    fn failed(&self, failure: &ApiFailure) {
        self.lock().failure = Some(failure.clone());
    }

    /// Waits, at least for the first wait; no longer once a read has shown that the API server is back.
    async fn pause(&self, time: Duration) {
        let mut back = pin!(self.back.notified());
        back.as_mut().enable();
        sleep(time.min(FIRST_WAIT)).await;
        // Whichever comes first.
        let _ = timeout(time.saturating_sub(FIRST_WAIT), back).await;
    }
}

/// How long to wait after so many failures in a row: between once and one and a half times the back-off, so that many replicas
/// do not come at the same time.
fn wait(failures: u32, random: f64) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_WAIT);
    wait.mul_f64(1.0 + random / 2.0)
}

/// A number from 0 to 1, good enough to spread retries.
fn random() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute() {
        let waits: Vec<u128> = (1..9).map(|failures| wait(failures, 0.0).as_millis()).collect();
        assert_eq!(waits, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(wait(u32::MAX, 1.0), Duration::from_secs(45));
        assert!((0..100).map(|_| random()).all(|random| (0.0..=1.0).contains(&random)));
    }
}
