//! Times as clients write them, read by pydantic's own parser, as the peer reads them (http-api.md §2, transcript 23).

use serde_json::{Value, json};
use speedate::{
    Date, DateTime, DateTimeConfig, MicrosecondsPrecisionOverflowBehavior::Truncate, ParseError, Time, TimeConfig,
    TimestampUnit,
};
use strum::EnumMessage;

use super::Timestamp;
use crate::model::violation::Report;

/// Digits below the microsecond are cut off. A number is in seconds, or in milliseconds where it is too large for that.
const LENIENT: DateTimeConfig = DateTimeConfig {
    timestamp_unit: TimestampUnit::Infer,
    time_config: TimeConfig { microseconds_precision_overflow_behavior: Truncate, unix_timestamp_offset: None },
};

/// Python's datetime has no year 0, and its error for that is not pydantic's.
const YEAR_ZERO: &str = "year 0 is out of range";

/// Why a value is no time: pydantic's name of the rule that it breaks, what it should be, and the parser's words.
struct Refusal {
    rule: &'static str,
    what: &'static str,
    error: &'static str,
}

impl Timestamp {
    /// Reads a time from a body: RFC 3339 with any offset or none (then UTC), a date, or a number since the epoch.
    ///
    /// Notes a violation and gives `None` for anything else. The last 26 hours of the year 9999 are beyond what a
    /// [`Timestamp`] holds; they become its last instant.
    pub fn read(report: &mut Report, value: &Value) -> Option<Self> {
        let read = match value {
            Value::String(text) => from_text(text),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => DateTime::from_timestamp_with_config(whole, 0, &LENIENT),
                (None, Some(float)) => DateTime::from_float_with_config(float, &LENIENT),
                (None, None) => Err(ParseError::DateTooLarge),
            }
            .map_err(|error| Refusal::of_datetime(documentation(&error))),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                report.add("datetime_type", "Input should be a valid datetime", value, None);
                return None;
            }
        };
        match read.and_then(in_python) {
            Ok(time) => Some(at(&time)),
            Err(Refusal { rule, what, error }) => {
                let msg = format!("Input should be a valid {what}, {error}");
                report.add(rule, msg, value, Some(json!({"error": error})));
                None
            }
        }
    }
}

impl Refusal {
    fn of_datetime(error: &'static str) -> Self {
        Self { rule: "datetime_parsing", what: "datetime", error }
    }

    fn of_date(error: &'static str) -> Self {
        Self { rule: "datetime_from_date_parsing", what: "datetime or date", error }
    }
}

/// pydantic tries a mere date last, so the error is always that of reading one.
fn from_text(text: &str) -> Result<DateTime, Refusal> {
    let midnight = Time { hour: 0, minute: 0, second: 0, microsecond: 0, tz_offset: None };
    DateTime::parse_str_with_config(text, &LENIENT)
        .or_else(|_| Date::parse_str(text).map(|date| DateTime { date, time: midnight }))
        .map_err(|error| Refusal::of_date(documentation(&error)))
}

/// The error in the words that pydantic shows.
fn documentation(error: &ParseError) -> &'static str {
    error.get_documentation().unwrap_or_default()
}

/// The time, if a `datetime` of Python can hold it.
fn in_python(time: DateTime) -> Result<DateTime, Refusal> {
    if time.date.year == 0 { Err(Refusal::of_datetime(YEAR_ZERO)) } else { Ok(time) }
}

