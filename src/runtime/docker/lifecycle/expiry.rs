//! Sandboxes that end by themselves: one task and one timer queue for all (docker-runtime.md §13).
//!
//! Before a sandbox is removed, its file, the engine's owner mark and the expiries that other gateways have shared are read
//! again. If one of them cannot be read, the sandbox is not removed.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_util::time::{DelayQueue, delay_queue::Key};

use crate::{
    error::{Family, Kind},
    error_chain,
    model::timestamp::Timestamp,
};

use super::{leftovers, owner::Verdict};
use crate::runtime::docker::{
    Inner,
    state::{
        find::{find, query_failed},
        view::ContainerView,
    },
};

/// The wait after the engine failed to remove a sandbox.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The first and the longest wait after it could not be told whether a sandbox ends; each is twice the one before.
const UNDECIDED_BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// How often the gateway checks whether its home still owns the engine.
const OWNER_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// How long to wait after a shared volume was lost, and after it could not be made again.
const LOST_DELAY: Duration = Duration::from_secs(3);

/// The longest single wait: a timer of years would overflow, and a change of the clock is noticed this soon.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How many sandboxes are removed at the same time.
const MAX_REMOVALS: usize = 8;

/// The sender to the task.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Expiry {
    tx: mpsc::UnboundedSender<Command>,
}

/// The task's receiver.
pub(in crate::runtime::docker) type Commands = mpsc::UnboundedReceiver<Command>;

/// A message to the task.
#[derive(Debug)]
pub(in crate::runtime::docker) enum Command {
    Arm(String, Timestamp),
    Suggest(String, Timestamp),
    Forget(String),
}

impl Expiry {
    pub(in crate::runtime::docker) fn new() -> (Self, Commands) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Self { tx }, rx)
    }

    /// The sandbox ends at `time`. This replaces earlier messages.
    pub(in crate::runtime::docker) fn arm(&self, id: &str, time: Timestamp) {
        self.send(Command::Arm(id.to_owned(), time));
    }

    /// The sandbox may end at `time`; an earlier time that is armed stays. A timer that fires too early does no harm, since the
    /// files are read again then.
    pub(in crate::runtime::docker) fn suggest(&self, id: &str, time: Timestamp) {
        self.send(Command::Suggest(id.to_owned(), time));
    }

    /// The sandbox is gone, or ends no more by itself.
    pub(in crate::runtime::docker) fn forget(&self, id: &str) {
        self.send(Command::Forget(id.to_owned()));
    }

    fn send(&self, command: Command) {
        // Without the task the runtime is shutting down: the next start restores the timers from the labels.
        let _ = self.tx.send(command);
    }
}

/// The timers, by sandbox.
#[derive(Default)]
struct Timers {
    queue: DelayQueue<String>,
    armed: HashMap<String, (Timestamp, Key)>,
    /// How often in a row it could not be told whether a sandbox ends.
    unknown: HashMap<String, u32>,
}

impl Timers {
    fn arm(&mut self, id: String, time: Timestamp) {
        self.wait(id, time, until(time).min(MAX_WAIT));
    }

    fn suggest(&mut self, id: String, time: Timestamp) {
        if self.armed.get(&id).is_none_or(|(armed, _)| time < *armed) {
            self.arm(id, time);
        }
    }

    fn wait(&mut self, id: String, time: Timestamp, delay: Duration) {
        self.forget(&id);
        let key = self.queue.insert(id.clone(), delay);
        self.armed.insert(id, (time, key));
    }

    fn forget(&mut self, id: &str) {
        if let Some((_, key)) = self.armed.remove(id) {
            self.queue.try_remove(&key);
        }
    }

    /// It cannot be told now whether the sandbox ends. The wait for the next look grows.
    fn not_now(&mut self, id: String) {
        let times = self.unknown.entry(id.clone()).or_default();
        let delay = growing(*times);
        *times = times.saturating_add(1);
        self.wait(id, Timestamp::now(), delay);
    }

    /// Applies the outcome for a sandbox whose timer fired.
    fn settled(&mut self, id: String, outcome: Outcome) {
        if outcome != Outcome::NotNow {
            self.unknown.remove(&id);
        }
        match outcome {
            Outcome::Gone => {}
            Outcome::Moved(time) => self.arm(id, time),
            Outcome::Failed => self.wait(id, Timestamp::now(), RETRY_AFTER),
            Outcome::NotNow => self.not_now(id),
            // A renewal arms it, and who owns the engine may change.
            Outcome::Left => self.wait(id, Timestamp::now(), MAX_WAIT),
        }
    }

    /// A timer ran out; gives the sandbox if its time has come. Another long wait begins if it has not.
    fn fired(&mut self, id: String) -> Option<String> {
        let (time, _) = self.armed.remove(&id)?;
        if time > Timestamp::now() {
            self.arm(id, time);
            return None;
        }
        Some(id)
    }
}

