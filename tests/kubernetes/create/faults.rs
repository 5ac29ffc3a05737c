//! What goes wrong in the middle: nothing leaks, nothing is made twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fixture::{
    AT_ONCE, LONG, asked, create, error, id, never, nothing_is_left, objects, ready, request, watched, world,
};
use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::{ask, get},
    support::{
        client::Client,
        eventually,
        kube::{Action, Failure, Operator, Outcome},
    },
};

const OBJECTS: &str = "/batchsandboxes";

/// Ready some time after the creation, so that there is time for something to happen.
fn soon() -> Outcome {
    Outcome::Ready(Duration::from_millis(1500))
}

async fn object_is_there(cluster: &Cluster) {
    eventually("the object", LONG, || cluster.server.list(&BATCH, NAMESPACE).len() == 1).await;
}

#[tokio::test]
async fn a_creation_whose_client_left_goes_on() {
    let (cluster, gateway) = world(soon(), "");
    let mut client = Client::connect(gateway.address()).await;
    let body = request(json!({}));
    let head = format!(
        "POST /v1/sandboxes HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head).await;
    object_is_there(&cluster).await;
    client.reset();
    gateway.says("created").await;
    let list = get(&gateway, "/v1/sandboxes").await.json();
    assert_eq!(
        (&list["pagination"]["totalItems"], &list["items"][0]["status"]["state"]),
        (&json!(1), &json!("Running"))
    );
}

#[tokio::test]
async fn an_object_whose_answer_is_lost_is_found_and_not_made_again() {
    let (cluster, gateway) = world(ready(), "");
    cluster.server.fault("POST", OBJECTS, Action::Cut(0), 1);
    let id = id(&create(&gateway, json!({})).await);
    assert_eq!(asked(&cluster, "POST", OBJECTS).len(), 1);
    let all = cluster.server.list(&BATCH, NAMESPACE);
    assert_eq!((all.len(), &all[0]["metadata"]["name"]), (1, &json!(id)));
}

#[tokio::test]
async fn an_object_whose_answer_is_lost_and_that_cannot_be_found_is_removed_when_it_can() {
    let (cluster, gateway) = world(ready(), "");
    watched(&cluster).await;
    cluster.server.fault("POST", OBJECTS, Action::Cut(0), 1);
    cluster.server.fault("GET", "/batchsandboxes/", Action::Fail(Failure::new(500, "InternalError", "no")), 3);
    let (status, code, _) = error(&create(&gateway, json!({})).await);
    assert_eq!((status, code.as_str()), (503, "KUBERNETES::API_ERROR"));
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn a_refusal_is_told_and_leaves_nothing() {
    for (action, status, code, retry_after) in [
        (Action::Conflict, 500, "KUBERNETES::API_ERROR", None),
        (Action::Fail(Failure::new(422, "Invalid", "no")), 400, "SANDBOX::INVALID_PARAMETER", None),
        (Action::Fail(Failure::initializing()), 429, "KUBERNETES::API_ERROR", Some("1")),
        (Action::Fail(Failure::too_many_requests()), 429, "KUBERNETES::API_ERROR", Some("1")),
        (Action::Fail(Failure::new(403, "Forbidden", "no")), 403, "KUBERNETES::FORBIDDEN", None),
        (Action::Fail(Failure::new(503, "ServiceUnavailable", "no")), 503, "KUBERNETES::API_ERROR", Some("5")),
        (Action::Html(502, "<html>"), 503, "KUBERNETES::API_ERROR", Some("5")),
        (Action::Drop, 503, "KUBERNETES::API_ERROR", Some("5")),
    ] {
        let (cluster, gateway) = world(ready(), "");
        cluster.server.fault("POST", OBJECTS, action.clone(), 1);
        let response = create(&gateway, json!({})).await;
        let (found, found_code, message) = error(&response);
        assert_eq!((found, found_code.as_str()), (status, code), "{action:?} {message}");
        if let Some(seconds) = retry_after {
            assert_eq!(response.head.field("retry-after"), seconds, "{action:?}");
        }
        assert_eq!(asked(&cluster, "POST", OBJECTS).len(), 1, "{action:?}");
        assert!(objects(&cluster).is_empty(), "{action:?}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_told_and_leaves_nothing() {
    let (mut cluster, gateway) = world(ready(), "");
    watched(&cluster).await;
    cluster.server.kill();
    let begun = Instant::now();
    let (status, code, _) = error(&create(&gateway, json!({})).await);
    assert_eq!((status, code.as_str()), (503, "KUBERNETES::API_ERROR"));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    // Nothing was sent, so there is nothing to look for.
    assert!(!gateway.output().contains("what a failed creation made"), "{}", gateway.output());
    cluster.server.up();
    // The next one finds it again.
    eventually_created(&cluster, &gateway).await;
}

async fn eventually_created(cluster: &Cluster, gateway: &crate::support::gateway::Gateway) {
    let begun = Instant::now();
    while create(gateway, json!({})).await.status() != 202 {
        assert!(begun.elapsed() < LONG, "no creation succeeds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(cluster.server.list(&BATCH, NAMESPACE).len(), 1);
}

#[tokio::test]
async fn an_api_server_that_goes_while_a_sandbox_is_waited_for_may_come_back() {
    let (mut cluster, gateway) = world(soon(), "");
    watched(&cluster).await;
    let gateway = &gateway;
    let creation = tokio::spawn({
        let (address, body) = (gateway.address(), request(json!({})));
        async move {
            let lines = ["content-type: application/json"];
            crate::support::client::request(address, "POST", "/v1/sandboxes", &lines, &body).await
        }
    });
    object_is_there(&cluster).await;
    cluster.server.kill();
    gateway.says("begins anew").await;
    cluster.server.up();
    cluster.server.pass_versions(1);
    id(&creation.await.unwrap());
}

#[tokio::test]
async fn a_watch_that_ends_before_the_sandbox_is_ready_is_gone_on_with() {
    let (cluster, gateway) = world(soon(), "");
    watched(&cluster).await;
    let (created, ()) = tokio::join!(create(&gateway, json!({})), async {
        object_is_there(&cluster).await;
        cluster.server.end_watches();
        cluster.server.compact();
    });
    id(&created);
}

#[tokio::test]
async fn while_the_watch_tells_nothing_the_object_is_asked_for() {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::of(soon()));
    cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = cluster.gateway("cache_max_age_seconds = 1\nsandbox_create_poll_interval_seconds = 0.2").start();
    watched(&cluster).await;
    let id = id(&create(&gateway, json!({})).await);
    let reads = asked(&cluster, "GET", &format!("{OBJECTS}/{id}")).len();
    assert!((1..=20).contains(&reads), "{reads}");
}

#[tokio::test]
async fn a_sandbox_that_is_deleted_meanwhile_is_told_at_once() {
    let (cluster, gateway) = world(never(), "");
    watched(&cluster).await;
    let begun = Instant::now();
    let (created, ()) = tokio::join!(create(&gateway, json!({})), async {
        object_is_there(&cluster).await;
        let name = cluster.server.list(&BATCH, NAMESPACE)[0]["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(ask(&gateway, "DELETE", &format!("/v1/sandboxes/{name}"), "").await.status(), 204);
    });
    let (status, code, message) = error(&created);
    assert_eq!((status, code.as_str()), (500, "KUBERNETES::POD_FAILED"));
    assert!(message.ends_with(" failed: its object was deleted meanwhile"), "{message}");
    assert!(begun.elapsed() < AT_ONCE);
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn what_cannot_be_removed_at_once_is_removed_later() {
    let (cluster, gateway) = world(Outcome::Failed("no"), "");
    cluster.server.fault("DELETE", OBJECTS, Action::Fail(Failure::new(500, "InternalError", "no")), 2);
    assert_eq!(create(&gateway, json!({})).await.status(), 500);
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn another_object_of_the_same_name_is_not_removed() {
    let (cluster, gateway) = world(never(), "");
    watched(&cluster).await;
    let (created, name) = tokio::join!(create(&gateway, json!({})), async {
        object_is_there(&cluster).await;
        let object = cluster.server.list(&BATCH, NAMESPACE)[0].clone();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        cluster.server.remove(&BATCH, NAMESPACE, &name);
        let mut again = Value::clone(&object);
        again["status"] = Value::Null;
        cluster.server.create(&BATCH, NAMESPACE, again);
        name
    });
    assert_eq!(created.status(), 500);
    assert!(cluster.get(&BATCH, &name).is_some());
}
