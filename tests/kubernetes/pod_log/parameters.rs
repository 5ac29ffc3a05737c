//! §2: the parameters, and how strictly they are read. Bodies of refusals are those of transcript 30, byte for byte.

use super::{Case, Piece, whole};
use crate::support::kube::logs::{Body, StreamGate};

const ALL: &str = "out-1\nerr-1\nout-2\nerr-2\nout-3\nerr-3\nout-4\nerr-4\nout-5\nerr-5\n";

#[tokio::test]
async fn nothing_asked_is_one_chunk_of_the_whole_log() {
    let whole = Case::lines().whole("").await;
    assert_eq!((whole.status, whole.sizes(), whole.text()), (200, vec![60], ALL.to_owned()));
    assert_eq!(whole.end, Piece::End);
}

#[tokio::test]
async fn timestamps_are_nine_digits_and_a_blank() {
    let whole = Case::lines().whole("timestamps=true").await;
    assert_eq!(whole.sizes(), [370]);
    let start = "2026-11-26T12:55:05.786977775Z out-1\n2026-11-26T12:55:05.787490469Z err-1\n";
    assert!(whole.text().starts_with(start), "{}", whole.text());
}

#[tokio::test]
async fn tails_count_records_of_both_streams() {
    let case = Case::lines();
    for (query, text) in [
        ("tailLines=2", "out-5\nerr-5\n"),
        ("tailLines=0", ""),
        ("tailLines=100000", ALL),
        ("limitBytes=9&tailLines=2", "out-5\nerr"),
        ("foo=bar&tailLines=1", "err-5\n"),
        ("tailLines=1&tailLines=2", "err-5\n"),
    ] {
        assert_eq!(case.text(query).await, text, "{query}");
    }
}

#[tokio::test]
async fn limits_cut_in_mid_line_and_count_timestamps() {
    let case = Case::lines();
    assert_eq!(case.text("limitBytes=9").await, "out-1\nerr");
    assert_eq!(case.text("limitBytes=20&timestamps=true").await, "2026-11-26T12:55:05.");
}

#[tokio::test]
async fn a_limit_ends_a_follow() {
    let case = Case::new("ticker");
    case.main.out("tick-1\ntick-2\ntick-3\n");
    let whole = case.whole("follow=true&limitBytes=20").await;
    assert_eq!((whole.sizes(), whole.text(), whole.end), (vec![7, 7, 6], "tick-1\ntick-2\ntick-3".into(), Piece::End));
}

#[tokio::test]
async fn refusals_are_byte_for_byte_those_of_the_cluster() {
    let case = Case::lines();
    for (query, code, body) in [
        (
            "tailLines=-1",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"lines\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0","reason":"Invalid","details":{"name":"lines","kind":"PodLogOptions","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: -1: must be greater than or equal to 0","field":"tailLines"}]},"code":422}"#,
        ),
        (
            "tailLines=x",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"strconv.ParseInt: parsing \"x\": invalid syntax","reason":"BadRequest","code":400}"#,
        ),
        (
            "tailLines=",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"strconv.ParseInt: parsing \"\": invalid syntax","reason":"BadRequest","code":400}"#,
        ),
        (
            "limitBytes=0",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"lines\" is invalid: limitBytes: Invalid value: 0: must be greater than 0","reason":"Invalid","details":{"name":"lines","kind":"PodLogOptions","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: 0: must be greater than 0","field":"limitBytes"}]},"code":422}"#,
        ),
        (
            "sinceSeconds=0",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"lines\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0","reason":"Invalid","details":{"name":"lines","kind":"PodLogOptions","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: 0: must be greater than 0","field":"sinceSeconds"}]},"code":422}"#,
        ),
        (
            "sinceSeconds=-5",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"lines\" is invalid: sinceSeconds: Invalid value: -5: must be greater than 0","reason":"Invalid","details":{"name":"lines","kind":"PodLogOptions","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: -5: must be greater than 0","field":"sinceSeconds"}]},"code":422}"#,
        ),
        (
            "sinceSeconds=1.5",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"strconv.ParseInt: parsing \"1.5\": invalid syntax","reason":"BadRequest","code":400}"#,
        ),
        (
            "sinceTime=yesterday",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"","reason":"BadRequest","code":400}"#,
        ),
        (
            "sinceTime=2026-11-26T12:55:44",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"parsing time \"2026-11-26T12:55:44\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"","reason":"BadRequest","code":400}"#,
        ),
        (
            "sinceTime=2026-11-26t12:55:44z",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"parsing time \"2026-11-26t12:55:44z\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"t12:55:44z\" as \"T\"","reason":"BadRequest","code":400}"#,
        ),
        (
            "previous=true",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"previous terminated container \"main\" in pod \"lines\" not found","reason":"BadRequest","code":400}"#,
        ),
        (
            "container=nope",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"container nope is not valid for pod lines","reason":"BadRequest","code":400}"#,
        ),
        (
            "stream=All",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"lines\" is invalid: stream: Forbidden: may not be specified","reason":"Invalid","details":{"name":"lines","kind":"PodLogOptions","causes":[{"reason":"FieldValueForbidden","message":"Forbidden: may not be specified","field":"stream"}]},"code":422}"#,
        ),
    ] {
        let whole = case.whole(query).await;
        assert_eq!((whole.status, whole.text()), (code, format!("{body}\n")), "{query}");
    }
}

