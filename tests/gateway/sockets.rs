//! What the system sees of the gateway: its sockets' options, and what becomes of it when descriptors run out.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use crate::{
    Pair, Setup,
    support::{
        client::{Client, get_once, request},
        engine::Script,
        eventually,
        h2::H2,
    },
};

/// The timer of the gateway's end of a connection, as `/proc/net/tcp` has it: 2 is keep-alive.
fn timer(server: SocketAddr, client: SocketAddr) -> Option<String> {
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line[1].ends_with(&port(server)) && line[2].ends_with(&port(client)))?;
    line[5].split(':').next().map(str::to_owned)
}

/// A peer that vanishes without a word can be noticed in no other way, and not by a test without a firewall.
#[tokio::test]
async fn a_silent_client_is_asked_whether_it_is_still_there() {
    let pair = Pair::start();
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&pair.log(Script::silent(), "follow=true")).await.status, 200);
    let is_asked = || timer(pair.address(), client.local_addr()).as_deref() == Some("02");
    eventually("a keep-alive timer", Duration::from_secs(5), is_asked).await;
}

#[tokio::test]
async fn running_out_of_descriptors_passes() {
    let pair = Pair::start();
    let target = pair.log(Script::silent(), "follow=true");
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
    let room = pair.gateway.open_files() + 8;
    let limited = Command::new("prlimit")
        .args([format!("--pid={}", pair.gateway.pid()), format!("--nofile={room}:{room}")])
        .status();
    assert!(limited.expect("util-linux has prlimit").success());
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(pair.address()).await;
        client.send_get(&target, &[]).await;
        clients.push(client);
    }
    let says_so = || pair.gateway.output().contains("cannot accept connections");
    eventually("a word on it", Duration::from_secs(5), says_so).await;
    let lines = pair.gateway.output().matches("cannot accept connections").count();
    assert!(lines < 100, "{lines} lines about it");
    drop(clients);
    assert_eq!(get_once(pair.address(), "/health").await.status(), 200);
    let mut client = Client::connect(pair.address()).await;
    assert_eq!(client.get(&target).await.status, 200);
    eventually("the streams released", Duration::from_secs(5), || pair.engine.open_logs() == 1).await;
}

/// The same release where no engine is: the files and watches behind a local process's log.
#[tokio::test]
async fn followers_of_a_process_leave_nothing_either() {
    let gateway = Setup::process().start();
    let body = r#"{"image":{"uri":"any"},"resourceLimits":{},"entrypoint":["sh","-c","echo hello; exec sleep 100"]}"#;
    let json = ["Content-Type: application/json"];
    let created = request(gateway.address(), "POST", "/v1/sandboxes", &json, body).await;
    assert_eq!(created.status(), 202, "{created}");
    let target = format!("/sandboxes/{}/logs?follow=true", created.json()["id"].as_str().unwrap());
    let files = gateway.open_files();
    for turn in 0..12 {
        let mut client = Client::connect(gateway.address()).await;
        assert_eq!(client.get(&target).await.status, 200);
        assert_eq!(client.body_of(6).await, "hello\n");
        let connection = H2::connect(gateway.address(), 65_535).await;
        let mut stream = connection.get(&target).await;
        assert_eq!(stream.piece().await.unwrap().unwrap(), "hello\n");
        match turn % 3 {
            0 => client.close(),
            1 => client.reset(),
            _ => {
                client.send("x").await;
                client.close();
            }
        }
        stream.reset();
        eventually("both streams' ends", Duration::from_secs(2), || {
            gateway.output().matches("end=client_gone").count() == 2 * (turn + 1)
        })
        .await;
    }
    eventually("descriptors released", Duration::from_secs(2), || gateway.open_files() <= files).await;
}
