//! Pausing and resuming, with and without a sidecar.

use std::time::Duration;

use opensandbox_gateway::{
    error::{Family, Kind},
    model::sandbox::State,
    runtime::{Pausing, Runtime},
};

use crate::{
    by_hand,
    fixture::{Fixture, eventually, request},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_pauses_and_goes_on_and_is_never_shown_otherwise() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    eventually("the event stream is open", async || proxy.count("GET", "/events") > 0).await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let shown = async || fixture.docker.get(&id).await.unwrap().status.state;
    for _ in 0..5 {
        fixture.docker.pause(&id).await.unwrap();
        assert_eq!(shown().await, State::Paused);
        let again = fixture.docker.pause(&id).await.unwrap_err();
        assert_eq!(
            (again.key(), again.message.as_str()),
            ((Family::Sandbox, Kind::Conflict), "Sandbox is not in a running state.")
        );
        fixture.docker.resume(&id).await.unwrap();
        assert_eq!(shown().await, State::Running);
        let again = fixture.docker.resume(&id).await.unwrap_err();
        assert_eq!(
            (again.key(), again.message.as_str()),
            ((Family::Resume, Kind::Conflict), "Sandbox is not in a paused state.")
        );
    }
    let (first, second) = tokio::join!(fixture.docker.pause(&id), fixture.docker.pause(&id));
    let refused = [first, second].into_iter().filter_map(Result::err).map(|error| error.key());
    assert_eq!(refused.collect::<Vec<_>>(), [(Family::Sandbox, Kind::Conflict)], "one of two wins");
    fixture.docker.delete(&id).await.unwrap();
    assert_eq!(fixture.docker.pause(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert_eq!(fixture.docker.resume(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_goes_on_without_its_client() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let left = tokio::time::timeout(Duration::from_micros(100), fixture.docker.pause(&id)).await;
    assert!(left.is_err(), "the pause was too fast for this test");
    let state = async || fixture.docker.get(&id).await.unwrap().status.state;
    eventually("the sandbox is paused", async || state().await == State::Paused).await;
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_has_ended_cannot_be_paused() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["/bin/true"])).await.unwrap().id;
    let state = async || fixture.docker.get(&id).await.unwrap().status.state;
    eventually("the sandbox exits", async || state().await == State::Terminated).await;
    assert_eq!(fixture.docker.pause(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::Conflict));
    assert_eq!(fixture.docker.resume(&id).await.unwrap_err().key(), (Family::Resume, Kind::Conflict));
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_follows_its_sandbox() {
    let fixture = Fixture::start().await;
    let id = by_hand::sandbox(&fixture, &[("opensandbox.io/egress-auth-token", "t")], "none").await;
    let sidecar = by_hand::sidecar(&fixture, &id).await;
    let main = format!("sandbox-{id}");
    let states = async || (by_hand::state(&fixture, &main).await, by_hand::state(&fixture, &sidecar).await);
    let both = |state: &str| (state.to_owned(), state.to_owned());
    fixture.docker.pause(&id).await.unwrap();
    assert_eq!(states().await, both("paused"));
    fixture.docker.resume(&id).await.unwrap();
    assert_eq!(states().await, both("running"));

    fixture.engine.kill_container(&sidecar, None).await.unwrap();
    let stopped = async || by_hand::state(&fixture, &sidecar).await == "exited";
    eventually("the sidecar stops", stopped).await;
    let error = fixture.docker.pause(&id).await.unwrap_err();
    assert_eq!(error.key(), (Family::Pause, Kind::Failed));
    assert!(error.message.starts_with("Failed to pause egress sidecar: Egress sidecar "), "{error}");
    assert_eq!(by_hand::state(&fixture, &main).await, "running");

    by_hand::remove(&fixture, &sidecar).await;
    let error = fixture.docker.pause(&id).await.unwrap_err();
    assert_eq!(error.key(), (Family::Pause, Kind::Failed));
    assert_eq!(error.message, "The expected egress sidecar was not found; nothing was paused.");
    assert_eq!(by_hand::state(&fixture, &main).await, "running", "unlike with the existing server");
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_taken_back_when_the_engine_fails() {
    let fixture = Fixture::start().await;
    let proxy = &fixture.proxy;
    let id = by_hand::sandbox(&fixture, &[("opensandbox.io/egress-auth-token", "t")], "none").await;
    let sidecar = by_hand::sidecar(&fixture, &id).await;
    let main = format!("sandbox-{id}");
    let container = async |name: &str| fixture.engine.inspect_container(name, None).await.unwrap().id.unwrap();
    let (main_id, sidecar_id) = (container(&main).await, container(&sidecar).await);
    let states = async || (by_hand::state(&fixture, &main).await, by_hand::state(&fixture, &sidecar).await);
    let both = |state: &str| (state.to_owned(), state.to_owned());

    proxy.fail("POST", &format!("{sidecar_id}/pause"), 1, "a bad day");
    let error = fixture.docker.pause(&id).await.unwrap_err();
    assert_eq!(
        (error.key(), error.message.as_str()),
        ((Family::Pause, Kind::Failed), "Failed to pause egress sidecar: a bad day")
    );
    assert_eq!(states().await, both("running"));
    assert_eq!(fixture.docker.get(&id).await.unwrap().status.state, State::Running);

    fixture.docker.pause(&id).await.unwrap();
    proxy.fail("POST", &format!("{main_id}/unpause"), 1, "a bad day");
    let error = fixture.docker.resume(&id).await.unwrap_err();
    assert_eq!(error.key(), (Family::Resume, Kind::Failed));
    assert_eq!(error.message, "Failed to resume sandbox container: a bad day");
    assert_eq!(states().await, both("paused"));
    fixture.docker.delete(&id).await.unwrap();
    assert!(fixture.engine.inspect_container(&sidecar, None).await.is_err());
}
