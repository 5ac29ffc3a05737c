//! What a scrape sees: the sums over all streams.

use std::{fmt, sync::atomic::Ordering, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{LiveStreams, StreamInfo};
use crate::metrics::labels::{OfRuntime, OfSource, OfStream, StreamFormat};

/// How long a client has taken nothing when its stream counts as stalled.
const STALL_THRESHOLD: Duration = Duration::from_secs(1);

/// The numbers of all streams together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// By their format.
    pub(super) following: [i64; 3],
    pub(super) others: [i64; 3],
    pub(super) backends: i64,
    pub(super) stalled: i64,
    pub(super) sent: u64,
    pub(super) read: u64,
}

impl LiveStreams {
    pub(super) fn sums(&self) -> Sums {
        let open = self.lock();
        let mut sums = Sums { sent: open.sent, read: open.read, ..Sums::default() };
        for stream in open.streams.values() {
            let StreamInfo { follow, format, .. } = stream.info;
            (if follow { &mut sums.following } else { &mut sums.others })[format.index()] += 1;
            sums.backends += i64::from(!stream.is_released.load(Ordering::Relaxed));
            sums.stalled += i64::from(stream.client.blocked_for() >= STALL_THRESHOLD);
            sums.sent += stream.sent.load(Ordering::Relaxed);
            sums.read += stream.read.load(Ordering::Relaxed);
        }
        sums
    }
}

impl Collector for LiveStreams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Sums { following, others, backends, stalled, sent, read } = self.sums();
        let runtime = OfRuntime { runtime: self.runtime };
        let source = OfSource { runtime: self.runtime, source: self.source };
        let help = "Log streams that are open";
        let mut family = encoder.encode_descriptor("log_streams", help, None, MetricType::Gauge)?;
        for (follow, counts) in [("true", following), ("false", others)] {
            for (format, count) in StreamFormat::ALL.into_iter().zip(counts) {
                let labels = OfStream { runtime: self.runtime, format: format.label(), follow };
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Connections to the backend, or readers of files, that log streams are read from";
        let mut family = encoder.encode_descriptor("log_backend_streams", help, None, MetricType::Gauge)?;
        ConstGauge::new(backends).encode(family.encode_family(&runtime)?)?;
        let help = "Log streams whose client has taken nothing for a second or more of what there is for it";
        let family = encoder.encode_descriptor("log_write_stalled_streams", help, None, MetricType::Gauge)?;
        ConstGauge::new(stalled).encode(family)?;
        for (name, help, bytes) in [
            ("log_sent", "Bytes of logs that were handed over for clients", sent),
            ("log_read", "Bytes that were read from the backend for log streams", read),
        ] {
            let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Counter)?;
            ConstCounter::new(bytes).encode(family.encode_family(&source)?)?;
        }
        let help = "Time from a log request to the first byte from the backend, a sandbox's silence included";
        let mut family =
            encoder.encode_descriptor("log_first_byte", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        self.first_byte.encode(family.encode_family(&source)?)?;
        let help = "Time from when a log stream's client was seen to have left until the backend was let go of";
        let mut family = encoder.encode_descriptor("log_release", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        self.release.encode(family.encode_family(&runtime)?)
    }
}
