//! Copies of sandboxes: what is in them, and above all what is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::Command;

use bollard::{
    models::ContainerConfig,
    query_parameters::{CommitContainerOptions, RemoveImageOptions},
};
use opensandbox_gateway::{
    error::{Family, Kind},
    model::{
        create::{CreateRequest, ImageSource},
        sandbox::{Sandbox, State},
    },
    runtime::{Runtime, SnapshotImages},
};

use crate::fixture::{Fixture, request};

/// A request that restores a snapshot, without a timeout.
fn restore(snapshot: &str, image: String) -> CreateRequest {
    CreateRequest {
        image: Some(ImageSource { uri: image, auth: None }),
        snapshot_id: Some(snapshot.to_owned()),
        entrypoint: ["tail", "-f", "/dev/null"].map(str::to_owned).to_vec(),
        ..Default::default()
    }
}

/// A sandbox with something of everything that must not be inherited.
async fn source(fixture: &Fixture) -> String {
    let mut request = request(&["sleep", "1000"]);
    request.metadata.insert("owner".to_owned(), "alice".to_owned());
    request.extensions.insert("opensandbox.extensions.foo".to_owned(), "bar".to_owned());
    request.env = vec![("SECRET".to_owned(), Some("s3cr".to_owned()))];
    fixture.docker.create(request).await.unwrap().id
}

