//! What a request for records is answered: types, refusals, bodies on both protocols, ends, and what is left of a sandbox that is
//! gone.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::{
    Pair, logs, soon,
    support::{
        client::{self, Aborted, Client, Response, get_once, request},
        engine::{Gate, Sandbox, Script, Step},
        h2::H2,
    },
};

const WINDOW: u32 = 65_535;

const GONE: &str = "00000000-0000-4000-8000-000000000000";

const RECORD: &str = "v1.0123456789abcdef.o000000ab.188fc2f4d33c4d15.0";

#[tokio::test]
async fn refusals_name_the_parameter() {
    let pair = Pair::start();
    for (query, text) in [
        (
            "tailLines=5",
            "query.tailLines: Extra inputs are not permitted: the log has no such parameter; did you mean 'tail'?",
        ),
        ("grep=(", "query.grep.0: Value error, not a regular expression: unclosed group, at character 1."),
        ("heartbeat=5", "query: Value error, heartbeat is for NDJSON and SSE only"),
        ("format=sse&notes=true", "query: Value error, notes is for text only"),
        ("previous=true", "query.previous: Value error, only Kubernetes"),
    ] {
        let answer = get_once(pair.address(), &pair.log(Script::texts(["a\n"]), query)).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!((answer.status(), answer.code().as_str()), (422, "VALIDATION_ERROR"), "{query}");
        assert!(message.starts_with(text), "{message}");
    }
    let answer = get_once(pair.address(), &pair.log(Script::texts(["a\n"]), "_=5")).await;
    assert_eq!((answer.status(), &answer.body[..]), (200, &b"a\n"[..]));
}

#[tokio::test]
async fn a_token_leads_somewhere_also_when_the_sandbox_is_gone() {
    let pair = Pair::start();
    let answer = get_once(pair.address(), &logs(GONE, "after=x")).await;
    assert_eq!((answer.status(), answer.code().as_str()), (400, "LOGS::INVALID_CURSOR"));
    assert_eq!(get_once(pair.address(), &logs(GONE, "")).await.status(), 404);
    let answer = get_once(pair.address(), &logs(GONE, "after=v1.end.0123456789abcdef&format=sse")).await;
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    let token = format!("Last-Event-ID: {RECORD}");
    for (accept, media) in [
        ("text/plain", "text/plain; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/jsonl"),
        ("text/event-stream", "text/event-stream"),
    ] {
        let accept = format!("Accept: {accept}");
        let answer = request(pair.address(), "GET", &logs(GONE, "tail=5"), &[&token, &accept], "").await;
        assert_eq!((answer.status(), answer.head.field("content-type")), (200, media));
        assert_eq!(answer.head.field("cache-control"), "no-cache, no-transform");
        assert_eq!(answer.head.field("x-accel-buffering"), "no");
    }
}

