//! The load of the machine. Local processes have no limits of their own, so the figures are the whole machine's.

use std::{fs, io, thread::available_parallelism, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

/// The time between two samples of the processors' ticks, whose difference is the load.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// What is told of the machine (execd's description, `Metrics`).
#[derive(Debug, Serialize)]
pub struct Load {
    /// How many processors may be used.
    pub cpu_count: f64,
    /// How much of the processors' time was used, in per cent of all of it.
    pub cpu_used_pct: f64,
    /// The memory, in MiB.
    pub mem_total_mib: f64,
    /// How much of it is not available to programs, in MiB.
    pub mem_used_mib: f64,
    /// When, in Unix milliseconds.
    pub timestamp: i64,
}

/// The processors' time since the machine was started, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    used: u64,
    all: u64,
}

impl Ticks {
    /// Up to now.
    ///
    /// # Errors
    /// The machine has no `/proc/stat`.
    pub fn now() -> io::Result<Self> {
        Self::read(&fs::read_to_string("/proc/stat")?).ok_or_else(|| odd("/proc/stat"))
    }

    /// From the text of `/proc/stat`, whose first line is all processors: user, nice, system, idle, iowait, irq, softirq, steal.
    fn read(text: &str) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
        let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let all = ticks.iter().sum::<u64>();
        let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
        Some(Self { used: all - idle, all })
    }

    /// The share that was used from `self` to `later`, in per cent.
    fn share(self, later: Self) -> f64 {
        let all = later.all.saturating_sub(self.all);
        if all == 0 { 0.0 } else { 100.0 * later.used.saturating_sub(self.used) as f64 / all as f64 }
    }
}

impl Load {
    /// The load since `before`.
    ///
    /// # Errors
    /// The machine does not tell.
    pub fn since(before: Ticks) -> io::Result<(Self, Ticks)> {
        let now = Ticks::now()?;
        let (total, available) = memory(&fs::read_to_string("/proc/meminfo")?).ok_or_else(|| odd("/proc/meminfo"))?;
        let mib = |kib: u64| kib as f64 / 1024.0;
        let load = Self {
            cpu_count: available_parallelism().map_or(1.0, |count| count.get() as f64),
            cpu_used_pct: before.share(now),
            mem_total_mib: mib(total),
            mem_used_mib: mib(total.saturating_sub(available)),
            timestamp: Timestamp::now().as_millisecond(),
        };
        Ok((load, now))
    }
}

/// The memory and what of it is available, in KiB.
fn memory(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_ascii_whitespace().next()?.parse().ok()
    };
    Some((field("MemTotal")?, field("MemAvailable")?))
}

fn odd(file: &str) -> io::Error {
    io::Error::other(format!("{file} has not what is expected in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        let before = Ticks::read("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let later = Ticks::read("cpu  40 0 20 100 30 0 0 10 0 0\n").unwrap();
        assert_eq!((before, before.share(later), before.share(before)), (Ticks { used: 20, all: 100 }, 50.0, 0.0));
        assert_eq!(memory("MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  512 kB\n"), Some((2048, 512)));
        assert!(Ticks::read("nothing").is_none() && memory("").is_none());
        let (load, _) = Load::since(Ticks::now().unwrap()).unwrap();
        assert!(load.mem_total_mib > load.mem_used_mib && load.mem_used_mib > 0.0 && load.cpu_count >= 1.0);
    }
}
