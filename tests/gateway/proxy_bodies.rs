//! Bodies that are passed both ways: large, slow, silent, broken off.

use std::time::{Duration, Instant};

use crate::{
    proxy::Proxied,
    soon,
    support::{
        backend::{Backend, Conn},
        client::{Client, request},
        eventually,
        h2::H2,
    },
};

const LARGE: usize = 8 << 20;

/// Bytes in which a piece that is lost, doubled or moved is seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// A head and no more, until the peer leaves.
async fn silent(mut conn: Conn) {
    conn.head().await;
    conn.wait_closed().await;
}

/// One event, and then nothing until the peer leaves.
async fn one_event(mut conn: Conn) {
    conn.head().await;
    conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    conn.send("6\r\nhello\n\r\n").await;
    conn.wait_closed().await;
}

/// Only a head.
async fn head_only(mut conn: Conn) {
    conn.head().await;
    conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    conn.wait_closed().await;
}

async fn downloads(mut conn: Conn) {
    let body = pattern(LARGE);
    while let Some(head) = conn.head().await {
        if head.contains("/length") {
            conn.answer("200 OK", &[], &body).await;
        } else {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for piece in body.chunks(70_001) {
                conn.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
            }
            conn.send("0\r\n\r\n").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_arrive_whole() {
    let (proxied, backend) = (Proxied::start().await, Backend::start(downloads).await);
    let expected = pattern(LARGE);
    let mut client = proxied.connect().await;
    for path in ["/length", "/chunked", "/length"] {
        client.send_get(&proxied.target(backend.port, path), &[]).await;
        let head = client.head().await;
        let length = if path == "/length" { LARGE.to_string() } else { String::new() };
        assert_eq!((head.status.as_u16(), head.field("content-length")), (200, &length[..]));
        assert!(client.body().await.unwrap() == expected, "{path}");
        let h2 = H2::connect(proxied.address(), 65_535).await;
        assert!(h2.get(&proxied.target(backend.port, path)).await.body().await.unwrap() == expected, "{path}");
    }
    assert_eq!(backend.accepted(), 6, "a connection with a grown buffer does not rest");
    let logged = || proxied.gateway.output().matches("end=complete").count() == 8;
    eventually("all access lines", Duration::from_secs(2), logged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_uploads_arrive_whole() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            let body = conn.body_of(&head).await;
            let verdict = if body == pattern(LARGE) { "whole" } else { "broken" };
            conn.answer("200 OK", &[], verdict.as_bytes()).await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let (target, body) = (proxied.target(backend.port, "/"), pattern(LARGE));
    let mut client = proxied.connect().await;
    for _ in 0..2 {
        client.send(format!("PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n")).await;
        client.send(&body).await;
        assert_eq!((client.head().await.status.as_u16(), client.body().await.unwrap()), (200, "whole".into()));
        client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
        for piece in body.chunks(50_000) {
            client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        client.send("0\r\n\r\n").await;
        assert_eq!((client.head().await.status.as_u16(), client.body().await.unwrap()), (200, "whole".into()));
    }
    assert_eq!(backend.accepted(), 1);
}

/// Nobody holds what the backend does not take: a client is slowed down.
#[tokio::test]
async fn an_upload_goes_as_fast_as_the_backend_takes_it() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let proxied = Proxied::start().await;
    let before = proxied.gateway.resident();
    let mut client = proxied.connect().await;
    let target = proxied.target(backend.port, "/");
    client.send(format!("PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1_u64 << 32)).await;
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), client.try_send(&piece)).await.is_ok() {
        sent += 1;
        assert!(sent < 64, "64 MiB vanish somewhere");
    }
    assert!(proxied.gateway.resident() < before + (4 << 20));
}

#[tokio::test]
async fn a_stream_may_be_silent_and_each_piece_comes_at_once() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            conn.send("3\r\nx\n\n\r\n").await;
        }
        conn.send("0\r\n\r\n").await;
    })
    .await;
    let proxied = Proxied::with(|setup| setup.server("timeout_keep_alive = 1")).await;
    let mut client = proxied.connect().await;
    let start = Instant::now();
    assert_eq!(client.get(&proxied.target(backend.port, "/")).await.status, 200);
    assert!(start.elapsed() < Duration::from_millis(1_800), "the head does not wait for the body");
    for turn in 1..=3 {
        assert_eq!(client.piece().await.unwrap().unwrap(), "x\n\n");
        let elapsed = start.elapsed();
        let pieces = Duration::from_secs(2 * turn);
        assert!(elapsed >= pieces && elapsed < pieces + Duration::from_millis(1_800), "{turn}: {elapsed:?}");
    }
    assert!(client.piece().await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_backend_connection_along() {
    for serve in [0, 1, 2] {
        let backend = Backend::start(move |conn| async move {
            match serve {
                0 => silent(conn).await,
                1 => head_only(conn).await,
                _ => one_event(conn).await,
            }
        })
        .await;
        let proxied = Proxied::start().await;
        let target = proxied.target(backend.port, "/");
        for (extra, stray) in [("", ""), ("", "GET /health HTTP/1.1\r\n"), ("Content-Length: 0\r\n", "")] {
            for reset in [false, true] {
                soon(async || {
                    let seen = backend.closed().len();
                    let accepted = backend.accepted();
                    let mut client = proxied.connect().await;
                    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n{stray}")).await;
                    arrived(&mut client, serve).await;
                    eventually("the backend asked", Duration::from_secs(5), || backend.accepted() > accepted).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let left = Instant::now();
                    client.leave(reset);
                    backend.wait_closed(seen).await.saturating_duration_since(left)
                })
                .await;
            }
        }
        let h2 = H2::connect(proxied.address(), 65_535).await;
        if serve > 0 {
            soon(async || {
                let seen = backend.closed().len();
                let mut stream = h2.get(&target).await;
                if serve == 2 {
                    assert_eq!(stream.piece().await.unwrap().unwrap(), "hello\n");
                }
                let left = Instant::now();
                stream.reset();
                backend.wait_closed(seen).await.saturating_duration_since(left)
            })
            .await;
        }
        eventually("the reason", Duration::from_secs(2), || proxied.gateway.output().contains("end=client_gone")).await;
    }
}

async fn arrived(client: &mut Client, serve: usize) {
    if serve > 0 {
        assert_eq!(client.head().await.status, 200);
    }
    if serve == 2 {
        assert_eq!(client.body_of(6).await, "hello\n");
    }
}

/// What the client has still to send hides its leaving from hyper, which reads no further than it must. The backend, which
/// takes nothing, does not see the end of the connection behind what it has not taken; the gateway has closed it. In the same
/// way a client's proper end stays behind what its own system has still to send: of that only a reset can be seen.
#[tokio::test]
async fn a_client_that_leaves_behind_an_upload_that_nobody_takes_is_noticed() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let files = proxied.gateway.open_files();
    for (length, resets) in [(100_usize, &[false, true][..]), (1 << 16, &[false, true]), (64 << 20, &[true])] {
        for &reset in resets {
            soon(async || {
                let accepted = backend.accepted();
                let mut client = proxied.connect().await;
                client
                    .send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"))
                    .await;
                let body = vec![b'x'; length / 2];
                // As much as there is room for.
                let _ = tokio::time::timeout(Duration::from_millis(300), client.try_send(&body)).await;
                eventually("the backend asked", Duration::from_secs(5), || backend.accepted() > accepted).await;
                client.leave(reset);
                eventually("both ends closed", Duration::from_secs(5), || proxied.gateway.open_files() <= files).await
            })
            .await;
        }
    }
    let output = proxied.gateway.output();
    assert!(output.contains("end=client_gone") && output.matches("end=complete").count() == 2, "{output}");
}

#[tokio::test]
async fn what_the_backend_cuts_is_cut_for_the_client() {
    let backend = Backend::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        let length = head.contains("/length");
        let framing = if length { "Content-Length: 100\r\n\r\n" } else { "Transfer-Encoding: chunked\r\n\r\n3\r\n" };
        conn.send(format!("HTTP/1.1 200 OK\r\n{framing}abc")).await;
        if head.contains("reset") {
            tokio::time::sleep(Duration::from_millis(50)).await;
            conn.reset();
        }
    })
    .await;
    let proxied = Proxied::start().await;
    for path in ["/length", "/chunked", "/length?reset", "/chunked?reset"] {
        let mut client = proxied.connect().await;
        assert_eq!(client.get(&proxied.target(backend.port, path)).await.status, 200);
        assert_eq!(client.body().await.unwrap_err().received, "abc", "{path}");
        let h2 = H2::connect(proxied.address(), 65_535).await;
        let mut stream = h2.get(&proxied.target(backend.port, path)).await;
        assert_eq!(stream.piece().await.unwrap().unwrap(), "abc");
        assert!(stream.piece().await.is_err(), "{path}");
        assert_eq!(h2.get("/health").await.head.status, 200);
    }
    eventually("the reason", Duration::from_secs(2), || {
        proxied.gateway.output().matches("end=backend_lost").count() == 8
    })
    .await;
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    let backend = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it").await;
    })
    .await;
    let proxied = Proxied::start().await;
    for _ in 0..2 {
        let answer = request(proxied.address(), "GET", &proxied.target(backend.port, "/"), &[], "").await;
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"all of it"[..]));
    }
    assert_eq!(backend.accepted(), 2, "the first connection is not used again");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let backend = Backend::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        assert!(head.contains("\r\ntrailer: X-Sum\r\n") && head.contains("\r\nte: trailers\r\n"), "{head}");
        assert_eq!(
            (conn.line().await, conn.line().await, conn.line().await),
            ("3\r\n".into(), "abc\r\n".into(), "0\r\n".into())
        );
        let trailer = conn.line().await;
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\ndef\r\n0\r\n").await;
        conn.send(trailer + "\r\n").await;
        conn.wait_closed().await;
    })
    .await;
    let proxied = Proxied::start().await;
    let mut client = proxied.connect().await;
    let target = proxied.target(backend.port, "/");
    client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTrailer: X-Sum\r\n")).await;
    client.send("Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 17\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    let raw = client.raw_to_end().await;
    assert_eq!(String::from_utf8_lossy(&raw), "3\r\ndef\r\n0\r\nx-sum: 17\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_by_the_backend() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
            if head.contains("/refuse") {
                conn.answer("417 Expectation Failed", &[], b"no").await;
                return;
            }
            if head.contains("/told") {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            let body = conn.body_of(&head).await;
            conn.answer("200 OK", &[], &body).await;
        }
    })
    .await;
    let proxied = Proxied::start().await;
    for (path, told) in [("/told", true), ("/untold", true), ("/refuse", false)] {
        let mut client = proxied.connect().await;
        let target = proxied.target(backend.port, path);
        let start = Instant::now();
        client
            .send(format!(
                "PUT {target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
            ))
            .await;
        let first = client.head().await;
        if told {
            assert_eq!(first.status, 100, "{path}");
            assert_eq!(start.elapsed() > Duration::from_millis(900), path == "/untold", "{:?}", start.elapsed());
            client.send("hello").await;
            assert_eq!(client.head().await.status, 200);
            assert_eq!(client.body().await.unwrap(), "hello");
        } else {
            assert_eq!((first.status.as_u16(), client.body().await.unwrap()), (417, "no".into()));
        }
    }
}

