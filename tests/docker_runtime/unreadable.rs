//! Files that cannot be read: a sandbox never ends because of one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use opensandbox_gateway::{
    error::{Family, Kind},
    model::{create::CreateRequest, timestamp::Timestamp},
    runtime::Runtime,
};

use crate::{
    by_hand,
    fixture::{Fixture, eventually, request},
    metadata::patch,
    owner::Mark,
};

const PAST: &str = r#"{"expires_at": "2020-01-01T00:00:00+00:00"}"#;

fn in_seconds(seconds: i64) -> Timestamp {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).into()
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// What makes the file of a renewal unreadable, for root as well.
type Fault = (&'static str, fn(&Path));

const FAULTS: [Fault; 7] = [
    ("empty, as after a power cut", |path| fs::write(path, "").unwrap()),
    ("half a text", |path| fs::write(path, r#"{"expires_at": "29"#).unwrap()),
    ("another text", |path| fs::write(path, r#"{"expires_at": null}"#).unwrap()),
    ("a folder", |path| fs::create_dir(path).unwrap()),
    ("EIO", |path| symlink("/proc/self/mem", path).unwrap()),
    ("a link that leads nowhere", |path| symlink("/nowhere/at/all", path).unwrap()),
    ("too large", |path| fs::write(path, [" ".repeat(1 << 20).as_str(), PAST].concat()).unwrap()),
];

/// The sandbox's first time is long over, and it was renewed: only the file says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_sandbox_outlives_a_file_that_cannot_be_read() {
    // One that owns the engine tells nobody of renewals.
    let mark = Mark::new();
    let mut fixture = Fixture::start_with(mark.all()).await;
    let folder = fixture.state.path().join("metadata/_expiration");
    let file = |id: &str| -> PathBuf { folder.join(format!("{id}.json")) };
    let mut renewed = Vec::new();
    for (name, break_it) in FAULTS {
        let label = in_seconds(6).to_label();
        let id = by_hand::sandbox(&fixture, &[("opensandbox.io/expires-at", &label)], "none").await;
        fixture.docker.renew(&id, in_seconds(3600)).await.unwrap();
        fs::remove_file(file(&id)).unwrap();
        break_it(&file(&id));
        renewed.push((name, id));
    }
    // Also at the start, which has no timers yet.
    fixture.restart_with(mark.all()).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    for (name, id) in &renewed {
        assert!(fixture.docker.get(id).await.is_ok(), "{name}: the sandbox is lost");
        assert!(fixture.docker.list().await.unwrap().iter().any(|sandbox| sandbox.id == *id), "{name}");
    }
    // Once it can be read again, it counts.
    for (_, id) in &renewed {
        remove(&file(id));
        fs::write(file(id), PAST).unwrap();
    }
    for (name, id) in &renewed {
        eventually(name, async || fixture.docker.get(id).await.is_err()).await;
        eventually("the file goes with its sandbox", async || !file(id).exists()).await;
    }
}

/// The whole folder is elsewhere, on a disk that is not there; or the home is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_gone_ends_no_sandbox() {
    let mark = Mark::new();
    let fixture = Fixture::start_with(mark.all()).await;
    let state = fixture.state.path();
    let short = async || {
        let short = CreateRequest { timeout: Some(4), ..request(&["sleep", "1000"]) };
        let id = fixture.docker.create(short).await.unwrap().id;
        fixture.docker.renew(&id, in_seconds(6)).await.unwrap();
        id
    };
    let moved_away = state.with_extension("elsewhere");
    let (first, second) = (short().await, short().await);
    fs::rename(state, &moved_away).unwrap();
    symlink("/nowhere/at/all", state).unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(fixture.docker.get(&first).await.is_ok(), "lost with a link that leads nowhere");
    fs::remove_file(state).unwrap();
    fs::create_dir(state).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(fixture.docker.get(&second).await.is_ok(), "lost with an empty folder, as of a volume that is not mounted");
    assert!(fixture.docker.notes().iter().any(|note| note.contains("is gone from ~/.opensandbox")));
    fs::remove_dir(state).unwrap();
    fs::rename(&moved_away, state).unwrap();
    for id in [first, second] {
        eventually("the sandbox ends", async || fixture.docker.get(&id).await.is_err()).await;
    }
}

/// A new time takes the place of one that nobody can read; but use must not move an unknown one to an earlier.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_heals_a_damaged_file_and_use_does_not() {
    let fixture = Fixture::start().await;
    let mut asking = request(&["sleep", "1000"]);
    asking.extensions.insert("access.renew.extend.seconds".to_owned(), "7200".to_owned());
    let id = fixture.docker.create(asking).await.unwrap().id;
    let file = fixture.state.path().join(format!("metadata/_expiration/{id}.json"));
    fixture.docker.renew(&id, in_seconds(90_000)).await.unwrap();
    fs::write(&file, "{").unwrap();
    let error = fixture.docker.renew_on_access(&id).await.unwrap_err();
    assert_eq!(error.key(), (Family::Expiry, Kind::Failed));
    assert!(error.message.contains("cannot be read now, so it was not moved"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{");
    let time = in_seconds(600);
    assert_eq!(fixture.docker.renew(&id, time).await.unwrap(), time);
    assert_eq!(fixture.docker.get(&id).await.unwrap().expires_at, Some(time));
    fixture.docker.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_cannot_be_read_is_neither_lost_nor_written_over() {
    let fixture = Fixture::start().await;
    let mut request = request(&["sleep", "1000"]);
    request.metadata = [("owner".to_owned(), "alice".to_owned())].into();
    let id = fixture.docker.create(request).await.unwrap().id;
    let file = fixture.state.path().join(format!("metadata/{id}.json"));
    fs::create_dir(file.parent().unwrap()).unwrap();
    let change = async || fixture.docker.patch_metadata(&id, patch(&[("a", Some("b"))])).await;
    for (name, break_it) in [FAULTS[3], FAULTS[4], FAULTS[5]] {
        break_it(&file);
        assert_eq!(fixture.docker.get(&id).await.unwrap().metadata["owner"], "alice", "{name}: the labels are shown");
        assert_eq!(change().await.unwrap_err().key(), (Family::Metadata, Kind::Failed), "{name}");
        assert!(file.is_dir() || file.is_symlink(), "{name}: it is as it was");
        remove(&file);
    }
    // What is damaged says nothing any more; it is kept for a look.
    fs::write(&file, r#"{"owner": "bo"#).unwrap();
    assert_eq!(change().await.unwrap().metadata.len(), 2);
    let aside = file.with_extension("json.damaged");
    assert_eq!(fs::read_to_string(&aside).unwrap(), r#"{"owner": "bo"#);
    fixture.docker.delete(&id).await.unwrap();
    assert!(!file.exists() && !aside.exists());
}
