//! A sandbox's process and the group that it leads.

use std::{io, os::unix::process::ExitStatusExt, process::Stdio};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    signal::unix::{Signal as SignalStream, SignalKind, signal},
};

use super::state_dir::SandboxDir;

/// The search path when the gateway has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The process that a sandbox was started with. Dropping it kills its group.
///
/// The group is only ever killed before the leader is waited for: until then the kernel gives its number to no one
/// else.
pub(super) struct Leader {
    child: Child,
    group: Pid,
    /// Something happened to some child of the gateway.
    child_changed: SignalStream,
}

/// The leader's two outputs.
pub(super) type Pipes = (ChildStdout, ChildStderr);

impl Leader {
    /// Starts `command`, whose first word is the program, in `directory`.
    pub(super) fn spawn(
        id: &str,
        command: &[String],
        env: Vec<(String, Option<String>)>,
        directory: &SandboxDir,
    ) -> io::Result<(Self, Pipes)> {
        let child_changed = signal(SignalKind::child())?;
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory.work()).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        set_environment(&mut command, id, env, directory);
        let mut child = command.spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
        Ok((Self { child, group, child_changed }, pipes))
    }

    /// Its group, which must not be signalled any more once [`Leader::end`] has begun.
    pub(super) fn group(&self) -> Pid {
        self.group
    }

    /// The process id, which is also the group's.
    pub(super) fn pid(&self) -> u32 {
        self.group.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits until the leader has exited, and leaves it unreaped.
    pub(super) async fn exited(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error would mean that it is no child of ours any more.
        while let Ok(None) | Err(Errno::INTR) = waitid(WaitId::Pid(self.group), options) {
            self.child_changed.recv().await;
        }
    }

    /// Kills what is left of the group and gives the leader's exit code; 128 and the signal's number if one ended it.
    pub(super) async fn end(mut self) -> i32 {
        self.kill();
        match self.child.wait().await {
            Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            Err(error) => {
                tracing::warn!(%error, pid = self.pid(), "a sandbox's exit code is unknown");
                255
            }
        }
    }

    fn kill(&self) {
        if let Err(error) = kill_process_group(self.group, Signal::KILL)
            && error != Errno::SRCH
        {
            tracing::warn!(%error, pid = self.pid(), "a sandbox's processes could not be ended");
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.kill();
        }
    }
}

/// A clean environment, the request's over it, and the id, which always wins (docker-runtime.md §3.2).
fn set_environment(command: &mut Command, id: &str, env: Vec<(String, Option<String>)>, directory: &SandboxDir) {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    command.env_clear().env("PATH", path).env("LANG", "C.UTF-8");
    command.env("HOME", directory.work()).env("TMPDIR", directory.temporary());
    for (name, value) in env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("OPENSANDBOX_ID", id);
}

/// Whether a failed start is the machine's fault and not the program's.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}
