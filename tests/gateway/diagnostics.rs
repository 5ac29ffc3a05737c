//! Diagnostics: texts and descriptors from a real engine, departures and failures from a scripted one.

use std::time::Instant;

use crate::{
    Gateway, Pair, Setup, soon,
    support::{
        client::{Client, Response, get_once, request},
        docker::{self, Container},
        engine::Script,
    },
};

fn gateway() -> Gateway {
    Setup::docker(&docker::host()).start()
}

fn target(id: &str, what: &str) -> String {
    format!("/v1/sandboxes/{id}/diagnostics/{what}")
}

async fn get(gateway: &Gateway, container: &Container, what: &str) -> Response {
    get_once(gateway.address(), &target(container.id(), what)).await
}

fn text(response: &Response) -> String {
    assert_eq!((response.status(), response.head.field("content-type")), (200, "text/plain; charset=utf-8"));
    String::from_utf8(response.body.to_vec()).unwrap()
}

/// The lines without the times that each must have.
fn without_times(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| {
            let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no time: {line}"));
            assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 30, "{line}");
            rest
        })
        .collect()
}

#[tokio::test]
async fn logs_are_lines_with_times() {
    // The engine stamps the two streams apart: their lines may change places, and a tail is exact all the same.
    let container = Container::run("seq 1 150; echo err >&2");
    container.wait();
    let gateway = gateway();
    let response = get(&gateway, &container, "logs").await;
    assert_eq!((response.head.field("deprecation"), response.head.field("warning")), ("true", ""));
    let all = text(&response);
    assert_eq!(without_times(&all).len(), 100);
    assert!(all.ends_with('\n'));
    let two = text(&get(&gateway, &container, "logs?tail=2&container=whatever").await);
    assert_eq!(two.lines().count(), 2);
    assert!(all.ends_with(&two));
    assert_eq!(text(&get(&gateway, &container, "logs?tail=10000&since=").await).lines().count(), 151);
    assert_eq!(text(&get(&gateway, &container, "logs?since=0s").await), "(no logs)");
}

#[tokio::test]
async fn a_since_that_is_not_understood_is_ten_minutes_and_says_so() {
    let container = Container::run("echo x");
    container.wait();
    let gateway = gateway();
    let response = get(&gateway, &container, "logs?since=garbage").await;
    assert_eq!(without_times(&text(&response)), ["x"]);
    assert!(response.head.field("warning").starts_with("299 "), "{:?}", response.head);
}

#[tokio::test]
async fn no_logs_are_said_in_words() {
    let container = Container::run("sleep 60");
    let gateway = gateway();
    let response = get(&gateway, &container, "logs").await;
    assert_eq!((text(&response).as_str(), response.head.field("content-length")), ("(no logs)", "9"));
    let json = get(&gateway, &container, "logs?scope=container").await;
    let expected = format!(
        r#"{{"sandboxId":"{}","kind":"logs","scope":"container","delivery":"inline","contentType":"text/plain; charset=utf-8","content":"(no logs)","contentLength":9,"truncated":false}}"#,
        container.id()
    );
    assert_eq!((json.head.field("deprecation"), &json.body[..]), ("", expected.as_bytes()));
}

#[tokio::test]
async fn a_descriptor_has_the_last_hundred_lines() {
    let container = Container::run("seq 1 150");
    container.wait();
    let gateway = gateway();
    let all = get(&gateway, &container, "logs?scope=%20ALL%20&tail=1").await.json();
    let content = all["content"].as_str().unwrap();
    let lines = without_times(content);
    assert_eq!((lines.len(), lines[0], lines[99]), (100, "51", "150"));
    assert_eq!((all["truncated"].as_bool(), all["contentLength"].as_u64()), (Some(true), Some(content.len() as u64)));
    let warning = "The current backend only contributes sandbox container logs to the all scope.";
    assert_eq!(all["warnings"], serde_json::json!([warning]));
}

