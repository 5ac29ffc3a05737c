//! The queries of diagnostics (http-api.md §18, logs.md §2.1).

use std::num::NonZeroU64;

use jiff::Timestamp;

use super::super::extract::Query;
use crate::{
    error::{self, Error, Family},
    logs::LogQuery,
    model::{diagnostics::Kind, read, violation::Report},
    problem::ApiError,
};

/// Most lines of a log that can be asked for.
const MAX_TAIL: u64 = 10_000;

/// Most entries of the events that can be asked for.
const MAX_EVENTS: u64 = 500;

/// What a `since` that is not understood means, in seconds. Clients of the existing server rely on an answer.
const DEFAULT_SINCE: u64 = 600;

/// `Warning` of an answer to a `since` that was not understood.
pub(super) const GUESSED_SINCE: &str =
    "299 opensandbox-gateway \"since was not understood: the last 600 seconds are shown\"";

/// A query for logs.
#[derive(Debug)]
pub(super) struct LogsQuery {
    /// The scope, if a descriptor is wanted.
    pub(super) scope: Option<&'static str>,
    pub(super) log: LogQuery,
    /// `since` was not understood.
    pub(super) guessed_since: bool,
}

/// A query for events.
#[derive(Debug)]
pub(super) struct EventsQuery {
    /// The scope, if a descriptor is wanted.
    pub(super) scope: Option<&'static str>,
    pub(super) limit: usize,
}

/// A query for a summary.
#[derive(Debug)]
pub(super) struct SummaryQuery {
    pub(super) log: LogQuery,
    /// How many lines of the log are asked for.
    pub(super) lines: u64,
    pub(super) limit: usize,
}

/// Reads the query of `diagnostics/logs`. `container` names one of a pod; on Docker it names nothing, a sandbox has one.
pub(super) fn logs(query: &str, now: Timestamp) -> Result<LogsQuery, ApiError> {
    let query = Query::parse(query);
    let mut report = Report::new("query");
    let tail = number(&query, &mut report, "tail", MAX_TAIL, 100);
    let tail = report.finish(tail)?;
    let scope = scope(&query, Kind::Logs)?;
    let (since, guessed_since) = query.last("since").map_or((None, false), |text| since(text, now));
    let container = query.last("container").filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(LogsQuery { scope, log: LogQuery { container, ..log(tail, since) }, guessed_since })
}

/// Reads the query of `diagnostics/events`.
pub(super) fn events(query: &str) -> Result<EventsQuery, ApiError> {
    let query = Query::parse(query);
    let mut report = Report::new("query");
    let limit = number(&query, &mut report, "limit", MAX_EVENTS, 50);
    let limit = report.finish(limit)? as usize;
    Ok(EventsQuery { scope: scope(&query, Kind::Events)?, limit })
}

/// Reads the query of `diagnostics/summary`.
pub(super) fn summary(query: &str) -> Result<SummaryQuery, ApiError> {
    let query = Query::parse(query);
    let mut report = Report::new("query");
    let lines = number(&query, &mut report, "tail", MAX_TAIL, 50);
    let limit = number(&query, &mut report, "event_limit", MAX_EVENTS, 20) as usize;
    report.finish(())?;
    Ok(SummaryQuery { log: log(lines, None), lines, limit })
}

fn number(query: &Query<'_>, report: &mut Report, name: &'static str, max: u64, default: u64) -> u64 {
    query.read(report, name, |r, v| read::integer(r, v, 1..=max)).unwrap_or(default)
}

