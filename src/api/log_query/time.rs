//! `since` and `until`: a time, Unix seconds or a duration before now, each exact to the nanosecond.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::model::violation::Report;

const FORMS: &str = "must be an RFC 3339 time with an offset (2026-01-31T08:00:00Z), Unix seconds with at most nine \
                     decimals (1769846400.5), or a duration before now (10m, 1h30m, 2d; units ns, us, ms, s, m, h, d, w).";

/// No accepted form is longer, in bytes.
const MAX_LENGTH: usize = 64;

/// Units and their nanoseconds. A longer name comes before the shorter one that begins it.
const UNITS: [(&str, i128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Reads one of the three forms.
pub(super) fn read(report: &mut Report, value: &Value, now: Timestamp) -> Option<Timestamp> {
    let time = value.as_str().filter(|text| text.len() <= MAX_LENGTH).and_then(|text| parse(text, now));
    if time.is_none() {
        report.add_value_rule(FORMS, value);
    }
    time
}

fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    rfc3339(text).or_else(|| unix_seconds(text)).or_else(|| now.checked_sub(duration(text)?).ok())
}

/// The form is checked by hand, as jiff takes a good deal more: other years, other precisions, zone names.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let form = text.bytes().take(19).map(|c| if c.is_ascii_digit() { b'0' } else { c.to_ascii_uppercase() });
    let form: Vec<u8> = form.collect();
    let rest = text.get(19..)?;
    let is_date_time = form == b"0000-00-00T00:00:00" || form == b"0000-00-00 00:00:00";
    if !is_date_time || !is_fraction_and_offset(rest) {
        return None;
    }
    // An unescaped `+` arrives as a space: a query string is read as a form.
    let (date_time, rest) = text.split_at(19);
    let parsed = format!("{date_time}{}", rest.replace(' ', "+")).parse().ok();
    // jiff's times end a day before the year's end, which some write for "never".
    parsed.or_else(|| {
        let a_year_before = format!("9998{}{}", &date_time[4..], rest.replace(' ', "+"));
        (date_time >= "9999-12-30" && a_year_before.parse::<Timestamp>().is_ok()).then_some(Timestamp::MAX)
    })
}

fn is_fraction_and_offset(text: &str) -> bool {
    let offset = text.strip_prefix('.').map_or(text, |text| text.trim_start_matches(|c: char| c.is_ascii_digit()));
    match offset.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-' | b' ', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()),
        _ => false,
    }
}

fn unix_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let (seconds, nanos) = (digits(whole)?, nanos(fraction)?);
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// One or more amounts, each with its unit.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total: i128 = 0;
    while let Some((amount, after)) = amount(rest) {
        total = total.checked_add(amount)?;
        rest = after;
    }
    let is_whole = !text.is_empty() && rest.is_empty();
    is_whole.then(|| SignedDuration::try_from_nanos_i128(total)).flatten()
}

/// Nanoseconds of the first amount, and the rest of the text. A fraction below the nanosecond is cut off.
fn amount(text: &str) -> Option<(i128, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let (unit, length) = UNITS.iter().find_map(|(name, length)| rest.strip_prefix(name).map(|_| (*name, *length)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let part = nanos(fraction)? * length / 1_000_000_000;
    Some((digits(whole)?.checked_mul(length)?.checked_add(part)?, &rest[unit.len()..]))
}

/// Billionths from one to nine decimals.
fn nanos(fraction: &str) -> Option<i128> {
    let decimals = u32::try_from(fraction.len()).ok().filter(|length| *length <= 9)?;
    Some(digits(fraction)? * 10_i128.pow(9 - decimals))
}

fn digits(text: &str) -> Option<i128> {
    let is_digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}
