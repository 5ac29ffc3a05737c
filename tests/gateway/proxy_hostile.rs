//! Clients and sandboxes that mean harm: what they send is bounded, narrowed or refused.

use std::time::{Duration, Instant};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::{
    proxy::Proxied,
    support::{
        backend::Backend,
        client::{get_once, request},
        eventually,
        h2::H2,
    },
};

/// A server that answers every request with these lines in its head.
async fn answering(lines: &[&str]) -> Backend {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    Backend::start(move |mut conn| {
        let lines = lines.clone();
        async move {
            while conn.head().await.is_some() {
                conn.send(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok")).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_port_of_forty_thousand_zeros_is_no_port() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    for zeros in [1, 40_000] {
        let target = format!("/v1/sandboxes/{}/proxy/{}{}/", proxied.id, "0".repeat(zeros), backend.port);
        let answer = get_once(proxied.address(), &target).await;
        assert_eq!((answer.status(), &answer.code()[..]), (400, "DOCKER::INVALID_PORT"), "{zeros}");
        let target = format!("/v1/sandboxes/{}/endpoints/{}{}", proxied.id, "0".repeat(zeros), backend.port);
        let answer = get_once(proxied.address(), &target).await;
        assert_eq!((answer.status(), &answer.code()[..]), (400, "DOCKER::INVALID_PORT"), "{zeros}");
    }
    let zeros = "0".repeat(40_000);
    for port in [format!("{}.{zeros}", backend.port), format!("{}{}", "%20".repeat(10_000), backend.port)] {
        for place in ["proxy", "endpoints"] {
            let answer = get_once(proxied.address(), &format!("/v1/sandboxes/{}/{place}/{port}", proxied.id)).await;
            assert_eq!((answer.status(), &answer.code()[..]), (400, "DOCKER::INVALID_PORT"), "{place}");
        }
    }
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn a_cookie_of_eighteen_thousand_paths_gets_one() {
    let (long, many) = (format!("Set-Cookie: a=1{}", ";path=/".repeat(18_000)), "Set-Cookie: b=2; Path=/".to_owned());
    let backend = answering(&[&long, &many]).await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let mut client = proxied.connect().await;
    client.request("GET", &target, &[], "").await;
    let before = proxied.gateway.resident();
    for _ in 0..20 {
        let answer = client.request("GET", &target, &[], "").await;
        let cookies: Vec<_> = answer.head.headers.get_all("set-cookie").iter().collect();
        let expected = |name| format!("{name}ath={}", target.trim_end_matches('/'));
        assert_eq!(cookies, [&format!("a=1;{}", expected("p")), &format!("b=2; {}", expected("P"))]);
    }
    let grown = proxied.gateway.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
}

/// A browser would not heed it, and send the cookie to the folder of the request: to the sandbox's other ports.
#[tokio::test]
async fn a_cookie_whose_path_grows_too_long_is_the_sandbox_s() {
    let backend = answering(&[&format!("Set-Cookie: a=1; Path=/{}", "p".repeat(1_000))]).await;
    let proxied = Proxied::start().await;
    let root = proxied.target(backend.port, "");
    for path in ["", "/", "/app/"] {
        let answer = get_once(proxied.address(), &proxied.target(backend.port, path)).await;
        assert_eq!(answer.head.field("set-cookie"), format!("a=1; Path={root}"), "{path}");
    }
}

#[tokio::test]
async fn each_of_several_redirects_stays_in_the_sandbox() {
    let backend = answering(&["Location: /a", "Location: /v1/sandboxes/other/proxy/80/"]).await;
    let proxied = Proxied::start().await;
    let answer = get_once(proxied.address(), &proxied.target(backend.port, "/")).await;
    let locations: Vec<_> = answer.head.headers.get_all("location").iter().collect();
    let below = |path| proxied.target(backend.port, path);
    assert_eq!(locations, [&below("/a"), &below("/v1/sandboxes/other/proxy/80/")]);
}

#[tokio::test]
async fn many_cookies_behind_a_long_prefix_are_no_answer() {
    let cookies: Vec<_> = (0..200).map(|number| format!("Set-Cookie: c{number}=1; Path=/")).collect();
    let backend = answering(&cookies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let eip = format!("eip = \"gw.example/{}\"", "x".repeat(900));
    let proxied = Proxied::with(|setup| setup.server(&eip)).await;
    let answer = get_once(proxied.address(), &proxied.target(backend.port, "/")).await;
    assert_eq!((answer.status(), &answer.code()[..]), (502, "BACKEND_RESPONSE_FAILED"));
    assert!(answer.json()["message"].as_str().unwrap().ends_with("its head is too long"), "{answer}");
}

#[tokio::test]
async fn a_sandbox_does_not_speak_for_the_whole_origin() {
    let backend = answering(&[
        "Service-Worker-Allowed: /",
        "Clear-Site-Data: \"*\"",
        "NEL: {\"report_to\":\"a\",\"max_age\":1}",
        "Report-To: {\"group\":\"a\",\"max_age\":1,\"endpoints\":[{\"url\":\"https://evil.example\"}]}",
        "Reporting-Endpoints: a=\"https://evil.example\"",
        "Strict-Transport-Security: max-age=99999999; includeSubDomains",
        "Alt-Svc: h2=\"evil.example:443\"",
        "Public-Key-Pins: pin-sha256=\"a\"; max-age=9",
        "Expect-CT: max-age=9, enforce",
        "Origin-Agent-Cluster: ?1",
        "Accept-CH: Sec-CH-UA-Model",
        "Critical-CH: Sec-CH-UA-Model",
        "Set-Login: logged-in",
        "Use-As-Dictionary: match=\"/*\"",
        "X-Accel-Redirect: /internal/secret",
        "X-Accel-Expires: 9999",
        "X-Accel-Buffering: no",
        "X-Sendfile: /etc/passwd",
        "X-Envoy-Immediate-Health-Check-Fail: 1",
        "Surrogate-Control: content=\"ESI/1.0\"",
        "Proxy-Authenticate: Basic",
        "Upgrade: h2c",
        "Open-Sandbox-Origin: template",
        "Connection: close, X-Hop, Content-Security-Policy",
        "X-Hop: 1",
        "Content-Security-Policy: default-src 'self'; report-uri /csp",
        "Link: </style.css>; rel=preload",
        "Refresh: 5",
        "Server-Timing: db;dur=1",
        "WWW-Authenticate: Bearer resource_metadata=\"/x\"",
        "Set-Cookie: __Host-a=1; Path=/; Secure",
        "Set-Cookie: b=1; Domain=example.com; HttpOnly",
        "Set-Cookie: c=1; Path=/c; Path=rel",
    ])
    .await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let answer = get_once(proxied.address(), &target).await;
    assert_eq!((answer.status(), &answer.body[..]), (200, &b"ok"[..]));
    let all = |name: &str| answer.head.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("service-worker-allowed"), [target], "narrowed to the sandbox's own proxy");
    assert_eq!(all("set-cookie"), ["b=1; HttpOnly", "c=1"]);
    let mut left: Vec<_> = answer.head.headers.keys().map(|name| name.as_str()).collect();
    left.sort_unstable();
    let expected = [
        "content-length",
        "content-security-policy",
        "date",
        "link",
        "refresh",
        "server",
        "server-timing",
        "service-worker-allowed",
        "set-cookie",
        "vary",
        "www-authenticate",
        "x-accel-buffering",
        "x-request-id",
    ];
    assert_eq!(left, expected);
}

#[tokio::test]
async fn trailers_are_filtered_as_heads_are() {
    let trailers = [
        "Set-Cookie: a=1; Path=/",
        "Access-Control-Allow-Origin: *",
        "Content-Length: 9",
        "Transfer-Encoding: chunked",
        "Clear-Site-Data: \"*\"",
        "Strict-Transport-Security: max-age=9",
        "Alt-Svc: h2=\":1\"",
        "Content-Type: text/html",
        "Location: /x",
        "Server: mine",
        "X-Request-Id: mine",
        "Connection: close",
        "X-Accel-Redirect: /x",
        "Grpc-Status: 0",
        "X-Sum: 17",
    ];
    let announced = trailers.map(|line| line.split(':').next().unwrap()).join(", ");
    let backend = Backend::start(move |mut conn| {
        let announced = announced.clone();
        async move {
            while let Some(head) = conn.head().await {
                let lines: String = trailers.iter().map(|line| format!("{line}\r\n")).collect();
                let lines = if head.contains("/none") { "Set-Cookie: a=1\r\n".to_owned() } else { lines };
                let head =
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: {announced}\r\n\r\n2\r\nok\r\n");
                conn.send(format!("{head}0\r\n{lines}\r\n")).await;
            }
        }
    })
    .await;
    let proxied = Proxied::start().await;
    let target = proxied.target(backend.port, "/");
    let h2 = H2::connect(proxied.address(), 65_535).await;
    let mut stream = h2.get_with(&target, &[("te", "trailers")]).await;
    assert_eq!(stream.body().await.unwrap(), "ok");
    let mut names: Vec<_> = stream.trailers().await.unwrap().keys().map(|name| name.to_string()).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-status", "x-sum"]);
    let mut stream = h2.get_with(&proxied.target(backend.port, "/none"), &[("te", "trailers")]).await;
    assert_eq!(stream.body().await.unwrap(), "ok");
    assert!(stream.trailers().await.is_none(), "nothing is left");

    let mut client = proxied.connect().await;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(client.head().await.status, 200);
    let raw = client.raw_to_end().await;
    assert_eq!(String::from_utf8_lossy(&raw), "2\r\nok\r\n0\r\ngrpc-status: 0\r\nx-sum: 17\r\n\r\n");
}

#[tokio::test]
async fn what_speaks_of_one_connection_goes_no_further() {
    let (proxied, backend) = (Proxied::start().await, Backend::mirror().await);
    let lines = [
        "Connection: HTTP2-Settings, X-Hop, Origin, Cookie, X-Forwarded-For, Host",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
        "Keep-Alive: timeout=5",
        "X-Hop: 1",
        "Origin: http://localhost:1",
        "Cookie: a=1",
    ];
    let mirrored = request(proxied.address(), "GET", &proxied.target(backend.port, "/"), &lines, "").await;
    let text = String::from_utf8_lossy(&mirrored.body).into_owned();
    for name in ["http2-settings", "proxy-connection", "proxy-authorization", "keep-alive", "upgrade", "x-hop"] {
        assert!(!text.contains(&format!("\r\n{name}: ")), "{name}: {text}");
    }
    for line in ["origin: http://localhost:1", "cookie: a=1", "x-forwarded-for: 127.0.0.1"] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line}: {text}");
    }
}

#[tokio::test]
async fn errors_name_no_internal_address() {
    let proxied = Proxied::start().await;
    let closed = Backend::mirror().await.port;
    let dropping = Backend::start(|mut conn| async move { drop(conn.head().await) }).await;
    for port in [closed, dropping.port] {
        let answer = get_once(proxied.address(), &proxied.target(port, "/")).await;
        assert_eq!(answer.status(), 502);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("127.0.0.1") && !text.contains(&port.to_string()), "{text}");
        let line = || proxied.gateway.output().contains(&format!("127.0.0.1:{port}"));
        eventually("the address in the log", Duration::from_secs(2), line).await;
    }
}

#[tokio::test]
async fn the_proxy_does_not_call_the_gateway_itself() {
    let proxied = Proxied::start().await;
    let own = proxied.address().port();
    let nested = format!("/v1/sandboxes/{}/proxy/{own}", proxied.id).repeat(400);
    let start = Instant::now();
    for path in ["/health", "/v1/sandboxes", &nested[..36_000.min(nested.len())]] {
        let answer = get_once(proxied.address(), &proxied.target(own, path)).await;
        assert_eq!((answer.status(), &answer.code()[..]), (403, "BACKEND_FORBIDDEN"), "{answer}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let mut client = proxied.connect().await;
    client
        .send(format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            proxied.target(own, "/health")
        ))
        .await;
    assert_eq!(client.head().await.status, 403);
}

/// By way of another server, which the gateway cannot know to lead back to it, and which passes on what it does not know.
#[tokio::test]
async fn a_request_passes_a_few_times_and_one_that_goes_round_ends() {
    let proxied = Proxied::start().await;
    let gateway = proxied.address();
    let relay = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = relay.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = relay.accept().await.unwrap();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(gateway).await.unwrap();
                // Either end may leave first.
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let mut target = "/health".to_owned();
    for _ in 1..=5 {
        target = proxied.target(port, &target);
        let answer = get_once(gateway, &target).await;
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"{\"status\":\"healthy\"}"[..]), "{target}");
    }
    for _ in 6..=7 {
        target = proxied.target(port, &target);
        let answer = get_once(gateway, &target).await;
        assert_eq!((answer.status(), &answer.code()[..]), (508, "BACKEND_LOOP"), "{answer}");
    }
}

/// Each could be asked for without a key, again and again.
#[tokio::test]
async fn a_thousand_dead_servers_are_a_few_lines_in_the_log() {
    let proxied = Proxied::start().await;
    let closed = Backend::mirror().await.port;
    let mut client = proxied.connect().await;
    let target = proxied.target(closed, "/");
    for _ in 0..1_000 {
        assert_eq!(client.request("GET", &target, &[], "").await.status(), 502);
    }
    let output = proxied.gateway.output();
    let lines = output.lines().filter(|line| line.contains("Could not connect to the backend")).count();
    assert!((1..=2).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn a_redirect_echoes_no_host() {
    let proxied = Proxied::start().await;
    for (path, lines, location) in [
        ("/v1/sandboxes/?a=1", &[][..], "/v1/sandboxes?a=1"),
        ("/health/", &["X-Forwarded-Proto: https"], "/health"),
        ("/docs///", &["X-Forwarded-Host: evil.example"], "/docs"),
    ] {
        let answer = request(proxied.address(), "GET", path, lines, "").await;
        assert_eq!((answer.status(), answer.head.field("location")), (307, location));
    }
    for host in ["a b", "evil.example/x", "u@evil.example", "evil.example?x"] {
        let mut client = proxied.connect().await;
        let target = format!("/v1/sandboxes/{}/endpoints/80?use_server_proxy=true", proxied.id);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(client.head().await.status.is_client_error(), "{host}");
    }
}