#[tokio::test]
async fn both_kinds_of_since_are_refused() {
    let query = "sinceSeconds=100&sinceTime=2026-01-01T00:00:00Z";
    let whole = Case::lines().whole(query).await;
    assert_eq!((whole.status, whole.bytes().len()), (422, 416));
    assert!(whole.text().ends_with(
        "bidden: at most one of `sinceTime` or `sinceSeconds` may be specified\",\"field\":\"[]\"}]},\"code\":422}\n"
    ));
}

#[tokio::test]
async fn follow_is_false_only_for_two_spellings() {
    let case = Case::lines();
    for value in ["false", "0"] {
        assert_eq!(case.text(&format!("tailLines=1&follow={value}")).await, "err-5\n", "{value}");
    }
    for query in ["follow=true", "follow=1", "follow=yes", "follow=TRUE", "follow=", "follow"] {
        let mut body = case.open(&format!("tailLines=1&{query}")).await;
        assert_eq!(super::chunk(&mut body).await.as_deref(), Some("err-5\n"), "{query}");
        assert!(super::is_silent(&mut body).await, "{query}");
    }
}

#[tokio::test]
async fn since_time_is_floored_to_the_second_and_inclusive() {
    let case = Case::new("times");
    for (at, time) in [
        "2026-11-26T12:55:43.731928891Z",
        "2026-11-26T12:55:43.984330068Z",
        "2026-11-26T12:55:44.235893309Z",
        "2026-11-26T12:55:44.487572199Z",
        "2026-11-26T12:55:44.739116725Z",
        "2026-11-26T12:55:44.991392536Z",
        "2026-11-26T12:55:45.244124818Z",
        "2026-11-26T12:55:45.496388570Z",
        "2026-11-26T12:55:45.747809820Z",
        "2026-11-26T12:55:45.999554928Z",
    ]
    .iter()
    .enumerate()
    {
        case.main.print_at(
            time.parse().unwrap(),
            crate::support::kube::logs::Stream::Stdout,
            format!("t-{}\n", at + 1),
        );
    }
    for time in [
        "2026-11-26T12:55:44.991392536Z",
        "2026-11-26T12:55:44.991Z",
        "2026-11-26T12:55:44.991392536%2B00:00",
        "2026-11-26T14:55:44.991392%2B02:00",
        "2026-11-26T12:55:44Z",
    ] {
        let text = case.text(&format!("sinceTime={time}")).await;
        assert_eq!(text, "t-3\nt-4\nt-5\nt-6\nt-7\nt-8\nt-9\nt-10\n", "{time}");
    }
    assert_eq!(case.text("sinceTime=2999-11-26T13:55:47Z").await, "");
    // The tail first, then the time.
    assert_eq!(case.text("tailLines=3&sinceTime=2026-11-26T12:55:44.991392536Z").await, "t-8\nt-9\nt-10\n");
    assert_eq!(case.text("sinceSeconds=1").await, "");
    assert_eq!(case.text("sinceSeconds=99999999999").await.lines().count(), 10);
    // It overflows into the future.
    assert_eq!(case.text("sinceSeconds=9223372036854775807").await, "");
    let mut body = case.open("follow=true&sinceTime=2999-11-26T13%3A55%3A48Z").await;
    assert!(super::is_silent(&mut body).await);
}

