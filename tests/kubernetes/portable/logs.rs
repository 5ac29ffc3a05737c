//! What a log is on every cluster.

use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, Program, Stage, Step, Stuck, ask, ask_until, reason};
use crate::{
    logs::{Records, check_order, number, records},
    support::client::{Client, Response},
};

/// A pause between lines that a follower sees one by one.
const PAUSE: Duration = Duration::from_millis(50);

fn target(id: &str, query: &str) -> String {
    format!("/sandboxes/{id}/logs?{query}")
}

/// The records of a log that is not followed.
pub(crate) async fn lines(stage: &impl Stage, id: &str, query: &str) -> Vec<Value> {
    let answer = ask(stage, "GET", &target(id, &format!("format=ndjson&{query}")), "").await;
    let mut all = records(&answer);
    assert_eq!(reason(&all), "complete", "{all:?}");
    all.pop();
    all
}

/// The body of a log that is not followed.
pub(crate) async fn text(stage: &impl Stage, id: &str, query: &str) -> Vec<u8> {
    let answer = ask(stage, "GET", &target(id, query), "").await;
    assert_eq!(answer.status(), 200, "{answer}");
    answer.body.to_vec()
}

/// A follow in records whose head has come.
pub(crate) async fn stream(stage: &impl Stage, id: &str, query: &str) -> Records {
    let mut client = Client::connect(stage.address()).await;
    let head = client.get(&target(id, &format!("follow=true&format=ndjson&{query}"))).await;
    assert_eq!(head.status, 200, "{query}");
    Records::new(client)
}

/// A sandbox that has printed its program's last line, which has this number.
async fn printed(stage: &impl Stage, program: Program, last: u64) -> String {
    let id = stage.sandbox(program).await;
    stream(stage, &id, "").await.until(|record| number(record) == Some(last)).await;
    id
}

fn numbers(records: &[Value]) -> Vec<u64> {
    records.iter().filter_map(number).collect()
}

/// The tokens of records.
fn ids(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["id"].as_str().unwrap()).collect()
}

pub(crate) async fn every_format_has_every_line(stage: &impl Stage) {
    let id = printed(stage, Program::stays([Step::Lines(0..50)]), 49).await;
    let expected: String = (0..50).map(|number| format!("line-{number}\n")).collect();
    assert_eq!(String::from_utf8(text(stage, &id, "").await).unwrap(), expected);
    let all = lines(stage, &id, "").await;
    assert_eq!(numbers(&all), (0..50).collect::<Vec<_>>());
    // Which stream it was is known where the cluster tells it.
    assert!(all.iter().all(|record| record["stream"] == "stdout" || record["stream"].is_null()), "{all:?}");
    // Nine decimals, in UTC whatever the zone of the node, and in their order.
    let times: Vec<_> = all.iter().map(|record| record["time"].as_str().unwrap()).collect();
    assert!(times.iter().all(|time| time.len() == 30 && time.ends_with('Z')) && times.is_sorted(), "{times:?}");
    let stamped = String::from_utf8(text(stage, &id, "timestamps=true").await).unwrap();
    let expected: String = times.iter().enumerate().map(|(number, time)| format!("{time} line-{number}\n")).collect();
    assert_eq!(stamped, expected);
    let events = String::from_utf8(text(stage, &id, "format=sse").await).unwrap();
    assert!(events.starts_with("retry: 2000\n") && events.contains("event: end\n"), "{events}");
    let data = events.lines().filter(|line| line.starts_with("data: {\"log\":\"line-")).count();
    assert_eq!(data, 50, "{events}");
}

pub(crate) async fn a_follow_is_complete_and_tells_the_exit_code(stage: &impl Stage) {
    let id = stage.sandbox(Program::exits([Step::Slowly(0..40, PAUSE)], 3)).await;
    let seen = stream(stage, &id, "").await.until(|record| record["event"] == "end").await;
    assert_eq!(check_order(&seen), (0, 40));
    let end = seen.last().unwrap();
    assert_eq!(
        (reason(&seen), end["exit_code"].as_i64(), end["oom"].as_bool()),
        ("exited", Some(3), Some(false)),
        "{end}"
    );
    // The log is still there, and is over.
    let again = stream(stage, &id, "").await.until(|record| record["event"] == "end").await;
    assert_eq!((check_order(&again), reason(&again)), ((0, 40), "exited"));
    let token = end["id"].as_str().unwrap();
    let after = ask(stage, "GET", &target(&id, &format!("follow=true&format=sse&after={token}")), "").await;
    assert_eq!(after.status(), 204, "{after}");
}

