//! What a client asked to see of a sandbox's log.

use std::num::NonZeroU64;

use jiff::Timestamp;

use super::{cursor::Cursor, select::Filter};

/// The checked query of `GET /sandboxes/{sandboxId}/logs`, as far as it chooses what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a parameter")]
pub struct LogQuery {
    /// Keep streaming until the sandbox exits.
    pub follow: bool,
    /// The last so many lines; all when absent.
    pub tail: Option<NonZeroU64>,
    /// An RFC 3339 time with nanoseconds before each logical line of a text.
    pub timestamps: bool,
    /// Records of this time and later, to the nanosecond.
    pub since: Option<Timestamp>,
    /// Records of this time and earlier, to the nanosecond.
    pub until: Option<Timestamp>,
    /// Include the standard output. One of `stdout` and `stderr` is true.
    pub stdout: bool,
    /// Include the standard error.
    pub stderr: bool,
    /// With `follow`: go on when the sandbox's process is started again.
    pub restarts: bool,
    /// Go on behind this place. Not together with `tail`.
    pub after: Option<Cursor>,
    /// The container whose log it is, of those of a sandbox that has several; the sandbox's own without.
    pub container: Option<String>,
    /// The log of the instance before the present one.
    pub previous: bool,
    /// What lines are to contain.
    pub filter: Filter,
    /// The answer is made of records: it is to have their times, places and the end's reason.
    pub as_records: bool,
}

impl LogQuery {
    /// All of the log, as text.
    pub const ALL: Self = Self {
        follow: false,
        tail: None,
        timestamps: false,
        since: None,
        until: None,
        stdout: true,
        stderr: true,
        restarts: false,
        after: None,
        container: None,
        previous: false,
        filter: Filter::ALL,
        as_records: false,
    };

    /// Whether the answer is the log's bytes from the first on, with times or without, and needs no record's place.
    pub fn is_plain(&self) -> bool {
        let Self { tail, since, until, restarts, after, filter, as_records, .. } = self;
        let is_whole = tail.is_none() && since.is_none() && until.is_none() && after.is_none();
        is_whole && filter.is_empty() && !restarts && !as_records
    }
}
