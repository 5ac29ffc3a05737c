//! Containers of strangers that have a sandbox's labels from their image, or by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{process::Command, time::Duration};

use bollard::query_parameters::RemoveImageOptions;
use opensandbox_gateway::{
    error::{Family, Kind},
    logs::LogQuery,
    model::{
        create::{CreateRequest, ImageSource},
        timestamp::Timestamp,
    },
    runtime::{Pausing, Runtime, SnapshotImages},
};

use crate::{
    by_hand,
    fixture::{Fixture, eventually, options, request},
    owner::Mark,
};

/// Runs docker and gives what it prints.
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A container and an image that go with this.
struct Stranger {
    container: String,
    image: String,
}

impl Stranger {
    /// Commits a container and runs another of the image, as `docker commit` and `docker run` do for anybody.
    fn of(source: &str, container: &str) -> Self {
        let stranger =
            Self { container: container.to_owned(), image: format!("osb-test/stranger:{}", uuid::Uuid::new_v4()) };
        docker(&["commit", source, &stranger.image]);
        stranger.run();
        stranger
    }

    fn run(&self) {
        docker(&[
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            &self.container,
            "--entrypoint",
            "sleep",
            &self.image,
            "1000",
        ]);
    }

    fn is_running(&self) -> bool {
        docker(&["inspect", "-f", "{{.State.Running}}{{.State.Paused}}", &self.container]) == "truefalse"
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // Whatever is gone already is as well.
        for args in [["rm", "-fv", &self.container], ["rmi", "-f", &self.image]] {
            let _ = Command::new("docker").args(args).output();
        }
    }
}

fn any(name: &str) -> String {
    format!("osb-test-{name}-{}", uuid::Uuid::new_v4())
}

fn in_seconds(seconds: i64) -> Timestamp {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_committed_sandbox_s_image_is_no_sandbox() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let stranger = Stranger::of(&format!("sandbox-{id}"), &any("stranger"));
    let listed = async || fixture.docker.list().await.unwrap().iter().filter(|sandbox| sandbox.id == id).count();
    assert_eq!(listed().await, 1);
    fixture.docker.delete(&id).await.unwrap();

    // Before, the stranger's container was the sandbox from here on.
    assert_eq!(listed().await, 0);
    let kinds = [
        fixture.docker.get(&id).await.err(),
        fixture.docker.delete(&id).await.err(),
        fixture.docker.pause(&id).await.err(),
        fixture.docker.renew(&id, in_seconds(60)).await.err(),
        fixture.docker.patch_metadata(&id, [("a".to_owned(), Some("b".to_owned()))].into()).await.err(),
        fixture.docker.inspect(&id).await.err(),
        fixture.docker.events(&id, 5).await.err(),
        fixture.docker.endpoint(&id, 8080, None).await.err(),
        fixture.docker.backend(&id, 8080).await.err(),
        fixture.docker.open_logs(&id, &LogQuery::ALL).await.err(),
        fixture.docker.commit(&id, "x").await.err(),
    ];
    for (index, error) in kinds.into_iter().enumerate() {
        assert_eq!(error.map(|error| error.key()), Some((Family::Sandbox, Kind::NotFound)), "{index}");
    }
    assert!(stranger.is_running());
}