/// What a command in a sandbox prints. By way of the `docker` program, since the client's connections here cannot be upgraded.
fn run(id: &str, command: &[&str]) -> String {
    let output = Command::new("docker").args(["exec", &format!("sandbox-{id}")]).args(command).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn inherits_nothing(sandbox: &Sandbox) {
    assert!(sandbox.metadata.is_empty() && sandbox.extensions.is_empty(), "{sandbox:?}");
    assert_eq!((sandbox.expires_at, &sandbox.image), (None, &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_files_and_nothing_else() {
    let fixture = Fixture::start().await;
    let (source, snapshot) = (source(&fixture).await, fixture.run.clone());
    run(&source, &["sh", "-c", "echo precious > /kept"]);
    assert_eq!(fixture.docker.committed(&snapshot).await.unwrap(), None);
    let image = fixture.docker.commit(&source, &snapshot).await.unwrap();
    assert_eq!(image, format!("opensandbox-snapshots:{snapshot}"));
    assert_eq!(fixture.docker.committed(&snapshot).await.unwrap().as_ref(), Some(&image));
    let config = serde_json::to_string(&fixture.engine.inspect_image(&image).await.unwrap().config).unwrap();
    for secret in ["s3cr", "alice", "\"bar\"", &source] {
        assert!(!config.contains(secret), "{secret} is in {config}");
    }

    let restored = fixture.docker.create(restore(&snapshot, image.clone())).await.unwrap().id;
    let shown = fixture.docker.get(&restored).await.unwrap();
    inherits_nothing(&shown);
    assert_eq!(shown.snapshot_id.as_ref(), Some(&snapshot));
    let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == restored);
    assert_eq!(listed, Some(shown));
    assert_eq!(run(&restored, &["cat", "/kept"]), "precious\n");
    let env = run(&restored, &["env"]);
    assert!(!env.contains("SECRET") && env.contains(&format!("OPENSANDBOX_ID={restored}")), "{env}");

    // A copy of the copy, given a metadata key again that the first one had.
    let again = format!("{snapshot}-2");
    let image_again = fixture.docker.commit(&restored, &again).await.unwrap();
    let mut request = restore(&again, image_again);
    request.metadata.insert("owner".to_owned(), "bob".to_owned());
    request.env = vec![("SECRET".to_owned(), Some("new".to_owned()))];
    let grandchild = fixture.docker.create(request).await.unwrap().id;
    assert_eq!(fixture.docker.get(&grandchild).await.unwrap().metadata["owner"], "bob");
    assert!(run(&grandchild, &["env"]).contains("SECRET=new"));

    let used = fixture.docker.remove_snapshot(&snapshot, Some(&image)).await.unwrap_err();
    assert_eq!(used.key(), (Family::SnapshotRemoval, Kind::InUse));
    assert_eq!(used.message, "snapshot image cannot be deleted due to a conflict");
    for id in [&source, &restored, &grandchild] {
        fixture.docker.delete(id).await.unwrap();
    }
    for id in [&again, &snapshot, &snapshot] {
        fixture.docker.remove_snapshot(id, None).await.unwrap();
    }
    assert_eq!(fixture.docker.committed(&snapshot).await.unwrap(), None);
}

/// The existing server commits a container as it is: the copy has all labels of its source.
#[tokio::test(flavor = "multi_thread")]
async fn copies_by_the_existing_server_do_not_leak_labels_either() {
    let fixture = Fixture::start().await;
    let (source, snapshot) = (source(&fixture).await, fixture.run.clone());
    let options = CommitContainerOptions {
        container: Some(format!("sandbox-{source}")),
        repo: Some("opensandbox-snapshots".to_owned()),
        tag: Some(snapshot.clone()),
        ..Default::default()
    };
    fixture.engine.commit_container(options, ContainerConfig::default()).await.unwrap();
    let image = fixture.docker.committed(&snapshot).await.unwrap().unwrap();
    let restored = fixture.docker.create(restore(&snapshot, image)).await.unwrap().id;
    inherits_nothing(&fixture.docker.get(&restored).await.unwrap());
    for id in [&source, &restored] {
        fixture.docker.delete(id).await.unwrap();
    }
    fixture.docker.remove_snapshot(&snapshot, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_copy_is_not_looked_for_elsewhere() {
    let fixture = Fixture::start().await;
    let image = format!("opensandbox-snapshots:{}", fixture.run);
    let error = fixture.docker.create(restore(&fixture.run, image.clone())).await.unwrap_err();
    assert_eq!(error.key(), (Family::Image, Kind::Failed));
    assert_eq!(
        error.message,
        format!("Failed to pull image {image}: the snapshot's image is no longer on this engine")
    );
    assert_eq!(fixture.proxy.count("POST", "/images/create"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_copied_shows_as_running() {
    let fixture = Fixture::start().await;
    let (source, snapshot) = (source(&fixture).await, fixture.run.clone());
    run(&source, &["dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=256"]);
    let copying = fixture.docker.commit(&source, &snapshot);
    tokio::pin!(copying);
    let (mut paused, name) = (0, format!("sandbox-{source}"));
    loop {
        tokio::select! {
            biased;
            image = &mut copying => { image.unwrap(); break }
            container = fixture.engine.inspect_container(&name, None) => {
                paused += u32::from(container.unwrap().state.unwrap().paused == Some(true));
                let Ok(shown) = fixture.docker.get(&source).await else { panic!("the sandbox is there") };
                assert_eq!(shown.status.state, State::Running);
                let listed = fixture.docker.list().await.unwrap().into_iter().find(|sandbox| sandbox.id == source);
                assert_eq!(listed.unwrap().status.state, State::Running);
            }
        }
    }
    assert!(paused > 0, "the copy was too fast for this test");
    fixture.docker.delete(&source).await.unwrap();
    fixture
        .engine
        .remove_image(&format!("opensandbox-snapshots:{snapshot}"), None::<RemoveImageOptions>, None)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_s_failure_is_told() {
    let fixture = Fixture::start().await;
    let source = source(&fixture).await;
    let proxy = &fixture.proxy;
    proxy.fail("POST", "/commit", 1, "no space left on device");
    let error = fixture.docker.commit(&source, &fixture.run).await.unwrap_err();
    assert_eq!((error.key(), error.message.as_str()), ((Family::Snapshot, Kind::Failed), "no space left on device"));
    proxy.fail("DELETE", "/images/", 1, "a bad day");
    let error = fixture.docker.remove_snapshot(&fixture.run, None).await.unwrap_err();
    assert_eq!(error.key(), (Family::SnapshotRemoval, Kind::Failed));
    assert!(error.message.ends_with("a bad day"), "{error}");
    assert_eq!(fixture.docker.commit("nope", &fixture.run).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    fixture.docker.delete(&source).await.unwrap();
}