pub(crate) async fn a_text_follow_ends_cleanly_with_the_container(stage: &impl Stage) {
    let id = stage.sandbox(Program::exits([Step::Slowly(0..20, PAUSE)], 0)).await;
    let mut client = Client::connect(stage.address()).await;
    assert_eq!(client.get(&target(&id, "follow=true")).await.status, 200);
    let body = client.body().await.expect("a clean end");
    let expected: String = (0..20).map(|number| format!("line-{number}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&body), expected);
}

pub(crate) async fn a_tail_counts_lines(stage: &impl Stage) {
    let id = printed(stage, Program::stays([Step::Lines(0..30), Step::Long(40_000), Step::Lines(30..31)]), 30).await;
    for (tail, expected) in [(1, 1), (2, 2), (3, 3), (31, 31), (32, 32), (99, 32)] {
        let body = text(stage, &id, &format!("tail={tail}")).await;
        let lines: Vec<_> = body.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), expected, "tail={tail}");
        // The long one is one line, though the runtime has three records of it.
        assert!(tail == 1 || lines[expected - 2].len() == 40_001, "tail={tail}");
    }
    let mut followed = stream(stage, &id, "tail=1").await;
    assert_eq!(number(&followed.next().await.unwrap()), Some(30));
}

pub(crate) async fn times_bound_a_log_to_the_nanosecond(stage: &impl Stage) {
    let id = printed(stage, Program::stays([Step::Slowly(0..8, PAUSE)]), 7).await;
    let all = lines(stage, &id, "").await;
    let times: Vec<_> = all.iter().map(|record| record["time"].as_str().unwrap()).collect();
    for (first, last) in [(0, 7), (2, 5), (3, 3), (7, 7)] {
        // Both are inclusive.
        let bounded = lines(stage, &id, &format!("since={}&until={}", times[first], times[last])).await;
        assert_eq!(bounded, all[first..=last], "{first} to {last}");
    }
    let behind: jiff::Timestamp = times[4].parse().unwrap();
    let behind = behind + jiff::SignedDuration::from_nanos(1);
    let rest = lines(stage, &id, &format!("since={behind:.9}")).await;
    assert_eq!(numbers(&rest), [5, 6, 7], "a nanosecond after line 4");
    let before = behind - jiff::SignedDuration::from_nanos(2);
    assert_eq!(numbers(&lines(stage, &id, &format!("until={before:.9}")).await), [0, 1, 2, 3]);
}

pub(crate) async fn a_token_resumes_behind_its_record(stage: &impl Stage) {
    let id = printed(stage, Program::stays([Step::Lines(0..20), Step::Slowly(20..30, PAUSE)]), 29).await;
    let all = lines(stage, &id, "").await;
    for at in [0, 1, 9, 18, 19, 20, 27, 28] {
        let rest = lines(stage, &id, &format!("after={}", ids(&all)[at])).await;
        assert_eq!(rest, all[at + 1..], "after {at}");
        let mut followed = stream(stage, &id, &format!("after={}", ids(&all)[at])).await;
        assert_eq!(followed.next().await.unwrap(), all[at + 1], "after {at}");
    }
    assert_eq!(lines(stage, &id, &format!("after={}", ids(&all)[29])).await, Vec::<Value>::new());
    let bad = ask(stage, "GET", &target(&id, "after=x"), "").await;
    assert_eq!((bad.status(), bad.code().as_str()), (400, "LOGS::INVALID_CURSOR"));
}

pub(crate) async fn a_last_line_without_an_end_is_kept(stage: &impl Stage) {
    let id = stage.sandbox(Program::exits([Step::Lines(0..1), Step::Out(b"no end".to_vec())], 0)).await;
    let seen = stream(stage, &id, "").await.until(|record| record["event"] == "end").await;
    assert_eq!((seen[1]["log"].as_str(), reason(&seen)), (Some("no end"), "exited"), "{seen:?}");
    assert_eq!(text(stage, &id, "").await, b"line-0\nno end");
}