/// A time without an offset is in UTC.
fn at(time: &DateTime) -> Timestamp {
    let nanoseconds = i32::try_from(time.time.microsecond * 1_000).unwrap_or_default();
    Timestamp::from(jiff::Timestamp::new(time.timestamp_tz(), nanoseconds).unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: Value) -> Result<String, (String, String)> {
        let mut report = Report::new("body");
        let time = Timestamp::read(&mut report, &value);
        report.finish(time).map(|time| time.unwrap().to_string()).map_err(|invalid| {
            let first = &invalid.0[0];
            (first.rule.to_owned(), first.msg.clone())
        })
    }

    #[test]
    fn reads_what_transcript_23_shows() {
        for (text, time) in [
            (json!("2026-12-01T00:00:00.1234567Z"), "2026-12-01T00:00:00.123456Z"),
            (json!("2026-12-01T00:00:00.123456789Z"), "2026-12-01T00:00:00.123456Z"),
            (json!("2026-12-01T00:00:00.5Z"), "2026-12-01T00:00:00.500000Z"),
            (json!("2026-12-01t00:00:00z"), "2026-12-01T00:00:00Z"),
            (json!("2026-12-01 00:00:00Z"), "2026-12-01T00:00:00Z"),
            (json!("2026-12-01T00:00Z"), "2026-12-01T00:00:00Z"),
            (json!("2026-12-01T00:00:00"), "2026-12-01T00:00:00Z"),
            (json!("2026-12-01"), "2026-12-01T00:00:00Z"),
            (json!(1796083200), "2026-12-01T00:00:00Z"),
            (json!(1796083200.5), "2026-12-01T00:00:00.500000Z"),
            (json!(1796083200000_i64), "2026-12-01T00:00:00Z"),
            (json!("1796083200"), "2026-12-01T00:00:00Z"),
            (json!("2026-12-01T00:00:00+0200"), "2026-11-30T22:00:00Z"),
            (json!("2026-12-01T02:00:00.123456+02:00"), "2026-12-01T00:00:00.123456Z"),
            (json!("2026-12-01T00:00:00.1234567891Z"), "2026-12-01T00:00:00.123456Z"),
            (json!("2026-12-01T00:00:00\u{2212}02:00"), "2026-12-01T02:00:00Z"),
            (json!("1.7960832e9"), "2026-12-01T00:00:00Z"),
            (json!("20000000000"), "2603-10-11T11:33:20Z"),
            (json!("20000000001"), "1970-08-20T11:33:20.001000Z"),
            (json!("20000000000.5"), "1970-08-20T11:33:20.000500Z"),
            (json!(-1.5), "1969-12-31T23:59:58.500000Z"),
        ] {
            assert_eq!(read(text.clone()), Ok(time.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_with_the_peers_texts() {
        let parsing = "datetime_from_date_parsing";
        for (value, rule, text) in [
            (json!("x"), parsing, "datetime or date, input is too short"),
            (
                json!("2026-12-01T24:00:00Z"),
                parsing,
                "datetime or date, unexpected extra characters at the end of the input",
            ),
            (
                json!("2026-12-01T00:00:60Z"),
                parsing,
                "datetime or date, unexpected extra characters at the end of the input",
            ),
            (json!("20261201T000000Z"), parsing, "datetime or date, invalid date separator, expected `-`"),
            (json!("2026-02-30"), parsing, "datetime or date, day value is outside expected range"),
            (json!(null), "datetime_type", "datetime"),
            (json!(true), "datetime_type", "datetime"),
            (json!(1e300), "datetime_parsing", "datetime, dates after 9999 are not supported as unix timestamps"),
            (json!(-1e18), "datetime_parsing", "datetime, dates before 0000 are not supported as unix timestamps"),
            (json!("0000-01-01"), "datetime_parsing", "datetime, year 0 is out of range"),
            (json!("99999999999999999999"), parsing, "datetime or date, invalid date separator, expected `-`"),
        ] {
            let expected = (rule.to_owned(), format!("Input should be a valid {text}"));
            assert_eq!(read(value.clone()), Err(expected), "{value}");
        }
    }

    #[test]
    fn the_end_of_the_last_year_is_clamped() {
        assert_eq!(read(json!("9999-12-31T23:59:59Z")), Ok("9999-12-30T22:00:00.999999Z".to_owned()));
        assert_eq!(read(json!("0001-01-01T00:00:00+02:00")), Ok("0000-12-31T22:00:00Z".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*|[0-9TtZz:+.,_ -]{0,40}") {
            let _ = read(Value::from(text));
        }

        #[test]
        fn no_number_panics(float in any::<f64>(), whole in any::<i64>()) {
            let _ = read(json!(float));
            let _ = read(json!(whole));
        }

        #[test]
        fn reads_what_it_writes(micros in 0..250_000_000_000_000_000_i64) {
            let time = Timestamp::from(jiff::Timestamp::from_microsecond(micros).unwrap());
            prop_assert_eq!(read(json!(time.to_string())), Ok(time.to_string()));
            prop_assert_eq!(read(json!(time.to_label())), Ok(time.to_string()));
        }
    }
}
