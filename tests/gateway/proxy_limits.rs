//! Connections to sandboxes' servers are limited for as long as they live, so that the gateway's own API goes on.

use std::time::Duration;

use http::Method;

use crate::{
    proxy::Proxied,
    support::{
        backend::{Backend, Conn},
        client::{get_once, request},
        eventually,
        h2::H2,
    },
};

/// A head, and then silence until the peer leaves.
async fn head_only(mut conn: Conn) {
    conn.head().await;
    conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    conn.wait_closed().await;
}

async fn another_sandbox(proxied: &Proxied) -> String {
    let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sleep","1000"]}"#;
    let created = request(proxied.address(), "POST", "/v1/sandboxes", &["Content-Type: application/json"], body).await;
    assert_eq!(created.status(), 202, "{created}");
    created.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_two_thousand_silent_answers_leave_descriptors_for_the_api() {
    let limits = "[proxy]\nmax_connections = 300\nmax_connections_per_sandbox = 200";
    let (proxied, backend) = (Proxied::with(|setup| setup.section(limits)).await, Backend::start(head_only).await);
    let target = proxied.target(backend.port, "/");
    let before = proxied.gateway.open_files();
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..88 {
        let (address, target) = (proxied.address(), target.clone());
        connections.spawn(async move {
            let connection = H2::connect(address, 65_535).await;
            let mut asked = Vec::new();
            for _ in 0..250 {
                asked.push(connection.send(Method::GET, &target, &[]).await);
            }
            let mut streams = Vec::new();
            for asked in asked {
                streams.push(asked.answer().await);
            }
            (connection, streams)
        });
    }
    let held = connections.join_all().await;
    let streams = || held.iter().flat_map(|(_, streams)| streams);
    let open = streams().filter(|stream| stream.head.status == 200).count();
    assert_eq!((open, backend.accepted()), (200, 200));
    let mut refused = streams().filter(|stream| stream.head.status != 200);
    assert!(refused.all(|stream| stream.head.status == 503 && stream.head.headers.contains_key("retry-after")));
    let files = proxied.gateway.open_files();
    assert!(files < before + 88 + 220, "{files} descriptors, {before} before");

    let full = get_once(proxied.address(), &target).await;
    assert_eq!((full.status(), &full.code()[..]), (503, "BACKEND_CONNECTION_LIMIT_REACHED"), "{full}");
    assert!(full.head.field("retry-after").parse::<u32>().unwrap() >= 1);
    // Lifecycle calls go on, and so do other sandboxes, up to the limit of all.
    let other = another_sandbox(&proxied).await;
    let other_target = format!("/v1/sandboxes/{other}/proxy/{}/", backend.port);
    let connection = H2::connect(proxied.address(), 65_535).await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(connection.get(&other_target).await);
        assert_eq!(others.last().unwrap().head.status, 200);
    }
    let full = get_once(proxied.address(), &other_target).await;
    assert_eq!((full.status(), &full.code()[..]), (503, "BACKEND_CONNECTION_LIMIT_REACHED"), "{full}");
    let unknown = get_once(proxied.address(), "/v1/sandboxes/nobody/proxy/80/").await;
    assert_eq!(unknown.status(), 503, "who is refused anyway is looked for nowhere");
    assert_eq!(get_once(proxied.address(), "/v1/sandboxes").await.status(), 200);
    // What belongs to the API has a connection all the same: nobody listens there, but it was tried.
    let policy = get_once(proxied.address(), &format!("/v1/sandboxes/{other}/networkpolicy")).await;
    assert_eq!((policy.status(), &policy.code()[..]), (502, "BACKEND_CONNECTION_FAILED"), "{policy}");

    drop(others);
    connection.vanish();
    for (connection, streams) in held {
        drop(streams);
        connection.vanish();
    }
    // The other sandbox has a few.
    let given_back = || proxied.gateway.open_files() <= before + 6;
    eventually("all given back", Duration::from_secs(10), given_back).await;
    assert_eq!(H2::connect(proxied.address(), 65_535).await.get(&target).await.head.status, 200);
}

#[tokio::test]
async fn resting_connections_give_way() {
    let limits = "[proxy]\nmax_connections = 2\nmax_connections_per_sandbox = 1";
    let proxied = Proxied::with(|setup| setup.section(limits)).await;
    let other = another_sandbox(&proxied).await;
    let servers = [Backend::mirror().await, Backend::mirror().await, Backend::mirror().await];
    // Each rests when it is answered, and the next needs its place: of the sandbox, then of all.
    for id in [&proxied.id, &other, &proxied.id] {
        for server in &servers {
            let answer = get_once(proxied.address(), &format!("/v1/sandboxes/{id}/proxy/{}/", server.port)).await;
            assert_eq!(answer.status(), 200, "{answer}");
        }
    }
    let third = another_sandbox(&proxied).await;
    let answer = get_once(proxied.address(), &format!("/v1/sandboxes/{third}/proxy/{}/", servers[0].port)).await;
    assert_eq!(answer.status(), 200, "{answer}");
}

#[tokio::test]
async fn tunnels_and_requests_without_an_answer_count() {
    let backend = Backend::start(|mut conn| async move {
        if conn.head().await.unwrap().contains("/ws") {
            conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await;
        }
        conn.wait_closed().await;
    })
    .await;
    let limits = "[proxy]\nmax_connections_per_sandbox = 2";
    let proxied = Proxied::with(|setup| setup.section(limits)).await;
    let mut tunnel = proxied.connect().await;
    let target = proxied.target(backend.port, "/ws");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    tunnel.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n")).await;
    assert_eq!(tunnel.head().await.status, 101);
    let mut waiting = proxied.connect().await;
    waiting.send_get(&proxied.target(backend.port, "/"), &[]).await;
    eventually("both there", Duration::from_secs(5), || backend.accepted() == 2).await;
    let refused = get_once(proxied.address(), &proxied.target(backend.port, "/")).await;
    assert_eq!((refused.status(), &refused.code()[..]), (503, "BACKEND_CONNECTION_LIMIT_REACHED"), "{refused}");
    tunnel.close();
    backend.wait_closed(0).await;
    waiting.close();
    backend.wait_closed(1).await;
    let mut again = proxied.connect().await;
    again.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n\r\n")).await;
    assert_eq!(again.head().await.status, 101);
}
