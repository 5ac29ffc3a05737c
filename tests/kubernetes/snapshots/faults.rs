//! What breaks off in the middle leaves nothing behind, and nothing is made twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{LONG, World, count, create, created, object_name, reaches, shown, until_gone};
use crate::{
    cluster::{NAMESPACE, SNAPSHOTS},
    fixture::{ID, ask, get},
    support::{
        client, eventually,
        kube::{Action, Failure, Snapshots},
    },
};

#[tokio::test]
async fn a_request_that_is_refused_leaves_nothing() {
    let world = World::start();
    let gateway = world.gateway();
    for (failure, status, code, again) in [
        (Failure::new(422, "Invalid", "SandboxSnapshot is invalid"), 500, "SNAPSHOT::RUNTIME_CREATE_FAILED", ""),
        (Failure::new(404, "NotFound", "namespaces \"osb\" not found"), 500, "SNAPSHOT::RUNTIME_CREATE_FAILED", ""),
        (Failure::new(403, "Forbidden", "no"), 403, "KUBERNETES::FORBIDDEN", ""),
        (Failure::too_many_requests(), 429, "KUBERNETES::API_ERROR", "1"),
    ] {
        world.cluster.server.fault("POST", "sandboxsnapshots", Action::Fail(failure), 1);
        let answer = create(&gateway, ID).await;
        assert_eq!((answer.status(), answer.code().as_str()), (status, code), "{answer}");
        assert_eq!(answer.head.field("retry-after"), again, "{answer}");
        assert_eq!((count(&gateway, "").await, world.objects().len()), ((0, json!(0)), 0));
    }
    // The look for the sandbox's pod before it.
    let text = format!("labelSelector=opensandbox.io%2Fid%3D{ID}");
    world.cluster.server.fault("GET", &text, Action::Fail(Failure::new(503, "ServiceUnavailable", "no")), 1);
    let answer = create(&gateway, ID).await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "KUBERNETES::API_ERROR"), "{answer}");
    assert_eq!((count(&gateway, "").await, world.objects().len()), ((0, json!(0)), 0));
    // What the API server answers for trouble of its own is no refusal: the request may have been heard.
    world.cluster.server.fault(
        "POST",
        "sandboxsnapshots",
        Action::Fail(Failure::new(503, "ServiceUnavailable", "no")),
        1,
    );
    let answer = create(&gateway, ID).await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "KUBERNETES::API_ERROR"), "{answer}");
    assert_eq!(answer.head.field("retry-after"), "5", "{answer}");
    assert_eq!((count(&gateway, "state=Deleting").await, world.objects().len()), ((1, json!(1)), 0));
}

#[tokio::test]
async fn a_request_whose_answer_is_lost_is_taken_back() {
    let world = World::start();
    let gateway = world.gateway();
    world.cluster.server.fault("POST", "sandboxsnapshots", Action::Cut(0), 1);
    let answer = create(&gateway, ID).await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "KUBERNETES::API_ERROR"), "{answer}");
    assert_eq!(world.objects().len(), 0);
    // It may be heard late: until then the record stays, and nothing of it.
    let id = world.column("id").await.unwrap();
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Deleting");
    world.cluster.server.create(&SNAPSHOTS, NAMESPACE, late(&world, &id));
    eventually("the end of what came late", LONG, || world.objects().is_empty()).await;
    world.age().await;
    until_gone(&gateway, &id).await;
    let posts = world.cluster.requests().iter().filter(|request| request.starts_with("POST")).count();
    assert_eq!(posts, 1);
}

/// The object that the first request was to make.
fn late(world: &World, id: &str) -> Value {
    let requests = world.cluster.server.requests();
    let asked = requests.into_iter().find(|request| request.method == "POST").expect("a request was made");
    assert_eq!(asked.body["metadata"]["name"], object_name(id));
    asked.body
}

