//! A sandbox's process group, as long as it may be signalled.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};

/// The group that a sandbox's leader leads.
///
/// It is only signalled under this lock, and cleared before the leader is waited for: until then the kernel gives its
/// number to no one else.
#[derive(Debug, Default)]
pub(super) struct Group(Mutex<State>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// There is none, or no longer.
    #[default]
    None,
    Running(Pid),
    Paused(Pid),
}

/// Why a group was neither paused nor resumed.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is not in the state that this starts from.
    WrongState,
    /// The kernel refused.
    Failed(Errno),
}

impl Group {
    /// The leader runs.
    pub(super) fn set(&self, group: Pid) {
        *self.state() = State::Running(group);
    }

    /// The group must not be signalled any more.
    pub(super) fn clear(&self) {
        *self.state() = State::None;
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(*self.state(), State::Paused(_))
    }

    /// Stops the group's processes where they are.
    pub(super) fn pause(&self) -> Result<(), Refused> {
        let mut state = self.state();
        let State::Running(group) = *state else { return Err(Refused::WrongState) };
        kill_process_group(group, Signal::STOP).map_err(Refused::Failed)?;
        *state = State::Paused(group);
        Ok(())
    }

    /// Lets the group's processes go on.
    pub(super) fn resume(&self) -> Result<(), Refused> {
        let mut state = self.state();
        let State::Paused(group) = *state else { return Err(Refused::WrongState) };
        kill_process_group(group, Signal::CONT).map_err(Refused::Failed)?;
        *state = State::Running(group);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
