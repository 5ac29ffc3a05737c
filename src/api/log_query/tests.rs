use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: &str = "2026-11-23T12:00:00.123456789Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn asked(query: &str, headers: &[(&'static str, &str)]) -> Result<LogRequest, ApiError> {
    let pairs = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    parse(query, &pairs.collect(), now(), Containers::One)
}

fn request(query: &str, headers: &[(&'static str, &str)]) -> LogRequest {
    asked(query, headers).unwrap_or_else(|error| panic!("{query}: {error:?}"))
}

fn parsed(query: &str) -> LogQuery {
    request(query, &[]).query
}

/// The rule and the location of each violation.
fn refused(query: &str) -> Vec<(&'static str, String)> {
    let place = |loc: &[serde_json::Value]| loc[1..].iter().map(|part| part.as_str().unwrap()).collect();
    match checked(query, &HeaderMap::new(), now(), Containers::One) {
        Ok(read) => panic!("{query} was accepted: {read:?}"),
        Err(Invalid(found)) => found.iter().map(|v| (v.rule, place(&v.loc))).collect(),
    }
}

/// The message of the only violation.
fn message(query: &str) -> String {
    let Invalid(found) = checked(query, &HeaderMap::new(), now(), Containers::One).expect_err(query);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].msg.clone()
}

fn since(value: &str) -> String {
    parsed(&format!("since={value}")).since.unwrap().to_string()
}

#[test]
fn everything_is_optional() {
    let LogRequest { query, rendering, media, command } = request("", &[]);
    assert_eq!((query, rendering, media, command), (LogQuery::ALL, Rendering::default(), Media::Text, None));
    assert!(request("follow=true&timestamps=1", &[]).query.is_plain());
}

#[test]
fn unknown_parameters_are_refused_and_the_meant_one_is_named() {
    assert_eq!(parsed("_=17&_cache=x&follow=1"), LogQuery { follow: true, ..LogQuery::ALL });
    let unknown = |name: &str| ("extra_forbidden", name.to_owned());
    assert_eq!(refused("Follow=true&x&tail=1&Follow=1"), [unknown("Follow"), unknown("x")]);
    assert!(message("tailLines=5").ends_with("did you mean 'tail'?"));
    assert!(message("x=5").contains("there are follow, tail, timestamps, "));
    let many: String = (0..1000).map(|n| format!("&x{n}")).collect();
    assert_eq!(refused(&many).len(), 100);
}

#[test]
fn every_parameter_is_known() {
    let query = "follow=1&timestamps=0&since=1&until=2&stdout=1&stderr=1&container=sandbox&previous=0&restarts=1&\
                 format=text&grep=a&invert=0&search=b&limit_bytes=1&on_slow=block&notes=1";
    assert!(parsed(query).restarts);
    assert_eq!(request("format=sse&heartbeat=1&tail=1", &[]).rendering.heartbeat, Duration::from_secs(1));
}

#[test]
fn the_form_is_chosen_by_format_and_else_by_accept() {
    let media = |query: &str, accept: &str| request(query, &[("accept", accept)]).media;
    assert_eq!(media("", "text/event-stream"), Media::EventStream);
    assert_eq!(media("format=ndjson", "text/event-stream"), Media::Ndjson);
    assert_eq!(media("format=text", "application/jsonl"), Media::Text);
    assert_eq!(refused("format=xml"), [("literal_error", "format".to_owned())]);
}

#[test]
fn what_text_cannot_tell_makes_records_of_it() {
    for query in ["format=json", "notes=true", "limit_bytes=5", "on_slow=drop", "on_slow=cut"] {
        assert!(parsed(query).as_records, "{query}");
    }
    for query in ["format=text", "notes=false", "on_slow=block"] {
        assert!(!parsed(query).as_records, "{query}");
    }
    let rendering = request("format=sse&limit_bytes=5&on_slow=drop&heartbeat=300", &[]).rendering;
    assert_eq!(
        (rendering.format, rendering.limit_bytes, rendering.on_slow),
        (Format::Sse, NonZeroU64::new(5), OnSlow::Drop)
    );
    assert_eq!(rendering.heartbeat, Duration::from_secs(300));
}

#[test]
fn parameters_are_refused_where_they_mean_nothing() {
    for query in ["heartbeat=15", "notes=false&format=sse", "notes=1&format=json", "format=text&heartbeat=15"] {
        assert_eq!(refused(query), [("value_error", String::new())], "{query}");
    }
    for heartbeat in ["0", "301", "x"] {
        assert_eq!(refused(&format!("format=sse&heartbeat={heartbeat}"))[0].1, "heartbeat");
    }
    assert_eq!(refused("limit_bytes=0"), [("greater_than_equal", "limit_bytes".to_owned())]);
    assert_eq!(refused("on_slow=wait"), [("literal_error", "on_slow".to_owned())]);
    assert!(message("previous=true").contains("only Kubernetes"));
}

const TOKEN: &str = "v1.0123456789abcdef.o000000ab.188fc2f4d33c4d15.0";
const OTHER: &str = "v1.0123456789abcdef";

#[test]
fn a_token_comes_as_a_parameter_or_as_a_header() {
    let after = |query: &str, id: &str| request(query, &[("last-event-id", id)]).query.after.map(|after| after.token());
    assert_eq!(after("", "").as_deref(), None);
    assert_eq!(after("", TOKEN).as_deref(), Some(TOKEN));
    assert_eq!(after(&format!("after={OTHER}"), TOKEN).as_deref(), Some(OTHER));
    assert_eq!(after(&format!("after={OTHER}"), "nothing").as_deref(), Some(OTHER));
}

#[test]
fn what_is_no_token_is_told() {
    for (query, headers) in [
        ("after=", &[][..]),
        ("after=v2.x", &[]),
        ("", &[("last-event-id", "5")]),
        ("after=x", &[("last-event-id", TOKEN)]),
        ("", &[("last-event-id", "\u{e4}")]),
    ] {
        let error = asked(query, headers).unwrap_err();
        assert_eq!((error.status.as_u16(), error.body.code), (400, "LOGS::INVALID_CURSOR"), "{query} {headers:?}");
    }
    assert_eq!(asked("after=x&tail=0", &[]).unwrap_err().status.as_u16(), 422);
}

#[test]
fn a_token_says_where_to_begin() {
    assert_eq!(refused(&format!("after={TOKEN}&tail=5")), [("value_error", String::new())]);
    // A browser repeats its URL.
    let query = request("tail=5&follow=1", &[("last-event-id", TOKEN)]).query;
    assert!(query.tail.is_none() && query.after.is_some() && query.follow);
    assert_eq!(request("tail=5", &[("last-event-id", "")]).query.tail, NonZeroU64::new(5));
    // A `since` behind the token's record would leave out what was printed while the client was away.
    let since = |query: &str, headers: &[(&'static str, &str)]| request(query, headers).query.since;
    let header = [("last-event-id", TOKEN)];
    assert_eq!((since("since=0s", &header), since(&format!("since=0s&after={TOKEN}"), &[])), (None, None));
    let early = since("since=1970-01-02T00:00:00Z", &header).unwrap();
    assert_eq!(early.as_second(), 86_400);
    assert_eq!(since("since=0s", &[]), Some(now()));
}

#[test]
fn trailers_are_for_who_asks_for_them() {
    for (te, takes) in [("trailers", true), ("gzip;q=0.5, Trailers", true), ("gzip", false), ("", false)] {
        let headers = HeaderMap::from_iter([(header::TE, te.parse().unwrap())]);
        assert_eq!(takes_trailers(&headers), takes, "{te}");
    }
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
fn a_command_goes_with_what_execd_can_tell() {
    let query =
        "command=0a-B._&follow=1&tail=5&timestamps=1&format=sse&grep=a&invert=1&search=b&limit_bytes=9&heartbeat=1";
    assert_eq!(request(query, &[]).command.as_deref(), Some("0a-B._"));
    assert!(request(&format!("command=x&on_slow=drop&notes=1&after={TOKEN}"), &[]).query.after.is_some());
    assert_eq!(request("command=x&command=y", &[]).command.as_deref(), Some("y"));
    for other in ["since=0", "until=0", "stdout=1", "stderr=1", "restarts=0", "container=sandbox", "previous=0"] {
        assert_eq!(refused(&format!("command=x&{other}")), [("value_error", String::new())], "{other}");
    }
    assert!(message("stderr=1&command=x").contains("stderr does not go with command"));
    assert_eq!(refused("command=x&since=0&until=1").len(), 2);
}

#[test]
fn a_command_s_id_is_a_segment_of_execd_s_path() {
    assert_eq!(request(&format!("command={}", "x".repeat(128)), &[]).command.map(|id| id.len()), Some(128));
    for id in
        ["", ".", "..", "a/b", "a%2Fb", "a%252Fb", "a%3Fb", "a%23", "a%20b", "a+b", "a%0D%0Ab", "%00", "%C3%A4", "%FF"]
    {
        assert_eq!(refused(&format!("command={id}")), [("value_error", "command".to_owned())], "{id}");
    }
    assert_eq!(refused(&format!("command={}", "x".repeat(129)))[0].1, "command");
    assert_eq!(refused("command")[0].1, "command");
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
    let Invalid(found) = checked("since=x", &HeaderMap::new(), now(), Containers::One).unwrap_err();
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
        let _ = asked(&query, &[]);
    }

    #[test]
    fn no_time_panics(value in ".*|[0-9TZ:.+ nsumhdwµ-]{0,40}|[0-9]{1,40}[smhdw]") {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("since", &value).finish();
        let _ = asked(&query, &[]);
        let _ = parse(&query, &HeaderMap::new(), Timestamp::MIN, Containers::Several);
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