#[tokio::test]
async fn at_a_drain_a_plain_answer_is_finished_and_a_stream_is_cut_with_the_grace() {
    let slow = Backend::start(|mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        conn.send("def").await;
    })
    .await;
    let endless = Backend::start(one_event).await;
    let mut proxied = Proxied::with(|setup| setup.server("timeout_graceful_shutdown = 2")).await;
    let (mut plain, mut stream) = (proxied.connect().await, proxied.connect().await);
    assert_eq!(plain.get(&proxied.target(slow.port, "/")).await.status, 200);
    assert_eq!(stream.get(&proxied.target(endless.port, "/")).await.status, 200);
    assert_eq!(stream.body_of(6).await, "hello\n");
    proxied.gateway.terminate();
    assert_eq!(plain.body().await.unwrap(), "abcdef");
    assert!(stream.body().await.is_err(), "cut, so that it cannot be taken for an end");
    assert_eq!(proxied.gateway.wait(Duration::from_secs(20)).code(), Some(0));
    let output = proxied.gateway.output();
    assert!(output.contains("bytes=6 ") && output.contains("end=cut"), "{output}");
}

#[tokio::test]
async fn requests_that_wait_for_a_sandbox_do_not_shut_others_out() {
    let backend = Backend::start(silent).await;
    let proxied = Proxied::with(|setup| setup.server("limit_concurrency = 2")).await;
    let target = proxied.target(backend.port, "/");
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = proxied.connect().await;
        client.send_get(&target, &[]).await;
        waiting.push(client);
    }
    eventually("both at the backend", Duration::from_secs(5), || backend.accepted() == 2).await;
    let refused = request(proxied.address(), "GET", &target, &[], "").await;
    assert_eq!((refused.status(), &refused.body[..]), (503, &b"Service Unavailable"[..]));
    assert_eq!(request(proxied.address(), "GET", "/v1/sandboxes", &[], "").await.status(), 200);
}