/// The JSON of each line, or of each event's data.
fn objects(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let all =
        text.lines().filter_map(|line| line.strip_prefix("data: ").or_else(|| line.starts_with('{').then_some(line)));
    all.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// What the log was, and the reason of its end if that was told.
fn told(body: &[u8]) -> (String, Option<String>) {
    let all = objects(body);
    let log = all.iter().filter_map(|object| object["log"].as_str()).collect();
    let end = all.iter().find(|object| object["event"] == "end");
    (log, end.map(|end| end["reason"].as_str().unwrap().to_owned()))
}

/// A sandbox that has ended, whose log follows `script`.
fn ended(script: Script) -> Sandbox {
    Sandbox { state: "exited".into(), ..Sandbox::new(script) }
}

#[tokio::test]
async fn records_are_the_same_on_both_protocols() {
    let pair = Pair::start();
    let steps = [Step::output("one \u{e9}\n"), Step::on(2, b"\xff\n"), Step::output("no end"), Step::End];
    let id = pair.engine.sandbox(ended(Script::new(steps)));
    let connection = H2::connect(pair.address(), WINDOW).await;
    for (format, framing) in [("ndjson", ["", "", "\n"]), ("sse", ["id: ", "\ndata: ", "\n\n"])] {
        let target = logs(&id, &format!("format={format}&follow=true"));
        let body = get_once(pair.address(), &target).await.body;
        assert_eq!(connection.get(&target).await.body().await.unwrap(), body, "{format}");
        let all = objects(&body);
        let token = |at: usize| all[at]["id"].as_str().unwrap();
        let [before, between, behind] = framing;
        let mut expected = if format == "sse" { "retry: 2000\n\n".to_owned() } else { String::new() };
        for (at, (log, stream)) in [
            ("\"log\":\"one \u{e9}\\n\"", "stdout"),
            ("\"log_base64\":\"/wo=\"", "stderr"),
            ("\"log\":\"no end\"", "stdout"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = if before.is_empty() { "" } else { token(at) };
            let time = format!("2026-11-23T07:05:01.00000{at}000Z");
            expected += &format!("{before}{id}{between}");
            expected +=
                &format!("{{{log},\"stream\":\"{stream}\",\"time\":\"{time}\",\"id\":\"{}\"}}{behind}", token(at));
        }
        let (name, id) = if format == "sse" { ("event: end\n", token(3)) } else { ("", "") };
        expected += &format!(
            "{name}{before}{id}{between}{{\"event\":\"end\",\"reason\":\"exited\",\"exit_code\":0,\"oom\":false,\
             \"finished_at\":\"2026-11-23T07:06:01.718498989Z\",\"lines_read\":3,\"lines_sent\":3,\"id\":\"{}\"}}{behind}",
            token(3)
        );
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
        assert!(token(3).starts_with("v1.end."));
        // Behind any record is exactly the rest; behind the end there is nothing.
        for at in 0..3 {
            let rest = get_once(pair.address(), &format!("{target}&after={}", token(at))).await;
            let rest: Vec<_> = objects(&rest.body).into_iter().filter(|object| object.get("event").is_none()).collect();
            assert_eq!(rest, all[at + 1..3], "{format}: after {at}");
        }
        assert_eq!(get_once(pair.address(), &format!("{target}&after={}", token(3))).await.status(), 204);
        assert_eq!(connection.get_with(&target, &[("last-event-id", token(3))]).await.head.status, 204);
    }
}

#[tokio::test]
async fn a_head_of_a_log_is_refused_in_every_form() {
    let pair = Pair::start();
    let connection = H2::connect(pair.address(), WINDOW).await;
    for query in ["", "format=ndjson", "format=sse&follow=true"] {
        let target = pair.log(Script::texts(["x\n"]), query);
        let Response { head, body } = request(pair.address(), "HEAD", &target, &["TE: trailers"], "").await;
        assert_eq!(
            (head.status.as_u16(), head.field("content-type"), body.len()),
            (405, "application/json", 0),
            "{query}"
        );
        let stream = connection.send(Method::HEAD, &target, &[("te", "trailers")]).await.answer().await;
        assert_eq!(stream.head.status, 405, "{query}");
        assert!(stream.is_head_only(), "{query}");
    }
    assert_eq!(pair.engine.opened_logs(), 0);
}

#[tokio::test]
async fn a_text_s_end_is_told_in_a_trailer_to_who_takes_one() {
    let pair = Pair::start();
    let running = pair.engine.log(Script::texts(["x\n"]));
    let exited = pair.engine.sandbox(ended(Script::texts(["x\n"])));
    let connection = H2::connect(pair.address(), WINDOW).await;
    for (id, query, end) in [
        (&running, "", "complete"),
        (&exited, "follow=true", "exited; exit_code=0"),
        (&exited, "follow=true&tail=1", "exited; exit_code=0"),
        (&exited, "limit_bytes=1", "limit"),
    ] {
        let target = logs(id, query);
        let mut stream = connection.get_with(&target, &[("te", "trailers")]).await;
        assert_eq!(stream.head.headers["trailer"], "X-Log-End", "{query}");
        assert_eq!(stream.body().await.unwrap(), "x\n", "{query}");
        assert_eq!(stream.trailers().await.expect("trailers")["x-log-end"], end, "{query}");
        let mut client = Client::connect(pair.address()).await;
        client.send_get(&target, &["TE: gzip, trailers", "Connection: close, te"]).await;
        assert_eq!(client.head().await.field("trailer"), "X-Log-End", "{query}");
        let raw = client.raw_to_end().await.to_ascii_lowercase();
        let expected = format!("2\r\nx\n\r\n0\r\nx-log-end: {end}\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&raw), expected, "{query}");
        // Nobody else gets one.
        let mut stream = connection.get(&target).await;
        assert!(!stream.head.headers.contains_key("trailer"), "{query}");
        assert_eq!(stream.body().await.unwrap(), "x\n", "{query}");
        assert!(stream.trailers().await.is_none(), "{query}");
    }
}

#[tokio::test]
async fn a_drain_is_told_in_records_and_breaks_text_off() {
    let mut pair = Pair::start();
    let id = pair.engine.log(Script::new([Step::output("one\n"), Step::Present, Step::Open]));
    let connection = H2::connect(pair.address(), WINDOW).await;
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for query in ["format=ndjson", "format=sse", "tail=1", "tail=1&notes=true"] {
        let target = logs(&id, &format!("follow=true&{query}"));
        let mut client = Client::connect(pair.address()).await;
        assert_eq!(client.get(&target).await.status, 200);
        clients.push(client);
        streams.push(connection.get(&target).await);
    }
    let mut received = Vec::new();
    for (client, stream) in clients.iter_mut().zip(&mut streams) {
        let mut both = [Vec::new(), Vec::new()];
        while !both[0].windows(3).any(|text| text == b"one") {
            both[0].extend(client.piece().await.unwrap().unwrap());
        }
        while !both[1].windows(3).any(|text| text == b"one") {
            both[1].extend(stream.piece().await.unwrap().unwrap());
        }
        received.push(both);
    }
    pair.gateway.terminate();
    for (at, (client, stream)) in clients.iter_mut().zip(&mut streams).enumerate() {
        if at < 2 {
            received[at][0].extend(client.body().await.expect("a proper end"));
            received[at][1].extend(stream.body().await.expect("a proper end"));
            for body in &received[at] {
                assert_eq!(told(body), ("one\n".to_owned(), Some("drain".to_owned())));
            }
            let [one, two] = &received[at];
            assert_eq!(one, two);
        } else {
            let note = client.body().await.expect_err("no proper end").received;
            assert_eq!(note.is_empty(), at == 2, "{note:?}");
            assert!(note.is_empty() || note.starts_with(b"-- ") && note.ends_with(b"--\n"), "{note:?}");
            while matches!(stream.piece().await, Ok(Some(_))) {}
            stream.body().await.expect_err("no proper end");
        }
    }
    assert_eq!(pair.gateway.wait(Duration::from_secs(7)).code(), Some(0));
    assert_eq!(pair.gateway.output().matches("end=drained").count(), 8, "{}", pair.gateway.output());
}

#[tokio::test]
async fn an_engine_that_is_not_to_be_reached_again_is_told_and_breaks_off() {
    let pair = Pair::with(|setup| setup.section("[logs]\nreconnect_seconds = 0"));
    for (last, name) in [(Step::Cut, "cut"), (Step::End, "ended")] {
        for form in ["format=ndjson", "format=sse", "tail=5"] {
            let steps = [Step::output("a\n"), Step::output("b\n"), Step::Present, last.clone()];
            let target = pair.log(Script::new(steps), &format!("follow=true&{form}"));
            let id = format!("{name}-{form}").replace('=', "-");
            let mut client = Client::connect(pair.address()).await;
            client.send_get(&target, &[&format!("X-Request-ID: {id}")]).await;
            assert_eq!(client.head().await.status, 200);
            let Aborted { received, .. } = client.body().await.expect_err("no proper end");
            if form == "tail=5" {
                assert_eq!(received, "a\nb\n", "{id}");
            } else {
                assert_eq!(told(&received), ("a\nb\n".to_owned(), Some("backend_lost".to_owned())), "{id}");
                let token = objects(&received).pop().unwrap()["id"].as_str().unwrap().to_owned();
                let (target, _) = target.split_once('?').unwrap();
                let rest = get_once(pair.address(), &format!("{target}?format=ndjson&after={token}")).await;
                assert_eq!(told(&rest.body), (String::new(), Some("complete".to_owned())), "{id}");
            }
            assert!(pair.access_line(&id).await.contains("end=backend_lost"), "{id}");
        }
    }
}

/// What a client was sent is in front of the cut, and what comes behind it is what was not: also of a record that was cut itself.
#[tokio::test]
async fn a_followed_log_that_is_cut_is_gone_on_with() {
    let pair = Pair::start();
    let line = |text| Step::output(text);
    for (last, half) in [(Step::Cut, true), (Step::Cut, false), (Step::End, false)] {
        for form in ["format=ndjson", "format=sse", "tail=9", "since=9000d"] {
            let name = format!("{form} {last:?} {half}");
            let (cut, go_on) = (Gate::new(), Gate::new());
            let mut steps = vec![line("a\n"), line("b\n"), Step::Present, Step::Gate(cut.clone())];
            if half {
                steps.push(Step::Raw("2a\r\n\u{1}\0\0\0\0\0\0\u{22}2026-11-23T07:05:01.0000".into()));
            }
            steps.push(last.clone());
            let sandbox = Sandbox::new(Script::new(steps));
            let id = pair.engine.sandbox(sandbox.clone());
            let mut client = Client::connect(pair.address()).await;
            assert_eq!(client.get(&logs(&id, &format!("follow=true&{form}"))).await.status, 200);
            let mut body = Vec::new();
            while !body.windows(3).any(|text| text == b"b\\n" || text.ends_with(b"b\n")) {
                body.extend(client.piece().await.unwrap().unwrap());
            }
            let gate = Step::Gate(go_on.clone());
            let more =
                [line("a\n"), line("b\n"), line("c\n"), line("d\n"), Step::Present, gate, line("e\n"), Step::End];
            pair.engine.sandbox(Sandbox { script: Script::new(more), ..sandbox.clone() });
            cut.open();
            while !body.windows(3).any(|text| text == b"d\\n" || text.ends_with(b"d\n")) {
                body.extend(client.piece().await.unwrap().unwrap());
            }
            let all = Script::texts(["a\n", "b\n", "c\n", "d\n", "e\n", "f\n"]);
            pair.engine.sandbox(Sandbox { script: all, state: "exited".into(), ..sandbox });
            go_on.open();
            body.extend(client.body().await.expect("a proper end"));
            let expected = "a\nb\nc\nd\ne\nf\n";
            if form.starts_with("format") {
                assert_eq!(told(&body), (expected.to_owned(), Some("exited".to_owned())), "{name}");
                let end = objects(&body).pop().unwrap();
                assert_eq!((&end["lines_read"], &end["lines_sent"]), (&json!(6), &json!(6)), "{name}");
            } else {
                assert_eq!(String::from_utf8_lossy(&body), expected, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_engine_s_connection_goes_with_a_client_of_records() {
    let pair = Pair::start();
    for script in [Script::silent(), Script::quiet(), Script::line_then_open("hello\n")] {
        let prints = script.steps.len() > 1;
        for form in ["ndjson", "sse"] {
            for on_slow in ["block", "drop", "cut"] {
                let target = pair.log(script.clone(), &format!("follow=true&format={form}&on_slow={on_slow}"));
                for with_reset in [false, true] {
                    soon(async || {
                        let seen = pair.engine.closed_logs().len();
                        let mut client = Client::connect(pair.address()).await;
                        client.send(client::get(&target, &[])).await;
                        assert_eq!(client.head().await.status, 200);
                        if prints {
                            client.body_of(80).await;
                        }
                        pair.engine.wait_open(1).await;
                        let left = Instant::now();
                        client.leave(with_reset);
                        pair.engine.wait_closed(seen).await.after(left)
                    })
                    .await;
                }
            }
        }
    }
    assert_eq!(pair.engine.open_logs(), 0);
}
