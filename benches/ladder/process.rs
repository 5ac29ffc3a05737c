//! Roles as processes.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// `program` in a session of its own, as an init system starts servers: of one session with the many threads that ask, the
/// kernel lets each server have what is left of one share (`sched_autogroup`).
pub fn in_session(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

/// A role that runs until this is dropped.
pub struct Role {
    child: Child,
    /// What it said first: where it listens.
    pub says: String,
}

impl Role {
    /// Starts this program in a role.
    pub fn start(words: &[&str]) -> Self {
        let mut command = in_session(std::env::current_exe().unwrap());
        let command = command.arg("role").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut says = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut says).unwrap();
        Self { child, says: says.trim().to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process, to the clock tick (10 ms).
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