pub(crate) async fn long_lines_are_whole(stage: &impl Stage) {
    // The runtime cuts at 16,384 bytes: one less, as many, one more, and many.
    let lengths = [16_383, 16_384, 16_385, 32_768, 60_000];
    let mut steps = lengths.map(Step::Long).to_vec();
    steps.push(Step::Lines(0..1));
    let id = printed(stage, Program::stays(steps), 0).await;
    let all = lines(stage, &id, "").await;
    let seen: Vec<_> = all.iter().map(|record| record["log"].as_str().unwrap().len() - 1).collect();
    assert_eq!(seen[..5], lengths);
    let stamped = text(stage, &id, "timestamps=true").await;
    // A time once a line, of 30 bytes and a blank.
    assert_eq!(stamped.len(), lengths.iter().sum::<usize>() + 6 * 32 + "line-0".len());
}

pub(crate) async fn bytes_are_kept(stage: &impl Stage) {
    let odd = b"nul \0 esc \x1b[31m bad \xff\xfe cr \r end\n\n".to_vec();
    let id = printed(stage, Program::stays([Step::Out(odd.clone()), Step::Lines(0..1)]), 0).await;
    assert_eq!(text(stage, &id, "").await, [odd.as_slice(), b"line-0\n"].concat());
    let all = lines(stage, &id, "").await;
    let encoded = all[0]["log_base64"].as_str().expect("it is no UTF-8");
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap();
    assert_eq!(decoded, odd[..odd.len() - 1]);
    assert_eq!(all[1]["log"], "\n");
}

pub(crate) async fn streams_are_told_apart_or_it_is_said_that_they_cannot_be(stage: &impl Stage) {
    let steps = [Step::Out(b"out\n".to_vec()), Step::Err(b"err\n".to_vec()), Step::Pause(PAUSE), Step::Lines(0..1)];
    let id = printed(stage, Program::stays(steps), 0).await;
    let mut both: Vec<_> = text(stage, &id, "").await.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    both.sort();
    assert_eq!(both, [b"".to_vec(), b"err".to_vec(), b"line-0".to_vec(), b"out".to_vec()]);
    let answers = [
        ask(stage, "GET", &target(&id, "stderr=false"), "").await,
        ask(stage, "GET", &target(&id, "stdout=false"), "").await,
    ];
    match answers.each_ref().map(Response::status) {
        [200, 200] => {
            assert_eq!((&*answers[0].body, &*answers[1].body), (&b"out\nline-0\n"[..], &b"err\n"[..]));
        }
        [422, 422] => {
            // Without the gate there is no telling: and it is said why.
            let words = answers[0].to_string();
            assert!(words.contains("PodLogsQuerySplitStreams"), "{words}");
        }
        other => panic!("{other:?}: {} {}", answers[0], answers[1]),
    }
}

pub(crate) async fn a_restart_ends_a_follow_or_is_told_in_it(stage: &impl Stage) {
    let first = Program::exits([Step::Slowly(0..40, PAUSE), Step::Pause(PAUSE)], 1);
    let id = stage.sandbox(first.then([Step::Lines(40..45)])).await;
    let (mut one, mut all) = (stream(stage, &id, "").await, stream(stage, &id, "restarts=true").await);
    let seen = one.until(|record| record["event"] == "end").await;
    assert_eq!(check_order(&seen), (0, 40));
    // A restart may come after some seconds only; the kubelet tells of the exit before.
    assert!(["exited", "restarted"].contains(&reason(&seen)), "{seen:?}");
    let seen = all.until(|record| number(record) == Some(44)).await;
    assert!(!seen.iter().any(|record| record["event"] == "gap"), "{seen:?}");
    assert_eq!(check_order(&seen), (0, 45));
    let restarts: Vec<_> = seen.iter().enumerate().filter(|(_, record)| record["event"] == "restart").collect();
    assert!(restarts.len() == 1 && restarts[0].0 == 40, "{restarts:?}");
    assert_eq!(numbers(&lines(stage, &id, "previous=true").await), (0..40).collect::<Vec<_>>());
    assert_eq!(numbers(&lines(stage, &id, "").await), (40..45).collect::<Vec<_>>());
}

