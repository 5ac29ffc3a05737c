//! The sandbox's bytes, untouched, from a real engine.

use std::time::{Duration, Instant};

use crate::{
    Gateway, Setup, logs,
    support::{
        client::{Client, get_once},
        docker::{self, Container},
        eventually,
    },
};

const LONG_LINE: &str = "head -c 40000 /dev/zero | tr '\\0' a; echo; echo end";
const BINARY: &str = r"printf '\377\000\033[1m\001\000\000\000\000\000\000\004x\r\nend'";

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
    let container = Container::run(LONG_LINE);
    container.wait();
    let gateway = gateway();
    let expected = [vec![b'a'; 40_000], b"\nend\n".to_vec()].concat();
    assert!(body(&gateway, &container, "").await == expected);
    assert!(body(&gateway, &container, "tail=2").await == expected, "tail counts lines, not records");
    assert_eq!(body(&gateway, &container, "tail=1").await, b"end\n");
    let stamped = body(&gateway, &container, "timestamps=true").await;
    let lines: Vec<_> = stamped.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [31 + 40_001, 31 + 4]);
    assert!(lines[0][31..] == expected[..40_001] && lines[0][30] == b' ');
    assert!(body(&gateway, &container, "timestamps=true&tail=2").await == stamped);
}

/// The driver `local` keeps bytes as they are, but loses the newline of a line that it cut (engine 20.10.24): what
/// the engine itself answers is the measure.
#[tokio::test]
async fn the_driver_local_is_passed_on_as_the_engine_gives_it() {
    for script in [LONG_LINE, BINARY, "echo one; echo two >&2; sleep 0.1; printf three"] {
        let container = Container::run_with(&["--log-driver", "local"], script);
        container.wait();
        let gateway = gateway();
        let own = container.raw_log();
        assert!(body(&gateway, &container, "").await == own, "{script}");
        assert!(body(&gateway, &container, "follow=true").await == own, "{script}");
        if script == BINARY {
            assert_eq!(own, b"\xff\0\x1b[1m\x01\0\0\0\0\0\0\x04x\r\nend");
        }
    }
}

#[tokio::test]
async fn binary_nul_and_a_last_line_without_newline() {
    let container = Container::run(BINARY);
    container.wait();
    let bytes = body(&gateway(), &container, "").await;
    // It is the driver json-file that cannot keep a byte that is not UTF-8; the rest is untouched.
    assert_eq!(bytes, "\u{fffd}\0\x1b[1m\x01\0\0\0\0\0\0\x04x\r\nend".as_bytes());
    assert_eq!(bytes, container.raw_log());
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
    let both = async { while body(&gateway, &container, "").await != b"life\nlife\n"[..] {} };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("both lives in time");
}

#[tokio::test]
async fn a_restart_ends_a_followed_log_properly() {
    let container = Container::run("echo life; exec sleep 100");
    let gateway = gateway();
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(container.id(), "follow=true")).await.status, 200);
    assert_eq!(client.body_of(5).await, "life\n");
    container.restart();
    let rest = client.body().await.expect("a proper end");
    assert!(rest.is_empty() || rest == "life\n", "{rest:?}");
}

#[tokio::test]
async fn a_driver_that_cannot_be_read_is_said_so() {
    let container = Container::run_with(&["--log-driver", "none"], "echo lost; exec sleep 100");
    for query in ["", "follow=true", "tail=1"] {
        let response = get_once(gateway().address(), &logs(container.id(), query)).await;
        assert_eq!((response.status(), response.code().as_str()), (501, "LOGS::DRIVER_NOT_READABLE"), "{response}");
    }
}

#[tokio::test]
async fn tail_counts_logical_lines_of_the_streams_and_the_times_asked_for() {
    let long = "head -c 40000 /dev/zero | tr '\\0' a; echo";
    let script =
        format!("echo 1; sleep 0.05; echo e1 >&2; sleep 0.05; {long}; sleep 0.05; echo e2 >&2; sleep 0.05; echo 3");
    let container = Container::run(&script);
    container.wait();
    let gateway = gateway();
    assert_eq!(body(&gateway, &container, "tail=2&stdout=false").await, b"e1\ne2\n");
    assert_eq!(body(&gateway, &container, "tail=1&stdout=false").await, b"e2\n");
    assert_eq!(body(&gateway, &container, "tail=2&stderr=false").await.len(), 40_001 + 2);
    assert_eq!(body(&gateway, &container, "tail=3&stderr=false").await.len(), 2 + 40_001 + 2);
    assert_eq!(body(&gateway, &container, "tail=1&stderr=false").await, b"3\n");
    let stamped = String::from_utf8(body(&gateway, &container, "timestamps=true&stdout=false").await).unwrap();
    let until = &stamped.lines().last().unwrap()[..30];
    // The last two lines until then, whatever came later.
    let two = body(&gateway, &container, &format!("tail=2&until={until}")).await;
    assert_eq!(two.len(), 40_001 + 3, "{:?}", String::from_utf8_lossy(&two[..20]));
    assert_eq!(body(&gateway, &container, &format!("tail=1&stderr=false&until={until}")).await.len(), 40_001);
    assert_eq!(body(&gateway, &container, &format!("tail=9&stderr=false&since={until}")).await, b"3\n");
    assert_eq!(body(&gateway, &container, "tail=100").await, body(&gateway, &container, "").await);
}