#[tokio::test]
async fn a_long_line_has_one_time_and_a_carriage_return_ends_none() {
    let container = Container::run("head -c 40000 /dev/zero | tr '\\0' a; echo; printf 'a\\rb\\n'");
    container.wait();
    let gateway = gateway();
    let body = get(&gateway, &container, "logs?tail=2").await.body;
    let lines: Vec<_> = body.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [31 + 40_001, 31 + 4]);
    assert_eq!(&lines[1][31..], b"a\rb\n");
    let json = get(&gateway, &container, "logs?scope=container").await.json();
    assert_eq!(json["truncated"], false, "a carriage return ends no line");
    assert!(json["content"].as_str().unwrap().ends_with(" a\rb\n"));
}

#[tokio::test]
async fn an_inspection_shows_no_secrets() {
    let options = ["--env", "DB_PASS=hunter2", "--env", "A=1", "--label", "opensandbox.io/egress-auth-token=hunter2"];
    let container = Container::run_with(&options, "sleep 60");
    let gateway = gateway();
    let response = get(&gateway, &container, "inspect").await;
    let inspected = text(&response);
    assert_eq!(response.head.field("deprecation"), "");
    assert!(!inspected.contains("hunter2"), "{inspected}");
    let id = container.inspect()["Id"].as_str().unwrap()[..12].to_owned();
    let head =
        format!("Container ID:   {id}\nName:           {}\nImage:          osb-test/busybox:1\n", container.name());
    assert!(inspected.starts_with(&head), "{inspected}");
    for part in ["\nStatus:         running\n", "\n\nNetwork:\n  none: \n", "\n  A=1", "\n  DB_PASS=***"] {
        assert!(inspected.contains(part), "{part:?}: {inspected}");
    }
    let summary = text(&get(&gateway, &container, "summary").await);
    assert!(!summary.contains("hunter2"), "{summary}");
}

#[tokio::test]
async fn events_are_told_in_both_forms() {
    let container = Container::run("exit 3");
    container.wait();
    let gateway = gateway();
    let response = get(&gateway, &container, "events").await;
    let told = text(&response);
    assert_eq!(response.head.field("deprecation"), "true");
    let lines: Vec<_> = told.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["Container", "Status", "Created", "Started", "Finished", "Event"]);
    assert!(told.ends_with("Event:      Exited with code 3"), "{told}");
    let json = get(&gateway, &container, "events?scope=runtime").await.json();
    assert_eq!((json["content"].as_str(), json["truncated"].as_bool()), (Some(told.as_str()), Some(false)));
}

#[tokio::test]
async fn a_summary_is_all_three() {
    let container = Container::run("seq 1 9");
    container.wait();
    let gateway = gateway();
    let summary = text(&get(&gateway, &container, "summary?tail=3&event_limit=2").await);
    let inspected = text(&get(&gateway, &container, "inspect").await);
    let told = text(&get(&gateway, &container, "events").await);
    let logs = text(&get(&gateway, &container, "logs?tail=3").await);
    let (thick, thin) = ("=".repeat(72), "-".repeat(40));
    let expected = format!(
        "{thick}\nSANDBOX DIAGNOSTICS SUMMARY\nSandbox ID: {}\n{thick}\n\n{thin}\nINSPECT\n{thin}\n{inspected}\n\n\
         {thin}\nEVENTS\n{thin}\n{told}\n\n{thin}\nLOGS (last 3 lines)\n{thin}\n{logs}\n",
        container.id()
    );
    assert_eq!(summary, expected);
    let silent = Container::run("true");
    silent.wait();
    let summary = text(&get(&gateway, &silent, "summary").await);
    assert!(summary.ends_with(&format!("LOGS (last 50 lines)\n{thin}\n(no logs)\n")), "{summary}");
}

