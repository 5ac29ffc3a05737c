//! Whether the engine answers, so that a readiness probe of the gateway costs no engine call.
//!
//! The ping also finds an engine that accepts connections and answers nothing; a silent event stream does not show that.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bollard::errors::Error as EngineError;
use tokio::sync::Notify;

use super::text;
use crate::runtime::docker::Inner;

/// How long the engine may be out of reach before requests should go elsewhere: a restart of it takes less.
const UNREADY_AFTER: Duration = Duration::from_secs(30);

/// How often the engine is asked.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How long it may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Since when the engine has been out of reach, if it is.
#[derive(Debug, Default)]
pub(in crate::runtime::docker) struct Outage {
    since: Mutex<Option<Instant>>,
    wake: Notify,
}

impl Outage {
    /// Why requests cannot be served at `now`, if they cannot.
    pub(in crate::runtime::docker) fn fault(&self, now: Instant) -> Option<String> {
        let since = (*self.since.lock().unwrap_or_else(PoisonError::into_inner))?;
        let time = now.saturating_duration_since(since);
        (time >= UNREADY_AFTER).then(|| format!("The Docker Engine has been out of reach for {} s.", time.as_secs()))
    }

    /// Pings the engine now instead of at the end of the interval.
    pub(in crate::runtime::docker) fn ping_now(&self) {
        self.wake.notify_one();
    }

    /// Records the outcome of the ping that began at `began`, and logs a change.
    fn note(&self, began: Instant, answered: &Result<(), EngineError>) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        match answered {
            Ok(()) => {
                if let Some(since) = since.take() {
                    tracing::info!("the engine answers again, after {} s", since.elapsed().as_secs());
                }
            }
            Err(error) => {
                let out = *since.get_or_insert_with(|| {
                    tracing::warn!(error = text(error), "the engine is out of reach");
                    began
                });
                let (before, now) = (began.saturating_duration_since(out), out.elapsed());
                if before < UNREADY_AFTER && now >= UNREADY_AFTER {
                    tracing::error!(error = text(error), "the engine stays out of reach: not ready");
                }
            }
        }
    }
}

/// Asks the engine for as long as the process lives.
pub(in crate::runtime::docker) async fn watch(inner: Arc<Inner>) {
    loop {
        let began = Instant::now();
        let answer = tokio::time::timeout(PING_TIMEOUT, inner.engine.api.ping()).await;
        inner.outage.note(began, &answer.unwrap_or(Err(EngineError::RequestTimeoutError)).map(drop));
        // An error is the end of the interval.
        let _ = tokio::time::timeout(PING_INTERVAL, inner.outage.wake.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_out_of_reach_for_half_a_minute_is_a_fault_until_it_answers() {
        let (outage, start) = (Outage::default(), Instant::now());
        let failed = || Err(EngineError::RequestTimeoutError);
        let at = |seconds| start + Duration::from_secs(seconds);
        outage.note(start, &Ok(()));
        assert_eq!(outage.fault(at(100)), None);
        outage.note(start, &failed());
        outage.note(at(5), &failed());
        assert_eq!(outage.fault(at(29)), None);
        assert_eq!(outage.fault(at(42)).unwrap(), "The Docker Engine has been out of reach for 42 s.");
        outage.note(at(43), &Ok(()));
        assert_eq!(outage.fault(at(44)), None);
        outage.note(at(45), &failed());
        assert_eq!(outage.fault(at(46)), None, "each outage has its own time");
    }
}