#[tokio::test]
async fn tail_is_exact_while_the_sandbox_prints() {
    let container =
        Container::run("while :; do i=$((i+1)); echo e >&2; [ $((i % 50)) = 0 ] && echo out $i && usleep 5000; done");
    let gateway = gateway();
    let path = logs(container.id(), "follow=true&stderr=false");
    let mut client = Client::connect(gateway.address()).await;
    client.get(&path).await;
    // Some lines are there, and more are coming.
    client.body_of(100).await;
    for _ in 0..20 {
        let two = body(&gateway, &container, "tail=2&stderr=false").await;
        let lines: Vec<_> = two.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 2, "{}", String::from_utf8_lossy(&two));
        assert!(lines.iter().all(|line| line.starts_with(b"out ")), "{}", String::from_utf8_lossy(&two));
    }
}

#[tokio::test]
async fn tail_of_a_terminal_counts_logical_lines() {
    let script = "echo 1; head -c 40000 /dev/zero | tr '\\0' a; echo; echo end";
    let container = Container::run_with(&["--tty"], script);
    container.wait();
    let gateway = gateway();
    let all = body(&gateway, &container, "").await;
    assert!(all == container.raw_log());
    let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [3, 40_002, 5]);
    assert!(body(&gateway, &container, "tail=1").await == lines[2]);
    assert!(body(&gateway, &container, "tail=2").await == lines[1..].concat());
    assert_eq!(body(&gateway, &container, "timestamps=true").await.len(), all.len() + 31 * lines.len());
}

/// The driver local of engine 20.10 loses the newline of a cut line, and newer ones keep it (`newer_engines`): its pieces' time
/// tells where it ends.
#[tokio::test]
async fn a_terminal_on_the_driver_local() {
    let script = "echo 1; echo 2; head -c 40000 /dev/zero | tr '\\0' a; echo; echo end";
    let container = Container::run_with(&["--tty", "--log-driver", "local"], script);
    container.wait();
    let gateway = gateway();
    let all = body(&gateway, &container, "").await;
    assert!(all == container.raw_log());
    assert_eq!(body(&gateway, &container, "tail=1").await, b"end\r\n");
    let short = Container::run_with(&["--tty", "--log-driver", "local"], "echo one; echo two; echo three");
    short.wait();
    assert_eq!(body(&gateway, &short, "tail=2").await, b"two\r\nthree\r\n");
}

#[tokio::test]
async fn since_and_until_are_exact_to_the_nanosecond() {
    let container = Container::run("for n in 1 2 3 4; do echo $n; sleep 0.05; done");
    container.wait();
    let gateway = gateway();
    let stamped = String::from_utf8(body(&gateway, &container, "timestamps=true").await).unwrap();
    let times: Vec<jiff::Timestamp> = stamped.lines().map(|line| line[..30].parse().unwrap()).collect();
    let nano = jiff::SignedDuration::from_nanos(1);
    for (since, until, expected) in [
        (times[1], times[2], "2\n3\n"),
        (times[1] + nano, times[2], "3\n"),
        (times[1], times[2] - nano, "2\n"),
        (times[1] - nano, times[2] + nano, "2\n3\n"),
    ] {
        let seconds = |time: jiff::Timestamp| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond());
        for query in [
            format!("since={since}&until={until}"),
            format!("since={}&until={}", seconds(since), seconds(until)),
            format!("since={since}&until={until}&follow=true"),
        ] {
            assert_eq!(body(&gateway, &container, &query).await, expected.as_bytes(), "{query}");
        }
    }
}

/// What only an engine of its own version can tell: a client that leaves a silent sandbox leaves no file of the
/// engine's open either.
#[tokio::test]
async fn the_real_engine_lets_go_of_a_silent_sandbox() {
    let container = Container::run("exec sleep 100");
    let gateway = gateway();
    let target = logs(container.id(), "follow=true");
    let mut files = usize::MAX;
    for _ in 0..2 {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            let mut client = Client::connect(gateway.address()).await;
            assert_eq!(client.get(&target).await.status, 200);
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            clients.push(client);
        }
        drop(clients);
        eventually("descriptors released", Duration::from_secs(2), || gateway.open_files() <= files.min(40)).await;
        files = gateway.open_files();
    }
}
