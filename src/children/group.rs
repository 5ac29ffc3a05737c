//! A process group, as long as it may be signalled.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};

use super::send;

/// The group that a leader leads.
///
/// It is only signalled under this lock, and cleared before the leader is waited for: until then the kernel gives its
/// number to no one else.
#[derive(Debug, Default)]
pub struct Group(Mutex<State>);

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
pub enum Refused {
    /// It is not in the state that this starts from.
    WrongState,
    /// The kernel refused.
    Failed(Errno),
}

impl Group {
    /// The leader runs.
    pub fn set(&self, group: Pid) {
        *self.state() = State::Running(group);
    }

    /// The group must not be signalled any more.
    pub fn clear(&self) {
        *self.state() = State::None;
    }

    /// Whether its processes were stopped where they are.
    pub fn is_paused(&self) -> bool {
        matches!(*self.state(), State::Paused(_))
    }

    /// Sends a signal to the group, if there is one.
    pub fn signal(&self, signal: Signal) {
        let state = self.state();
        let (State::Running(group) | State::Paused(group)) = *state else { return };
        send(group, signal);
    }

    /// Stops the group's processes where they are.
    ///
    /// # Errors
    /// It does not run, or the kernel refuses.
    pub fn pause(&self) -> Result<(), Refused> {
        let mut state = self.state();
        let State::Running(group) = *state else { return Err(Refused::WrongState) };
        kill_process_group(group, Signal::STOP).map_err(Refused::Failed)?;
        *state = State::Paused(group);
        Ok(())
    }

    /// Lets the group's processes go on.
    ///
    /// # Errors
    /// It is not paused, or the kernel refuses.
    pub fn resume(&self) -> Result<(), Refused> {
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