/// The wait after it could not be told so many times before.
fn growing(times: u32) -> Duration {
    UNDECIDED_BACK_OFF.0.saturating_mul(1 << times.min(16)).min(UNDECIDED_BACK_OFF.1)
}

/// How long it is until `time`; nothing for the past.
fn until(time: Timestamp) -> Duration {
    Duration::try_from(jiff::Timestamp::now().duration_until(time.to_jiff())).unwrap_or_default()
}

/// The outcome for a sandbox whose time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Gone,
    Moved(Timestamp),
    /// The engine failed.
    Failed,
    /// Whether its time has come cannot be told now.
    NotNow,
    /// Another gateway is to remove it.
    Left,
}

/// Restores the timers and removes sandboxes as their time comes, for as long as the process lives.
pub(in crate::runtime::docker) async fn run(inner: Arc<Inner>, mut commands: Commands) {
    let mut timers = Timers::default();
    let mut due: VecDeque<String> = VecDeque::new();
    let mut removals: FuturesUnordered<BoxFuture<'_, (String, Outcome)>> = FuturesUnordered::new();
    let mut restoring: Option<BoxFuture<'_, ()>> = Some(Box::pin(restore(&inner)));
    let mut standing: BoxFuture<'_, ()> = Box::pin(stand(&inner));
    loop {
        while removals.len() < MAX_REMOVALS
            && let Some(id) = due.pop_front()
        {
            removals.push(Box::pin(settle(&inner, id)));
        }
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Arm(id, time)) => timers.arm(id, time),
                Some(Command::Suggest(id, time)) => timers.suggest(id, time),
                Some(Command::Forget(id)) => {
                    timers.forget(&id);
                    timers.unknown.remove(&id);
                }
                None => return,
            },
            Some(expired) = timers.queue.next(), if !timers.queue.is_empty() => {
                due.extend(timers.fired(expired.into_inner()));
            }
            Some((id, outcome)) = removals.next() => timers.settled(id, outcome),
            () = &mut standing => {}
            () = async { if let Some(restoring) = &mut restoring { restoring.await } }, if restoring.is_some() => {
                restoring = None;
            }
        }
    }
}

/// Keeps the owner mark, the home's identity and the shared expiries on the engine up to date. Never ends.
async fn stand(inner: &Inner) {
    let mut is_lost = false;
    loop {
        // Makes the mark again as well.
        inner.stand().await;
        inner.is_at_home().await;
        is_lost = is_lost
            && inner
                .share_again()
                .await
                .inspect_err(|error| {
                    tracing::warn!(
                        error = error_chain::text(&error),
                        "what the engine tells of moved expiries could not be made right yet"
                    );
                })
                .is_err();
        is_lost |= tokio::time::timeout(OWNER_CHECK_INTERVAL, inner.owner.lost()).await.is_ok();
        if is_lost {
            // A prune takes many at once, and renewals take theirs.
            tokio::time::sleep(LOST_DELAY).await;
        }
    }
}

