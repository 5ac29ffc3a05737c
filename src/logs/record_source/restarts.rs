//! How a log goes over from one run to the next.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Machine, pieces::Pieces};
use crate::{
    error::Error,
    logs::{
        LogError,
        backend::{Fate, Start, State},
        cursor::RunId,
        piece::{End, GapReason, Reason},
    },
};

/// How often a sandbox whose process has ended is looked at, for who waits for the next run.
const RESTART_POLL: Duration = Duration::from_secs(1);

impl Machine {
    /// Looks whether another run has begun. Says what [`Self::attach`] does, if that is known then.
    pub(super) async fn look_for_restart(&mut self) -> Result<Option<bool>, Error> {
        match self.backend.state().await? {
            State::Running { started } => {
                if let Some(started) = self.other_run(started) {
                    if self.leaves_for(started, true) {
                        return Ok(Some(true));
                    }
                    self.next_run = Some(started);
                }
                Ok(None)
            }
            State::Replacing => {
                self.wait_for_other();
                Ok(Some(true))
            }
            State::Ended { .. } | State::Removed => Ok(Some(false)),
            State::Created => Ok(None),
        }
    }

    /// The run, if it is another one than the present.
    pub(super) fn other_run(&mut self, started: Option<Start>) -> Option<Start> {
        if std::mem::take(&mut self.was_created) {
            self.started = started;
        }
        started.filter(|_| self.is_other_run(started))
    }

    pub(super) fn is_other_run(&self, started: Option<Start>) -> bool {
        started
            .is_some_and(|started| !self.was_created && !self.started.is_some_and(|present| present.is_same(started)))
    }

    /// What ran is gone with its log: what comes in its place is waited for.
    pub(super) fn wait_for_other(&mut self) {
        (self.waits, self.is_rest_lost, self.lost, self.exit) = (true, true, None, None);
        (self.next_run, self.is_run_over) = (None, false);
    }

    /// Goes over to another run whose log begins with it; false if the log has the present run's records too. What is left of the
    /// present run's cannot be read any more: a gap tells, if that was not read to its end.
    pub(super) fn leaves_for(&mut self, started: Start, was_cut: bool) -> bool {
        if !started.begins_log {
            return false;
        }
        // Behind another pod's instance nothing came but this, if that one's end was waited for.
        let is_next = started.run.is_some_and(|run| run.is_next_of(self.run) || !run.is_later_than(self.run));
        let is_cut = was_cut && !(self.is_whole && started.run.is_some_and(|run| run.is_next_of(self.run)));
        if is_cut || self.is_rest_lost || !is_next {
            self.gap(GapReason::Rotated, self.last.map(|last| last.place.time), None);
        }
        self.forget_log();
        (self.waits, self.is_rest_lost, self.may_be_restarted, self.lost) = (false, false, false, None);
        self.begin_run(started);
        true
    }

    /// Goes over to the next run, of which there is no log any more, nor what was left of the present one's.
    pub(super) fn pass_over(&mut self, started: Start) {
        self.gap(GapReason::Rotated, self.last.map(|last| last.place.time), None);
        self.forget_log();
        self.begin_run(started);
        self.is_rest_lost = true;
    }

    /// What is read from now on has nothing of what was seen.
    fn forget_log(&mut self) {
        (self.last, self.places, self.numbers, self.until_mark) = (None, [None; 2], [None; 2], None);
        (self.pieces, self.joined) = (Pieces::default(), None);
    }

    /// Whether nothing is missing though the last record is not there: its run was read to its end, and what is there are the
    /// records of `run`, the next one. A node keeps one instance that has ended, which may be the next one already.
    pub(super) fn is_next_alone(&self, run: Option<RunId>) -> bool {
        let next = self.next_run.and_then(|next| next.run).filter(|next| next.is_next_of(self.run));
        self.is_whole && next.is_some_and(|next| run.is_none_or(|run| run == next))
    }

    /// Looks whether there is a next run, after a while.
    pub(super) async fn wait_for_run(&mut self) -> Result<(), LogError> {
        sleep(RESTART_POLL).await;
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.end(End::of(Reason::Until));
            return Ok(());
        }
        match self.backend.state().await {
            Ok(State::Removed) => self.end(End::of(Reason::Removed)),
            // Another run came and went since.
            Ok(State::Ended { started, .. }) if self.is_other_run(started) => {
                let Some(started) = self.other_run(started).filter(|started| !self.leaves_for(*started, false)) else {
                    return Ok(());
                };
                (self.next_run, self.is_run_over, self.is_whole) = (Some(started), true, !self.is_rest_lost);
                return self.read_rest().await;
            }
            Ok(State::Ended { .. }) => match self.backend.fate().await {
                Ok(Fate::Goes) => self.end(End::of(Reason::Removed)),
                Ok(Fate::Stays | Fate::IsReplaced) => self.lost = None,
                Err(error) => self.refused(&error).await?,
            },
            Ok(State::Created | State::Replacing) => self.lost = None,
            Ok(State::Running { started }) => {
                (self.lost, self.waits) = (None, false);
                let is_whole = !self.is_rest_lost;
                self.next_run = self.other_run(started).filter(|started| !self.leaves_for(*started, false));
                self.is_whole = is_whole && self.next_run.is_some();
            }
            Err(error) => self.refused(&error).await?,
        }
        Ok(())
    }
}
