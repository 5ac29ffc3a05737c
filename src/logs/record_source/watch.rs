//! Live reads that fall silent: a kubelet may lose sight of a log's file (kubernetes.md B5), and what is between may forget a
//! connection (B3). Neither tells.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    backoff::{Backoff, spread},
    error::Kind,
    logs::{
        backend::{Backend, Start, State},
        record::Mark,
    },
};

/// How often a silence doubles before the next look: an hour's silence costs some thirty looks.
const DOUBLINGS: u32 = 4;

/// How long after a look that found more a live read may take to bring it.
const GRACE: Duration = Duration::from_secs(2);

/// What a live read is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The last record that it gave, or that came before it.
    pub(super) last: Option<Mark>,
    /// When the run began.
    pub(super) started: Option<Start>,
    /// What a look found that was no news: another live read did not bring it either.
    pub(super) known: Option<Mark>,
}

/// Looks from time to time, while a live read is silent for `silence` and longer. Ends when there is something that it should have
/// told; gives the last record of the log then.
pub(super) async fn watch(backend: Arc<dyn Backend>, seen: Seen, silence: Duration) -> Option<Mark> {
    let mut pauses = Backoff::new(silence, silence * (1 << DOUBLINGS));
    loop {
        sleep(spread(pauses.pause())).await;
        let begun = Instant::now();
        let (state, newest) = match backend.look().await {
            Ok(look) => look,
            Err(error) if error.kind == Kind::NotFound => (State::Removed, None),
            // A backend that cannot be asked may come back, and its live reads with it.
            Err(error) => {
                tracing::debug!(%error, "a silent log cannot be looked at");
                continue;
            }
        };
        if seen.is_all(state, newest) {
            continue;
        }
        sleep(GRACE).await;
        let silent_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(silent_ms, ?state, "a live read of a log has fallen silent; it is begun again");
        return newest;
    }
}

impl Seen {
    /// Whether the live read has told all that there is to tell.
    fn is_all(&self, state: State, newest: Option<Mark>) -> bool {
        let is_the_run = match state {
            State::Running { started } => match (self.started, started) {
                (Some(seen), Some(started)) => seen.is_same(started),
                _ => true,
            },
            State::Created | State::Ended { .. } | State::Replacing | State::Removed => false,
        };
        // Its number is not known of one record alone.
        let key = |mark: Mark| (mark.stream, mark.place.time, mark.sum);
        let is_told = |newest| [self.last, self.known].into_iter().flatten().any(|mark| key(mark) == key(newest));
        is_the_run && newest.is_none_or(is_told)
    }
}
