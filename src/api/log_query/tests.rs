use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: &str = "2026-11-23T12:00:00.123456789Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn parsed(query: &str) -> LogQuery {
    parse(query, now()).unwrap_or_else(|invalid| panic!("{query}: {invalid:?}"))
}

/// The rule and the location of each violation.
fn refused(query: &str) -> Vec<(&'static str, String)> {
    let place = |loc: &[serde_json::Value]| loc[1..].iter().map(|part| part.as_str().unwrap()).collect();
    match parse(query, now()) {
        Ok(read) => panic!("{query} was accepted: {read:?}"),
        Err(Invalid(found)) => found.iter().map(|v| (v.rule, place(&v.loc))).collect(),
    }
}

fn since(value: &str) -> String {
    parsed(&format!("since={value}")).since.unwrap().to_string()
}

#[test]
fn everything_is_optional_and_unknown_parameters_are_passed_over() {
    let default =
        LogQuery { follow: false, tail: None, timestamps: false, since: None, until: None, stdout: true, stderr: true };
    assert_eq!(parsed(""), default);
    assert_eq!(parsed("unknown=1&Follow=true&x"), default);
}

#[test]
fn flags_are_lenient() {
    let query = parsed("follow=YES&timestamps=1&stdout=off&stderr=t");
    assert!(query.follow && query.timestamps && !query.stdout && query.stderr);
    assert_eq!(refused("follow="), [("bool_parsing", "follow".to_owned())]);
    assert_eq!(refused("timestamps=maybe"), [("bool_parsing", "timestamps".to_owned())]);
    assert_eq!(refused("stdout=0&stderr=0"), [("value_error", String::new())]);
}

#[test]
fn tail_is_positive_and_costs_nothing() {
    assert_eq!(parsed("tail=1").tail, NonZeroU64::new(1));
    assert_eq!(parsed("tail=18446744073709551615").tail, NonZeroU64::new(u64::MAX));
    assert_eq!(parsed("tail=5&tail=7").tail, NonZeroU64::new(7));
    for (value, rule) in [
        ("0", "greater_than_equal"),
        ("-1", "greater_than_equal"),
        ("", "int_parsing"),
        ("all", "int_parsing"),
        ("1.5", "int_parsing"),
        ("18446744073709551616", "int_parsing_size"),
    ] {
        assert_eq!(refused(&format!("tail={value}")), [(rule, "tail".to_owned())]);
    }
    assert_eq!(refused("tail"), [("int_parsing", "tail".to_owned())]);
}

#[test]
fn only_the_sandbox_container_has_a_log() {
    assert!(!parsed("container=sandbox").follow);
    for value in ["", "egress", "Sandbox"] {
        assert_eq!(refused(&format!("container={value}")), [("literal_error", "container".to_owned())]);
    }
}