pub(crate) async fn a_deletion_ends_a_follow(stage: &impl Stage) {
    let id = stage.sandbox(Program::stays([Step::Slowly(0..100_000, PAUSE)])).await;
    let mut followed = stream(stage, &id, "").await;
    let mut seen = followed.until(|record| number(record) == Some(5)).await;
    assert_eq!(ask(stage, "DELETE", &format!("/v1/sandboxes/{id}"), "").await.status(), 204);
    stage.collect(&id).await;
    seen.extend(followed.until(|record| record["event"] == "end").await);
    assert_eq!((check_order(&seen).0, reason(&seen)), (0, "removed"), "{:?}", seen.last());
}

pub(crate) async fn an_unknown_container_is_told_with_the_names(stage: &impl Stage) {
    let id = printed(stage, Program::stays([Step::Lines(0..1)]), 0).await;
    let unknown = ask(stage, "GET", &target(&id, "container=nope"), "").await;
    assert_eq!((unknown.status(), unknown.code().as_str()), (404, "LOGS::CONTAINER_NOT_FOUND"), "{unknown}");
    assert!(unknown.to_string().contains("sandbox"), "{unknown}");
    assert_eq!(text(stage, &id, "container=sandbox").await, b"line-0\n");
    let previous = ask(stage, "GET", &target(&id, "previous=true"), "").await;
    assert_eq!((previous.status(), previous.code().as_str()), (404, "LOGS::PREVIOUS_NOT_FOUND"), "{previous}");
    let missing = ask(stage, "GET", &target("nope", ""), "").await;
    assert_eq!((missing.status(), missing.code().as_str()), (404, "KUBERNETES::SANDBOX_NOT_FOUND"), "{missing}");
}

/// Waits until a log is refused because nothing runs, in these words, followed or not.
async fn refusal(stage: &impl Stage, id: &str, words: &[&str]) {
    for query in ["", "follow=true"] {
        let is_told = |answer: &Response| {
            let text = String::from_utf8_lossy(&answer.body).to_lowercase();
            answer.status() == 409 && words.iter().any(|word| text.contains(word))
        };
        let told = ask_until(stage, &target(id, query), is_told).await;
        assert_eq!(told.code(), "LOGS::NOT_STARTED", "{told}");
    }
}

pub(crate) async fn an_image_that_is_nowhere_is_told(stage: &impl Stage) {
    let id = stage.stuck(Stuck::Image).await;
    refusal(stage, &id, &["its image cannot be pulled"]).await;
}

pub(crate) async fn a_command_that_is_not_there_is_told(stage: &impl Stage) {
    let id = stage.stuck(Stuck::Command).await;
    refusal(stage, &id, &["starterror"]).await;
}

pub(crate) async fn a_pod_without_a_node_is_told(stage: &impl Stage) {
    let id = stage.stuck(Stuck::Unscheduled).await;
    refusal(stage, &id, &["its pod is on no node"]).await;
}

pub(crate) async fn a_silent_container_has_its_head_at_once(stage: &impl Stage) {
    let id = stage.sandbox(Program::stays([Step::Pause(Duration::from_secs(3)), Step::Lines(0..1)])).await;
    // The body cannot have begun.
    let start = std::time::Instant::now();
    let mut followed = stream(stage, &id, "").await;
    let head = start.elapsed();
    let record = tokio::time::timeout(PATIENCE, followed.next()).await.unwrap().unwrap();
    assert_eq!(number(&record), Some(0));
    assert!(head < start.elapsed(), "{head:?}");
}

pub(crate) async fn a_burst_is_whole(stage: &impl Stage) {
    // Less than a kubelet's smallest file: what is rotated away under a reader is another test's.
    let id = stage.sandbox(Program::exits([Step::Lines(0..8000)], 0)).await;
    let seen = stream(stage, &id, "").await.until(|record| record["event"] == "end").await;
    assert_eq!((check_order(&seen), reason(&seen)), ((0, 8000), "exited"));
    assert_eq!(numbers(&lines(stage, &id, "").await).len(), 8000);
}
