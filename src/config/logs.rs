//! `[logs]`: the limits of log streaming. The Python server has no such section.

use std::num::NonZeroU32;
use std::time::Duration;

use super::section::{Floor, Section};

/// `[logs]`: `GET /sandboxes/{id}/logs`. The defaults suit five thousand
/// followers on one server, be it of five thousand sandboxes or of one.
#[derive(Debug, Clone)]
pub struct Logs {
    /// Log streams open at once; 0, here `None`, is unlimited. Default 10000:
    /// five thousand followers, and as many again while all of them reconnect.
    /// Each stream holds a connection of the client's and one of the runtime's,
    /// so two file descriptors, and is counted here rather than in
    /// `server.limit_concurrency`.
    pub max_streams: Option<NonZeroU32>,
    /// Log streams open at once of one sandbox; 0, here `None`, is unlimited.
    /// Default 8000: five thousand followers of one sandbox fit, with room for
    /// those that reconnect before their old stream is given up, and a fifth
    /// of `max_streams` is left to all other sandboxes.
    pub max_streams_per_sandbox: Option<NonZeroU32>,
    /// `write_stall_timeout_seconds`: how long a client may take no byte while
    /// there is one to send, before its stream is ended; more than 0 s.
    /// Default 60 s. A quiet log is no stall.
    pub write_stall_timeout: Duration,
    /// `buffer_bytes`: the largest piece that is read from the runtime at once,
    /// in bytes; 4096 to 1048576. Default 131072. A silent stream holds none; a
    /// client that has stopped taking holds about one.
    pub buffer_bytes: usize,
    /// `reconnect_seconds`: how long a followed stream whose connection to the
    /// runtime broke off, while its sandbox runs, is tried to be gone on with
    /// before it is ended; 0 s is never. Default 30 s.
    pub reconnect: Duration,
}

impl Logs {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            max_streams: section.limit("max_streams", 10_000),
            max_streams_per_sandbox: section.limit("max_streams_per_sandbox", 8_000),
            write_stall_timeout: section.seconds("write_stall_timeout_seconds", 60.0, Floor::Above(0.0)),
            buffer_bytes: section.integer("buffer_bytes", 131_072_usize, 4_096..=1_048_576),
            reconnect: section.seconds("reconnect_seconds", 30.0, Floor::AtLeast(0.0)),
        }
    }
}
