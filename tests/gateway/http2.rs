//! What HTTP/2 needs of its own where hyper sees to it on HTTP/1.1: answers to HEAD, and connections that are idle.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use http::Method;

use crate::{
    Pair,
    support::{
        client::{Client, request},
        engine::{Gate, Script, Step},
        h2::H2,
    },
};

const WINDOW: u32 = 65_535;

#[tokio::test]
async fn head_is_answered_without_a_data_frame_and_with_the_bodys_length() {
    let pair = Pair::start();
    let log = pair.log(Script::texts(["x\n"]), "");
    let connection = H2::connect(pair.address(), WINDOW).await;
    // A method that no route has is refused with the same body, and there it is sent.
    for (target, status) in [("/v1/sandboxes", 405), (&log, 405), ("/nothing", 404)] {
        let body = request(pair.address(), "PATCH", target, &[], "").await.body;
        assert!(body.starts_with(b"{\"code\":"), "{target}: {body:?}");
        let mut stream = connection.send(Method::HEAD, target, &[]).await.answer().await;
        assert_eq!(stream.head.status, status, "{target}");
        assert_eq!(stream.head.headers["content-length"], body.len().to_string(), "{target}");
        assert_eq!(stream.head.headers["content-type"], "application/json", "{target}");
        assert!(stream.is_head_only(), "{target}: a frame follows the head");
        assert_eq!(stream.body().await.unwrap(), "", "{target}");
    }
    assert_eq!(connection.get("/health").await.body().await.unwrap(), "{\"status\":\"healthy\"}");
    assert_eq!(pair.engine.opened_logs(), 0);
}

/// Waits for the connection's end, a second after it became idle; `since` is when it certainly was not yet.
async fn ends_a_second_after(since: Instant, mut connection: H2, what: &str) {
    assert!(connection.is_closed().await, "{what}: still open");
    let took = since.elapsed();
    assert!(Duration::from_millis(990) < took && took < Duration::from_secs(3), "{what}: {took:?}");
}

async fn unused_connection_ends(pair: &Pair) {
    let since = Instant::now();
    ends_a_second_after(since, H2::connect(pair.address(), WINDOW).await, "never used").await;
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_one_with_a_log_is_not() {
    let pair = Pair::with(|setup| setup.server("timeout_keep_alive = 1"));
    let gate = Gate::new();
    let steps = [Step::output("one\n"), Step::Gate(gate.clone()), Step::output("two\n"), Step::End];
    let following = H2::connect(pair.address(), WINDOW).await;
    let mut log = following.get(&pair.log(Script::new(steps), "follow=true")).await;
    assert_eq!(log.piece().await.unwrap().unwrap(), "one\n");
    let silent = H2::connect(pair.address(), WINDOW).await;
    let held = silent.get(&pair.log(Script::silent(), "follow=true")).await;

    unused_connection_ends(&pair).await;
    let since = Instant::now();
    let used = H2::connect(pair.address(), WINDOW).await;
    used.get("/health").await.body().await.unwrap();
    ends_a_second_after(since, used, "used once").await;

    // Twice the time has passed, and neither log has ended with its connection.
    assert_eq!(silent.get("/health").await.head.status, 200);
    assert_eq!(pair.engine.open_logs(), 2);
    let since = Instant::now();
    gate.open();
    assert_eq!(log.body().await.unwrap(), "two\n");
    ends_a_second_after(since, following, "its log has ended").await;
    let since = Instant::now();
    held.reset();
    ends_a_second_after(since, silent, "its log was given up").await;
}

/// Idle is who asks for nothing all the time, not who happens to wait for no answer when the time is over.
#[tokio::test]
async fn a_connection_that_is_used_again_and_again_is_not_idle() {
    let pair = Pair::with(|setup| setup.server("timeout_keep_alive = 1"));
    let busy = H2::connect(pair.address(), WINDOW).await;
    // Two connections beside it, one after the other, are given their time and ended.
    let mut twice = pin!(async {
        unused_connection_ends(&pair).await;
        unused_connection_ends(&pair).await;
    });
    let mut asked = 0;
    let since = loop {
        let since = Instant::now();
        busy.get("/health").await.body().await.unwrap();
        asked += 1;
        // Far more often than the time, and not so often that a request is always under way.
        if tokio::time::timeout(Duration::from_millis(100), &mut twice).await.is_ok() {
            break since;
        }
    };
    assert!(asked > 5, "{asked} requests");
    ends_a_second_after(since, busy, "no longer used").await;
}

/// Who is asked must be told once: what stands before the gateway may have read another of two names.
#[tokio::test]
async fn a_request_names_one_host() {
    let pair = Pair::start();
    let asked = async |lines: &str| {
        let mut client = Client::connect(pair.address()).await;
        client.send(format!("GET /health HTTP/1.1\r\n{lines}\r\n")).await;
        client.head().await.status.as_u16()
    };
    assert_eq!(asked("Host: a\r\n").await, 200);
    for lines in ["Host: a\r\nHost: b\r\n", "Host: a\r\nX: 1\r\nhost: a\r\n"] {
        assert_eq!(asked(lines).await, 400, "{lines}");
    }
    let connection = H2::connect(pair.address(), 65_535).await;
    for (hosts, status) in
        [(&["localhost"][..], 200), (&["LOCALHOST:80"], 200), (&["other"], 400), (&["localhost", "localhost"], 400)]
    {
        let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        assert_eq!(connection.get_with("/health", &fields).await.head.status, status, "{hosts:?}");
    }
}
