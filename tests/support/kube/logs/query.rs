//! The parameters of `pods/log`, read as strictly as the API server reads them (§2).

use jiff::Timestamp;
use serde_json::json;

use super::{StreamGate, body::Answer, container::Stream, status};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pub(super) container: String,
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) skip_verification: bool,
    pub(super) tail: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) since_seconds: Option<i64>,
    /// Floored to the second.
    pub(super) since_time: Option<Timestamp>,
    /// The value of `stream`, if the API server knows it.
    pub(super) stream: Option<String>,
}

impl Query {
    /// Reads the query of a request for the log of `pod`.
    pub(super) fn read(pairs: &[(String, String)], pod: &str, gate: StreamGate) -> Result<Self, Answer> {
        let value = |name| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let is_true = |name| value(name).is_some_and(|value| value != "false" && value != "0");
        let since_seconds = integer(value("sinceSeconds"))?;
        let since_time =
            value("sinceTime").map(go_time).transpose().map_err(|message| status::bad_request(&message))?;
        let tail = integer(value("tailLines"))?;
        let limit = integer(value("limitBytes"))?;
        let stream = value("stream").filter(|_| gate != StreamGate::Unknown);
        let mut faults = Vec::new();
        if let Some(tail) = tail.filter(|tail| *tail < 0) {
            faults.push(Fault::invalid("tailLines", tail, "must be greater than or equal to 0"));
        }
        if let Some(limit) = limit.filter(|limit| *limit < 1) {
            faults.push(Fault::invalid("limitBytes", limit, "must be greater than 0"));
        }
        match since_seconds {
            Some(_) if since_time.is_some() => {
                faults.push(Fault::forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
            }
            Some(seconds) if seconds < 1 => {
                faults.push(Fault::invalid("sinceSeconds", seconds, "must be greater than 0"));
            }
            _ => {}
        }
        match stream {
            Some(_) if gate == StreamGate::Off => faults.push(Fault::forbidden("stream", "may not be specified")),
            Some("All") | None => {}
            Some("Stdout" | "Stderr") if tail.is_some() => {
                let text = "`tailLines` and specific `stream` are mutually exclusive for now";
                faults.push(Fault::forbidden("[]", text));
            }
            Some("Stdout" | "Stderr") => {}
            Some(value) => faults.push(Fault::unsupported("stream", value)),
        }
        if !faults.is_empty() {
            return Err(invalid(pod, &faults));
        }
        Ok(Self {
            container: value("container").unwrap_or_default().to_owned(),
            follow: is_true("follow"),
            previous: is_true("previous"),
            timestamps: is_true("timestamps"),
            skip_verification: is_true("insecureSkipTLSVerifyBackend"),
            tail: tail.and_then(|tail| u64::try_from(tail).ok()),
            limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            since_seconds,
            since_time,
            stream: stream.map(str::to_owned),
        })
    }

    /// The oldest record that is shown, `now` being the node's time.
    pub(super) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let Some(seconds) = self.since_seconds else { return self.since_time };
        // Go's duration overflows silently: of the largest number comes a time in the future.
        let nanoseconds = i128::from(seconds.wrapping_mul(1_000_000_000));
        Some(Timestamp::from_nanosecond(now.as_nanosecond() - nanoseconds).unwrap_or(Timestamp::MIN))
    }

    /// The one stream that is shown.
    pub(super) fn only(&self) -> Option<Stream> {
        match self.stream.as_deref() {
            Some("Stdout") => Some(Stream::Stdout),
            Some("Stderr") => Some(Stream::Stderr),
            _ => None,
        }
    }

    /// The query that the API server sends to the kubelet, as its errors show it.
    pub(super) fn to_kubelet(&self) -> String {
        let flag = |name, is_set: bool| is_set.then(|| format!("{name}=true"));
        let pairs = [
            flag("follow", self.follow),
            self.limit.map(|limit| format!("limitBytes={limit}")),
            flag("previous", self.previous),
            self.since_seconds.map(|seconds| format!("sinceSeconds={seconds}")),
            self.since_time.map(|time| format!("sinceTime={time:.0}").replace(':', "%3A")),
            self.stream.as_ref().map(|stream| format!("stream={stream}")),
            self.tail.map(|tail| format!("tailLines={tail}")),
            flag("timestamps", self.timestamps),
        ];
        let text = pairs.into_iter().flatten().collect::<Vec<_>>().join("&");
        if text.is_empty() { text } else { format!("?{text}") }
    }
}

fn integer(value: Option<&str>) -> Result<Option<i64>, Answer> {
    let Some(value) = value else { return Ok(None) };
    let is_number = value.strip_prefix(['+', '-']).unwrap_or(value).bytes().all(|byte| byte.is_ascii_digit());
    value.parse().map(Some).map_err(|_| {
        let why = if is_number && value.len() > 18 { "value out of range" } else { "invalid syntax" };
        status::bad_request(&format!("strconv.ParseInt: parsing {value:?}: {why}"))
    })
}

/// Reads a time as Go's `time.RFC3339` does, floored to the second.
fn go_time(text: &str) -> Result<Timestamp, String> {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    let mut rest = text;
    let fails = |rest: &str, at: &str| format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {at:?}");
    for part in ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"] {
        let is_number = part.as_bytes()[0].is_ascii_digit();
        let head = rest.as_bytes().get(..part.len());
        let fits = |head: &[u8]| if is_number { head.iter().all(u8::is_ascii_digit) } else { head == part.as_bytes() };
        if !head.is_some_and(fits) {
            return Err(fails(rest, part));
        }
        rest = &rest[part.len()..];
    }
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            rest = &fraction[digits..];
        }
    }
    let is_offset = |rest: &str| {
        let bytes = rest.as_bytes();
        bytes.len() == 6 && matches!(bytes[0], b'+' | b'-') && bytes[3] == b':'
    };
    if rest != "Z" && !is_offset(rest) {
        return Err(fails(rest, "Z07:00"));
    }
    let time: Timestamp = text.replace(',', ".").parse().map_err(|_| format!("parsing time {text:?}: out of range"))?;
    Ok(Timestamp::from_second(time.as_nanosecond().div_euclid(1_000_000_000) as i64).expect("in range before the cut"))
}

/// What is wrong with a field.
struct Fault {
    field: &'static str,
    reason: &'static str,
    message: String,
}

impl Fault {
    fn invalid(field: &'static str, value: i64, what: &str) -> Self {
        Self { field, reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {what}") }
    }

    fn forbidden(field: &'static str, what: &str) -> Self {
        Self { field, reason: "FieldValueForbidden", message: format!("Forbidden: {what}") }
    }

    fn unsupported(field: &'static str, value: &str) -> Self {
        let message = format!("Unsupported value: {value:?}: supported values: \"Stdout\", \"Stderr\", \"All\"");
        Self { field, reason: "FieldValueNotSupported", message }
    }
}

/// 422.
fn invalid(pod: &str, faults: &[Fault]) -> Answer {
    let texts: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
    let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
    let cause = |fault: &Fault| json!({"reason": fault.reason, "message": fault.message, "field": fault.field});
    let causes: Vec<_> = faults.iter().map(cause).collect();
    let details = json!({"name": pod, "kind": "PodLogOptions", "causes": causes});
    status::failure(422, Some("Invalid"), &format!("PodLogOptions {pod:?} is invalid: {text}"), Some(details))
}
