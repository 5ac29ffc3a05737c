//! A log that is followed, over the ends and breaks of its reads.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use super::{GONE_GRACE, LIVE_POLL, Machine, is_gone, late::LateRun};
use crate::{
    backoff::{Backoff, spread},
    error::{Error, Kind},
    logs::{
        LogError,
        backend::{Exit, Fate, State, Window},
        piece::{End, GapReason, Reason},
        record::Records,
    },
};

/// The pauses before a broken read is begun again.
pub(super) const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// A read that lasted so long was a good one: the next pause is a first one.
const GOOD: Duration = Duration::from_secs(5);

/// How long after the clean end of a log its sandbox may still be said to run.
const CLEAN_GRACE: Duration = Duration::from_secs(1);

/// The longest that a backend that is asked too much is waited for, before it is asked again.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long it is waited for in all, before it counts as lost.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long after the clean end of a log its process may be told to have ended, if that end was the log's.
const END_GRACE: Duration = Duration::from_secs(3);

impl Machine {
    /// Whether records are as new as the live read.
    pub(super) fn is_of_now(&self, records: &Records) -> bool {
        let age = i64::try_from(self.attached_at.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let begun = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX).saturating_sub(age);
        records.index.last().is_some_and(|last| last.place.time >= begun)
    }

    /// The first of the next live records that the log does not have behind the last one, as far as times tell: an engine of version
    /// 20.10 sends some again when it rotates a followed log.
    pub(super) fn repeated(&self, records: &Records) -> Option<usize> {
        if !self.is_live || !self.repeats {
            return None;
        }
        let mut latest = self.places.map(|place| place.map(|place| place.time));
        let mut before = [None; 2];
        records.iter().position(|(record, bytes)| {
            let index = record.stream.index();
            let time = record.place.time;
            let is_repeated = match latest[index] {
                Some(latest) if time < latest => true,
                // Each line has a time of its own.
                Some(latest) if time == latest => match (before[index], self.last) {
                    (Some(before), _) => before == bytes && bytes.ends_with(b"\n"),
                    (None, Some(last)) => last.is_like(record, bytes) && bytes.ends_with(b"\n"),
                    (None, None) => false,
                },
                _ => false,
            };
            (latest[index], before[index]) = (Some(time), Some(bytes));
            is_repeated
        })
    }

    /// Goes on behind the last record by another read.
    pub(super) async fn leave_repeating(&mut self) {
        self.drop_reader();
        let pause = PAUSES.peek();
        if self.attached_at.elapsed() < pause {
            sleep(pause).await;
        }
    }

    /// The reader is through, or broke off.
    pub(super) async fn reader_ended(&mut self, broken: Option<LogError>) -> Result<(), LogError> {
        let was_live = self.is_live;
        self.drop_reader();
        self.stalled = Duration::ZERO;
        self.was_clean = broken.is_none();
        self.polls = was_live && matches!(broken, Some(LogError::Interrupted(_)));
        if broken.is_some() || was_live {
            // It is read again.
            self.held_back = None;
        }
        match broken {
            Some(LogError::Interrupted(text)) if !self.follow => return Err(LogError::Interrupted(text)),
            Some(_) if !self.follow => return self.read_on_behind_cut().await,
            // What a clean end of what was there means, the next step finds out.
            None if !was_live => {
                let is_last = !self.follow || self.exit.is_some() || self.waits || self.is_run_over;
                self.is_to_be_checked = self.may_end_early && is_last;
                if !self.is_to_be_checked
                    && let Some(held) = self.held_back.take()
                {
                    self.take(held);
                }
                return Ok(());
            }
            _ => {}
        }
        // A refusal may take as long as that.
        let is_refusal = matches!(broken, Some(LogError::Refused(_)));
        if was_live && !is_refusal && self.attached_at.elapsed() >= GOOD {
            self.pauses.reset();
            self.lost = None;
        }
        self.lose();
        self.may_be_restarted = true;
        if !was_live {
            // What was there broke off: it is not read again at once.
            self.pause_or_give_up().await;
        }
        if self.is_ended { Ok(()) } else { self.after_cut().await }
    }

    /// A read that was not live broke off: what it has not given is read by another one, if that may help.
    async fn read_on_behind_cut(&mut self) -> Result<(), LogError> {
        if !self.backend.may_break_off() {
            self.end(End::of(Reason::BackendLost));
        }
        while !self.is_ended {
            self.pause_or_give_up().await;
            if self.is_ended {
                break;
            }
            match self.open_rest().await {
                Ok(()) => break,
                Err(error) if is_gone(&error) && !self.is_gone_since(GONE_GRACE) => {
                    tracing::debug!(%error, "a log that broke off is perhaps gone");
                }
                Err(error) if error.kind == Kind::NotFound => self.end(End::of(Reason::BackendLost)),
                Err(error) => tracing::debug!(%error, "a log that broke off cannot be gone on with"),
            }
        }
        Ok(())
    }

