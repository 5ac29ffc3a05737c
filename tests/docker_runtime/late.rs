//! Creations whose end the server does not see: the engine is too slow, or the server is killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{fs, os::unix::net::UnixStream, process::Command, time::Duration};

use opensandbox_gateway::{
    error::{Family, Kind},
    model::create::CreateRequest,
    runtime::{Runtime, docker::DockerOptions},
};
use rustix::{
    fs::{FlockOperation, flock},
    net::sockopt::socket_peercred,
    process::{Pid, Signal, kill_process},
};

use crate::fixture::{Fixture, eventually, options, request, socket};

fn impatient() -> DockerOptions {
    DockerOptions { api_timeout: Duration::from_secs(4), ..options() }
}

/// Without an expiry, so that nothing else would ever remove it.
fn endless(run: &str) -> CreateRequest {
    let mut request = CreateRequest { timeout: None, ..request(&["sleep", "1000"]) };
    request.metadata.insert("run".to_owned(), run.to_owned());
    request
}

/// What the engine has done with containers of this label, in order.
fn history(label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let args = ["events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}", "--filter", &filter];
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_appears_after_its_creation_timed_out_is_removed() {
    for (method, text) in [("POST", "/containers/create?name=sandbox-"), ("POST", "/start")] {
        let fixture = Fixture::start_with(impatient()).await;
        let warm = fixture.docker.create(request(&["true"])).await.unwrap().id;
        fixture.docker.delete(&warm).await.unwrap();
        let gate = fixture.proxy.hold(method, text);
        let error = fixture.docker.create(endless(&fixture.run)).await.unwrap_err();
        assert_eq!(error.key(), (Family::Creation, Kind::Failed));
        let label = format!("run={}", fixture.run);
        gate.open();
        eventually("it is removed", async || history(&label).iter().any(|action| action == "destroy")).await;
        assert_eq!(history(&label).first().map(String::as_str), Some("create"), "{text}");
        eventually("all of it is gone", async || fixture.left_behind().await.is_empty()).await;
        assert_eq!(fixture.containers_with(&label).await, 0);
        eventually("its note is gone", async || notes(&fixture).is_empty()).await;
    }
}

/// An engine that goes on with a creation lists the container before it knows it by its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_listed_before_it_can_be_removed_is_removed_later() {
    let fixture = Fixture::start_with(impatient()).await;
    warm_up(&fixture).await;
    let proxy = &fixture.proxy;
    let gate = proxy.hold("POST", "/containers/create?name=sandbox-");
    fixture.docker.create(endless(&fixture.run)).await.unwrap_err();
    let before = proxy.count("DELETE", "/containers/");
    proxy.deny("DELETE", "/containers/");
    gate.open();
    let label = format!("run={}", fixture.run);
    eventually("it is removed", async || history(&label).iter().any(|action| action == "destroy")).await;
    assert!(proxy.count("DELETE", "/containers/") > before + 1);
    eventually("its note is gone", async || notes(&fixture).is_empty()).await;
    assert_eq!(fixture.containers_with(&label).await, 0);
}

/// An engine that was just started is slow at its first containers, for a gateway that is impatient.
async fn warm_up(fixture: &Fixture) {
    for _ in 0..10 {
        if let Ok(created) = fixture.docker.create(request(&["true"])).await {
            return fixture.docker.delete(&created.id).await.unwrap();
        }
    }
    panic!("the engine makes no container in time, ten times over");
}

/// Its process id, if this is its own server and no socket's unit.
fn engine_process() -> Option<Pid> {
    let credentials = socket_peercred(UnixStream::connect(socket()).unwrap()).unwrap();
    let pid = credentials.pid;
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap();
    (name.trim() == "dockerd").then_some(pid)
}

/// The engine is stopped at many places of a creation, for longer than the gateway waits. scripts/test gives this test an
/// engine of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "stops the whole engine: scripts/engine beside cargo test --test docker_runtime late:: -- --ignored"]
async fn an_engine_that_stands_still_during_a_creation_keeps_nothing_of_it() {
    let engine = engine_process().expect("these tests need an engine of their own");
    let fixture = Fixture::start_with(DockerOptions { api_timeout: Duration::from_secs(1), ..options() }).await;
    warm_up(&fixture).await;
    let label = format!("run={}", fixture.run);
    let mut made = Vec::new();
    for millis in (0..240).step_by(8) {
        let pause = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            kill_process(engine, Signal::STOP).unwrap();
            tokio::time::sleep(Duration::from_millis(1_250 + millis * 37 % 500)).await;
            kill_process(engine, Signal::CONT).unwrap();
        };
        let (created, ()) = tokio::join!(fixture.docker.create(endless(&fixture.run)), pause);
        made.extend(created.ok().map(|created| created.id));
    }
    for id in &made {
        fixture.docker.delete(id).await.unwrap();
    }
    eventually("nothing is left", async || fixture.containers_with(&label).await == 0).await;
    // What could appear late has had its time.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(fixture.containers_with(&label).await, 0, "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_appears_after_a_restart_is_removed() {
    let mut fixture = Fixture::start_with(impatient()).await;
    warm_up(&fixture).await;
    let gate = fixture.proxy.hold("POST", "/containers/create?name=sandbox-");
    fixture.docker.create(endless(&fixture.run)).await.unwrap_err();
    assert_eq!(notes(&fixture).len(), 1);
    fixture.restart_with(impatient()).await;
    let label = format!("run={}", fixture.run);
    gate.open();
    eventually("it is removed", async || history(&label).iter().any(|action| action == "destroy")).await;
    eventually("its note is gone", async || notes(&fixture).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_was_creating_is_removed_and_nothing_else() {
    let mut fixture = Fixture::start().await;
    let ids = ["killed", "living", "done"].map(|word| format!("{word}-{}", fixture.run));
    let folder = fixture.state.path().join("creations");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&ids[0]), "").unwrap();
    // Another server is creating this one.
    let held = fs::File::create(folder.join(&ids[1])).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    for id in &ids {
        let (name, label) = (format!("sandbox-{id}"), format!("opensandbox.io/id={id}"));
        let labels = ["--label", &label, "--label", &fixture.scope()];
        let args = [&["run", "-d", "--name", &name][..], &labels, &["osb-test/busybox:1", "sleep", "1000"]].concat();
        assert!(Command::new("docker").args(args).output().unwrap().status.success());
    }
    fixture.restart().await;
    eventually("it is removed", async || fixture.container_ids(&ids[..1]).await.is_empty()).await;
    assert_eq!(fixture.container_ids(&ids).await.len(), 2);
    eventually("its note is gone", async || notes(&fixture) == [ids[1].clone()]).await;
    for id in &ids[1..] {
        fixture.docker.delete(id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_creation_leaves_no_note() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    assert!(notes(&fixture).is_empty());
    fixture.docker.delete(&id).await.unwrap();
    let mut wrong = request(&["sleep", "1000"]);
    wrong.resource_limits.insert("memory".to_owned(), "1".to_owned());
    fixture.docker.create(wrong).await.unwrap_err();
    assert!(notes(&fixture).is_empty());
}

fn notes(fixture: &Fixture) -> Vec<String> {
    let entries = fs::read_dir(fixture.state.path().join("creations"));
    entries
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default()
}
