//! A client that leaves before there is an answer: the access line says so, with no status, since none was sent.

use std::time::Duration;

use http::Method;

use crate::{
    Pair, logs,
    support::{
        client::{self, Client},
        engine::{Sandbox, Script},
        eventually,
        h2::H2,
    },
};

/// What follows a sandbox's own path in requests for which the engine is asked about it.
const RESTS: [&str; 3] = ["", "/logs", "/logs?follow=true"];

/// A sandbox that the engine, when asked about it, says nothing of for longer than any test takes.
fn unanswered(pair: &Pair) -> String {
    let sandbox = Sandbox::new(Script::silent());
    pair.engine.sandbox(Sandbox { inspect_delay: Duration::from_secs(600), ..sandbox })
}

/// Waits until the gateway has asked the engine about the sandbox.
async fn is_under_way(pair: &Pair, id: &str) {
    let asked = || pair.engine.requests().iter().any(|target| target.contains(id));
    eventually("the engine is asked", Duration::from_secs(5), asked).await;
}

/// The access line of the request with this id: no status, no byte, and who ended it.
async fn is_given_up(pair: &Pair, id: &str, version: &str) {
    let line = pair.access_line(id).await;
    assert!(line.starts_with("INFO:"), "{line}");
    assert!(line.contains(&format!("{version}\" 0 bytes=0 ")) && line.contains("end=client_gone"), "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer() {
    let pair = Pair::start();
    for (turn, reset) in [false, true].into_iter().enumerate() {
        for (number, rest) in RESTS.iter().enumerate() {
            let (request_id, id) = (format!("leaver-{turn}-{number}"), unanswered(&pair));
            let mut client = Client::connect(pair.address()).await;
            let line = format!("X-Request-ID: {request_id}");
            client.send_get(&format!("/v1/sandboxes/{id}{rest}"), &[&line]).await;
            is_under_way(&pair, &id).await;
            assert!(!pair.gateway.output().contains(&request_id), "still under way");
            client.leave(reset);
            is_given_up(&pair, &request_id, "HTTP/1.1").await;
        }
    }
    assert_eq!(pair.engine.opened_logs(), 0);
}

/// Bytes behind the request hide its client's leaving from hyper, and not from the log's own watch.
#[tokio::test]
async fn a_follower_that_leaves_with_a_request_waiting() {
    let pair = Pair::start();
    let id = unanswered(&pair);
    let mut client = Client::connect(pair.address()).await;
    let request = client::get(&logs(&id, "follow=true"), &["X-Request-ID: leaver-behind"]);
    client.send([request, client::get("/health", &[])].concat()).await;
    is_under_way(&pair, &id).await;
    client.close();
    is_given_up(&pair, "leaver-behind", "HTTP/1.1").await;
}

#[tokio::test]
async fn a_stream_that_is_reset_before_the_answer_and_one_whose_connection_is_cut() {
    let pair = Pair::start();
    let connection = H2::connect(pair.address(), 65_535).await;
    for (number, rest) in RESTS.iter().enumerate() {
        let (request_id, id) = (format!("resetter-{number}"), unanswered(&pair));
        let fields = [("x-request-id", &request_id[..])];
        let asked = connection.send(Method::GET, &format!("/v1/sandboxes/{id}{rest}"), &fields).await;
        is_under_way(&pair, &id).await;
        asked.reset();
        is_given_up(&pair, &request_id, "HTTP/2.0").await;
    }
    let id = unanswered(&pair);
    let fields = [("x-request-id", "cutter")];
    let _asked = connection.send(Method::GET, &logs(&id, "follow=true"), &fields).await;
    is_under_way(&pair, &id).await;
    connection.vanish();
    is_given_up(&pair, "cutter", "HTTP/2.0").await;
}
