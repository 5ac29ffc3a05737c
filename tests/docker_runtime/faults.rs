//! An engine that fails now and then.

use std::time::Duration;

use opensandbox_gateway::{
    error::{Family, Kind},
    model::sandbox::State,
    runtime::{Pausing, Runtime},
};

use crate::fixture::{Fixture, eventually, request};

const CLASH: &str = "driver failed: Bind for 127.0.0.1:4 failed: port is already allocated";

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_replaced_twice_and_no_more() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    proxy.fail("POST", "/start", 2, CLASH);
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    assert_eq!(proxy.count("POST", "create?name=sandbox-") - proxy.count("POST", "sandbox-execd-"), 3);
    fixture.docker.delete(&id).await.unwrap();

    proxy.fail("POST", "/start", 3, CLASH);
    let mut request = request(&["sleep", "1000"]);
    request.metadata.insert("run".to_owned(), fixture.run.clone());
    let error = fixture.docker.create(request).await.unwrap_err();
    assert_eq!(
        (error.key(), error.message),
        ((Family::Creation, Kind::Failed), format!("Failed to create or start container: {CLASH}"))
    );
    assert_eq!(fixture.containers_with(&format!("run={}", fixture.run)).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn execd_is_read_again_after_a_failure() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    proxy.fail("GET", "/archive?path=%2Fbootstrap.sh", 1, "a bad day");
    let error = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap_err();
    assert_eq!(error.key(), (Family::ExecdDelivery, Kind::Failed));
    assert_eq!(error.message, "Failed to read execd artifacts: a bad day");
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_container_breaks_no_list() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.container_ids(std::slice::from_ref(&id)).await.remove(0);
    proxy.fail("GET", &container, usize::MAX, "layer does not exist");
    // The pause makes what was known of the container worthless.
    fixture.engine.pause_container(&container).await.unwrap();
    let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == id).unwrap();
    assert_eq!((listed.status.state, listed.image.unwrap().uri.as_str()), (State::Paused, "osb-test/busybox:1"));
    assert!(listed.expires_at.is_some() && listed.entrypoint.is_empty());
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_removal_is_told_and_can_be_repeated() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    fixture.proxy.fail("DELETE", "/containers/", 1, "device busy");
    let error = fixture.docker.delete(&id).await.unwrap_err();
    assert_eq!(error.key(), (Family::Deletion, Kind::Failed));
    assert_eq!(error.message, "Failed to delete sandbox container: device busy");
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_engine_is_a_failed_query() {
    let fixture = Fixture::start().await;
    // Without its events the runtime knows nothing by itself, such as that there is no such sandbox.
    fixture.proxy.fail("GET", "/events", usize::MAX, "panic");
    fixture.proxy.break_off();
    eventually("the engine has to be asked", async || !fixture.docker.is_at_hand("some-id")).await;
    fixture.proxy.fail("GET", "/containers/", usize::MAX, "panic");
    let error = fixture.docker.get("some-id").await.unwrap_err();
    assert_eq!(error.message, "Failed to query sandbox containers: panic");
    assert_eq!(fixture.docker.list().await.unwrap_err().key(), (Family::Query, Kind::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_engine_only_takes_longer() {
    let fixture = Fixture::start().await;
    let (docker, proxy) = (&fixture.docker, &fixture.proxy);
    proxy.delay(Duration::from_millis(250));
    let (one, other) = tokio::join!(docker.create(request(&["sleep", "9"])), docker.create(request(&["sleep", "9"])));
    let ids = [one.unwrap().id, other.unwrap().id];
    let listed = docker.list().await.unwrap();
    assert!(ids.iter().all(|id| listed.iter().any(|sandbox| sandbox.id == *id)));
    docker.pause(&ids[0]).await.unwrap();
    assert_eq!(docker.get(&ids[0]).await.unwrap().status.state, State::Paused);
    docker.resume(&ids[0]).await.unwrap();
    assert_eq!(docker.get(&ids[0]).await.unwrap().status.state, State::Running);
    let (one, other) = tokio::join!(docker.delete(&ids[0]), docker.delete(&ids[1]));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(docker.get(&ids[0]).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert_eq!(fixture.left_behind().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stream_comes_back() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let container = fixture.container_ids(std::slice::from_ref(&id)).await.remove(0);
    let is_cached = async || {
        proxy.clear();
        let listed = fixture.docker.list().await.unwrap();
        assert!(listed.iter().any(|sandbox| sandbox.id == id));
        proxy.count("GET", &container) == 0
    };
    eventually("the list is cached", is_cached).await;
    for _ in 0..2 {
        proxy.break_off();
        eventually("the stream is opened again", async || proxy.count("GET", "/events") > 0).await;
        eventually("the list is cached again", is_cached).await;
    }
    fixture.docker.delete(&id).await.unwrap();
}
