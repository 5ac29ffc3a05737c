//! What the gateway makes of an engine that fails, before and after the answer has begun.

use std::time::{Duration, Instant};

use crate::{
    Pair, logs,
    support::{
        client::{Client, get_once},
        engine::{Head, Sandbox, Script, Step, chunk, frame, script},
        eventually,
        h2::H2,
    },
};

/// A log that begins with a line; the client has it before the steps that follow.
fn after_a_line(steps: impl IntoIterator<Item = Step>) -> Script {
    let begin = [Step::output("first\n"), Step::Wait(Duration::from_millis(50))];
    Script::new(begin.into_iter().chain(steps))
}

/// The response must break off after what came before the fault, so that the client can tell.
async fn aborts(script: Script, received: &str) {
    let pair = Pair::start();
    let target = pair.log(script, "follow=true");
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&target).await.status, 200);
    let aborted = client.body().await.expect_err("an end by which the client can tell");
    assert_eq!(aborted.received, received);
    assert_eq!(pair.engine.wait_closed(0).await.sandbox.len(), 36);
}

#[tokio::test]
async fn a_cut_stream_aborts_the_response() {
    aborts(after_a_line([Step::Cut]), "first\n").await;
}

#[tokio::test]
async fn a_stream_cut_inside_a_frame_aborts_the_response() {
    let half = frame(1, b"second\n")[..11].to_vec();
    aborts(after_a_line([Step::Chunk(half.into()), Step::Wait(Duration::from_millis(50)), Step::Cut]), "first\nsec")
        .await;
}

#[tokio::test]
async fn a_proper_end_inside_a_frame_is_no_proper_end() {
    let half = frame(1, b"second\n")[..11].to_vec();
    aborts(after_a_line([Step::Chunk(half.into()), Step::Wait(Duration::from_millis(50)), Step::End]), "first\nsec")
        .await;
}

#[tokio::test]
async fn garbage_for_a_chunk_header_aborts_the_response() {
    aborts(after_a_line([Step::Raw("not a chunk\r\n".into()), Step::Open]), "first\n").await;
}

#[tokio::test]
async fn a_length_of_four_gib_aborts_the_response() {
    aborts(after_a_line([Step::Chunk(b"\x01\0\0\0\xff\xff\xff\xffx"[..].into()), Step::Open]), "first\n").await;
}

#[tokio::test]
async fn an_unknown_stream_aborts_the_response() {
    aborts(after_a_line([Step::on(9, b"what\n"), Step::Open]), "first\n").await;
}

#[tokio::test]
async fn a_report_of_failure_is_not_output() {
    aborts(after_a_line([Step::on(3, b"error from daemon in stream"), Step::Open]), "first\n").await;
}

#[tokio::test]
async fn a_reset_by_the_engine_aborts_the_response() {
    let engine = crate::Engine::start_tcp();
    let gateway = crate::Setup::docker(engine.docker_host()).start();
    let id = engine.log(after_a_line([Step::Reset]));
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(&id, "follow=true")).await.status, 200);
    assert_eq!(client.body().await.expect_err("a reset is no end").received, "first\n");
}

