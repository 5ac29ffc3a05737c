//! Programs that the gateway starts for sandboxes that are local processes: a sandbox's own, and those that are run in it.
//!
//! Each leads a process group of its own, which is what is signalled. The kernel gives a group's number to no one else until
//! its leader has been waited for, and so nobody waits for a leader as long as its group may be signalled.

pub mod environment;
pub mod group;
pub mod leader;
pub mod notes;

use std::{
    fs,
    io::{self, ErrorKind},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};

/// No such process, as errno has it.
const ESRCH: i32 = Errno::SRCH.raw_os_error();

/// Sends a signal to a group, whose number must not be somebody else's by now. One that has ended needs none.
pub fn send(group: Pid, signal: Signal) {
    // A group of which nothing but its unreaped leader is left takes signals too, so an error is worth a line.
    if let Err(error) = kill_process_group(group, signal)
        && error != Errno::SRCH
    {
        tracing::warn!(%error, ?group, ?signal, "a sandbox's processes could not be signalled");
    }
}

/// When a process started, in clock ticks since boot; `None` when there is no such process, or no /proc.
///
/// # Errors
/// That cannot be told now: /proc cannot be read.
pub fn start_time(pid: u32) -> io::Result<Option<u64>> {
    // The start time is the 22nd field, the name the second.
    Ok(stat(&pid.to_string())?.and_then(|stat| field(&stat, 19)?.parse().ok()))
}

/// Whether processes besides its leader are left in a group, zombies not counted. Without /proc it cannot be told, and there
/// are none. Reads /proc, so it blocks.
pub fn has_company(group: Pid) -> bool {
    let leader = group.as_raw_nonzero().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            return false;
        };
        let stat = if pid == leader { None } else { stat(pid).ok().flatten() };
        stat.is_some_and(|stat| field(&stat, 2) == Some(&leader) && field(&stat, 0) != Some("Z"))
    })
}

fn stat(pid: &str) -> io::Result<Option<String>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(Some(String::from_utf8_lossy(&stat).into_owned())),
        // The second is a process that ends during the read.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A field of a process's `stat`, counted from the one behind the program's name: that one, in parentheses, may hold anything.
fn field(stat: &str, index: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(index)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command, thread::sleep, time::Duration};

    use super::*;

    #[test]
    fn a_leader_that_has_exited_may_leave_others_behind() {
        let group = |child: &std::process::Child| Pid::from_raw(child.id().cast_signed()).unwrap();
        let mut alone = Command::new("sh").args(["-c", "exit"]).process_group(0).spawn().unwrap();
        let mut leaves = Command::new("sh").args(["-c", "sleep 100 & exit"]).process_group(0).spawn().unwrap();
        sleep(Duration::from_millis(200));
        assert!(!has_company(group(&alone)) && has_company(group(&leaves)));
        rustix::process::kill_process_group(group(&leaves), rustix::process::Signal::KILL).unwrap();
        sleep(Duration::from_millis(200));
        assert!(!has_company(group(&leaves)));
        alone.wait().unwrap();
        leaves.wait().unwrap();
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!((field(stat, 19), field(stat, 2), field("7 (a) S 1", 19)), (Some("4711"), Some("7"), None));
        assert!(start_time(std::process::id()).unwrap().is_some());
        assert_eq!(start_time(4_194_305).unwrap(), None);
    }
}