#[tokio::test]
async fn what_cannot_be_taken_back_at_once_is_later() {
    let world = World::start();
    let gateway = world.gateway();
    world.cluster.server.fault("POST", "sandboxsnapshots", Action::Cut(0), 1);
    world.cluster.server.fault("DELETE", "sandboxsnapshots", Action::Fail(Failure::new(500, "InternalError", "no")), 1);
    assert_eq!(create(&gateway, ID).await.status(), 503);
    eventually("the end of what nobody knows of", LONG, || world.objects().is_empty()).await;
    world.age().await;
    let begun = Instant::now();
    while count(&gateway, "").await.0 > 0 {
        assert!(begun.elapsed() < LONG, "the record stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_object_that_is_another_s_stays() {
    let world = World::start();
    let gateway = world.gateway();
    // Longer than it takes to look the id up and to make the other's object.
    world.cluster.server.fault("POST", "sandboxsnapshots", Action::Delay(Duration::from_secs(8)), 1);
    let asked = create(&gateway, ID);
    let other = async {
        let is_asked = || world.cluster.requests().iter().any(|request| request.starts_with("POST"));
        eventually("the request", LONG, is_asked).await;
        let mut object = late(&world, &world.column("id").await.unwrap());
        object["spec"]["sandboxName"] = json!("other");
        world.cluster.server.create(&SNAPSHOTS, NAMESPACE, object);
    };
    let (answer, ()) = tokio::join!(asked, other);
    assert_ne!(answer.status(), 202, "{answer}");
    assert_eq!((count(&gateway, "").await, world.objects().len()), ((0, json!(0)), 1));
    // One of the name that is gone behind the refusal.
    world.cluster.server.fault("POST", "sandboxsnapshots", Action::Conflict, 1);
    let answer = create(&gateway, ID).await;
    let text = answer.json()["message"].as_str().unwrap().to_owned();
    let expected =
        "Snapshot runtime rejected creation (snapshot_recovery_missing_snapshot): Kubernetes SandboxSnapshot osb-snap-";
    assert!(text.starts_with(expected) && text.ends_with(" was not found."), "{text}");
    assert_eq!((answer.status(), answer.code().as_str()), (500, "SNAPSHOT::RUNTIME_CREATE_FAILED"));
    assert_eq!(count(&gateway, "").await, (0, json!(0)));
}

#[tokio::test]
async fn a_server_that_is_killed_in_between_leaves_no_request_and_a_record_that_says_so() {
    let world = World::start();
    let gateway = world.gateway();
    world.cluster.server.fault("POST", "sandboxsnapshots", Action::Hang, 1);
    let address = gateway.address();
    let target = format!("/v1/sandboxes/{ID}/snapshots");
    let client = tokio::spawn(async move { client::request(address, "POST", &target, &[], "").await });
    let is_asked = || world.cluster.requests().iter().any(|request| request.starts_with("POST"));
    eventually("the request", LONG, is_asked).await;
    gateway.signal("KILL");
    drop(gateway);
    client.abort();
    let gateway = world.gateway();
    let id = world.column("id").await.unwrap();
    // Another server may be about to ask for it.
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Creating");
    world.age().await;
    let failed = reaches(&gateway, &id, "Failed").await;
    assert_eq!(failed["reason"], "snapshot_recovery_missing_snapshot");
    assert!(world.objects().is_empty());
    assert_eq!(ask(&gateway, "DELETE", &format!("/v1/snapshots/{id}"), "").await.status(), 204);
    assert_eq!(count(&gateway, "").await, (0, json!(0)));
}

#[tokio::test]
async fn a_server_that_is_killed_behind_the_request_goes_on_with_it() {
    let world = World::start();
    let gateway = world.gateway();
    let id = created(&gateway).await;
    gateway.signal("KILL");
    drop(gateway);
    let gateway = world.gateway();
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Creating");
    let status =
        json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
    world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, &object_name(&id), &status);
    reaches(&gateway, &id, "Ready").await;
    let posts = world.cluster.requests().iter().filter(|request| request.starts_with("POST")).count();
    assert_eq!((posts, world.objects().len()), (1, 1));
}

#[tokio::test]
async fn an_operator_that_ends_it_while_no_server_runs_is_heard() {
    let world = World::operated(Snapshots::Stay);
    let gateway = world.gateway();
    let id = created(&gateway).await;
    drop(gateway);
    let status =
        json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
    world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, &object_name(&id), &status);
    let gateway = world.gateway();
    // By itself: nobody reads it.
    let begun = Instant::now();
    while world.column("state").await.as_deref() != Some("Ready") {
        assert!(begun.elapsed() < LONG, "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_watch_that_ends_or_fails_begins_anew() {
    let world = World::start();
    let gateway = world.gateway();
    let id = created(&gateway).await;
    eventually("a watch", LONG, || world.cluster.server.open("sandboxsnapshots?") > 0).await;
    world.cluster.server.end_watches();
    world.cluster.server.compact();
    let status =
        json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
    world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, &object_name(&id), &status);
    // By itself: nobody reads it.
    let begun = Instant::now();
    while world.column("state").await.as_deref() != Some("Ready") {
        assert!(begun.elapsed() < LONG, "{}", gateway.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("the watch's end", LONG, || world.cluster.server.open("sandboxsnapshots?") == 0).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_hides_no_record() {
    let mut world = World::start();
    let gateway = world.setup("cache_max_age_seconds = 1").start();
    let id = created(&gateway).await;
    world.cluster.server.kill();
    let begun = Instant::now();
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Creating");
    assert_eq!(count(&gateway, "").await, (1, json!(1)));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    world.cluster.server.up();
    let status =
        json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
    world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, &object_name(&id), &status);
    reaches(&gateway, &id, "Ready").await;
    // A deletion that finds it away is finished when it is back.
    world.cluster.server.kill();
    let target = format!("/v1/snapshots/{id}");
    let answer = ask(&gateway, "DELETE", &target, "").await;
    assert_eq!((answer.status(), answer.code().as_str()), (503, "KUBERNETES::API_ERROR"), "{answer}");
    assert_eq!(get(&gateway, &target).await.json()["status"]["state"], "Deleting");
    world.cluster.server.up();
    until_gone(&gateway, &id).await;
    assert!(world.objects().is_empty());
}

#[tokio::test]
async fn many_snapshots_need_one_watch() {
    let world = World::start();
    let gateway = world.gateway();
    let all = futures_util::future::join_all((0..20).map(|_| create(&gateway, ID))).await;
    assert!(all.iter().all(|answer| answer.status() == 202), "{all:?}");
    eventually("a watch", LONG, || world.cluster.server.open("sandboxsnapshots?") > 0).await;
    assert_eq!((world.cluster.server.open("sandboxsnapshots?"), world.objects().len()), (1, 20));
    // None waits for another's end, and all are told at once.
    for object in world.objects() {
        let status =
            json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
        world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, object["metadata"]["name"].as_str().unwrap(), &status);
    }
    for answer in all {
        reaches(&gateway, answer.json()["id"].as_str().unwrap(), "Ready").await;
    }
    eventually("the watch's end", LONG, || world.cluster.server.open("sandboxsnapshots?") == 0).await;
}