#[tokio::test]
async fn an_engine_killed_in_mid_stream_aborts_and_then_is_unavailable() {
    let mut pair = Pair::start();
    let target = pair.log(Script::line_then_open("first\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&target).await.status, 200);
    client.body_of(6).await;
    pair.engine.kill();
    assert!(client.piece().await.is_err());
    let response = get_once(pair.address(), &target).await;
    assert_eq!((response.status(), response.code().as_str()), (503, "LOGS::ENGINE_UNAVAILABLE"), "{response}");
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
}

#[tokio::test]
async fn refusals_have_a_status_and_a_code() {
    let pair = Pair::start();
    for (status, expected) in [
        (404, (404, "DOCKER::SANDBOX_NOT_FOUND")),
        (409, (409, "LOGS::SANDBOX_REMOVING")),
        (500, (500, "LOGS::QUERY_FAILED")),
        (501, (501, "LOGS::DRIVER_NOT_READABLE")),
    ] {
        let target = pair.log(Script::error(status, "as scripted"), "");
        let response = get_once(pair.address(), &target).await;
        assert_eq!((response.status(), response.code().as_str()), expected, "{response}");
    }
}

/// What inspection tells needs no log connection.
#[tokio::test]
async fn refusals_by_inspection_never_reach_the_log() {
    let pair = Pair::start();
    let sandbox = || Sandbox::new(Script::texts(["x\n"]));
    for (sandbox, expected) in [
        (Sandbox { state: "removing".into(), ..sandbox() }, (409, "LOGS::SANDBOX_REMOVING")),
        (Sandbox { state: "dead".into(), ..sandbox() }, (409, "LOGS::SANDBOX_REMOVING")),
        (Sandbox { log_driver: "none".into(), ..sandbox() }, (501, "LOGS::DRIVER_NOT_READABLE")),
    ] {
        let id = pair.engine.sandbox(sandbox);
        let response = get_once(pair.address(), &logs(&id, "follow=true")).await;
        assert_eq!((response.status(), response.code().as_str()), expected, "{response}");
    }
    assert_eq!(pair.engine.opened_logs(), 0);
}

#[tokio::test]
async fn half_a_head_is_a_failed_query() {
    let pair = Pair::start();
    for head in [Head::Half, Head::Raw("SSH-2.0-OpenSSH_9.2\r\n\r\n".into())] {
        let target = pair.log(Script::new([Step::Cut]).with_head(head), "");
        let response = get_once(pair.address(), &target).await;
        // Which of the two it is depends on whether the engine could be reached at all, as far as the gateway can tell.
        assert!(matches!(response.code().as_str(), "LOGS::QUERY_FAILED" | "LOGS::ENGINE_UNAVAILABLE"), "{response}");
    }
}

/// Engine 20.10 sends nothing at all for a silent sandbox (log-pitfalls B1).
#[tokio::test]
async fn the_head_does_not_wait_for_the_engines() {
    let pair = Pair::start();
    for query in [
        "follow=true",
        "follow=true&timestamps=true",
        "follow=true&since=10m",
        "follow=true&format=ndjson",
        "follow=true&tail=5&format=sse",
    ] {
        let target = pair.log(Script::new([Step::Present, Step::Open]), query);
        // A machine that is busy with other tests may be late: one that is soon is enough.
        let (mut best, mut tries) = (Duration::MAX, 0);
        while best >= Duration::from_millis(300) {
            assert!(tries < 20, "{query}: {best:?}");
            tries += 1;
            let start = Instant::now();
            let mut client = Client::connect(pair.address()).await;
            assert_eq!(client.get(&target).await.status, 200);
            best = best.min(start.elapsed());
        }
        let connection = H2::connect(pair.address(), 65_535).await;
        assert_eq!(connection.get(&target).await.head.status, 200);
    }
}

/// The head is out before the engine refuses: what is left to say it with is the abort.
#[tokio::test]
async fn a_late_refusal_aborts_the_response() {
    let pair = Pair::start();
    let late = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}";
    let script = Script::new([Step::Wait(Duration::from_millis(400)), Step::Raw(late[..].into()), Step::Open]);
    let target = pair.log(script.with_head(Head::Raw("".into())), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&target).await.status, 200);
    assert_eq!(client.body().await.expect_err("no proper end").received, "");
}

#[tokio::test]
async fn a_cut_terminal_aborts_the_response() {
    let pair = Pair::start();
    let script = Script::new([Step::Chunk("raw".into()), Step::Wait(Duration::from_millis(50)), Step::Cut]);
    let id = pair.engine.sandbox(Sandbox::tty(script));
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&logs(&id, "")).await.status, 200);
    assert_eq!(client.body().await.expect_err("no proper end").received, "raw");
}

/// Nothing lies between the last byte and the break, and still all that came before is delivered.
#[tokio::test]
async fn what_came_before_the_break_is_delivered_on_both_protocols() {
    let pair = Pair::start();
    for (count, length) in [(1, 10), (1_000, 100), (2_000, 1_000)] {
        let expected: Vec<u8> = (0..count).flat_map(|number| script::line(number, length)).collect();
        let target = pair.log(Script::new([Step::Lines { count, length, batched: true }, Step::Cut]), "");
        for _ in 0..5 {
            let mut client = Client::connect(pair.address()).await;
            assert_eq!(client.get(&target).await.status, 200);
            let aborted = client.body().await.expect_err("no proper end");
            assert!(aborted.received == expected, "{count}: {} of {}", aborted.received.len(), expected.len());
            let mut stream = H2::connect(pair.address(), 65_535).await.get(&target).await;
            let mut received = Vec::new();
            let end = loop {
                match stream.piece().await {
                    Ok(Some(piece)) => received.extend_from_slice(&piece),
                    end => break end,
                }
            };
            assert!(end.is_err(), "a proper end");
            assert!(received == expected, "HTTP/2, {count}: {} of {}", received.len(), expected.len());
        }
    }
}

