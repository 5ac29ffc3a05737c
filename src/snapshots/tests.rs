//! Snapshots in a real store, of a runtime that copies as slowly as a test wants.

mod elsewhere;
mod slow;

use tempfile::TempDir;

use self::slow::{Slow, Stage};
use super::*;
use crate::{
    config::StoreBackend,
    model::{page::PageRequest, snapshot::SnapshotOwner},
    runtime::SnapshotImages,
    store,
};

struct Fixture {
    runtime: Arc<Slow>,
    store: Arc<dyn SnapshotStore>,
    snapshots: Snapshots,
    folder: TempDir,
}

const OPTIONS: SnapshotOptions =
    SnapshotOptions { interval: Duration::from_millis(20), timeout: Duration::from_secs(180), asks_again: false };

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Arc::new(Slow::default());
    let (store, snapshots) = start(&folder, &runtime, OPTIONS).await;
    Fixture { runtime, store, snapshots, folder }
}

async fn start(folder: &TempDir, runtime: &Arc<Slow>, options: SnapshotOptions) -> (Arc<dyn SnapshotStore>, Snapshots) {
    let store = store::open(&StoreBackend::Sqlite { path: folder.path().join("db") }).await.unwrap();
    let images = SnapshotMaker::Here(Arc::clone(runtime) as Arc<dyn SnapshotImages>);
    let snapshots = Snapshots::start(Arc::clone(runtime) as Arc<dyn Runtime>, images, Arc::clone(&store), options);
    (store, snapshots)
}

impl Fixture {
    fn stage(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.runtime.state.lock().unwrap());
    }

    async fn ready(&self) -> Snapshot {
        self.runtime.ends.0.add_permits(1);
        let snapshot = self.snapshots.create("a", None).await.unwrap();
        self.reaches(&snapshot.id, SnapshotState::Ready).await
    }

    async fn reaches(&self, id: &str, state: SnapshotState) -> Snapshot {
        for _ in 0..1000 {
            let snapshot = self.snapshots.get(id).await.unwrap();
            if snapshot.status.state == state {
                return snapshot;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} does not become {state:?}: {:?}", self.snapshots.get(id).await);
    }
}

fn reason(snapshot: &Snapshot) -> &str {
    snapshot.status.reason.as_deref().unwrap()
}

#[tokio::test]
async fn two_are_made_at_a_time_and_one_of_a_sandbox() {
    let f = fixture().await;
    let mut made = Vec::new();
    for sandbox in ["a", "a", "b", "c", "d"] {
        made.push(f.snapshots.create(sandbox, None).await.unwrap());
    }
    f.runtime.begun.notified().await;
    f.runtime.ends.0.add_permits(5);
    for snapshot in &made {
        assert_eq!(reason(&f.reaches(&snapshot.id, SnapshotState::Ready).await), "snapshot_runtime_ready");
    }
    assert_eq!(f.runtime.state.lock().unwrap().most, 2);
}

