//! HTTP/2 clients that open no window: every answer has its deadline, whatever is left of it; and uploads that nobody reads
//! take nothing from the others.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::net::TcpSocket;

use crate::{
    Pair, logs,
    proxy::Proxied,
    support::{
        backend::Backend,
        engine::{Sandbox, Script, Step},
        eventually,
        h2::H2,
        raw_h2::{DATA, END_STREAM, Frame, RST_STREAM, RawH2},
    },
};

const PERIOD: Duration = Duration::from_secs(4);
const SETUP: &str = "[logs]\nwrite_stall_timeout_seconds = 4";

/// How late, on a machine that is busy with other tests: less than another period.
const LATEST: Duration = Duration::from_millis(6_500);

fn is_in_time(took: Duration) -> bool {
    PERIOD.mul_f64(0.9) < took && took < LATEST
}

#[tokio::test]
async fn no_answer_waits_for_ever_for_a_window() {
    let pair = Pair::with(|setup| setup.section(SETUP).api_key("k-test"));
    for _ in 0..20 {
        pair.engine.sandbox(Sandbox::new(Script::silent()));
    }
    let targets = ["/health", "/version", "/v1/sandboxes", "/v1/nothing", "/openapi.json", "/docs"];
    for window in [0, 1] {
        let mut client = RawH2::connect(pair.address(), window, 0).await;
        let start = Instant::now();
        for (number, target) in targets.iter().enumerate() {
            client.get(2 * number as u32 + 1, target).await;
        }
        let mut resets = 0;
        while resets < targets.len() {
            let frame = client.frame().await.expect("the connection lives on");
            resets += usize::from(frame.kind == RST_STREAM);
            let took = start.elapsed();
            assert!(frame.kind != RST_STREAM || is_in_time(took), "{window}, stream {}: {took:?}", frame.stream);
        }
        let slow = || pair.gateway.output().matches("end=slow_client").count();
        let all = (window as usize + 1) * targets.len();
        eventually("all named", Duration::from_secs(2), || slow() == all).await;
        // The connection lives on, and an honest stream is served.
        client.settings(65_535).await;
        client.get(99, "/health").await;
        let ended = loop {
            let frame = client.frame().await.expect("the connection lives on");
            if frame.stream == 99 && frame.flags & END_STREAM != 0 {
                break frame;
            }
        };
        assert_eq!(ended.kind, DATA);
    }
}

/// The window of the connection, which all its streams share: the first answer takes it up, and the next gets nothing.
#[tokio::test]
async fn no_answer_waits_for_ever_for_the_connections_window_either() {
    let pair = Pair::with(|setup| setup.section(SETUP));
    let mut client = RawH2::connect(pair.address(), (1 << 31) - 1, 0).await;
    client.get(1, "/docs/assets/swagger-ui-bundle.js").await;
    let mut taken = 0;
    while taken < 65_535 {
        let frame = client.frame().await.expect("an answer");
        taken += if frame.kind == DATA { frame.payload.len() } else { 0 };
    }
    let start = Instant::now();
    client.get(3, "/health").await;
    let mut resets = 0;
    while resets < 2 {
        let frame = client.frame().await.expect("the connection lives on");
        resets += u32::from(frame.kind == RST_STREAM);
    }
    assert!(is_in_time(start.elapsed()), "{:?}", start.elapsed());
    client.grant(0, 1 << 20).await;
    client.get(5, "/health").await;
    let ended = |frame: &Frame| frame.stream == 5 && frame.flags & END_STREAM != 0;
    while !ended(&client.frame().await.expect("the connection lives on")) {}
}

