//! A run of which a backend tells late.
//!
//! A kubelet gives the log of a restarted container a moment before the API server says that there was a restart. Between the two
//! a read finds nothing that was seen before, as after a rotation.
//!
//! An engine that starts a container again keeps a read of its log waiting until it has. What was to be the rest of the run that
//! has ended has the first records of the next one then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Machine;
use crate::{
    error::Error,
    logs::{
        backend::{Start, State},
        cursor::RunId,
    },
};

/// For how long a restart may not be told yet. Seen on Kubernetes 1.36 on a busy machine: less than half a second.
const LATE: Duration = Duration::from_secs(2);

/// How often it is asked for.
const POLL: Duration = Duration::from_millis(200);

/// What a read was of in which nothing was found that was seen before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LateRun {
    /// The present run's log.
    No,
    /// The next run's, behind which the present one's can be read now.
    Next,
    /// Another run's that has nothing of the present one's: it was gone over to, or is waited for.
    Left,
}

impl Machine {
    /// Whether what was read is of another run than the present, of which the backend tells only now. It is asked for a while if
    /// the present run's log was read a moment ago (`was_live`), else once.
    pub(super) async fn late_run(&mut self, was_live: bool) -> Result<LateRun, Error> {
        if !self.backend.may_break_off() || self.next_run.is_some() {
            return Ok(LateRun::No);
        }
        let begun = Instant::now();
        loop {
            let is_last = !was_live || begun.elapsed() >= LATE;
            let state = if is_last { self.backend.state_now() } else { self.backend.state() };
            let (started, is_ended) = match state.await? {
                State::Running { started } => (started, false),
                State::Ended { started, .. } => (started, true),
                State::Replacing => {
                    self.wait_for_other();
                    return Ok(LateRun::Left);
                }
                State::Created | State::Removed => (None, false),
            };
            if let Some(started) = self.other_run(started) {
                return Ok(self.go_over_to(started, is_ended));
            }
            if is_last {
                return Ok(LateRun::No);
            }
            sleep(POLL).await;
        }
    }

    /// Looks whether the next run began before the read of the rest of the present one, which is told to have ended. A backend that
    /// names runs tells of which one each record is.
    pub(super) async fn look_for_run_in_rest(&mut self) -> Result<(), Error> {
        let is_named = self.started.is_some_and(|started| started.run.is_some());
        if is_named || self.next_run.is_some() || self.exit.is_none() && !self.waits {
            return Ok(());
        }
        let (started, is_ended) = match self.backend.state().await? {
            State::Running { started } => (started, false),
            State::Ended { started, .. } => (started, true),
            State::Created | State::Replacing | State::Removed => return Ok(()),
        };
        if let Some(started) = started.filter(|started| self.is_other_run(Some(*started))) {
            self.go_over_to(started, is_ended);
        }
        Ok(())
    }

    /// Whether records that a backend says are of this run are of the present one, as far as it tells.
    pub(super) fn is_present(&self, run: Option<RunId>) -> bool {
        run.is_none_or(|run| run == self.run)
    }

    /// That run is the next one.
    fn go_over_to(&mut self, started: Start, is_ended: bool) -> LateRun {
        // What was told as the end of the present run was told of it too late.
        self.exit = None;
        if self.leaves_for(started, true) {
            return LateRun::Left;
        }
        (self.next_run, self.is_run_over, self.waits) = (Some(started), true, is_ended);
        LateRun::Next
    }
}