#[test]
fn times_keep_their_nanoseconds() {
    assert_eq!(since("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00Z");
    assert_eq!(since("2026-01-01t00:00:00.123456789z"), "2026-01-01T00:00:00.123456789Z");
    assert_eq!(since("2026-01-01%2000:00:00Z"), "2026-01-01T00:00:00Z");
    assert_eq!(since("2026-01-01T02:00:00%2B02:00"), "2026-01-01T00:00:00Z");
    assert_eq!(since("2025-12-31T19:00:00.5-05:00"), "2026-01-01T00:00:00.5Z");
}

#[test]
fn an_unescaped_plus_in_an_offset_is_understood() {
    assert_eq!(since("2026-01-01T02:00:00+02:00"), "2026-01-01T00:00:00Z");
    assert_eq!(since("2026-01-01T02:00:00.000000001%2002:00"), "2026-01-01T00:00:00.000000001Z");
    assert_eq!(since("2026-01-01%2002:00:00+02:00"), "2026-01-01T00:00:00Z");
}

#[test]
fn unix_seconds_are_exact() {
    assert_eq!(since("0"), "1970-01-01T00:00:00Z");
    assert_eq!(since("1767225600"), "2026-01-01T00:00:00Z");
    assert_eq!(since("1767225600.123456789"), "2026-01-01T00:00:00.123456789Z");
    assert_eq!(since("1767225600.1"), "2026-01-01T00:00:00.1Z");
}

#[test]
fn durations_count_back_from_now() {
    for (value, time) in [
        ("10m", "2026-11-23T11:50:00.123456789Z"),
        ("1h30m", "2026-11-23T10:30:00.123456789Z"),
        ("1.5h", "2026-11-23T10:30:00.123456789Z"),
        ("45s", "2026-11-23T11:59:15.123456789Z"),
        ("2d", "2026-11-21T12:00:00.123456789Z"),
        ("1w", "2026-11-16T12:00:00.123456789Z"),
        ("250ms", "2026-11-23T11:59:59.873456789Z"),
        ("456us", "2026-11-23T12:00:00.123000789Z"),
        ("456%C2%B5s", "2026-11-23T12:00:00.123000789Z"),
        ("789ns", "2026-11-23T12:00:00.123456Z"),
        ("0s", NOW),
    ] {
        assert_eq!(since(value), time, "{value}");
    }
}

#[test]
fn before_1970_is_the_beginning() {
    assert_eq!(since("0001-01-01T00:00:00Z"), "1970-01-01T00:00:00Z");
    assert_eq!(since("30000d"), "1970-01-01T00:00:00Z");
}

#[test]
fn the_year_s_last_day_is_the_end_of_time() {
    for never in ["9999-12-31T23:59:59Z", "9999-12-31 23:59:59.999999999+00:00"] {
        assert_eq!(parsed(&format!("until={}", never.replace('+', "%2B"))).until, Some(Timestamp::MAX), "{never}");
    }
    for wrong in
        ["9999-12-32T00:00:00Z", "9999-12-31T00:00:00%2B99:99", "9999-12-30T00:00:00%2B00:60", "9999-12-31T00:00:00.Z"]
    {
        assert_eq!(refused(&format!("until={wrong}")), [("value_error", "until".to_owned())], "{wrong}");
    }
}

#[test]
fn other_times_are_refused() {
    for value in [
        "",
        "x",
        "-5m",
        "+5m",
        "1.",
        ".5",
        "1e9",
        "5 m",
        "5M",
        "5m x",
        "m",
        "1h30",
        "1.2.3s",
        "now",
        "null",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "20260101T000000Z",
        "2026-01-01T00:00:00%2B0200",
        "2026-01-01T00:00:00Z%5BUTC%5D",
        "1767225600.1234567890",
        "99999999999999999999",
        "99999999999999999999d",
        "99999999999w",
        "9999999999999999999999999999999999999999999h",
        "٥m",
    ] {
        assert_eq!(refused(&format!("since={value}")), [("value_error", "since".to_owned())], "{value}");
        assert_eq!(refused(&format!("until={value}")), [("value_error", "until".to_owned())], "{value}");
    }
}

#[test]
fn a_refusal_names_the_accepted_forms() {
    let Invalid(found) = parse("since=x", now()).unwrap_err();
    assert!(found[0].msg.starts_with("Value error, must be an RFC 3339 time with an offset (2026-01-31T08:00:00Z)"));
    assert_eq!(found[0].loc, [json!("query"), json!("since")]);
    assert_eq!(found[0].input, Some(json!("x")));
}

#[test]
fn since_goes_before_until() {
    let query = parsed("since=10m&until=5m");
    assert!(query.since < query.until);
    assert!(parsed("since=5m&until=5m").since.is_some());
    assert_eq!(refused("since=5m&until=10m"), [("value_error", String::new())]);
}

#[test]
fn all_violations_are_told_at_once() {
    let places: Vec<String> = refused("follow=x&tail=0&since=x&container=y").into_iter().map(|(_, loc)| loc).collect();
    assert_eq!(places, ["follow", "tail", "since", "container"]);
}

proptest! {
    #[test]
    fn no_query_panics(query in ".*") {
        let _ = parse(&query, now());
    }

    #[test]
    fn no_time_panics(value in ".*|[0-9TZ:.+ nsumhdwµ-]{0,40}|[0-9]{1,40}[smhdw]") {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("since", &value).finish();
        let _ = parse(&query, now());
        let _ = parse(&query, Timestamp::MIN);
    }

    #[test]
    fn every_time_is_read_back(nanos in 0..=253_402_207_200_000_000_000_i128) {
        let time = Timestamp::from_nanosecond(nanos).unwrap();
        prop_assert_eq!(parsed(&format!("since={time}")).since, Some(time));
        let seconds = format!("{}.{:09}", time.as_second(), time.subsec_nanosecond());
        prop_assert_eq!(parsed(&format!("since={seconds}")).since, Some(time));
    }

    #[test]
    fn every_tail_is_read_back(tail in 1..=u64::MAX) {
        prop_assert_eq!(parsed(&format!("tail={tail}")).tail, NonZeroU64::new(tail));
    }
}
