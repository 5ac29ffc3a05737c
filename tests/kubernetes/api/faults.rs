//! The faults that a test can ask for, as a client sees them (kubernetes-api.md §7, §14).

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    BATCH, MERGE, PODS, batch,
    wire::{Piece, Request, Wire},
};
use crate::support::kube::{Action, Failure, Server, resource::BATCH_SANDBOXES};

fn filled() -> Server {
    let server = Server::start();
    server.create(&BATCH_SANDBOXES, "default", batch("w-1", &json!({})));
    server
}

#[tokio::test]
async fn both_kinds_of_429_say_when_to_come_back() {
    let server = filled();
    server.fault("GET", "batchsandboxes", Action::Fail(Failure::initializing()), 1);
    server.fault("GET", "batchsandboxes", Action::Fail(Failure::too_many_requests()), 1);
    let mut wire = Wire::connect(&server, None).await;
    let (head, text) = wire.whole(&Request::new("GET", BATCH)).await;
    let expected = "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"storage is \
         (re)initializing\",\"reason\":\"TooManyRequests\",\"details\":{\"retryAfterSeconds\":1},\"code\":429}\n";
    assert_eq!((head.status, head.header("Retry-After"), text.as_str()), (429, "1", expected));
    let (head, text) = wire.whole(&Request::new("GET", BATCH)).await;
    assert_eq!((head.status, head.header("Retry-After")), (429, "1"));
    assert_eq!(head.header("Content-Type"), "text/plain; charset=utf-8");
    assert_eq!(text, "Too many requests, please try again later.\n");
    // A fault is over after its times.
    assert_eq!(wire.whole(&Request::new("GET", BATCH)).await.0.status, 200);
}

#[tokio::test]
async fn a_conflict_a_server_error_and_a_page_of_a_load_balancer_come_as_asked_for() {
    let server = filled();
    let path = format!("{BATCH}/w-1");
    server.fault("PATCH", "w-1", Action::Conflict, 1);
    server.fault("PATCH", "w-1", Action::Fail(Failure::new(500, "", "etcdserver: leader changed")), 1);
    server.fault("PATCH", "w-1", Action::Html(502, "<html>502</html>"), 1);
    let mut wire = Wire::connect(&server, None).await;
    let request = Request::new("PATCH", &path).body(MERGE, &json!({"metadata": {"labels": {"a": "b"}}}));
    let (status, answer) = wire.json(&request).await;
    assert_eq!((status, &answer["reason"]), (409, &json!("Conflict")));
    assert!(answer["message"].as_str().unwrap().contains("the object has been modified"));
    let (status, answer) = wire.json(&request).await;
    assert_eq!((status, answer.get("reason")), (500, None));
    let (head, text) = wire.whole(&request).await;
    assert_eq!((head.status, head.header("Content-Type"), text.as_str()), (502, "text/html", "<html>502</html>"));
    assert_eq!(server.get(&BATCH_SANDBOXES, "default", "w-1").unwrap()["metadata"]["labels"].get("a"), None);
    assert_eq!(wire.whole(&request).await.0.status, 200);
}

#[tokio::test]
async fn an_expired_version_is_a_status_of_a_list_and_an_event_of_a_watch() {
    let server = filled();
    server.fault("GET", "batchsandboxes", Action::Expired, 2);
    let mut wire = Wire::connect(&server, None).await;
    assert_eq!(wire.json(&Request::new("GET", BATCH)).await.0, 410);
    let (status, event) = wire.json(&Request::new("GET", &format!("{BATCH}?watch=true"))).await;
    assert_eq!((status, &event["type"], &event["object"]["code"]), (200, &json!("ERROR"), &json!(410)));
}

#[tokio::test]
async fn a_body_ends_cleanly_is_cut_or_falls_silent_at_the_byte_that_is_asked_for() {
    let server = filled();
    let target = format!("{BATCH}?watch=true");
    for (action, expected) in
        [(Action::End(40), Some(Piece::End)), (Action::Cut(40), Some(Piece::Cut)), (Action::Silence(40), None)]
    {
        server.fault("GET", "watch=true", action, 1);
        let mut wire = Wire::connect(&server, None).await;
        assert_eq!(wire.ask(&Request::new("GET", &target)).await.status, 200);
        let Piece::Chunk(start) = wire.piece().await else { panic!("no bytes before {expected:?}") };
        assert_eq!(start.len(), 40);
        match expected {
            Some(end) => assert_eq!(wire.piece().await, end),
            None => {
                server.create(&BATCH_SANDBOXES, "default", batch("w-2", &json!({})));
                let silent = tokio::time::timeout(Duration::from_millis(200), wire.piece()).await;
                assert!(silent.is_err(), "{silent:?}");
                assert_eq!(server.open("watch=true"), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_connection_can_be_dropped_before_the_head_and_an_answer_can_be_late_or_never_come() {
    let server = filled();
    server.fault("GET", "one", Action::Drop, 1);
    server.fault("GET", "two", Action::Delay(Duration::from_millis(100)), 1);
    server.fault("GET", "three", Action::Hang, 1);
    let mut wire = Wire::connect(&server, None).await;
    wire.send(&Request::new("GET", "/version?one")).await;
    assert!(wire.is_closed().await);
    let began = std::time::Instant::now();
    assert_eq!(Wire::connect(&server, None).await.whole(&Request::new("GET", "/version?two")).await.0.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(100));
    let mut wire = Wire::connect(&server, None).await;
    wire.send(&Request::new("GET", "/version?three")).await;
    let never = tokio::time::timeout(Duration::from_millis(200), wire.is_closed()).await;
    assert!(never.is_err());
}

#[tokio::test]
async fn a_killed_server_breaks_its_watches_off_and_comes_back_with_its_objects() {
    let mut server = filled();
    let mut wire = Wire::connect(&server, None).await;
    wire.ask(&Request::new("GET", &format!("{BATCH}?watch=true&resourceVersion={}", server.version()))).await;
    server.kill();
    assert_eq!(wire.piece().await, Piece::Cut);
    server.up();
    let (status, all): (u16, Value) = Wire::connect(&server, None).await.json(&Request::new("GET", BATCH)).await;
    assert_eq!((status, all["items"].as_array().unwrap().len()), (200, 1));
}

#[tokio::test]
async fn all_watches_can_be_ended_cleanly_at_once() {
    let server = filled();
    let mut watches = Vec::new();
    for target in [BATCH, PODS] {
        let mut wire = Wire::connect(&server, None).await;
        wire.ask(&Request::new("GET", &format!("{target}?watch=true&resourceVersion={}", server.version()))).await;
        watches.push(wire);
    }
    server.end_watches();
    for mut wire in watches {
        assert!(wire.rest().await.is_empty());
    }
}
