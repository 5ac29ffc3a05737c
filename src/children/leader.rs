//! A process and the group that it leads.

use std::{io, os::unix::process::ExitStatusExt, process::Stdio};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, waitid},
};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    signal::unix::{Signal as SignalStream, SignalKind, signal},
};

use super::send;

/// The exit code when it cannot be known.
pub const UNKNOWN: i32 = 255;

/// What is added to a signal's number when it ended a process, as a shell does.
const SIGNALLED: i32 = 128;

/// A program that was started as the leader of a process group. Dropping it kills the group.
///
/// The group is only ever killed before the leader is waited for: until then the kernel gives its number to no one
/// else.
pub struct Leader {
    child: Child,
    group: Pid,
    /// Something happened to some child of the gateway.
    child_changed: SignalStream,
}

/// The leader's two outputs.
pub type Pipes = (ChildStdout, ChildStderr);

impl Leader {
    /// Starts a program, with nothing to read and two pipes for its outputs. Within a runtime.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(mut command: Command) -> io::Result<(Self, Pipes)> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut leader = Self::spawn_with_outputs(command)?;
        let pipes = leader.child.stdout.take().zip(leader.child.stderr.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((leader, pipes))
    }

    /// Starts a program whose outputs were told, with nothing to read. Within a runtime.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn_with_outputs(mut command: Command) -> io::Result<Self> {
        let child_changed = signal(SignalKind::child())?;
        let child = command.process_group(0).kill_on_drop(true).stdin(Stdio::null()).spawn()?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { child, group, child_changed })
    }

    /// Its group, which must not be signalled any more once [`Leader::end`] or [`Leader::reap`] has begun.
    pub fn group(&self) -> Pid {
        self.group
    }

    /// The process id, which is also the group's.
    pub fn pid(&self) -> u32 {
        self.group.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits until the leader has exited, and leaves it unreaped. Gives its exit code; 128 and the signal's number if one
    /// ended it.
    pub async fn exited(&mut self) -> i32 {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.group), options) {
                Ok(Some(status)) => {
                    return code(status.exit_status(), status.terminating_signal());
                }
                Ok(None) | Err(Errno::INTR) => {
                    self.child_changed.recv().await;
                }
                // It is no child of ours any more.
                Err(_) => return UNKNOWN,
            }
        }
    }

    /// Kills what is left of the group and gives the leader's exit code.
    pub async fn end(self) -> i32 {
        send(self.group, Signal::KILL);
        self.reap().await
    }

    /// Waits for the leader and gives its exit code. What is left of its group goes on, and can no longer be signalled.
    pub async fn reap(mut self) -> i32 {
        match self.child.wait().await {
            Ok(status) => code(status.code(), status.signal()),
            Err(error) => {
                tracing::warn!(%error, pid = self.pid(), "a program's exit code is unknown");
                UNKNOWN
            }
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            send(self.group, Signal::KILL);
        }
    }
}

/// An exit code as a shell tells it.
fn code(exit: Option<i32>, signal: Option<i32>) -> i32 {
    exit.or(signal.map(|signal| SIGNALLED + signal)).unwrap_or(UNKNOWN)
}

/// Whether a failed start is the machine's fault and not the program's.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}
