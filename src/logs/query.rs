//! What a client asked to see of a sandbox's log.

use std::num::NonZeroU64;

use jiff::Timestamp;

/// The checked query of `GET /sandboxes/{sandboxId}/logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Keep streaming until the sandbox exits.
    pub follow: bool,
    /// The last so many lines; all when absent.
    pub tail: Option<NonZeroU64>,
    /// An RFC 3339 time with nanoseconds before each logical line.
    pub timestamps: bool,
    /// Records of this time and later, to the nanosecond.
    pub since: Option<Timestamp>,
    /// Records of this time and earlier, to the nanosecond.
    pub until: Option<Timestamp>,
    /// Include the standard output. One of `stdout` and `stderr` is true.
    pub stdout: bool,
    /// Include the standard error.
    pub stderr: bool,
}