#[tokio::test]
async fn t9_only_a_client_that_takes_json_gets_the_text() {
    let case = Case::lines();
    for accept in [
        None,
        Some("*/*"),
        Some("application/json"),
        Some("application/vnd.kubernetes.protobuf"),
        Some("application/json, */*"),
    ] {
        let answer = case.answer_as("tailLines=1", accept).await;
        assert_eq!((answer.status, answer.content_type.as_deref()), (200, Some("text/plain")), "{accept:?}");
    }
    let plain = whole(case.answer_as("", Some("text/plain")).await).await;
    let text = "{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {},\n  \"status\": \"Failure\",\n  \
        \"message\": \"only the following media types are accepted: application/json, application/yaml, \
        application/vnd.kubernetes.protobuf\",\n  \"reason\": \"NotAcceptable\",\n  \"code\": 406\n}";
    assert_eq!((plain.status, plain.text()), (406, text.to_owned()));
    for accept in ["text/*", "text/html"] {
        let whole = whole(case.answer_as("", Some(accept)).await).await;
        assert_eq!((whole.status, whole.bytes().len()), (406, 296), "{accept}: {}", whole.text());
    }
}

#[tokio::test]
async fn streams_are_not_chosen_while_the_gate_is_off() {
    let case = Case::lines();
    for value in ["All", "Stdout", "Stderr", "stdout", ""] {
        let (code, message, _) = case.refusal(&format!("stream={value}")).await;
        let text = "PodLogOptions \"lines\" is invalid: stream: Forbidden: may not be specified";
        assert_eq!((code, message.as_str()), (422, text), "{value}");
    }
}

#[tokio::test]
async fn streams_are_refused_by_a_kubelet_whose_gate_is_off() {
    let case = Case::lines();
    case.logs.set_gate(StreamGate::ApiServerOnly);
    let text = "unable to return the given log stream: \"Stdout\". Please enable PodLogsQuerySplitStreams feature gate in kubelet";
    assert_eq!(case.refusal("stream=Stdout").await, (400, text.to_owned(), "BadRequest".to_owned()));
    assert_eq!(case.text("stream=All").await, ALL);
    assert_eq!(case.text("").await, ALL);
}

#[tokio::test]
async fn streams_are_chosen_where_both_gates_are_on() {
    let case = Case::lines();
    case.logs.set_gate(StreamGate::On);
    let err = "err-1\nerr-2\nerr-3\nerr-4\nerr-5\n";
    for (query, text) in [
        ("stream=Stdout", "out-1\nout-2\nout-3\nout-4\nout-5\n"),
        ("stream=Stderr", err),
        ("stream=All", ALL),
        ("stream=All&tailLines=2", "out-5\nerr-5\n"),
        ("stream=Stderr&limitBytes=8", "err-1\ner"),
        ("stream=Stderr&sinceTime=2026-11-26T12:55:05Z", err),
    ] {
        assert_eq!(case.text(query).await, text, "{query}");
    }
    assert!(case.text("stream=Stderr&timestamps=true").await.starts_with("2026-11-26T12:55:05.787490469Z err-1\n"));
    for (query, size) in [("stream=stdout", 443), ("stream=", 431), ("stream=Stdout&tailLines=2", 422)] {
        let whole = case.whole(query).await;
        assert_eq!((whole.status, whole.bytes().len()), (422, size), "{query}: {}", whole.text());
    }
}

#[tokio::test]
async fn an_old_server_does_not_know_streams() {
    let case = Case::lines();
    case.logs.set_gate(StreamGate::Unknown);
    assert_eq!(case.text("stream=Stderr").await, ALL);
    assert_eq!(case.text("stream=nonsense&tailLines=1").await, "err-5\n");
}

#[tokio::test]
async fn a_follow_of_standard_error_has_no_head_before_its_first_line() {
    let case = Case::new("silent");
    case.logs.set_gate(StreamGate::On);
    assert!(matches!(case.answer("follow=true&stream=Stdout").await.body, Body::Stream(_)));
    let mut held = Box::pin(case.answer("follow=true&stream=Stderr"));
    assert!(futures_util::poll!(held.as_mut()).is_pending());
    case.main.out("not this one\n");
    assert!(futures_util::poll!(held.as_mut()).is_pending());
    case.main.err("this\n");
    let Body::Stream(mut body) = held.await.body else { panic!("no body") };
    assert_eq!(super::chunk(&mut body).await.as_deref(), Some("this\n"));
}
