//! Times as clients write them, as lenient as the peer (http-api.md §2, transcript 23).

use jiff::{
    civil::{Date, DateTime, Time},
    tz::Offset,
};
use serde_json::{Value, json};

use super::Timestamp;
use crate::model::violation::Report;

/// Numbers above this are milliseconds since the epoch, not seconds.
const MAX_SECONDS: u128 = 20_000_000_000;

const MICROS_PER_SECOND: i128 = 1_000_000;

const EXTRA: &str = "unexpected extra characters at the end of the input";
const OUT_OF_RANGE: &str = "dates after 9999 are not supported as unix timestamps";

impl Timestamp {
    /// Reads a time from a body: RFC 3339 with any offset or none (then UTC), a date, or a number since the epoch.
    ///
    /// Notes a violation and gives `None` for anything else. Digits below the microsecond are cut off. The last
    /// 26 hours of the year 9999 are beyond what a [`Timestamp`] holds; they become its last instant.
    pub fn read(report: &mut Report, value: &Value) -> Option<Self> {
        let read = match value {
            Value::String(text) => from_text(text),
            Value::Number(number) => match (number.as_i128(), number.as_f64()) {
                (Some(whole), _) => from_number(whole.saturating_mul(MICROS_PER_SECOND)),
                (None, Some(float)) => from_number((float * MICROS_PER_SECOND as f64).round() as i128),
                (None, None) => Err(OUT_OF_RANGE),
            },
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                report.add("datetime_type", "Input should be a valid datetime", value, None);
                return None;
            }
        };
        read.map_err(|error| refuse(report, value, error)).ok()
    }
}

fn refuse(report: &mut Report, value: &Value, error: &'static str) {
    let (rule, what) = if error == OUT_OF_RANGE {
        ("datetime_parsing", "datetime")
    } else {
        ("datetime_from_date_parsing", "datetime or date")
    };
    report.add(rule, format!("Input should be a valid {what}, {error}"), value, Some(json!({"error": error})));
}

/// The error is always that of reading a mere date, as the peer tries that last.
fn from_text(text: &str) -> Result<Timestamp, &'static str> {
    if let Some(micros) = number(text) {
        return from_number(micros);
    }
    let (date, rest) = date(text.as_bytes())?;
    if rest.is_empty() {
        return Ok(at(date.to_datetime(Time::midnight()), Offset::UTC));
    }
    let (time, offset) = time_and_offset(rest).ok_or(EXTRA)?;
    Ok(at(date.to_datetime(time), offset))
}

fn at(time: DateTime, offset: Offset) -> Timestamp {
    let fallback = if time.year() > 0 { jiff::Timestamp::MAX } else { jiff::Timestamp::MIN };
    Timestamp::from(offset.to_timestamp(time).unwrap_or(fallback))
}

/// `micros` are microseconds if the number was in seconds.
fn from_number(micros: i128) -> Result<Timestamp, &'static str> {
    let is_seconds = micros.unsigned_abs() <= MAX_SECONDS * MICROS_PER_SECOND.unsigned_abs();
    let micros = if is_seconds { micros } else { micros / 1_000 };
    let micros = i64::try_from(micros).map_err(|_| OUT_OF_RANGE)?;
    jiff::Timestamp::from_microsecond(micros).map(Timestamp::from).map_err(|_| OUT_OF_RANGE)
}

/// Microseconds from a decimal number of seconds.
fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || whole.len() > 20 {
        return None;
    }
    let micros: String = fraction.bytes().chain(*b"000000").take(6).map(char::from).collect();
    Some(sign * (whole.parse::<i128>().ok()? * MICROS_PER_SECOND + micros.parse::<i128>().ok()?))
}

fn date(text: &[u8]) -> Result<(Date, &[u8]), &'static str> {
    let Some((date, rest)) = text.split_at_checked(10) else { return Err("input is too short") };
    let year = digits(&date[0..4]).ok_or("invalid character in year")?;
    expect_dash(date[4])?;
    let month = digits(&date[5..7]).ok_or("invalid character in month")?;
    expect_dash(date[7])?;
    let day = digits(&date[8..10]).ok_or("invalid character in day")?;
    if year == 0 {
        return Err("year value is outside expected range of 1-9999");
    }
    if !(1..=12).contains(&month) {
        return Err("month value is outside expected range of 1-12");
    }
    let date = Date::new(year, month as i8, day as i8).map_err(|_| "day value is outside expected range")?;
    Ok((date, rest))
}

fn expect_dash(found: u8) -> Result<(), &'static str> {
    if found == b'-' { Ok(()) } else { Err("invalid date separator, expected `-`") }
}

/// `THH:MM[:SS[.fraction]]` and the offset, which is UTC when there is none.
fn time_and_offset(text: &[u8]) -> Option<(Time, Offset)> {
    let [b'T' | b't' | b' ' | b'_', h1, h2, b':', m1, m2, rest @ ..] = text else { return None };
    let (second, nanos, rest) = seconds(rest)?;
    let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    let time = Time::new(hour as i8, minute as i8, second, nanos).ok()?;
    Some((time, offset(rest)?))
}

fn seconds(text: &[u8]) -> Option<(i8, i32, &[u8])> {
    let [b':', s1, s2, rest @ ..] = text else { return Some((0, 0, text)) };
    let second = digits(&[*s1, *s2])? as i8;
    let [b'.' | b',', fraction @ ..] = rest else { return Some((second, 0, rest)) };
    let length = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let nanos = fraction[..length].iter().chain(b"00000000").take(9).fold(0, |n, c| n * 10 + i32::from(c - b'0'));
    Some((second, nanos, &fraction[length..]))
}

fn offset(text: &[u8]) -> Option<Offset> {
    let (sign, digits_) = match text {
        [] | [b'Z' | b'z'] => return Some(Offset::UTC),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hour, minute) = match digits_ {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?),
        _ => return None,
    };
    let is_in_range = hour < 24 && minute < 60;
    is_in_range.then(|| Offset::from_seconds(sign * (i32::from(hour) * 3_600 + i32::from(minute) * 60)).ok())?
}

/// At most four digits.
fn digits(text: &[u8]) -> Option<i16> {
    text.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i16::from(c - b'0')))
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
