//! A request for `GET /sandboxes/{sandboxId}/logs`: its query, and the headers that say the same (log-api.md §1).

mod filter;
mod media;
mod names;
mod time;

use std::{num::NonZeroU64, time::Duration};

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

pub use self::media::Media;
use super::{command_log, extract::Query};
use crate::{
    error::{Error, Family, Kind},
    logs::{
        LogQuery,
        cursor::Cursor,
        rendered::{Format, OnSlow, Rendering},
    },
    model::{
        read::{boolean, integer, literal, string_of},
        violation::{Invalid, Report},
    },
    problem::ApiError,
};

/// The one container whose log can be read, where there are not several.
const CONTAINER: &str = "sandbox";

/// The lengths that a container's name may have, in characters.
const CONTAINER_LENGTHS: std::ops::RangeInclusive<usize> = 1..=253;

/// What a sandbox has of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// One, of which there is one run.
    One,
    /// Several, each with the instance before the present one.
    Several,
}

/// What a browser's `EventSource` sends when it comes back (HTML Living Standard §9.2).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Seconds of silence before a ping.
const HEARTBEATS: std::ops::RangeInclusive<u64> = 1..=300;

/// What means nothing for the output of a command.
const WITHOUT_COMMAND: [&str; 7] = ["since", "until", "stdout", "stderr", "restarts", "container", "previous"];

/// What is asked for.
#[derive(Debug, Clone)]
pub struct LogRequest {
    /// What of the log is shown.
    pub query: LogQuery,
    /// How it is shown.
    pub rendering: Rendering,
    /// The answer's type.
    pub media: Media,
    /// The command whose output is asked for, instead of the main process's; a checked id.
    pub command: Option<String>,
}

/// Reads the query string, as it stands after the `?`, and the headers. Durations count back from `now`.
///
/// Of a repeated parameter the last counts, but for `grep` and `search`. One whose name begins with `_` is passed over.
///
/// # Errors
/// 422 with every parameter that is not known or not understood, then with those that do not go together; 400 for a token that
/// is not one of ours.
pub fn parse(
    query: &str,
    headers: &HeaderMap,
    now: jiff::Timestamp,
    containers: Containers,
) -> Result<LogRequest, ApiError> {
    let mut request = checked(query, headers, now, containers)?;
    request.query.after = after(&Query::parse(query), headers)?;
    if let Some(after) = request.query.after {
        // Only a header can have come with it. An `EventSource` repeats the tail with which it began.
        request.query.tail = None;
        // And the `since`: one that tells how long ago would leave out what was printed while the connection was cut. What came
        // before the record of the token is left out by that.
        let is_later = |since: &jiff::Timestamp| {
            after.mark.is_some_and(|mark| since.as_nanosecond() > i128::from(mark.place.time))
        };
        request.query.since = request.query.since.filter(|since| !is_later(since));
    }
    Ok(request)
}

/// All but the token.
fn checked(
    text: &str,
    headers: &HeaderMap,
    now: jiff::Timestamp,
    containers: Containers,
) -> Result<LogRequest, Invalid> {
    let query = Query::parse(text);
    let mut report = Report::new("query");
    let media = media(&query, headers, &mut report);
    let rendering = rendering(&query, media, &mut report);
    let read =
        LogQuery { filter: filter::read(text, &query, &mut report), ..read(&query, &mut report, now, containers) };
    let command = query.read(&mut report, "command", command);
    names::check(&query, &mut report);
    if report.is_clean() {
        check(&query, &read, media, &mut report);
    }
    let is_text = Rendering { heartbeat: rendering.heartbeat, ..Rendering::default() } == rendering;
    // Nothing was logged before 1970, and engines take no negative seconds.
    let since = read.since.map(|since| since.max(jiff::Timestamp::UNIX_EPOCH));
    let read = LogQuery { since, as_records: !is_text, ..read };
    report.finish(LogRequest { query: read, rendering, media, command })
}