/// The scope, trimmed and in lower case; the answer to a wrong one has it as it was written.
fn scope(query: &Query<'_>, kind: Kind) -> Result<Option<&'static str>, ApiError> {
    let Some(text) = query.last("scope") else { return Ok(None) };
    let scopes = kind.scopes();
    let named = text.trim().to_lowercase();
    if let Some(scope) = scopes.into_iter().find(|scope| *scope == named) {
        return Ok(Some(scope));
    }
    let message =
        format!("Unsupported {} diagnostics scope '{text}'. Supported scopes: {}.", kind.name(), scopes.join(", "));
    Err(Error::new(Family::DiagnosticsScope, error::Kind::Unsupported, message).into())
}

fn log(tail: u64, since: Option<Timestamp>) -> LogQuery {
    let tail = NonZeroU64::new(tail);
    LogQuery { tail, timestamps: true, since, ..LogQuery::ALL }
}

/// Reads `<digits><blanks?><s|m|h|d>` as a time before now. The second value tells whether the text was something else, so that
/// the default applies. A time before 1970 means the beginning of the log, and so does an empty text.
fn since(text: &str, now: Timestamp) -> (Option<Timestamp>, bool) {
    if text.is_empty() {
        return (None, false);
    }
    let understood = seconds(text);
    let second = now.as_second().saturating_sub_unsigned(understood.unwrap_or(DEFAULT_SINCE)).max(0);
    (Timestamp::new(second, now.subsec_nanosecond()).ok(), understood.is_none())
}

fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let factor = match unit.to_ascii_lowercase() {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text[..text.len() - unit.len_utf8()].trim_end();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // What is too large for the type is long before 1970.
    is_number.then(|| digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::new(1_000_000, 5).unwrap()
    }

    fn code(error: ApiError) -> String {
        match error.body.detail {
            Some(detail) => format!("{} {}", detail[0]["type"].as_str().unwrap(), detail[0]["loc"][1]),
            None => error.body.message,
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let LogsQuery { scope, log, guessed_since } = logs("", now()).unwrap();
        assert_eq!((scope, log.tail.unwrap().get(), log.since, guessed_since), (None, 100, None, false));
        assert!(log.timestamps && log.stdout && log.stderr && !log.follow);
        assert_eq!(events("").unwrap().limit, 50);
        let SummaryQuery { lines, limit, .. } = summary("").unwrap();
        assert_eq!((lines, limit), (50, 20));
    }

    #[test]
    fn bounds_are_kept_even_with_a_scope() {
        for (query, expected) in [
            ("tail=0", "greater_than_equal \"tail\""),
            ("tail=10001", "less_than_equal \"tail\""),
            ("tail=x&scope=zzz", "int_parsing \"tail\""),
            ("tail=&scope=container", "int_parsing \"tail\""),
        ] {
            assert_eq!(code(logs(query, now()).unwrap_err()), expected, "{query}");
        }
        assert_eq!(code(events("limit=501").unwrap_err()), "less_than_equal \"limit\"");
        assert_eq!(code(summary("event_limit=0").unwrap_err()), "greater_than_equal \"event_limit\"");
    }

    #[test]
    fn scopes_are_named_in_any_case() {
        assert_eq!(logs("scope=%20ALL%20", now()).unwrap().scope, Some("all"));
        assert_eq!(events("scope=Runtime").unwrap().scope, Some("runtime"));
        for (text, shown) in [("", ""), ("Bad", "Bad"), ("runtime", "runtime")] {
            let expected = format!("Unsupported logs diagnostics scope '{shown}'. Supported scopes: container, all.");
            assert_eq!(code(logs(&format!("scope={text}"), now()).unwrap_err()), expected);
        }
    }

    #[test]
    fn a_since_that_is_not_understood_is_ten_minutes() {
        for (text, back) in [("5s", 5), ("2m", 120), ("1H", 3_600), (" 1 d ", 86_400), ("0s", 0)] {
            assert_eq!(since(text, now()), (Timestamp::new(1_000_000 - back, 5).ok(), false), "{text:?}");
        }
        for text in ["garbage", "10", "1h30m", "-5m", "5.5s", " ", "s", "５s", "5µ", "+5s"] {
            assert_eq!(since(text, now()), (Timestamp::new(999_400, 5).ok(), true), "{text:?}");
        }
        assert_eq!(since("", now()), (None, false));
        for text in ["4000d", "99999999999999999999d"] {
            assert_eq!(since(text, now()), (Timestamp::new(0, 5).ok(), false), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(text in ".*", query in "(tail|since|scope|limit)=.*") {
            let _ = since(&text, now());
            let _ = logs(&query, now());
            let _ = events(&query);
        }
    }
}