/// Arms a timer for every sandbox that has an expiry and removes leftovers; tries until the engine answers.
async fn restore(inner: &Inner) {
    loop {
        match inner.list().await {
            Ok(sandboxes) => {
                let timed = sandboxes.iter().filter_map(|sandbox| Some((&sandbox.id, sandbox.expires_at?)));
                // Only suggested: a renewal may have come since the list was made.
                let count = timed.map(|(id, time)| inner.expiry.suggest(id, time)).count();
                tracing::info!("Restored expiration timers for {count} sandbox(es).");
                leftovers::remove(inner).await;
                inner.clear_stage().await;
                return inner.clear_buckets().await;
            }
            Err(error) => {
                tracing::warn!(error = error_chain::text(&error), "the expiry timers could not be restored yet")
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Removes a sandbox whose time has come, unless its expiry was moved meanwhile. Holds the sandbox's lock from the look
/// at its expiry to its end, so that no renewal that was promised comes too late.
async fn settle(inner: &Inner, id: String) -> (String, Outcome) {
    // So that a shutdown waits for the removal: nothing would find what an interrupted one leaves.
    let Ok(_permit) = inner.changes.clone().acquire_owned().await else { return (id, Outcome::Failed) };
    let _lock = inner.change_locks.lock(&id).await;
    let container = match find(&inner.engine, &id).await {
        Ok(container) => container,
        Err(error) if error.key() == (Family::Sandbox, Kind::NotFound) => {
            inner.remove_orphaned(&id).await;
            return (id, Outcome::Gone);
        }
        Err(_) => return (id, Outcome::Failed),
    };
    let Some(view) = ContainerView::from_inspected(&container) else { return (id, Outcome::Gone) };
    let outcome = match inner.due(&id, &view).await {
        Ok(()) => {
            tracing::info!(sandbox = id, "expired");
            let removed = inner.remove(&id, &container).await;
            removed.map_or(Outcome::Failed, |()| Outcome::Gone)
        }
        Err(outcome) => outcome,
    };
    (id, outcome)
}

impl Inner {
    /// Whether a sandbox is to be removed now; else what becomes of it.
    async fn due(&self, id: &str, view: &ContainerView) -> Result<(), Outcome> {
        // Under another name it is anybody's container with the sandbox's label.
        if !view.is_named {
            return Err(Outcome::Left);
        }
        let moved = self.moved_expiry(id).await.map_err(|_| Outcome::NotNow)?;
        let not_yet = |time: Timestamp| if time > Timestamp::now() { Err(Outcome::Moved(time)) } else { Ok(()) };
        not_yet(moved.or(view.sandbox.expires_at).ok_or(Outcome::Gone)?)?;
        match self.may_end(id, view.created_by.as_deref(), moved.is_some()).await {
            Verdict::Remove => {}
            Verdict::Leave => return Err(Outcome::Left),
            Verdict::NotNow => return Err(Outcome::NotNow),
        }
        match self.shared_expiry(id).await {
            Ok(told) => told.map_or(Ok(()), not_yet),
            Err(error) => {
                query_failed(error);
                Err(Outcome::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_seconds(seconds: i64) -> Timestamp {
        Timestamp::from(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds))
    }

    #[tokio::test]
    async fn a_timer_of_centuries_is_no_overflow() {
        let mut timers = Timers::default();
        timers.arm("x".to_owned(), Timestamp::from(jiff::Timestamp::MAX));
        assert_eq!(timers.fired("x".to_owned()), None);
        assert!(timers.armed.contains_key("x"));
    }

    /// In real time, since sandboxes end by the wall clock.
    #[tokio::test]
    async fn ten_thousand_sandboxes_end_within_a_second_of_their_time() {
        let (mut timers, began) = (Timers::default(), jiff::Timestamp::now());
        for number in 0..10_000_i64 {
            let time = began + jiff::SignedDuration::from_micros(200_000 + number * 100);
            timers.arm(number.to_string(), in_seconds(500));
            timers.arm(number.to_string(), Timestamp::from(time));
        }
        let mut ended = 0;
        while let Some(expired) = timers.queue.next().await {
            let id = expired.into_inner();
            let time = timers.armed[&id].0.to_jiff();
            // A timer that is a moment early is armed again for the rest.
            let Some(id) = timers.fired(id) else { continue };
            let late = time.duration_until(jiff::Timestamp::now());
            assert!(!late.is_negative() && late < jiff::SignedDuration::from_secs(1), "{id}: {late}");
            ended += 1;
        }
        assert_eq!((ended, timers.armed.len()), (10_000, 0));
    }

    #[tokio::test]
    async fn a_past_time_has_come_and_a_moved_one_has_not() {
        let mut timers = Timers::default();
        timers.arm("x".to_owned(), in_seconds(-5));
        timers.arm("x".to_owned(), in_seconds(500));
        assert_eq!(timers.queue.len(), 1);
        timers.arm("y".to_owned(), in_seconds(-5));
        let fired = timers.queue.next().await.unwrap().into_inner();
        assert_eq!(timers.fired(fired), Some("y".to_owned()));
        timers.suggest("x".to_owned(), in_seconds(900));
        assert!(timers.armed["x"].0 < in_seconds(600), "a later time is worth less than an earlier one");
        timers.suggest("x".to_owned(), in_seconds(100));
        assert!(timers.armed["x"].0 < in_seconds(200));
        assert_eq!(timers.queue.len(), 1);
        timers.forget("x");
        assert!(timers.queue.is_empty());
        timers.suggest("z".to_owned(), in_seconds(5));
        assert_eq!(timers.queue.len(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_asked_again_after_growing_waits() {
        let waits: Vec<u64> = [0, 1, 2, 3, 8, 9, u32::MAX].map(|times| growing(times).as_secs()).to_vec();
        assert_eq!(waits, [1, 2, 4, 8, 256, 300, 300]);
        let mut timers = Timers::default();
        for times in 1..4 {
            timers.settled("x".to_owned(), Outcome::NotNow);
            assert_eq!((timers.unknown["x"], timers.queue.len()), (times, 1));
        }
        timers.settled("x".to_owned(), Outcome::Moved(in_seconds(60)));
        assert!(timers.unknown.is_empty() && timers.queue.len() == 1);
        timers.settled("x".to_owned(), Outcome::Left);
        assert_eq!(timers.queue.len(), 1, "a renewal elsewhere or here may come");
    }
}
