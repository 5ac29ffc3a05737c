//! The query of `GET /sandboxes/{sandboxId}/logs` (logs.md §5).

mod time;

use std::num::NonZeroU64;

use super::extract::Query;
use crate::{
    logs::LogQuery,
    model::{
        read::{boolean, integer, literal},
        violation::{Invalid, Report},
    },
};

/// The one container whose log can be read.
const CONTAINER: &str = "sandbox";

/// Reads the query string, as it stands after the `?`. Durations count back from `now`.
///
/// Parameters it does not know are passed over; of a repeated one the last counts.
///
/// # Errors
/// Every parameter that is not understood; then those that do not go together.
pub fn parse(query: &str, now: jiff::Timestamp) -> Result<LogQuery, Invalid> {
    let query = Query::parse(query);
    let mut report = Report::new("query");
    let read = read(&query, &mut report, now);
    if report.is_clean() {
        check(&read, &mut report);
    }
    // Nothing was logged before 1970, and engines take no negative seconds.
    let since = read.since.map(|since| since.max(jiff::Timestamp::UNIX_EPOCH));
    report.finish(LogQuery { since, ..read })
}

fn read(query: &Query<'_>, report: &mut Report, now: jiff::Timestamp) -> LogQuery {
    let follow = query.read(report, "follow", boolean).unwrap_or(false);
    let tail = query.read(report, "tail", |r, v| integer(r, v, 1..=u64::MAX)).and_then(NonZeroU64::new);
    let timestamps = query.read(report, "timestamps", boolean).unwrap_or(false);
    let since = query.read(report, "since", |r, v| time::read(r, v, now));
    let until = query.read(report, "until", |r, v| time::read(r, v, now));
    let stdout = query.read(report, "stdout", boolean).unwrap_or(true);
    let stderr = query.read(report, "stderr", boolean).unwrap_or(true);
    query.read(report, "container", |r, v| literal(r, v, &[CONTAINER]));
    LogQuery { follow, tail, timestamps, since, until, stdout, stderr }
}

fn check(query: &LogQuery, report: &mut Report) {
    if query.since.zip(query.until).is_some_and(|(since, until)| since > until) {
        report.add_rule("since must not be later than until.");
    }
    if !query.stdout && !query.stderr {
        report.add_rule("stdout and stderr must not both be false.");
    }
}

#[cfg(test)]
mod tests;