#[tokio::test]
async fn refusals_come_in_the_contracts_order() {
    let pair = Pair::start();
    for (what, status, code) in [
        ("logs?scope=zzz", 400, "DIAGNOSTICS_SCOPE_UNSUPPORTED"),
        ("events?scope=container", 400, "DIAGNOSTICS_SCOPE_UNSUPPORTED"),
        ("logs?scope=zzz&tail=0", 422, "VALIDATION_ERROR"),
        ("events?limit=501", 422, "VALIDATION_ERROR"),
        ("summary?event_limit=x", 422, "VALIDATION_ERROR"),
        ("logs", 404, "DOCKER::SANDBOX_NOT_FOUND"),
        ("logs?scope=all", 404, "DOCKER::SANDBOX_NOT_FOUND"),
        ("events", 404, "DOCKER::SANDBOX_NOT_FOUND"),
        ("inspect", 404, "DOCKER::SANDBOX_NOT_FOUND"),
        ("summary", 404, "DOCKER::SANDBOX_NOT_FOUND"),
    ] {
        let response = get_once(pair.address(), &target("nobody", what)).await;
        assert_eq!((response.status(), response.code().as_str()), (status, code), "{what}: {response}");
    }
    let response = get_once(pair.address(), &target("nobody", "logs?scope=")).await;
    let message = "Unsupported logs diagnostics scope ''. Supported scopes: container, all.";
    assert_eq!(response.json()["message"], message);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_has_the_contracts_code() {
    let pair = Pair::start();
    let id = pair.engine.log(Script::error(501, "configured logging driver does not support reading"));
    for what in ["logs", "logs?scope=container", "summary"] {
        let response = get_once(pair.address(), &target(&id, what)).await;
        assert_eq!((response.status(), response.code().as_str()), (500, "DOCKER::SANDBOX_QUERY_FAILED"), "{what}");
        let message = response.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("Failed to read logs for sandbox {id}: ")), "{message}");
    }
}

#[tokio::test]
async fn the_engine_is_let_go_when_the_client_leaves() {
    let pair = Pair::start();
    for what in ["logs", "logs?scope=container", "summary"] {
        let id = pair.engine.log(Script::quiet());
        soon(async || {
            let seen = pair.engine.closed_logs().len();
            let mut client = Client::connect(pair.address()).await;
            client.send_get(&target(&id, what), &[]).await;
            pair.engine.wait_open(1).await;
            let left = Instant::now();
            client.close();
            pair.engine.wait_closed(seen).await.after(left)
        })
        .await;
    }
    assert_eq!(pair.engine.open_logs(), 0);
}

/// The existing server takes half a gigabyte for this.
#[tokio::test]
async fn large_logs_take_little_memory() {
    let container = Container::run("yes $(head -c 16000 /dev/zero | tr '\\0' a) | head -n 1500");
    container.wait();
    let gateway = gateway();
    get(&gateway, &container, "logs?tail=1").await;
    let before = gateway.resident();
    let what = target(container.id(), "logs?tail=10000");
    let mut peak = 0;
    let reads = async {
        let all = [(); 4].map(|()| read_all(&gateway, &what));
        futures_util::future::join_all(all).await
    };
    let watch = async {
        loop {
            peak = peak.max(gateway.resident());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        lengths = reads => assert_eq!(lengths, [1500 * (16_001 + 31); 4]),
        () = watch => {}
    }
    let grown = peak.saturating_sub(before);
    assert!(grown < 24 << 20, "{} MiB more", grown >> 20);
}

async fn read_all(gateway: &Gateway, target: &str) -> usize {
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(target).await.status, 200);
    let mut length = 0;
    while let Some(piece) = client.piece().await.unwrap() {
        length += piece.len();
    }
    length
}

#[tokio::test]
async fn local_processes_are_described_as_well() {
    let gateway = Setup::process().start();
    let body =
        r#"{"image":{"uri":"any"},"resourceLimits":{},"metadata":{"a":"b"},"entrypoint":["sh","-c","echo x; exit 3"]}"#;
    let json = ["Content-Type: application/json"];
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &json, body).await;
    assert_eq!(created.status(), 202, "{created}");
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let followed = get_once(gateway.address(), &format!("/v1/sandboxes/{id}/logs?follow=true")).await;
    assert_eq!(followed.body, "x\n");
    let logs = text(&get_once(gateway.address(), &target(&id, "logs")).await);
    assert_eq!(without_times(&logs), ["x"]);
    let inspected = text(&get_once(gateway.address(), &target(&id, "inspect")).await);
    assert!(inspected.starts_with(&format!("Sandbox ID:     {id}\n")) && inspected.ends_with("\n  a=b"), "{inspected}");
    let summary = text(&get_once(gateway.address(), &target(&id, "summary")).await);
    assert!(summary.contains("Exited with code 3") && summary.ends_with(&format!("{logs}\n")), "{summary}");
}