fn read(query: &Query<'_>, report: &mut Report, now: jiff::Timestamp, containers: Containers) -> LogQuery {
    let follow = query.read(report, "follow", boolean).unwrap_or(false);
    let tail = query.read(report, "tail", |r, v| integer(r, v, 1..=u64::MAX)).and_then(NonZeroU64::new);
    let timestamps = query.read(report, "timestamps", boolean).unwrap_or(false);
    let since = query.read(report, "since", |r, v| time::read(r, v, now));
    let until = query.read(report, "until", |r, v| time::read(r, v, now));
    let stdout = query.read(report, "stdout", boolean).unwrap_or(true);
    let stderr = query.read(report, "stderr", boolean).unwrap_or(true);
    let (container, previous) = match containers {
        Containers::One => {
            query.read(report, "container", |r, v| literal(r, v, &[CONTAINER]));
            query.read(report, "previous", previous);
            (None, false)
        }
        Containers::Several => {
            let container = query.read(report, "container", |r, v| string_of(r, v, CONTAINER_LENGTHS));
            (container, query.read(report, "previous", boolean).unwrap_or(false))
        }
    };
    let restarts = query.read(report, "restarts", boolean).unwrap_or(false);
    LogQuery { follow, tail, timestamps, since, until, stdout, stderr, restarts, container, previous, ..LogQuery::ALL }
}

fn previous(report: &mut Report, value: &Value) -> Option<()> {
    if boolean(report, value)? {
        report.add_value_rule("only Kubernetes keeps the log of the run before this one.", value);
    }
    Some(())
}

fn command(report: &mut Report, value: &Value) -> Option<String> {
    let id = value.as_str().filter(|id| command_log::is_id(id));
    if id.is_none() {
        report.add_value_rule("a command's id has 1 to 128 letters, digits, dots, hyphens and underscores.", value);
    }
    id.map(str::to_owned)
}

fn media(query: &Query<'_>, headers: &HeaderMap, report: &mut Report) -> Media {
    let named = query.read(report, "format", |r, v| literal(r, v, &Media::NAMES));
    named.and_then(|name| Media::named(&name)).unwrap_or_else(|| {
        let all = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        Media::accepted(all)
    })
}

fn rendering(query: &Query<'_>, media: Media, report: &mut Report) -> Rendering {
    let heartbeat = query.read(report, "heartbeat", |r, v| integer(r, v, HEARTBEATS)).map(Duration::from_secs);
    let limit_bytes = query.read(report, "limit_bytes", |r, v| integer(r, v, 1..=u64::MAX)).and_then(NonZeroU64::new);
    let on_slow = query.read(report, "on_slow", |r, v| literal(r, v, &["block", "drop", "cut"]));
    let on_slow = match on_slow.as_deref() {
        Some("drop") => OnSlow::Drop,
        Some("cut") => OnSlow::Cut,
        _ => OnSlow::Block,
    };
    let notes = query.read(report, "notes", boolean).unwrap_or(false);
    let default = Rendering::default();
    let heartbeat = heartbeat.unwrap_or(default.heartbeat);
    Rendering { format: media.format(), notes, limit_bytes, heartbeat, on_slow, ..default }
}

fn check(query: &Query<'_>, read: &LogQuery, media: Media, report: &mut Report) {
    if read.since.zip(read.until).is_some_and(|(since, until)| since > until) {
        report.add_rule("since must not be later than until.");
    }
    if !read.stdout && !read.stderr {
        report.add_rule("stdout and stderr must not both be false.");
    }
    if query.last("command").is_some() {
        for name in WITHOUT_COMMAND.into_iter().filter(|name| query.last(name).is_some()) {
            report.add_rule(&format!(
                "{name} does not go with command: execd tells a command's lines, and nothing of them."
            ));
        }
    }
    if read.tail.is_some() && query.last("after").is_some() {
        report.add_rule("tail does not go with after: a token says where to begin.");
    }
    let is_text = media.format() == Format::Text;
    if is_text && query.last("heartbeat").is_some() {
        report.add_rule("heartbeat is for NDJSON and SSE only: text has no pings (format=ndjson or format=sse).");
    }
    if !is_text && query.last("notes").is_some() {
        report.add_rule("notes is for text only: NDJSON and SSE always tell gaps and ends.");
    }
}

/// The place that the client was at. The parameter wins over the header; a header without a value is none.
fn after(query: &Query<'_>, headers: &HeaderMap) -> Result<Option<Cursor>, Error> {
    let header = headers.get(LAST_EVENT_ID).map(http::HeaderValue::as_bytes).filter(|token| !token.is_empty());
    let Some(token) = query.last("after").map(str::as_bytes).or(header) else { return Ok(None) };
    let cursor = std::str::from_utf8(token).ok().and_then(Cursor::parse);
    let text = "This is no token of a log's record: after (or the header Last-Event-ID) takes the `id` of a record.";
    cursor.map(Some).ok_or_else(|| Error::new(Family::LogCursor, Kind::Invalid, text))
}

/// Whether the client takes trailer fields (RFC 9110 §10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::TE).iter().filter_map(|te| te.to_str().ok());
    all.flat_map(|te| te.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests;