#[tokio::test]
async fn a_snapshot_that_is_being_made_cannot_be_deleted() {
    let f = fixture().await;
    let snapshot = f.snapshots.create("a", Some("n".to_owned())).await.unwrap();
    f.runtime.begun.notified().await;
    let error = f.snapshots.delete(&snapshot.id).await.unwrap_err();
    assert_eq!(error.key(), (Family::SnapshotRemoval, Kind::Conflict));
    assert_eq!(error.message, format!("Snapshot {} is still being created and cannot be deleted", snapshot.id));
    f.runtime.ends.0.add_permits(1);
    f.reaches(&snapshot.id, SnapshotState::Ready).await;
    f.snapshots.delete(&snapshot.id).await.unwrap();
    assert_eq!(f.snapshots.get(&snapshot.id).await.unwrap_err().key(), (Family::Snapshot, Kind::NotFound));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let f = fixture().await;
    f.stage(|s| {
        s.failure.insert("late".to_owned(), (Family::Snapshot, Kind::TimedOut));
        s.failure.insert("bad".to_owned(), (Family::Snapshot, Kind::Failed));
    });
    f.runtime.ends.0.add_permits(2);
    for (sandbox, expected) in [("late", "snapshot_runtime_timeout"), ("bad", "snapshot_runtime_failed")] {
        let snapshot = f.snapshots.create(sandbox, None).await.unwrap();
        let failed = f.reaches(&snapshot.id, SnapshotState::Failed).await;
        assert_eq!((reason(&failed), failed.status.message.as_deref()), (expected, Some("no space left on device")));
        f.snapshots.delete(&snapshot.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_in_use_stays_ready_and_can_be_deleted_later() {
    let f = fixture().await;
    let before = f.ready().await;
    f.stage(|s| s.in_use = true);
    for _ in 0..2 {
        let error = f.snapshots.delete(&before.id).await.unwrap_err();
        assert_eq!(error.key(), (Family::SnapshotRemoval, Kind::InUse));
        assert_eq!(f.snapshots.get(&before.id).await.unwrap(), before);
    }
    f.stage(|s| s.in_use = false);
    f.snapshots.delete(&before.id).await.unwrap();
}

#[tokio::test]
async fn a_removal_that_broke_off_is_finished_later() {
    let f = fixture().await;
    let snapshot = f.ready().await;
    f.stage(|s| s.broken = true);
    let refused = (Family::SnapshotRemoval, Kind::Failed);
    assert_eq!(f.snapshots.delete(&snapshot.id).await.unwrap_err().key(), refused);
    let deleting = f.snapshots.get(&snapshot.id).await.unwrap();
    assert_eq!(reason(&deleting), "snapshot_delete_requested");
    let mut request = CreateRequest { snapshot_id: Some(snapshot.id.clone()), ..Default::default() };
    assert_eq!(f.snapshots.resolve(&mut request).await.unwrap_err().key(), (Family::Restore, Kind::Conflict));
    assert_eq!(f.snapshots.delete(&snapshot.id).await.unwrap_err().key(), refused, "can be tried again");
    f.stage(|s| s.broken = false);
    while f.snapshots.get(&snapshot.id).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(f.runtime.state.lock().unwrap().images.is_empty());
}

#[tokio::test]
async fn two_deletions_at_once_do_not_disturb_each_other() {
    let f = fixture().await;
    let snapshot = f.ready().await;
    let (one, two) = tokio::join!(f.snapshots.delete(&snapshot.id), f.snapshots.delete(&snapshot.id));
    assert!(one.is_ok() || two.is_ok());
    for lost in [one, two].into_iter().filter_map(Result::err) {
        assert_eq!(lost.key(), (Family::Snapshot, Kind::NotFound));
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_copies_and_leaves_the_rest_to_the_next_start() {
    let f = fixture().await;
    let running = f.snapshots.create("a", None).await.unwrap();
    f.runtime.begun.notified().await;
    let waiting = f.snapshots.create("a", None).await.unwrap();
    let ending = {
        let snapshots = f.snapshots.clone();
        tokio::spawn(async move { snapshots.shutdown().await })
    };
    f.runtime.ends.0.add_permits(1);
    ending.await.unwrap();

    let (_, snapshots) = start(&f.folder, &f.runtime, OPTIONS).await;
    let f = Fixture { snapshots, ..f };
    assert_eq!(reason(&f.reaches(&running.id, SnapshotState::Ready).await), "snapshot_runtime_ready");
    let lost = f.reaches(&waiting.id, SnapshotState::Failed).await;
    assert_eq!(reason(&lost), "snapshot_recovery_missing_image");
}

#[tokio::test]
async fn a_copy_that_outlives_its_server_is_waited_for() {
    let f = fixture().await;
    f.snapshots.shutdown().await;
    let snapshot = accepted("a".to_owned(), None);
    let store = store::open(&StoreBackend::Sqlite { path: f.folder.path().join("db") }).await.unwrap();
    store.insert(&Record { snapshot: snapshot.clone(), image: None, owner: SnapshotOwner::default() }).await.unwrap();
    f.stage(|s| s.paused = true);
    let (_, snapshots) = start(&f.folder, &f.runtime, OPTIONS).await;
    let f = Fixture { snapshots, ..f };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(f.snapshots.get(&snapshot.id).await.unwrap(), snapshot, "the engine may still be copying");
    f.stage(|s| {
        s.images.insert(snapshot.id.clone());
        s.paused = false;
    });
    let ready = f.reaches(&snapshot.id, SnapshotState::Ready).await;
    assert_eq!(reason(&ready), "snapshot_recovery_ready");
    assert_eq!(f.snapshots.restorable(&snapshot.id).await.unwrap(), format!("image:{}", snapshot.id));
}

#[tokio::test]
async fn a_copy_is_not_given_up_because_its_sandbox_cannot_be_looked_at() {
    let f = fixture().await;
    f.snapshots.shutdown().await;
    let snapshot = accepted("a".to_owned(), None);
    let store = store::open(&StoreBackend::Sqlite { path: f.folder.path().join("db") }).await.unwrap();
    store.insert(&Record { snapshot: snapshot.clone(), image: None, owner: SnapshotOwner::default() }).await.unwrap();
    f.stage(|s| s.unreachable = true);
    let (_, snapshots) = start(&f.folder, &f.runtime, OPTIONS).await;
    let f = Fixture { snapshots, ..f };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(f.snapshots.get(&snapshot.id).await.unwrap(), snapshot);
    f.stage(|s| {
        s.images.insert(snapshot.id.clone());
        s.unreachable = false;
    });
    assert_eq!(reason(&f.reaches(&snapshot.id, SnapshotState::Ready).await), "snapshot_recovery_ready");
}

#[tokio::test]
async fn a_copy_that_never_ends_is_given_up_after_its_time() {
    let f = fixture().await;
    f.snapshots.shutdown().await;
    let store = store::open(&StoreBackend::Sqlite { path: f.folder.path().join("db") }).await.unwrap();
    let snapshot = accepted("a".to_owned(), None);
    store.insert(&Record { snapshot: snapshot.clone(), image: None, owner: SnapshotOwner::default() }).await.unwrap();
    f.stage(|s| s.paused = true);
    let options = SnapshotOptions { timeout: Duration::from_millis(200), ..OPTIONS };
    let (_, snapshots) = start(&f.folder, &f.runtime, options).await;
    let f = Fixture { snapshots, ..f };
    assert_eq!(reason(&f.reaches(&snapshot.id, SnapshotState::Failed).await), "snapshot_recovery_missing_image");
}

#[tokio::test]
async fn what_somebody_wrote_by_hand_is_listed_by_the_state_that_it_has() {
    let f = fixture().await;
    let snapshot = f.ready().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(f.folder.path().join("db"));
    let mut file = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    sqlx::query("UPDATE snapshots SET state = 'Weird'").execute(&mut file).await.unwrap();
    let page = PageRequest { page: 1, page_size: 1 };
    let query = SnapshotQuery { sandbox_id: None, name: None, states: vec!["Weird".to_owned()], page };
    let shown = f.snapshots.page(&query).await.unwrap();
    assert_eq!((shown.items.len(), shown.items[0].id.as_str()), (1, snapshot.id.as_str()));
    assert_eq!(shown.items[0].status.state, SnapshotState::Failed);
}

#[tokio::test]
async fn without_a_store_nothing_is_begun() {
    let f = fixture().await;
    f.store.close().await;
    let error = f.snapshots.create("a", None).await.unwrap_err();
    assert_eq!(error.key(), (Family::SnapshotStore, Kind::Unavailable));
    assert!(error.message.starts_with("The snapshot store cannot be used: "), "{error}");
    assert_eq!(f.runtime.state.lock().unwrap().most, 0);
}

#[tokio::test]
async fn a_creation_goes_on_without_its_client() {
    let f = fixture().await;
    let left = tokio::time::timeout(Duration::ZERO, f.snapshots.create("a", None)).await;
    if left.is_err() {
        f.runtime.ends.0.add_permits(1);
        let query = SnapshotQuery {
            sandbox_id: None,
            name: None,
            states: Vec::new(),
            page: PageRequest { page: 1, page_size: 1 },
        };
        let snapshot = loop {
            if let Some(snapshot) = f.snapshots.page(&query).await.unwrap().items.pop() {
                break snapshot;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        f.reaches(&snapshot.id, SnapshotState::Ready).await;
    }
}

#[tokio::test]
async fn only_running_sandboxes_are_copied() {
    let f = fixture().await;
    f.stage(|s| s.paused = true);
    let error = f.snapshots.create("a", None).await.unwrap_err();
    assert_eq!(error.key(), (Family::Snapshot, Kind::Conflict));
    assert_eq!(error.message, "Snapshot can only be created from a Running sandbox.");
    assert_eq!(f.snapshots.create("nope", None).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
}

#[tokio::test]
async fn a_runtime_without_snapshots_has_none() {
    let snapshots = Snapshots::none(Arc::new(Slow::default()));
    assert_eq!(snapshots.create("a", None).await.unwrap_err().key(), (Family::Snapshot, Kind::Unsupported));
    assert_eq!(snapshots.create("nope", None).await.unwrap_err().key(), (Family::Sandbox, Kind::NotFound));
    assert_eq!(snapshots.delete("x").await.unwrap_err().key(), (Family::Snapshot, Kind::NotFound));
    snapshots.shutdown().await;
}

#[tokio::test]
async fn a_restore_gets_its_image_and_an_entrypoint() {
    let f = fixture().await;
    let snapshot = f.ready().await;
    let mut request = CreateRequest { snapshot_id: Some(format!(" {} ", snapshot.id)), ..Default::default() };
    f.snapshots.resolve(&mut request).await.unwrap();
    assert_eq!(request.image.unwrap().uri, format!("image:{}", snapshot.id));
    assert_eq!(
        (request.snapshot_id.as_ref(), request.entrypoint),
        (Some(&snapshot.id), DEFAULT_ENTRYPOINT.map(str::to_owned).to_vec())
    );
    let mut request =
        CreateRequest { snapshot_id: Some(snapshot.id), entrypoint: vec!["x".to_owned()], ..Default::default() };
    f.snapshots.resolve(&mut request).await.unwrap();
    assert_eq!(request.entrypoint, ["x"]);
}
