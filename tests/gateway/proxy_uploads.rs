//! Bodies that are sent through the proxy slowly: given up while an answer is waited for, and never once there is one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::{
    proxy::Proxied,
    support::{backend::Backend, client::Client, h2::H2},
};

/// How long an upload may bring too little here.
const STALL: &str = "[proxy]\nupload_stall_timeout_seconds = 1";

/// What is said of an upload, piece by piece with a pause before each; `None` when the gateway ended it before.
async fn uploaded(client: &mut Client, piece: &str, pause: Duration, count: usize) -> bool {
    for _ in 0..count {
        tokio::time::sleep(pause).await;
        if !client.try_send(piece).await {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn an_upload_that_drips_is_given_up() {
    let reading = Backend::start(|mut conn| async move {
        conn.head().await;
        // No answer.
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        conn.wait_closed().await;
    })
    .await;
    let proxied = Proxied::with(|setup| setup.section(STALL)).await;
    for (framing, piece) in [("Content-Length: 100000", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")] {
        let seen = reading.closed().len();
        let mut client = proxied.connect().await;
        let start = Instant::now();
        let target = proxied.target(reading.port, "/");
        client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n")).await;
        uploaded(&mut client, piece, Duration::from_millis(100), 40).await;
        let closed = reading.wait_closed(seen).await;
        let took = closed.saturating_duration_since(start);
        assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(3), "{framing}: {took:?}");
        let head = client.head().await;
        assert_eq!((head.status.as_u16(), head.field("connection")), (408, "close"));
    }
}

#[tokio::test]
async fn an_upload_that_is_slow_but_honest_lives() {
    let backend = Backend::start(|mut conn| async move {
        while let Some(head) = conn.head().await {
            // Slower than the client for a while: that is not the client's fault.
            if head.contains("/busy") {
                tokio::time::sleep(Duration::from_millis(2500)).await;
            }
            let body = conn.body_of(&head).await;
            conn.answer("200 OK", &[], body.len().to_string().as_bytes()).await;
        }
    })
    .await;
    let proxied = Proxied::with(|setup| setup.section(STALL)).await;
    let (slow, busy) = (proxied.target(backend.port, "/slow"), proxied.target(backend.port, "/busy"));
    let mut client = proxied.connect().await;
    client.send(format!("POST {slow} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n")).await;
    // A kilobyte a second.
    assert!(uploaded(&mut client, &"x".repeat(100), Duration::from_millis(100), 30).await);
    assert_eq!((client.head().await.status.as_u16(), client.body().await.unwrap()), (200, "3000".into()));
    let length = 32 << 20;
    client.send(format!("POST {busy} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")).await;
    client.send(vec![b'x'; length]).await;
    assert_eq!((client.head().await.status.as_u16(), client.body().await.unwrap()), (200, length.to_string().into()));
}

/// Both at once: what the client waits for before it says more may be the answer.
#[tokio::test]
async fn an_answer_that_streams_is_not_cut_for_a_silent_upload() {
    let backend = Backend::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..25 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(conn.send("2\r\nok\r\n").await, "cut");
        }
        let body = conn.body_of(&head).await;
        conn.send(format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len(), String::from_utf8(body).unwrap())).await;
    })
    .await;
    let proxied = Proxied::with(|setup| setup.section(STALL)).await;
    let target = proxied.target(backend.port, "/");
    for (framing, body) in [("Content-Length: 3", "end"), ("Transfer-Encoding: chunked", "3\r\nend\r\n0\r\n\r\n")] {
        let mut client = proxied.connect().await;
        client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n")).await;
        assert_eq!(client.head().await.status, 200);
        assert_eq!(client.body_of(50).await, "ok".repeat(25));
        client.send(body).await;
        assert_eq!(client.body().await.unwrap(), "end");
    }
}

/// Passes 512 bytes each 100 ms on to `to`, and all that comes back.
async fn slow_line(from: TcpStream, to: TcpStream) {
    let ((mut from, mut back), (mut answers, mut to)) = (from.into_split(), to.into_split());
    tokio::spawn(async move { copy(&mut answers, &mut back).await });
    let mut piece = [0; 512];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

/// hyper hands a DATA frame over when it is whole, and that takes longer on this line than an upload may say nothing.
#[tokio::test]
async fn a_frame_of_http_2_that_takes_its_time_is_no_silence() {
    let backend = Backend::start(|mut conn| async move {
        let head = conn.head().await.unwrap();
        let length = conn.body_of(&head).await.len();
        conn.answer("200 OK", &[], length.to_string().as_bytes()).await;
    })
    .await;
    let proxied = Proxied::with(|setup| setup.section(STALL)).await;
    let line = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (address, gateway) = (line.local_addr().unwrap(), proxied.address());
    tokio::spawn(async move {
        let (from, _) = line.accept().await.unwrap();
        slow_line(from, TcpStream::connect(gateway).await.unwrap()).await;
    });
    let h2 = H2::connect(address, 65_535).await;
    let target = format!("http://localhost{}", proxied.target(backend.port, "/"));
    let (answer, mut body) = h2.ready().await.send_request(Request::post(target).body(()).unwrap(), false).unwrap();
    let start = Instant::now();
    body.send_data(Bytes::from(vec![b'x'; 16_384]), true).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap();
    assert!(start.elapsed() > Duration::from_secs(3), "the line is too fast to show anything");
    let (head, mut body) = answer.into_parts();
    let mut length = Vec::new();
    while let Some(piece) = body.data().await {
        length.extend(piece.unwrap());
    }
    assert_eq!((head.status.as_u16(), &length[..]), (200, &b"16384"[..]));
}
