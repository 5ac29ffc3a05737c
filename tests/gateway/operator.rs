//! `/admin/streams`: who reads what, and ending it; and the operator's listener against those who mean it ill.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Setup,
    prometheus::{scraped, scraped_pair, scraped_pair_with, series, wait_series},
    support::{
        bounded,
        client::{Client, Response, get_once, request},
        engine::Script,
        eventually,
        gateway::free_port,
        h2::H2,
        program::{Home, end as ended},
    },
};

async fn streams(metrics: SocketAddr) -> Vec<Value> {
    let listed = get_once(metrics, "/admin/streams").await;
    assert_eq!(listed.status(), 200, "{listed}");
    listed.json()["streams"].as_array().unwrap().clone()
}

/// The list once it has so many streams.
async fn wait_streams(metrics: SocketAddr, count: usize) -> Vec<Value> {
    let listed = async {
        loop {
            let listed = streams(metrics).await;
            if listed.len() == count {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    bounded(&format!("{count} streams"), listed).await
}

async fn end(metrics: SocketAddr, stream: &Value) -> Response {
    request(metrics, "DELETE", &format!("/admin/streams/{}", stream["id"].as_str().unwrap()), &[], "").await
}

#[tokio::test]
async fn who_reads_what_is_listed_while_they_do() {
    let (pair, metrics) = scraped_pair();
    assert!(streams(metrics).await.is_empty());
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.send_get(&target, &["User-Agent: probe/1"]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    let listed = wait_streams(metrics, 1).await;
    let stream = &listed[0];
    assert_eq!(stream["sandboxId"], target.split('/').nth(3).unwrap());
    assert_eq!(stream["client"], client.local_addr().to_string());
    assert_eq!(
        (&stream["userAgent"], &stream["follow"], &stream["bytes"]),
        (&"probe/1".into(), &true.into(), &6.into())
    );
    assert_eq!(stream["stalledSeconds"], 0.0);
    let started: jiff::Timestamp = stream["startedAt"].as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(started);
    assert!(age.as_secs_f64().abs() < 5.0, "{age}");
    client.close();
    wait_streams(metrics, 0).await;
}

#[tokio::test]
async fn a_stream_is_ended_and_its_client_can_tell() {
    let (pair, metrics) = scraped_pair();
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.send_get(&target, &["X-Request-Id: the-ended"]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    let mut other = Client::connect(pair.address()).await;
    assert_eq!(other.get(&target).await.status, 200);
    let listed = wait_streams(metrics, 2).await;
    let start = Instant::now();
    assert_eq!(end(metrics, &listed[0]).await.status(), 204);
    // Without a word of its end it would be 2 s.
    assert!(start.elapsed() < Duration::from_millis(1_900), "{:?}", start.elapsed());
    assert!(client.body().await.is_err(), "a break, since there may be more to read");
    assert!(pair.engine.wait_closed(0).await.by_peer);
    let line = pair.access_line("the-ended").await;
    assert!(line.contains("end=ended_by_admin"), "{line}");
    assert!(pair.gateway.output().contains("ends a log stream"), "{}", pair.gateway.output());
    let left = streams(metrics).await;
    assert_eq!((left.len(), &left[0]["id"]), (1, &listed[1]["id"]));
    assert_eq!(end(metrics, &listed[0]).await.code(), "ADMIN::STREAM_NOT_FOUND");
    let ended = "opensandbox_gateway_log_streams_total{runtime=\"docker\",format=\"text\",end=\"ended_by_admin\"}";
    assert_eq!(series(metrics, ended).await, Some(1.0));
}

#[tokio::test]
async fn a_stream_that_the_engine_has_not_opened_yet_is_ended_too() {
    let (pair, metrics) = scraped_pair();
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&pair.log(Script::silent(), "follow=true")).await.status, 200);
    let listed = wait_streams(metrics, 1).await;
    assert_eq!(end(metrics, &listed[0]).await.status(), 204);
    assert!(client.body().await.is_err());
    assert!(pair.engine.wait_closed(0).await.by_peer);
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_ended_at_once() {
    let (pair, metrics) = scraped_pair();
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    client.send_get(&pair.log(Script::endless(), "follow=true"), &["X-Request-Id: the-stalled"]).await;
    wait_series(metrics, "opensandbox_gateway_log_write_stalled_streams", 1.0).await;
    let listed = wait_streams(metrics, 1).await;
    assert!(listed[0]["stalledSeconds"].as_f64().unwrap() >= 1.0, "{listed:?}");
    assert_eq!(end(metrics, &listed[0]).await.status(), 204);
    assert!(pair.engine.wait_closed(0).await.by_peer);
    assert_eq!(client.head().await.status, 200);
    assert!(client.body().await.is_err());
    let line = pair.access_line("the-stalled").await;
    assert!(line.contains("end=ended_by_admin"), "{line}");
}

/// The engine has sent all, but the client has not taken it.
#[tokio::test]
async fn a_stream_that_only_waits_for_its_client_is_listed_and_ended_too() {
    let (pair, metrics) = scraped_pair();
    let mut client = Client::connect_with_window(pair.address(), 4_096).await;
    let target = pair.log(Script::lines(50_000, 100, true), "");
    client.send_get(&target, &["X-Request-Id: the-waiting"]).await;
    wait_series(metrics, "opensandbox_gateway_log_write_stalled_streams", 1.0).await;
    let listed = wait_streams(metrics, 1).await;
    assert_eq!(listed[0]["follow"], false);
    assert_eq!(end(metrics, &listed[0]).await.status(), 204);
    assert!(pair.access_line("the-waiting").await.contains("end=ended_by_admin"));
    assert_eq!(client.head().await.status, 200);
    assert!(client.body().await.is_err());
}

#[tokio::test]
async fn a_stream_of_http2_is_ended_and_its_connection_lives_on() {
    let (pair, metrics) = scraped_pair();
    let connection = H2::connect(pair.address(), 65_535).await;
    let mut stalled = connection.get(&pair.log(Script::endless(), "follow=true")).await;
    assert!(stalled.withheld_piece().await.unwrap().is_some());
    let mut silent = connection.get(&pair.log(Script::line_then_open("hello\n"), "follow=true")).await;
    assert_eq!(silent.piece().await.unwrap().unwrap(), "hello\n");
    wait_series(metrics, "opensandbox_gateway_log_write_stalled_streams", 1.0).await;
    for stream in wait_streams(metrics, 2).await {
        assert_eq!(end(metrics, &stream).await.status(), 204, "{stream}");
    }
    assert!(silent.body().await.is_err());
    assert_eq!(connection.get("/health").await.head.status, 200);
    wait_streams(metrics, 0).await;
    eventually("both", Duration::from_secs(2), || pair.gateway.output().matches("end=ended_by_admin").count() == 2)
        .await;
}

#[tokio::test]
async fn the_key_is_needed_for_streams_and_not_for_metrics() {
    let (setup, metrics) = scraped(Setup::process().api_key("s3cret").server("api_keys = [\"another\"]"));
    let _gateway = setup.start();
    assert_eq!(get_once(metrics, "/metrics").await.status(), 200);
    for (method, target) in [("GET", "/admin/streams"), ("DELETE", "/admin/streams/1")] {
        let refused = request(metrics, method, target, &[], "").await;
        assert_eq!((refused.status(), refused.code().as_str()), (401, "MISSING_API_KEY"), "{method}");
        let refused = request(metrics, method, target, &["OPEN-SANDBOX-API-KEY: s3cre"], "").await;
        assert_eq!((refused.status(), refused.code().as_str()), (401, "INVALID_API_KEY"), "{method}");
    }
    let other = request(metrics, "GET", "/admin/streams", &["OPEN-SANDBOX-API-KEY: another"], "").await;
    assert_eq!(other.status(), 200, "{other}");
    let key = ["OPEN-SANDBOX-API-KEY: s3cret"];
    assert_eq!(request(metrics, "GET", "/admin/streams", &key, "").await.json()["streams"], Value::Array(vec![]));
    assert_eq!(request(metrics, "DELETE", "/admin/streams/1", &key, "").await.code(), "ADMIN::STREAM_NOT_FOUND");
}

#[tokio::test]
async fn whose_key_it_was_is_listed_and_logged_and_the_key_is_not() {
    let (pair, metrics) = scraped_pair_with(|setup| setup.api_key("s3cret").server("api_keys = [\"hunter2\"]"));
    let target = pair.log(Script::line_then_open("hello\n"), "follow=true");
    let mut client = Client::connect(pair.address()).await;
    client.send_get(&target, &["OPEN-SANDBOX-API-KEY: hunter2"]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.body_of(6).await, "hello\n");
    let key = ["OPEN-SANDBOX-API-KEY: s3cret"];
    let listed = request(metrics, "GET", "/admin/streams", &key, "").await.json();
    assert_eq!(listed["streams"][0]["key"], "api_keys[0]", "{listed}");
    let id = listed["streams"][0]["id"].as_str().unwrap();
    assert_eq!(request(metrics, "DELETE", &format!("/admin/streams/{id}"), &key, "").await.status(), 204);
    let said = || pair.gateway.output().contains("ends a log stream");
    eventually("a line", Duration::from_secs(5), said).await;
    let output = pair.gateway.output();
    let line = |part: &str| output.lines().find(|line| line.contains(part)).unwrap();
    assert!(line("follows a log").contains("key=api_keys[0]"), "{output}");
    assert!(line("ends a log stream").contains("key=api_key"), "{output}");
    assert!(!output.contains("hunter2") && !output.contains("s3cret"), "{output}");
}

#[tokio::test]
async fn without_a_key_no_other_machine_and_no_page_sees_streams() {
    let (setup, metrics) = scraped(Setup::process());
    let _gateway = setup.start();
    assert_eq!(get_once(metrics, "/admin/streams").await.status(), 200);
    let raw = async |head: &str| {
        let mut client = Client::connect(metrics).await;
        client.send(format!("GET /admin/streams HTTP/1.1\r\n{head}\r\n")).await;
        client.head().await.status.as_u16()
    };
    // A page of another site, and one whose name was made to point here.
    assert_eq!(raw("Host: localhost\r\nOrigin: http://evil.example\r\n").await, 403);
    assert_eq!(raw("Host: evil.example:9090\r\n").await, 403);
    assert_eq!(raw("Host: 127.0.0.1\r\nOrigin: http://localhost:1\r\n").await, 200);
    let port = free_port();
    let gateway = Setup::process().section(&format!("[metrics]\nlisten = \"0.0.0.0:{port}\"")).start();
    let other = SocketAddr::new(own_address(), port);
    let refused = get_once(other, "/admin/streams").await;
    assert_eq!((refused.status(), refused.code().as_str()), (403, "ADMIN::KEY_NEEDED"));
    assert_eq!(get_once(other, "/metrics").await.status(), 200);
    gateway.says("is refused").await;
}

/// An address of this machine that is not the loopback's.
fn own_address() -> IpAddr {
    let output = Command::new("hostname").arg("-I").output().expect("hostname is installed");
    let all = String::from_utf8(output.stdout).unwrap();
    let first = all.split_whitespace().find_map(|word| word.parse::<Ipv4Addr>().ok());
    IpAddr::V4(first.expect("this machine has an address besides the loopback's"))
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let (setup, metrics) = scraped(Setup::process());
    let _gateway = setup.start();
    for path in [
        "/",
        "/metrics/",
        "/Metrics",
        "//metrics",
        "/health",
        "/admin",
        "/admin/streams/",
        "/admin/streams/1/2",
        "/v1/sandboxes",
        "/%6detrics",
    ] {
        let refused = get_once(metrics, path).await;
        assert_eq!((refused.status(), refused.code().as_str()), (404, "NOT_FOUND"), "{path}");
        let text = refused.to_string();
        assert!(text.contains("/metrics and /admin/streams") && !text.contains("/docs"), "{text}");
    }
    for (method, path, allow) in [
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/admin/streams", "GET, HEAD"),
        ("GET", "/admin/streams/1", "DELETE"),
        ("BREW", "/metrics", "GET, HEAD"),
    ] {
        let refused = request(metrics, method, path, &[], "").await;
        assert_eq!((refused.status(), refused.head.field("allow")), (405, allow), "{method} {path}");
    }
    for id in ["x", "-1", "+1", "01", "99999999999999999999999", "1%20"] {
        let refused = request(metrics, "DELETE", &format!("/admin/streams/{id}"), &[], "").await;
        assert_eq!((refused.status(), refused.code().as_str()), (404, "ADMIN::STREAM_NOT_FOUND"), "{id}");
    }
    let head = request(metrics, "HEAD", "/metrics", &[], "").await;
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn connections_that_say_nothing_keep_no_scrape_out() {
    let (setup, metrics) = scraped(Setup::process());
    let gateway = setup.start();
    let files = gateway.open_files();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Client::connect(metrics).await);
    }
    let start = Instant::now();
    assert_eq!(get_once(metrics, "/metrics").await.status(), 200);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    // Before their heads' time is over, which is 5 s.
    let took = eventually("few connections", Duration::from_secs(2), || gateway.open_files() < files + 80).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(silent[0].is_closed().await, "the oldest gave way");
    let start = Instant::now();
    assert!(silent[299].is_closed().await, "a head has its time");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    // A head that is too long, and one that never ends.
    let mut long = Client::connect(metrics).await;
    long.try_send(format!("GET /metrics HTTP/1.1\r\nX: {}\r\n", "x".repeat(100_000))).await;
    assert!(long.is_closed().await);
}

#[tokio::test]
async fn the_proxy_does_not_reach_it() {
    let (setup, metrics) = scraped(Setup::process());
    let gateway = setup.start();
    let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sleep","600"]}"#;
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &["Content-Type: application/json"], body).await;
    let id = created.json()["id"].as_str().unwrap().to_owned();
    for path in ["/metrics", "/admin/streams"] {
        let target = format!("/v1/sandboxes/{id}/proxy/{}{path}", metrics.port());
        let refused = get_once(gateway.address(), &target).await;
        assert_eq!((refused.status(), refused.code().as_str()), (403, "BACKEND_FORBIDDEN"), "{path}");
    }
}

#[tokio::test]
async fn a_taken_port_keeps_no_one_from_dev() {
    // Another program of this machine may have it already, which is as good.
    let _taken = std::net::TcpListener::bind("127.0.0.1:9090");
    let (home, port) = (Home::with(""), free_port());
    let mut dev = home.command(&["dev", "--no-key", "--port", &port.to_string()], &[]).spawn().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let start = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20) && dev.try_wait().unwrap().is_none(), "dev does not serve");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(get_once(address, "/health").await.status(), 200);
    dev.kill().unwrap();
    let said = ended(dev, Duration::from_secs(10)).stdout;
    assert!(said.contains("no metrics: cannot listen on 127.0.0.1:9090: Address already in use"), "{said}");
}

/// However many come and go while somebody looks, what is told is never less than before.
#[tokio::test]
async fn totals_never_go_back_while_streams_come_and_go() {
    let (pair, metrics) = scraped_pair();
    let id = pair.engine.log(Script::lines(200, 100, true));
    let target = crate::logs(&id, "");
    let address = pair.address();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    assert_eq!(get_once(address, &target).await.body.len(), 20_000);
                }
            })
        })
        .collect();
    let sent = "opensandbox_gateway_log_sent_bytes_total{runtime=\"docker\",source=\"engine\"}";
    let mut last = 0.0;
    while !readers.iter().all(tokio::task::JoinHandle::is_finished) {
        let now = series(metrics, sent).await.unwrap();
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    wait_series(metrics, sent, 8.0 * 20.0 * 20_000.0).await;
    let ended = "opensandbox_gateway_log_streams_total{runtime=\"docker\",format=\"text\",end=\"complete\"}";
    wait_series(metrics, ended, 160.0).await;
    assert!(streams(metrics).await.is_empty());
}