    /// There is no reader, and it is not over: follows on, or ends.
    pub(super) async fn open_next(&mut self) -> Result<(), LogError> {
        if let Some((mark, _)) = self.until_mark.take() {
            // It did not come: the token is not ours, or the log was changed meanwhile.
            if let Err(error) = self.catch_up(mark, false).await {
                self.refused(&error).await?;
            }
        } else if self.is_to_be_checked {
            self.check_end().await?;
        } else if let Some(exit) = self.exit {
            match self.backend.fate().await {
                Ok(Fate::Stays) => self.end(End { reason: Reason::Exited, exit }),
                Ok(Fate::Goes) => self.end(End::of(Reason::Removed)),
                Ok(Fate::IsReplaced) if self.is_past => self.end(End::of(Reason::Until)),
                Ok(Fate::IsReplaced) => (self.exit, self.waits, self.follow) = (None, true, true),
                Err(error) => self.refused(&error).await?,
            }
        } else if let Some(started) = self.next_run.filter(|_| self.is_run_over) {
            // The old run's records are through, and none of the new one's came with them.
            self.begin_run(started);
        } else if !self.follow {
            self.end(End::of(match () {
                () if self.is_over => Reason::Until,
                // It was taken away while it was read.
                () if self.is_rest_lost => Reason::BackendLost,
                () => Reason::Complete,
            }));
        } else if self.waits {
            self.wait_for_run().await?;
        } else if self.next_run.is_some() {
            // What is left of the old run comes first: a new one that is silent would never be told.
            self.is_run_over = true;
            self.read_rest().await?;
        } else {
            match self.attach().await {
                Ok(true) => {}
                Ok(false) => self.after_cut().await?,
                Err(error) => {
                    // Nor was the run read that was to be waited behind.
                    self.waits = false;
                    self.refused(&error).await?;
                }
            }
        }
        Ok(())
    }

    /// Looks whether there is more behind the last record than a read has given.
    async fn check_end(&mut self) -> Result<(), LogError> {
        (self.is_to_be_checked, self.may_end_early) = (false, false);
        let Err(error) = self.open_rest().await else {
            self.held_back = None;
            return Ok(());
        };
        if is_gone(&error) && !self.is_gone_for_good() {
            self.is_to_be_checked = true;
            self.pause_or_give_up().await;
            return Ok(());
        }
        // What is gone meanwhile was whole, as far as can be told.
        let was_whole = error.kind == Kind::NotFound
            || matches!(LogError::of(&error), Some(LogError::Interrupted(_)))
                && !matches!(self.backend.state().await, Ok(State::Running { .. }) | Err(_));
        if was_whole {
            if let Some(held) = self.held_back.take() {
                self.take(held);
            }
            return Ok(());
        }
        self.is_to_be_checked = true;
        self.refused(&error).await
    }

    /// A live read has ended: finds out why, and goes on or ends.
    pub(super) async fn after_cut(&mut self) -> Result<(), LogError> {
        let state = self.backend.state().await;
        if matches!(state, Ok(State::Ended { .. })) {
            let after = self.lose().elapsed() + self.waited;
            self.end_told.get_or_insert(after);
        }
        match state {
            Ok(State::Removed) => {
                self.end(End::of(Reason::Removed));
                Ok(())
            }
            Ok(State::Ended { started, .. }) if self.restarts || self.is_other_run(started) => {
                // A run that has begun and ended meanwhile is waited behind, or ends what was asked for.
                if let Some(started) = self.other_run(started) {
                    if self.leaves_for(started, true) {
                        return Ok(());
                    }
                    (self.next_run, self.is_run_over) = (Some(started), true);
                } else if self.is_left_silent().await? {
                    return Ok(());
                }
                self.waits = true;
                self.read_rest().await
            }
            Ok(State::Ended { exit, .. }) => {
                if self.is_left_silent().await? {
                    return Ok(());
                }
                self.exit = Some(exit);
                self.read_rest().await
            }
            Ok(State::Created) => {
                self.exit = Some(Exit::default());
                Ok(())
            }
            Ok(State::Replacing) => {
                self.wait_for_other();
                Ok(())
            }
            Ok(State::Running { started }) => {
                if let Some(started) = self.other_run(started) {
                    if self.leaves_for(started, true) {
                        return Ok(());
                    }
                    (self.next_run, self.is_run_over, self.waits) = (Some(started), true, false);
                    return self.read_rest().await;
                }
                if self.is_left_silent().await? {
                    return Ok(());
                }
                if std::mem::take(&mut self.polls) {
                    self.lost = None;
                    sleep(spread(LIVE_POLL)).await;
                } else {
                    self.pause_or_give_up().await;
                }
                Ok(())
            }
            Err(error) => self.refused(&error).await,
        }
    }