/// The last frame of a log, and trailers: when nothing is to be asked of the body any more.
#[tokio::test]
async fn the_end_of_a_log_does_not_wait_for_ever_either() {
    let pair = Pair::with(|setup| setup.section(SETUP));
    let script =
        Script::new([Step::output("one\n"), Step::Wait(Duration::from_millis(300)), Step::output("two\n"), Step::End]);
    let target = pair.log(script, "");
    for (turn, window) in [0, 1, 6].into_iter().enumerate() {
        let mut client = RawH2::connect(pair.address(), window, 0).await;
        let start = Instant::now();
        client.get(1, &target).await;
        let mut seen = Vec::new();
        client.until_reset(1, &mut seen).await;
        assert!(start.elapsed() < LATEST + Duration::from_millis(400), "{:?}", start.elapsed());
        let got: usize = seen.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum();
        assert_eq!(got, window as usize);
        let named = || pair.gateway.output().matches("end=slow_client").count() == turn + 1;
        eventually("named", Duration::from_secs(2), named).await;
    }
    // Who opens the window in time gets all, and its end.
    let mut client = RawH2::connect(pair.address(), 0, 0).await;
    client.get(1, &target).await;
    let mut got = Vec::new();
    loop {
        let frame = client.frame().await.expect("an end");
        client.grant(1, 1).await;
        if frame.stream == 1 && frame.kind == DATA {
            got.extend(frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
        if frame.stream == 0 {
            client.grant(1, 1).await;
        }
    }
    assert_eq!(got, b"one\ntwo\n");
}

#[tokio::test]
async fn trailers_come_after_the_body_however_small_the_window() {
    let backend = Backend::start(|mut conn| async move {
        while conn.head().await.is_some() {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
            conn.send(format!("{head}6\r\nabcdef\r\n0\r\nX-Sum: 17\r\n\r\n")).await;
        }
    })
    .await;
    let proxied = Proxied::with(|setup| setup.section(SETUP)).await;
    let mut stalled = RawH2::connect(proxied.address(), 3, 0).await;
    stalled.get(1, &proxied.target(backend.port, "/")).await;
    let mut seen = Vec::new();
    assert!(is_in_time(stalled.until_reset(1, &mut seen).await));
    let mut whole = RawH2::connect(proxied.address(), 6, 0).await;
    whole.get(1, &proxied.target(backend.port, "/")).await;
    let last = loop {
        let frame = whole.frame().await.expect("an end");
        if frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break frame;
        }
    };
    assert_ne!(last.kind, DATA, "the trailers end it");
}

pub(crate) async fn upload(connection: &H2, target: &str, key: &str, body: Bytes) -> h2::client::ResponseFuture {
    let request = Request::post(format!("http://localhost{target}"));
    let request = request.header("open-sandbox-api-key", key).body(()).unwrap();
    let (answer, mut send) = connection.ready().await.send_request(request, false).unwrap();
    // What does not fit into the window stays with the connection's task. An error is an answer that has come already.
    let _ = send.send_data(body, true);
    answer
}

/// A server that takes connections and reads nothing from them; its port.
pub(crate) fn deaf() -> (u16, tokio::task::JoinHandle<()>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(4_096).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    };
    (port, tokio::spawn(serving))
}

/// As many as a connection may have streams but one, each of more than all the buffers on its way take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_nobody_reads_do_not_hold_up_another() {
    const STALLED: usize = 255;
    let (deaf, _serving) = deaf();
    let mirror = Backend::mirror().await;
    let limits = "[proxy]\nmax_connections = 4000\nmax_connections_per_sandbox = 2000";
    let proxied = Proxied::with(|setup| setup.server("limit_concurrency = 0").section(limits)).await;
    let connection = H2::connect(proxied.address(), 1 << 20).await;
    let before = proxied.gateway.resident();
    let long = Bytes::from(vec![b'x'; 8 << 20]);
    let mut stalled = Vec::new();
    for turn in 0..STALLED {
        stalled.push(upload(&connection, &proxied.target(deaf, "/"), "", long.clone()).await);
        if turn % 50 == 10 || turn == STALLED - 1 {
            // Until their windows are used up.
            proxied.gateway.rests().await;
            let start = Instant::now();
            let target = proxied.target(mirror.port, "/");
            let answer = upload(&connection, &target, "", Bytes::from(vec![b'y'; 100_000])).await;
            let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("an answer in time");
            assert_eq!(answer.unwrap().status(), 200);
            assert!(start.elapsed() < Duration::from_secs(30), "{:?} beside {turn}", start.elapsed());
        }
    }
    // 64 KiB of each on the way from the client, and what a link holds for its backend.
    let grown = proxied.gateway.resident().saturating_sub(before);
    assert!(grown < STALLED as u64 * 400 * 1024, "{grown} bytes");
    drop(stalled);
}

/// Refused ones, on one connection: twice the connection's window in all, so that the last could not be sent otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_refused_give_their_window_back() {
    const WINDOW: usize = 16 << 20;
    let pair = Pair::with(|setup| setup.api_key("k-test"));
    let connection = H2::connect(pair.address(), 1 << 20).await;
    let id = pair.engine.log(Script::silent());
    let body = Bytes::from(vec![b'x'; 2 << 20]);
    // What a stream's own window takes at least, before anybody says no.
    let (mut sent, each) = (0, 50 << 10);
    while sent < 2 * WINDOW {
        let mut answers = Vec::new();
        for (target, key, status) in [
            ("/v1/sandboxes".to_owned(), "", 401),
            ("/nothing".to_owned(), "", 401),
            ("/health".to_owned(), "", 405),
            ("/nothing".to_owned(), "k-test", 404),
            ("/v1/sandboxes".to_owned(), "k-test", 413),
            (format!("/v1/sandboxes/{id}/pause"), "", 401),
            (logs(&id, "follow=true"), "k-test", 405),
        ] {
            for _ in 0..16 {
                answers.push((upload(&connection, &target, key, body.clone()).await, status));
                sent += each;
            }
        }
        for (answer, status) in answers {
            let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer in time");
            // A reset says as much when it overtakes the answer.
            if let Ok(answer) = answer {
                assert_eq!(answer.status(), status);
            }
        }
    }
    let last = upload(&connection, "/v1/sandboxes", "k-test", Bytes::from(vec![b'x'; 100_000])).await;
    let last = tokio::time::timeout(Duration::from_secs(10), last).await.expect("an answer in time").unwrap();
    assert_eq!(last.status(), 422, "it was read");
}
