//! What the system says of this process, by the names that Prometheus' client libraries share.

use procfs::process::Process;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use rustix::process::{Resource, getrlimit};

/// Reads `/proc/self` whenever somebody asks. What cannot be read is left out.
#[derive(Debug, Default)]
pub struct ProcessCollector;

/// What is read.
struct Reading {
    cpu_seconds: f64,
    start_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
    threads: i64,
    open_fds: u64,
}

#[expect(clippy::cast_precision_loss, reason = "what is lost is below a microsecond")]
fn read() -> Option<Reading> {
    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let boot = procfs::boot_time_secs().ok()? as f64;
    Some(Reading {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        start_seconds: boot + stat.starttime as f64 / ticks,
        virtual_bytes: stat.vsize,
        resident_bytes: stat.rss * procfs::page_size(),
        threads: stat.num_threads,
        open_fds: process.fd_count().ok()? as u64,
    })
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            gauge(&mut encoder, "process_max_fds", "Most file descriptors that may be open", None, limit)?;
        }
        let Some(reading) = read() else { return Ok(()) };
        let cpu = ConstCounter::new(reading.cpu_seconds);
        let help = "Processor time used, in user and system mode";
        let descriptor = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?;
        cpu.encode(descriptor)?;
        let start = ConstGauge::new(reading.start_seconds);
        let help = "When the process was started, since the epoch";
        let descriptor =
            encoder.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), start.metric_type())?;
        start.encode(descriptor)?;
        let bytes = Some(&Unit::Bytes);
        gauge(&mut encoder, "process_resident_memory", "Memory in use", bytes, reading.resident_bytes)?;
        gauge(&mut encoder, "process_virtual_memory", "Address space in use", bytes, reading.virtual_bytes)?;
        gauge(&mut encoder, "process_threads", "Threads", None, u64::try_from(reading.threads).unwrap_or(0))?;
        gauge(&mut encoder, "process_open_fds", "File descriptors that are open", None, reading.open_fds)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> std::fmt::Result {
    let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    value.encode(encoder.encode_descriptor(name, help, unit, value.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        let reading = read().expect("a Linux system");
        assert!(reading.cpu_seconds >= 0.0 && reading.resident_bytes > 1024 * 1024 && reading.threads >= 1);
        assert!(reading.open_fds >= 3 && reading.virtual_bytes > reading.resident_bytes);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((0.0..86_400.0).contains(&(now - reading.start_seconds + 1.0)), "{}", reading.start_seconds);
    }
}