/// Neither an engine that breaks nor one that refuses costs a descriptor.
#[tokio::test]
async fn faults_leave_no_descriptor() {
    let pair = Pair::start();
    let scripts = [
        Script::new([Step::output("x\n"), Step::Cut]),
        Script::new([Step::output("x\n"), Step::Raw("garbage\r\n".into()), Step::Open]),
        Script::new([Step::Cut]).with_head(Head::Half),
        Script::error(500, "as scripted"),
        Script::error(404, "as scripted"),
    ];
    let targets = scripts.map(|script| pair.log(script, "follow=true"));
    let mut files = usize::MAX;
    for _ in 0..3 {
        for target in targets.iter().cycle().take(50) {
            let mut client = Client::connect(pair.address()).await;
            client.get(target).await;
            // Complete or aborted, as the script has it.
            let _ = client.body().await;
        }
        eventually("descriptors released", Duration::from_secs(2), || pair.gateway.open_files() <= files).await;
        files = pair.gateway.open_files();
    }
    assert_eq!(pair.engine.open_logs(), 0);
}

#[tokio::test]
async fn a_head_byte_by_byte_is_a_head() {
    let pair = Pair::start();
    let script = Script::texts(["slow head\n"]).with_head(Head::Trickled(Duration::from_millis(1)));
    let response = get_once(pair.address(), &pair.log(script, "")).await;
    assert_eq!((response.status(), &response.body[..]), (200, &b"slow head\n"[..]));
}

#[tokio::test]
async fn frames_and_chunks_may_be_cut_anywhere() {
    let pair = Pair::start();
    let framed = [frame(1, b"one\n"), frame(2, b"two\n"), frame(0, b"\n"), frame(1, b"\xff\0three")].concat();
    for size in 1..framed.len() {
        let steps = Step::cut_into(&framed, size).into_iter().chain([Step::End]);
        let response = get_once(pair.address(), &pair.log(Script::new(steps), "")).await;
        assert_eq!(&response.body[..], b"one\ntwo\n\n\xff\0three", "{size} bytes a chunk");
    }
    let wire = [chunk(&framed), b"0\r\n\r\n".to_vec()].concat();
    for at in 1..wire.len() {
        let (front, back) = (wire[..at].to_vec(), wire[at..].to_vec());
        let steps = [Step::Raw(front.into()), Step::Wait(Duration::from_millis(2)), Step::Raw(back.into()), Step::Open];
        let response = get_once(pair.address(), &pair.log(Script::new(steps), "")).await;
        assert_eq!(&response.body[..], b"one\ntwo\n\n\xff\0three", "split at {at}");
    }
}

#[tokio::test]
async fn a_terminals_bytes_are_never_taken_for_frames() {
    let pair = Pair::start();
    let bytes = [&b"\x01\x00\x00\x00\x00\x00\x00\x04abcd"[..], &[1, 2, 3, 0xff]].concat();
    let script = Script::new([Step::Chunk(bytes.clone().into()), Step::End]);
    let id = pair.engine.sandbox(Sandbox::tty(script));
    let response = get_once(pair.address(), &logs(&id, "")).await;
    assert_eq!(&response.body[..], &bytes);
}

#[tokio::test]
async fn payloads_larger_than_any_buffer_pass() {
    let pair = Pair::start();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let target = pair.log(Script::new([Step::on(1, &payload), Step::End]), "");
    assert!(get_once(pair.address(), &target).await.body == payload);
}

#[tokio::test]
async fn every_line_arrives_batched_or_not() {
    let pair = Pair::start();
    for (count, length, batched) in [(50_000, 100, true), (5_000, 100, false), (200, 16_384, true)] {
        let response = get_once(pair.address(), &pair.log(Script::lines(count, length, batched), "")).await;
        let expected: Vec<u8> = (0..count).flat_map(|number| script::line(number, length)).collect();
        assert!(response.body == expected, "{count} lines of {length} bytes, batched: {batched}");
    }
}

#[tokio::test]
async fn a_stall_in_mid_stream_is_waited_out() {
    let pair = Pair::start();
    let script = after_a_line([Step::Wait(Duration::from_secs(2)), Step::output("second\n"), Step::End]);
    let response = get_once(pair.address(), &pair.log(script, "")).await;
    assert_eq!(response.body, "first\nsecond\n");
}
