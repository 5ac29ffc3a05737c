//! A backend that takes its time, with times that a test can wait for.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    body::Body,
    drain::Drain,
    peer::{Peer, trusted::TrustedProxies},
};

fn proxy() -> Proxy {
    let mut proxy = Proxy::new(Drain::default().watch(), Options::default());
    proxy.timeouts.response = Duration::from_millis(200);
    proxy.timeouts.connect = Duration::from_millis(200);
    proxy
}

fn request(backend: Backend, path: &str) -> Box<Forward> {
    let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
    let peer = Peer::new(SocketAddr::from(([10, 0, 0, 1], 1)), &TrustedProxies::default());
    let forwarded = forwarded::Forwarded::of(&peer, &head.uri, &head.headers);
    let public = Public { prefix: "/sandboxes/x/proxy/80".to_owned(), is_root: false };
    Box::new(Forward {
        id: "x".to_owned(),
        backend,
        path: path.to_owned(),
        head,
        forwarded,
        trace: None,
        public: Some(public),
    })
}

async fn forward(proxy: &Proxy, forward: Box<Forward>, upload: Upload) -> Result<(StatusCode, Bytes), ProxyError> {
    let answer = proxy.forward(forward, upload, None, ClientWatch::Http2(Arc::default())).await?;
    let status = answer.status();
    Ok((status, Body::from(answer.into_body()).collect().await.unwrap().to_bytes()))
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    (listener, authority)
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_given_up() {
    let (listener, authority) = listener().await;
    let start = Instant::now();
    let error = forward(&proxy(), request(Backend::plain(authority), "/"), Upload::empty()).await.unwrap_err();
    assert!(matches!(error, ProxyError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() >= Duration::from_millis(200));
    drop(listener);
}

#[tokio::test]
async fn a_backend_that_does_not_even_accept_is_no_connection() {
    // Nobody answers there (RFC 5737); where there is no way there, that is told at once.
    let error = forward(&proxy(), request(Backend::plain("192.0.2.1:9".to_owned()), "/"), Upload::empty()).await;
    assert!(matches!(error, Err(ProxyError::Connect { .. })), "{error:?}");
}

#[tokio::test]
async fn a_prefix_and_the_backends_fields_are_added_and_nothing_leads_out() {
    let (listener, authority) = listener().await;
    let served = tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let count = io.read(&mut asked).await.unwrap();
        io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        String::from_utf8_lossy(&asked[..count]).into_owned()
    });
    let mut backend = Backend::plain(authority);
    backend.path_prefix = "/proxy/8000".to_owned();
    backend.headers = vec![("X-Route".to_owned(), "here".to_owned())];
    let proxy = proxy();
    let error = forward(&proxy, request(backend.clone(), "/%2e%2e/9000"), Upload::empty()).await.unwrap_err();
    assert!(matches!(error, ProxyError::PathEscapes), "{error:?}");
    let upload = Upload::full(Bytes::from_static(b"hello"));
    assert_eq!(forward(&proxy, request(backend, "/a"), upload).await.unwrap(), (StatusCode::OK, "ok".into()));
    let asked = served.await.unwrap();
    assert!(asked.starts_with("POST /proxy/8000/a HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nhello"), "{asked}");
    assert!(asked.contains("\r\nx-route: here\r\n") && asked.contains("\r\nx-forwarded-for: 10.0.0.1\r\n"), "{asked}");
}

/// The answer that rests unread in no pool: only a whole one gives its connection back.
#[tokio::test]
async fn only_a_whole_answer_gives_its_connection_back() {
    let (listener, authority) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                while io.read(&mut asked).await.unwrap_or(0) > 0 {
                    let is_long = asked.windows(5).any(|five| five == b"/long");
                    let length = if is_long { 1_000_000 } else { 100_000 };
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    // The client may leave in the middle.
                    let _ = io.write_all((head + &"x".repeat(length)).as_bytes()).await;
                }
            });
        }
    });
    let proxy = proxy();
    for _ in 0..3 {
        let whole = forward(&proxy, request(Backend::plain(authority.clone()), "/"), Upload::empty()).await.unwrap();
        assert_eq!((whole.1.len(), proxy.pool.len()), (100_000, 1));
    }
    let asked = request(Backend::plain(authority.clone()), "/long");
    let answer = proxy.forward(asked, Upload::empty(), None, ClientWatch::Http2(Arc::default())).await.unwrap();
    assert!(proxy.pool.is_empty(), "in use");
    let mut body = Box::pin(Body::from(answer.into_body()));
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    assert!(proxy.pool.is_empty(), "closed");
}

/// Serves one connection by a script: waits until so much was read, then sends this.
async fn scripted(listener: TcpListener, steps: Vec<(usize, &'static str)>) {
    let (mut io, _) = listener.accept().await.unwrap();
    let (mut read, mut buf) = (0, vec![0; 64 * 1024]);
    for (until, answer) in steps {
        while read < until {
            read += io.read(&mut buf).await.unwrap();
        }
        io.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn informational_responses_are_passed_over() {
    let (listener, authority) = listener().await;
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    tokio::spawn(scripted(listener, vec![(1, early), (1, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")]));
    let answer = forward(&proxy(), request(Backend::plain(authority), "/"), Upload::empty()).await.unwrap();
    assert_eq!(answer, (StatusCode::CREATED, "ok".into()));
}

/// More than a socket takes at once, so that most of it is not written when the answer comes and the connection goes.
#[tokio::test]
async fn a_backend_that_does_not_want_the_body_may_say_so() {
    let (listener, authority) = listener().await;
    let refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno.";
    tokio::spawn(scripted(listener, vec![(1000, refusal)]));
    let (proxy, upload) = (proxy(), Upload::full(Bytes::from(vec![b'x'; 64 * 1024 * 1024])));
    let answer = forward(&proxy, request(Backend::plain(authority), "/"), upload).await.unwrap();
    assert_eq!(answer, (StatusCode::PAYLOAD_TOO_LARGE, "no.".into()));
    assert!(proxy.pool.is_empty(), "the connection is of no use any more");
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobody_s() {
    let (listener, authority) = listener().await;
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    tokio::spawn(scripted(listener, vec![(1, two)]));
    let proxy = proxy();
    let answer = forward(&proxy, request(Backend::plain(authority), "/"), Upload::empty()).await.unwrap();
    assert_eq!((answer, proxy.pool.len()), ((StatusCode::OK, "ok".into()), 0));
}

#[tokio::test]
async fn who_speaks_another_protocol_is_found_out_at_once() {
    let flood: &'static str = Box::leak("HTTP/1.1 102 Processing\r\n\r\n".repeat(40).into_boxed_str());
    for answer in ["220 ftp.example ready\r\n", "SSH-2.0-x\r\n", "\r\nHTTP/1.1 200 OK\r\n", flood] {
        let (listener, authority) = listener().await;
        tokio::spawn(async move {
            let (mut io, _) = listener.accept().await.unwrap();
            io.write_all(answer.as_bytes()).await.unwrap();
            io.read_to_end(&mut Vec::new()).await
        });
        let mut proxy = proxy();
        proxy.timeouts.response = Duration::from_secs(60);
        let error = forward(&proxy, request(Backend::plain(authority), "/"), Upload::empty()).await.unwrap_err();
        assert!(matches!(error, ProxyError::Response { .. }), "{answer}: {error:?}");
    }
}