/// Not even by the name of a sandbox, if its labels are the image's.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_alone_makes_no_sandbox_of_an_image_s_labels() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let name = format!("sandbox-{id}");
    let image = Stranger::of(&name, &any("first"));
    fixture.docker.delete(&id).await.unwrap();
    let named = Stranger { container: name.clone(), image: image.image.clone() };
    named.run();
    assert_eq!(fixture.docker.delete(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert!(named.is_running() && image.is_running());
    drop(named);

    // And an image of such a container's, and one that was built on it.
    let second = Stranger::of(&image.container, &any("second"));
    assert_eq!(fixture.docker.delete(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert!(second.is_running());
}

/// The image says when the sandbox ended. The stranger's container is not ended then, nor at a start.
#[tokio::test(flavor = "multi_thread")]
async fn no_time_ends_a_stranger_s_container() {
    let mark = Mark::new();
    let mut fixture = Fixture::start_with(mark.all()).await;
    let label = in_seconds(6).to_label();
    let id = by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", &label)], "none").await;
    let stranger = Stranger::of(&format!("sandbox-{id}"), &any("stranger"));
    eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stranger.is_running(), "ended with the sandbox");
    fixture.restart_with(mark.all()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(stranger.is_running(), "ended by the next start");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_image_only_the_right_name_is_a_sandbox_s() {
    let fixture = Fixture::start().await;
    let id = fixture.docker.create(request(&["sleep", "1000"])).await.unwrap().id;
    let stranger = Stranger::of(&format!("sandbox-{id}"), &any("stranger"));
    fixture.docker.delete(&id).await.unwrap();
    docker(&["kill", &stranger.container]);
    docker(&["rmi", "-f", &stranger.image]);
    // So that nothing of the image is remembered.
    let (fresh, _state) = fixture.newcomer(options()).await;
    assert_eq!(fresh.get(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert_eq!(fresh.delete(&id).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert_eq!(docker(&["inspect", "-f", "{{.State.Status}}", &stranger.container]), "exited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_image_is_gone_can_be_deleted() {
    let fixture = Fixture::start().await;
    let image = format!("osb-test/gone:{}", uuid::Uuid::new_v4());
    let made = any("made");
    docker(&["create", "--name", &made, "osb-test/busybox:1", "true"]);
    docker(&["commit", &made, &image]);
    docker(&["rm", &made]);
    let source = ImageSource { uri: image.clone(), auth: None };
    let id = fixture.docker.create(CreateRequest { image: Some(source), ..request(&["/bin/true"]) }).await.unwrap().id;
    let state = async || fixture.docker.get(&id).await.unwrap().status.state;
    eventually("it exits", async || state().await == opensandbox_gateway::model::sandbox::State::Terminated).await;
    let force = RemoveImageOptions { force: true, ..Default::default() };
    fixture.engine.remove_image(&image, Some(force), None).await.unwrap();
    let (fresh, _state) = fixture.newcomer(options()).await;
    assert!(fresh.list().await.unwrap().iter().any(|sandbox| sandbox.id == id));
    fresh.delete(&id).await.unwrap();
}

/// Somebody gave a container all labels of a sandbox, as tools that copy containers do. It has the label of its own, so it
/// is found by it as the existing server finds it; but it is never removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_live_sandbox_s_labels_is_never_removed() {
    let mark = Mark::new();
    let fixture = Fixture::start_with(mark.all()).await;
    let time = in_seconds(8).to_label();
    let id = by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", &time)], "none").await;
    let copy = any("copy");
    let (label, expiry) = (format!("opensandbox.io/id={id}"), format!("opensandbox.io/expires-at={time}"));
    docker(&[
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        &copy,
        "-l",
        &label,
        "-l",
        &expiry,
        "-l",
        &fixture.scope(),
        "osb-test/busybox:1",
        "sleep",
        "1000",
    ]);
    let listed = fixture.docker.list().await.unwrap();
    assert_eq!(listed.iter().filter(|sandbox| sandbox.id == id).count(), 1);
    let is_gone = async || fixture.engine.inspect_container(&format!("sandbox-{id}"), None).await.is_err();
    eventually("the sandbox ends", is_gone).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(by_hand::state(&fixture, &copy).await, "running", "ended by the sandbox's time");
    let error = fixture.docker.delete(&id).await.unwrap_err();
    assert_eq!(error.key(), (Family::Deletion, Kind::Failed));
    assert!(error.message.contains(&copy), "{error}");
    assert_eq!(by_hand::state(&fixture, &copy).await, "running");
    by_hand::remove(&fixture, &copy).await;
}

/// The same for sidecars: their label alone had a stranger's container paused, and removed as a leftover.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_committed_sidecar_s_image_is_no_sidecar() {
    let fixture = Fixture::start().await;
    let id = by_hand::sandbox(&fixture, &[("opensandbox.io/egress-auth-token", "t")], "none").await;
    let sidecar = by_hand::sidecar(&fixture, &id).await;
    let stranger = Stranger::of(&sidecar, &any("stranger"));
    fixture.docker.pause(&id).await.unwrap();
    assert_eq!(by_hand::state(&fixture, &sidecar).await, "paused");
    assert!(stranger.is_running(), "paused with the sandbox");
    fixture.docker.resume(&id).await.unwrap();
    fixture.docker.delete(&id).await.unwrap();
    assert!(stranger.is_running(), "removed with the sandbox");
    assert!(fixture.engine.inspect_container(&sidecar, None).await.is_err());
}

/// As the existing server restores a copy: its labels keep what the source had beside its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_sandbox_keeps_neither_its_source_s_end_nor_its_volumes() {
    let mark = Mark::new();
    let mut fixture = Fixture::start_with(mark.all()).await;
    let volume = any("volume");
    docker(&["volume", "create", "--label", "opensandbox.io/volume-managed-by=server", &volume]);
    let (time, managed) = (in_seconds(8).to_label(), format!("[\"{volume}\"]"));
    let labels = [("opensandbox.io/expires-at", time.as_str()), ("opensandbox.io/volume-managed-by", &managed)];
    let source = by_hand::sandbox(&fixture, &labels, "none").await;
    let image = format!("osb-test/stranger:{}", uuid::Uuid::new_v4());
    docker(&["commit", &format!("sandbox-{source}"), &image]);
    let restored = uuid::Uuid::new_v4().to_string();
    let (name, label) = (format!("sandbox-{restored}"), format!("opensandbox.io/id={restored}"));
    let manual = "opensandbox.io/manual-cleanup=true";
    docker(&["run", "-d", "--network", "none", "--name", &name, "-l", &label, "-l", manual, &image, "sleep", "1000"]);
    let sandbox = fixture.docker.get(&restored).await.unwrap();
    assert_eq!(sandbox.expires_at, None);
    // Another server restarts after the source's end.
    eventually("the source ends", async || fixture.docker.get(&source).await.is_err()).await;
    fixture.restart_with(mark.all()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(fixture.docker.get(&restored).await.is_ok(), "ended by its source's time");

    docker(&["volume", "create", "--label", "opensandbox.io/volume-managed-by=server", &volume]);
    fixture.docker.delete(&restored).await.unwrap();
    assert!(fixture.has_volume(&volume).await, "the source's volume went with it");
    docker(&["volume", "rm", &volume]);
    docker(&["rmi", "-f", &image]);
}