    /// Whether a run that has printed nothing was left for another one: no record tells of which run the log is.
    async fn is_left_silent(&mut self) -> Result<bool, LogError> {
        if !self.was_clean || self.last.is_some() {
            return Ok(false);
        }
        match self.late_run(true).await {
            Ok(LateRun::No) => return Ok(false),
            Ok(LateRun::Left) => {}
            Ok(LateRun::Next) => self.read_rest().await?,
            Err(error) => self.refused(&error).await?,
        }
        Ok(true)
    }

    /// Reads what is behind the last record, to the log's end.
    pub(super) async fn read_rest(&mut self) -> Result<(), LogError> {
        match self.open_rest().await {
            Ok(()) => Ok(()),
            Err(error) => {
                let lost = self.lose();
                let is_interrupted = matches!(LogError::of(&error), Some(LogError::Interrupted(_)));
                // There is no rest, if its end was told with that of its log. Else the node may have it in a moment.
                let is_whole = self.was_clean && self.end_told.is_some_and(|after| after < END_GRACE);
                let last_try = self.reconnect.saturating_sub(self.pauses.peek());
                let limit = if is_whole { CLEAN_GRACE } else { last_try };
                let is_lost =
                    if is_gone(&error) { self.is_gone_for_good() } else { is_interrupted && lost.elapsed() >= limit };
                if is_lost && !self.is_run_over {
                    // What has ended was taken away.
                    if !is_whole && self.exit.is_some() {
                        self.gap(GapReason::Rotated, self.last.map(|last| last.place.time), None);
                    } else {
                        self.is_rest_lost |= !is_whole;
                    }
                    return Ok(());
                }
                if is_gone(&error)
                    && is_lost
                    && let Some(started) = self.next_run
                {
                    // So was the next one, which has ended too: the state that is asked next says what to wait for.
                    self.pass_over(started);
                    return Ok(());
                }
                // The state is asked again after a pause.
                (self.exit, self.waits, self.is_run_over) = (None, false, false);
                self.refused(&error).await
            }
        }
    }

    async fn open_rest(&mut self) -> Result<(), Error> {
        match self.last {
            Some(mark) => self.catch_up(mark, true).await?,
            None => {
                let reader = self.backend.read(Window { last: None, follow: false }).await?;
                self.look_for_run_in_rest().await?;
                self.reader = Some(reader);
                self.is_live = false;
            }
        }
        self.gone = None;
        Ok(())
    }

    /// The backend could not be asked.
    pub(super) async fn refused(&mut self, error: &Error) -> Result<(), LogError> {
        if error.kind == Kind::NotFound {
            // What was read is gone. That need not be all of the sandbox.
            if let Ok(State::Removed) = self.backend.state().await {
                self.end(End::of(Reason::Removed));
                return Ok(());
            }
            self.may_be_restarted = true;
        }
        tracing::debug!(%error, "a log's backend cannot be asked; it is tried again");
        // What is left of the old run was not read. It may end while it cannot be.
        self.is_run_over = false;
        self.may_be_restarted |= self.backend.may_break_off();
        self.lose();
        let wait = error.retry_after.filter(|_| error.kind == Kind::Overloaded && self.waited < LONGEST_WAIT);
        let Some(wait) = wait else {
            self.pause_or_give_up().await;
            return Ok(());
        };
        // Who says that too much is asked of it, or this program itself by a limit of its own, is there: that is no loss.
        let begun = Instant::now();
        let waited = sleep(spread(wait.clamp(self.pauses.pause(), MAX_WAIT)));
        match self.deadline {
            Some(deadline) => _ = timeout_at(deadline, waited).await,
            None => waited.await,
        }
        self.waited += begun.elapsed();
        self.lost = self.lost.map(|lost| lost + begun.elapsed());
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.end(End::of(Reason::Until));
        }
        Ok(())
    }

    /// Whether that the log is gone for good, which is said now, was said before, as long ago as has to be; or whether it cannot be
    /// asked for once more.
    pub(super) fn is_gone_for_good(&mut self) -> bool {
        let lost = self.lose();
        self.is_gone_since(GONE_GRACE) || lost.elapsed() + self.pauses.peek() >= self.reconnect
    }

    /// Notes that the log is said to be gone for good. Whether that was said so long ago too.
    fn is_gone_since(&mut self, time: Duration) -> bool {
        self.gone.get_or_insert_with(Instant::now).elapsed() >= time
    }

    /// The backend is lost, since now if it was not.
    fn lose(&mut self) -> Instant {
        if self.lost.is_none() {
            (self.waited, self.end_told, self.gone) = (Duration::ZERO, None, None);
        }
        *self.lost.get_or_insert_with(Instant::now)
    }

    /// Waits before the next try, or ends the stream when the limit is over.
    pub(super) async fn pause_or_give_up(&mut self) {
        let lost = self.lose();
        let pause = self.pauses.pause();
        // An engine tells the end of a log a moment before it tells that of the process.
        let limit = if self.was_clean { self.reconnect.max(CLEAN_GRACE) } else { self.reconnect };
        if lost.elapsed() + pause > limit {
            return self.end(End::of(Reason::BackendLost));
        }
        sleep(spread(pause)).await;
    }
}
