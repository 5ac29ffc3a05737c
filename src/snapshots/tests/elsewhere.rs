//! Snapshots that another program makes, which is a script here, in a store that does not take every change.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{OPTIONS, reason, slow::Slow};
use crate::{
    config::StoreBackend,
    model::page::PageRequest,
    runtime::{RequestFailure, SnapshotProgress, SnapshotRequests},
    snapshots::*,
    store::{self, Change, StoreError},
};

const LONG: Duration = Duration::from_secs(30);

/// What the other program does.
#[derive(Default)]
struct Script(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    /// What was asked of it, and of which snapshot.
    calls: Vec<(&'static str, String)>,
    /// By the snapshot; `Missing` if it is not there.
    progress: HashMap<String, SnapshotProgress>,
    /// How a request fails, and whether it may be heard.
    refusal: Option<((Family, Kind), bool)>,
    /// What becomes of a snapshot while it is asked for.
    meanwhile: Option<(Arc<dyn SnapshotStore>, Change)>,
    /// A check takes so long.
    check: Duration,
    /// Nothing that is looked at is told.
    is_silent: bool,
}

impl Script {
    fn lines<T>(&self, of: impl FnOnce(&mut Lines) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn called(&self, call: &'static str, reference: &SnapshotRef) {
        self.lines(|lines| lines.calls.push((call, reference.id.clone())));
    }

    fn count(&self, call: &str) -> usize {
        self.lines(|lines| lines.calls.iter().filter(|(name, _)| *name == call).count())
    }
}

#[async_trait]
impl SnapshotRequests for Script {
    fn home(&self) -> Arc<str> {
        "home".into()
    }

    async fn check(&self, reference: &SnapshotRef) -> Result<(), Error> {
        self.called("check", reference);
        tokio::time::sleep(self.lines(|lines| lines.check)).await;
        Ok(())
    }

    async fn request(&self, reference: &SnapshotRef) -> Result<(), RequestFailure> {
        self.called("request", reference);
        let meanwhile = self.lines(|lines| lines.meanwhile.take());
        if let Some((store, change)) = meanwhile {
            assert!(store.change(&reference.id, SnapshotState::Creating, &change).await.unwrap());
        }
        if let Some(((family, kind), may_be_heard)) = self.lines(|lines| lines.refusal) {
            return Err(RequestFailure { error: Error::new(family, kind, "no"), may_be_heard });
        }
        self.lines(|lines| lines.progress.insert(reference.id.clone(), SnapshotProgress::UnderWay));
        Ok(())
    }

    async fn look(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error> {
        self.called("look", reference);
        if self.lines(|lines| lines.is_silent) {
            pending::<()>().await;
        }
        let missing = SnapshotProgress::Missing { message: "gone".to_owned() };
        Ok(self.lines(|lines| lines.progress.get(&reference.id).cloned()).unwrap_or(missing))
    }

    async fn ended(&self, reference: &SnapshotRef) -> Result<SnapshotProgress, Error> {
        self.called("ended", reference);
        pending().await
    }

    async fn withdraw(&self, reference: &SnapshotRef) -> Result<(), Error> {
        self.called("withdraw", reference);
        Ok(())
    }
}

/// A store that does not change some records.
struct Stubborn {
    store: Arc<dyn SnapshotStore>,
    unchanged: Mutex<HashSet<String>>,
}

#[async_trait]
impl SnapshotStore for Stubborn {
    async fn insert(&self, record: &Record) -> Result<(), StoreError> {
        self.store.insert(record).await
    }

    async fn get(&self, id: &str) -> Result<Option<Record>, StoreError> {
        self.store.get(id).await
    }

    async fn page(&self, query: &SnapshotQuery, owner: &SnapshotOwner) -> Result<(Vec<Record>, u64), StoreError> {
        self.store.page(query, owner).await
    }

    async fn unfinished(&self, states: [SnapshotState; 2]) -> Result<Vec<String>, StoreError> {
        self.store.unfinished(states).await
    }

    async fn change(&self, id: &str, from: SnapshotState, change: &Change) -> Result<bool, StoreError> {
        if self.unchanged.lock().unwrap().contains(id) {
            return Err(sqlx::Error::PoolTimedOut.into());
        }
        self.store.change(id, from, change).await
    }

    async fn remove(&self, id: &str) -> Result<(), StoreError> {
        self.store.remove(id).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

struct World {
    script: Arc<Script>,
    store: Arc<Stubborn>,
    snapshots: Snapshots,
    folder: TempDir,
}

impl World {
    async fn start(interval: Duration, asks_again: bool, before: &[Record]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(&StoreBackend::Sqlite { path: folder.path().join("db") }).await.unwrap();
        for record in before {
            store.insert(record).await.unwrap();
        }
        let store = Arc::new(Stubborn { store, unchanged: Mutex::default() });
        let script = Arc::new(Script::default());
        let options = SnapshotOptions { interval, asks_again, ..OPTIONS };
        let snapshots = Snapshots::start(
            Arc::new(Slow::default()),
            SnapshotMaker::Elsewhere(Arc::clone(&script) as Arc<dyn SnapshotRequests>),
            Arc::clone(&store) as Arc<dyn SnapshotStore>,
            options,
        );
        Self { script, store, snapshots, folder }
    }

    /// One whose recovery looks once, at the start.
    async fn calm(before: &[Record]) -> Self {
        Self::start(LONG * 100, false, before).await
    }

    /// One whose recovery never rests.
    async fn busy(asks_again: bool, before: &[Record]) -> Self {
        Self::start(Duration::from_millis(10), asks_again, before).await
    }

    fn ready(&self, id: &str) {
        let ready = SnapshotProgress::Ready { image: format!("r/{id}"), message: "made".to_owned() };
        self.script.lines(|lines| lines.progress.insert(id.to_owned(), ready));
    }

    async fn record(&self, id: &str) -> Option<Record> {
        self.store.get(id).await.unwrap()
    }

    /// Waits until a record is as it should be, without a reader who would find out.
    async fn until(&self, what: &str, id: &str, is: impl Fn(Option<&Snapshot>) -> bool) {
        let wait = async {
            while !is(self.record(id).await.map(|record| record.snapshot).as_ref()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = timeout(LONG, wait).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.record(id).await);
    }

    /// Waits until a call has been made so often.
    async fn until_called(&self, call: &str, times: usize) {
        let wait = async {
            while self.script.count(call) < times {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(LONG, wait).await.is_ok(), "{call}: {}", self.script.count(call));
    }

    /// Makes all records older than any server waits for.
    async fn age(&self) {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("db"));
        let mut file = SqliteConnection::connect_with(&options).await.unwrap();
        let text = "UPDATE snapshots SET created_at = '2026-01-01T00:00:00+00:00'".to_owned();
        sqlx::query(AssertSqlSafe(text)).execute(&mut file).await.unwrap();
        file.close().await.unwrap();
    }
}

/// A record of an earlier server.
fn old(id: &str, state: SnapshotState) -> Record {
    let mut snapshot = accepted("a".to_owned(), None);
    id.clone_into(&mut snapshot.id);
    snapshot.status.state = state;
    snapshot.created_at = Timestamp::from_iso("2026-01-01T00:00:00Z").unwrap();
    Record { snapshot, image: None, owner: SnapshotOwner::default() }
}

fn all() -> SnapshotQuery {
    SnapshotQuery { sandbox_id: None, name: None, states: Vec::new(), page: PageRequest { page: 1, page_size: 200 } }
}

fn is(state: SnapshotState) -> impl Fn(Option<&Snapshot>) -> bool {
    move |snapshot| snapshot.is_some_and(|snapshot| snapshot.status.state == state)
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_shown_as_it_was_and_hides_no_other() {
    let world = World::calm(&[]).await;
    let stuck = world.snapshots.create("a", None).await.unwrap();
    let other = world.snapshots.create("a", None).await.unwrap();
    world.store.unchanged.lock().unwrap().insert(stuck.id.clone());
    world.ready(&stuck.id);
    world.ready(&other.id);
    assert_eq!(world.snapshots.get(&stuck.id).await.unwrap(), stuck);
    let page = world.snapshots.page(&all()).await.unwrap();
    let state = |id: &str| page.items.iter().find(|it| it.id == id).map(|it| it.status.state);
    assert_eq!((state(&stuck.id), state(&other.id)), (Some(SnapshotState::Creating), Some(SnapshotState::Ready)));
}

#[tokio::test]
async fn a_record_that_cannot_be_written_keeps_no_other_from_being_finished() {
    let before =
        [old("1", SnapshotState::Creating), old("2", SnapshotState::Creating), old("3", SnapshotState::Deleting)];
    let world = World::busy(false, &[]).await;
    world.store.unchanged.lock().unwrap().insert("1".to_owned());
    for record in &before {
        world.ready(&record.snapshot.id);
        world.store.insert(record).await.unwrap();
    }
    world.until("the other one", "2", is(SnapshotState::Ready)).await;
    world.until("the removal", "3", |snapshot| snapshot.is_none()).await;
    world.store.unchanged.lock().unwrap().clear();
    world.until("itself, later", "1", is(SnapshotState::Ready)).await;
}

#[tokio::test]
async fn a_record_is_no_older_than_its_request_and_names_its_namespace() {
    let world = World::calm(&[]).await;
    world.script.lines(|lines| lines.check = Duration::from_millis(50));
    let begun = Timestamp::now();
    let snapshot = world.snapshots.create("a", None).await.unwrap();
    let owner = world.record(&snapshot.id).await.unwrap().owner;
    assert_eq!((owner.namespace.as_deref(), owner.tenant), (Some("home"), None), "also once it is another one");
    let waited = snapshot.created_at.to_jiff().duration_since(begun.to_jiff());
    assert!(waited.as_millis() >= 49, "{waited}");
    assert_eq!(snapshot.status.last_transition_at, Some(snapshot.created_at));
}

#[tokio::test]
async fn what_is_being_asked_for_is_not_given_up_by_a_reader() {
    let world = World::calm(&[]).await;
    world.store.insert(&old("1", SnapshotState::Creating)).await.unwrap();
    let shared = world.snapshots.shared.as_ref().unwrap();
    let held = shared.snapshots.lock("1").await;
    assert_eq!(world.snapshots.get("1").await.unwrap().status.state, SnapshotState::Creating);
    drop(held);
    assert_eq!(reason(&world.snapshots.get("1").await.unwrap()), "snapshot_recovery_missing_snapshot");
}

#[tokio::test]
async fn a_request_that_may_be_heard_late_is_withdrawn_until_it_is_not() {
    let world = World::busy(false, &[]).await;
    world.script.lines(|lines| lines.refusal = Some(((Family::KubeApi, Kind::TimedOut), true)));
    assert_eq!(world.snapshots.create("a", None).await.unwrap_err().key(), (Family::KubeApi, Kind::TimedOut));
    let id = world.snapshots.page(&all()).await.unwrap().items.remove(0).id;
    // By whoever asks for it, by the recovery, and by a client.
    world.until_called("withdraw", 3).await;
    world.snapshots.delete(&id).await.unwrap();
    assert_eq!(reason(&world.snapshots.get(&id).await.unwrap()), crate::snapshots::elsewhere::UNCONFIRMED);
    world.age().await;
    world.until("the end", &id, |snapshot| snapshot.is_none()).await;
}

#[tokio::test]
async fn a_request_that_was_refused_leaves_nothing_and_removes_nothing() {
    let world = World::calm(&[]).await;
    world.script.lines(|lines| lines.refusal = Some(((Family::Snapshot, Kind::InUse), false)));
    assert_eq!(world.snapshots.create("a", None).await.unwrap_err().key(), (Family::Snapshot, Kind::InUse));
    assert_eq!(world.snapshots.page(&all()).await.unwrap().items, []);
    assert_eq!(world.script.count("withdraw"), 0, "it may be another's");
}

#[tokio::test]
async fn what_another_server_found_to_be_heard_is_not_taken_back() {
    let world = World::calm(&[]).await;
    let status = SnapshotStatus::now(SnapshotState::Ready, "snapshot_runtime_ready", "made");
    let change = Change { status, image: Some("r/i".to_owned()) };
    let store = Arc::clone(&world.store) as Arc<dyn SnapshotStore>;
    world.script.lines(|lines| {
        lines.refusal = Some(((Family::KubeApi, Kind::TimedOut), true));
        lines.meanwhile = Some((store, change));
    });
    world.snapshots.create("a", None).await.unwrap_err();
    let left = world.snapshots.page(&all()).await.unwrap().items;
    assert_eq!((left.len(), left[0].status.state), (1, SnapshotState::Ready));
    assert_eq!(world.script.count("withdraw"), 0);
}

#[tokio::test]
async fn nobody_waits_for_what_others_have_ended_or_removed() {
    let world = World::busy(false, &[]).await;
    let shared = world.snapshots.shared.as_ref().unwrap();
    let [ended, removed] =
        [world.snapshots.create("a", None).await.unwrap().id, world.snapshots.create("a", None).await.unwrap().id];
    world.until_called("ended", 2).await;
    let status = SnapshotStatus::now(SnapshotState::Failed, "x", "y");
    world.store.change(&ended, SnapshotState::Creating, &Change { status, image: None }).await.unwrap();
    world.store.remove(&removed).await.unwrap();
    let wait = async {
        while shared.followers.available_permits() < crate::snapshots::elsewhere::MAX_FOLLOWED {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(LONG, wait).await.is_ok(), "{} are waited for", crate::snapshots::elsewhere::MAX_FOLLOWED);
    assert_eq!(world.script.count("withdraw"), 0);
}

#[tokio::test]
async fn once_the_time_of_a_page_is_over_nothing_more_is_looked_at() {
    let world = World::calm(&[]).await;
    world.script.lines(|lines| lines.is_silent = true);
    for number in 0..50 {
        world.store.insert(&old(&format!("{number}"), SnapshotState::Creating)).await.unwrap();
    }
    assert_eq!(world.snapshots.page(&all()).await.unwrap().items.len(), 50);
    // The recovery, at the start, may have come to eight.
    assert!(world.script.count("look") <= 16 + 8, "{}", world.script.count("look"));
}

#[tokio::test]
async fn several_are_looked_at_together_and_the_end_waits_for_none() {
    let before: Vec<_> = (0..50).map(|number| old(&format!("{number}"), SnapshotState::Creating)).collect();
    let world = World::busy(false, &before).await;
    world.script.lines(|lines| lines.is_silent = true);
    // None of them ends.
    world.until_called("look", 8).await;
    timeout(LONG, world.snapshots.shutdown()).await.expect("the shutdown waits for what hangs");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_again_where_that_is_wanted() {
    let world = World::busy(true, &[]).await;
    world.store.insert(&old("1", SnapshotState::Creating)).await.unwrap();
    world.until_called("request", 1).await;
    assert_eq!(world.snapshots.get("1").await.unwrap().status.state, SnapshotState::Creating);
    world.ready("1");
    world.until("the image", "1", is(SnapshotState::Ready)).await;
    // One that is refused for good has failed.
    world.script.lines(|lines| lines.refusal = Some(((Family::Snapshot, Kind::Failed), false)));
    world.store.insert(&old("2", SnapshotState::Creating)).await.unwrap();
    world.until("the failure", "2", is(SnapshotState::Failed)).await;
    let failed = world.snapshots.get("2").await.unwrap();
    assert_eq!((reason(&failed), failed.status.message.as_deref()), ("snapshot_runtime_create_failed", Some("no")));
    // A new one may be about to be asked for.
    world.script.lines(|lines| lines.refusal = None);
    let asked = world.script.count("request");
    let new = Record { snapshot: accepted("a".to_owned(), None), ..old("", SnapshotState::Creating) };
    world.store.insert(&new).await.unwrap();
    let looks = world.script.count("look");
    world.until_called("look", looks + 5).await;
    assert_eq!(world.script.count("request"), asked);
}
