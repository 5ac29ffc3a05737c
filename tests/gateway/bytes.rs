//! The sandbox's bytes, untouched, from a real engine.

use std::time::Duration;

use crate::{
    Gateway, Setup, logs,
    support::{
        client::{Client, get_once},
        docker::{self, Container},
    },
};

fn gateway() -> Gateway {
    Setup::docker(&docker::host()).start()
}

async fn body(gateway: &Gateway, container: &Container, query: &str) -> Vec<u8> {
    let response = get_once(gateway.address(), &logs(container.id(), query)).await;
    assert_eq!(response.status(), 200, "{response}");
    response.body.to_vec()
}

/// Runs a script to its end and reads its log.
async fn output(script: &str, options: &[&str], query: &str) -> Vec<u8> {
    let container = Container::run_with(options, script);
    container.wait();
    body(&gateway(), &container, query).await
}

#[tokio::test]
async fn both_streams_and_each_alone() {
    let container = Container::run("echo out; sleep 0.2; echo err >&2; sleep 0.2; echo again");
    container.wait();
    let gateway = gateway();
    assert_eq!(body(&gateway, &container, "").await, b"out\nerr\nagain\n");
    assert_eq!(body(&gateway, &container, "stderr=false").await, b"out\nagain\n");
    assert_eq!(body(&gateway, &container, "stdout=false").await, b"err\n");
    assert_eq!(body(&gateway, &container, "tail=1").await, b"again\n");
}

#[tokio::test]
async fn a_long_line_is_one_line_with_one_timestamp() {
    let script = "head -c 40000 /dev/zero | tr '\\0' a; echo; echo end";
    for options in [&[][..], &["--log-driver", "local"]] {
        let container = Container::run_with(options, script);
        container.wait();
        let gateway = gateway();
        let expected = [vec![b'a'; 40_000], b"\nend\n".to_vec()].concat();
        assert!(body(&gateway, &container, "").await == expected);
        assert!(body(&gateway, &container, "tail=2").await == expected, "tail counts lines, not records");
        let stamped = body(&gateway, &container, "timestamps=true").await;
        let lines: Vec<_> = stamped.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [31 + 40_001, 31 + 4]);
        assert!(lines[0][31..] == expected[..40_001] && lines[0][30] == b' ');
    }
}

#[tokio::test]
async fn binary_nul_and_a_last_line_without_newline() {
    let script = r"printf '\377\000\033[1m\001\000\000\000\000\000\000\004x\r\nend'";
    assert_eq!(output(script, &[], "").await, b"\xff\0\x1b[1m\x01\0\0\0\0\0\0\x04x\r\nend");
}

#[tokio::test]
async fn a_terminal_whose_output_looks_like_a_frame() {
    let script = r"printf '\001\000\000\000\000\000\000\004abcd\001\002'; sleep 0.2";
    assert_eq!(output(script, &["--tty"], "").await, b"\x01\0\0\0\0\0\0\x04abcd\x01\x02");
}

#[tokio::test]
async fn nothing_printed_is_an_empty_body() {
    assert_eq!(output("true", &[], "").await, b"");
    assert_eq!(output("true", &[], "follow=true").await, b"");
    assert_eq!(body(&gateway(), &Container::create("true"), "follow=true").await, b"");
}

#[tokio::test]
async fn following_ends_with_the_sandbox() {
    let container = Container::run("echo one; sleep 1; echo two");
    assert_eq!(body(&gateway(), &container, "follow=true").await, b"one\ntwo\n");
}

#[tokio::test]
async fn removal_ends_a_followed_log_properly() {
    let container = Container::run("echo one; exec sleep 100");
    let gateway = gateway();
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(container.id(), "follow=true")).await.status, 200);
    assert_eq!(client.body_of(4).await, "one\n");
    container.remove();
    assert_eq!(client.body().await.expect("a proper end"), "");
    let response = get_once(gateway.address(), &logs(container.id(), "")).await;
    assert_eq!((response.status(), response.code().as_str()), (404, "DOCKER::SANDBOX_NOT_FOUND"));
}

#[tokio::test]
async fn a_paused_sandbox_keeps_its_stream() {
    let container = Container::run("while :; do echo tick; sleep 0.1; done");
    let gateway = gateway();
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(container.id(), "follow=true")).await.status, 200);
    client.body_of(5).await;
    container.command("pause");
    while !client.is_silent_for(Duration::from_millis(500)).await {}
    container.command("unpause");
    assert!(client.body_of(5).await.ends_with(b"\n"));
}

#[tokio::test]
async fn after_a_restart_both_lives_can_be_read() {
    let container = Container::run("echo life; exec sleep 100");
    let gateway = gateway();
    container.restart();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(body(&gateway, &container, "").await, b"life\nlife\n");
}

#[tokio::test]
async fn a_driver_that_cannot_be_read_is_said_so() {
    let container = Container::run_with(&["--log-driver", "none"], "echo lost; exec sleep 100");
    let response = get_once(gateway().address(), &logs(container.id(), "")).await;
    assert_eq!((response.status(), response.code().as_str()), (501, "LOGS::DRIVER_NOT_READABLE"), "{response}");
}

#[tokio::test]
async fn since_and_until_are_exact_to_the_nanosecond() {
    let container = Container::run("for n in 1 2 3 4; do echo $n; sleep 0.05; done");
    container.wait();
    let gateway = gateway();
    let stamped = String::from_utf8(body(&gateway, &container, "timestamps=true").await).unwrap();
    let times: Vec<&str> = stamped.lines().map(|line| &line[..30]).collect();
    let query = format!("since={}&until={}", times[1], times[2]);
    assert_eq!(body(&gateway, &container, &query).await, b"2\n3\n");
    let later = format!("since={}1Z", &times[1][..28].trim_end_matches('Z'));
    assert!(!body(&gateway, &container, &later).await.is_empty());
}
