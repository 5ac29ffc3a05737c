//! The store of snapshots in real files of SQLite and in a real PostgreSQL, and the way from one to the other.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

#[allow(dead_code, unreachable_pub, reason = "shared with tests that use the rest")]
#[path = "support/postgres.rs"]
mod postgres;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use opensandbox_gateway::{
    config::{Postgresql, StoreBackend},
    model::{
        page::PageRequest,
        snapshot::{Snapshot, SnapshotOwner, SnapshotQuery, SnapshotState, SnapshotStatus},
        timestamp::Timestamp,
    },
    secret::Secret,
    store::{self, Change, Record, SnapshotStore, migrate},
};
use postgres::Database;
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

fn sqlite(folder: &TempDir) -> PathBuf {
    folder.path().join(".opensandbox/opensandbox.db")
}

async fn open(path: &Path) -> Arc<dyn SnapshotStore> {
    store::open(&StoreBackend::Sqlite { path: path.to_owned() }).await.unwrap()
}

fn server(dsn: &str) -> StoreBackend {
    StoreBackend::Postgresql(Postgresql {
        dsn: Secret::new(dsn),
        min_pool_size: 1,
        max_pool_size: 4,
        // A database on a machine that is busy with other tests may take seconds for a connection.
        connect_timeout: Duration::from_secs(10),
        pool_timeout: Duration::from_secs(10),
    })
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_iso(text).unwrap()
}

fn record(id: &str, sandbox: &str, name: Option<&str>, created: &str) -> Record {
    let status = SnapshotStatus {
        state: SnapshotState::Creating,
        reason: Some("snapshot_accepted".to_owned()),
        message: Some("Snapshot creation accepted.".to_owned()),
        last_transition_at: Some(time(created)),
    };
    let snapshot = Snapshot {
        id: id.to_owned(),
        sandbox_id: sandbox.to_owned(),
        name: name.map(str::to_owned),
        status,
        created_at: time(created),
    };
    Record { snapshot, image: None, owner: SnapshotOwner::default() }
}

fn ready(image: &str) -> Change {
    let status = SnapshotStatus {
        state: SnapshotState::Ready,
        reason: Some("snapshot_runtime_ready".to_owned()),
        message: None,
        last_transition_at: Some(time("2026-11-24T06:25:11+00:00")),
    };
    Change { status, image: Some(image.to_owned()) }
}

fn all() -> SnapshotQuery {
    SnapshotQuery { sandbox_id: None, name: None, states: Vec::new(), page: PageRequest::default() }
}

async fn ids(store: &dyn SnapshotStore, query: SnapshotQuery) -> (Vec<String>, u64) {
    ids_of(store, query, &SnapshotOwner::default()).await
}

async fn ids_of(store: &dyn SnapshotStore, query: SnapshotQuery, owner: &SnapshotOwner) -> (Vec<String>, u64) {
    let (items, total) = store.page(&query, owner).await.unwrap();
    (items.into_iter().map(|record| record.snapshot.id).collect(), total)
}

/// What both stores do.
async fn behaves(store: &dyn SnapshotStore) {
    let a = record("a", "s1", Some("it's"), "2026-11-24T06:25:10.630351+00:00");
    for record in [
        &a,
        &record("b", "s1", None, "2026-11-24T06:25:10+00:00"),
        &record("c", "s2", Some("n"), "2026-11-24T06:25:10.630351+00:00"),
    ] {
        store.insert(record).await.unwrap();
    }
    assert!(store.insert(&a).await.is_err(), "ids are unique");
    assert_eq!(store.get("a").await.unwrap().as_ref(), Some(&a));
    assert_eq!(store.get("nope").await.unwrap(), None);

    assert_eq!(ids(store, all()).await, (words("c a b"), 3), "newest first, of one instant by id, greatest first");
    assert_eq!(
        ids(store, SnapshotQuery { page: PageRequest { page: 2, page_size: 2 }, ..all() }).await,
        (words("b"), 3)
    );
    assert_eq!(
        ids(store, SnapshotQuery { page: PageRequest { page: u64::MAX, page_size: 200 }, ..all() }).await,
        (Vec::new(), 3)
    );
    let of_sandbox = SnapshotQuery { sandbox_id: Some("s1".to_owned()), ..all() };
    assert_eq!(ids(store, of_sandbox).await, (words("a b"), 2));
    assert_eq!(ids(store, SnapshotQuery { name: Some("it's".to_owned()), ..all() }).await, (words("a"), 1));
    assert_eq!(ids(store, SnapshotQuery { name: Some(String::new()), ..all() }).await, (Vec::new(), 0));

    assert!(store.change("a", SnapshotState::Creating, &ready("i:a")).await.unwrap());
    assert!(!store.change("a", SnapshotState::Creating, &ready("i:b")).await.unwrap(), "it is Ready already");
    let changed = store.get("a").await.unwrap().unwrap();
    assert_eq!((changed.image.as_deref(), changed.snapshot.status.clone()), (Some("i:a"), ready("").status));
    assert_eq!(changed.snapshot.created_at, a.snapshot.created_at);
    let failed = Change { image: None, ..ready("") };
    assert!(store.change("a", SnapshotState::Ready, &failed).await.unwrap());
    assert_eq!(store.get("a").await.unwrap().unwrap().image.as_deref(), Some("i:a"), "the image stays");
    for (states, expected) in [("Ready", "a"), ("ready", ""), ("Ready Creating Nope", "c a b")] {
        assert_eq!(ids(store, SnapshotQuery { states: words(states), ..all() }).await.0, words(expected), "{states}");
    }
    let mut unfinished = store.unfinished([SnapshotState::Creating, SnapshotState::Deleting]).await.unwrap();
    unfinished.sort();
    assert_eq!(unfinished, words("b c"));
    for _ in 0..2 {
        store.remove("b").await.unwrap();
    }
    assert_eq!(store.get("b").await.unwrap(), None);
    owners(store).await;
}

/// Whose records are.
async fn owners(store: &dyn SnapshotStore) {
    let owner = |namespace: &str, tenant: Option<&str>| SnapshotOwner {
        namespace: Some(namespace.into()),
        tenant: tenant.map(Into::into),
    };
    for (id, owner) in [("t", owner("n", Some("t"))), ("u", owner("n", Some("u"))), ("v", owner("n", None))] {
        let record = Record { owner, ..record(id, "s3", None, "2026-11-25T00:00:00+00:00") };
        store.insert(&record).await.unwrap();
        assert_eq!(store.get(id).await.unwrap(), Some(record));
    }
    for (owner, expected) in [
        (owner("n", Some("t")), "v t"),
        (owner("n", Some("it's")), "v"),
        (owner("n", None), "v u t"),
        (owner("m", Some("t")), ""),
    ] {
        let count = words(expected).len() as u64;
        assert_eq!(ids_of(store, all(), &owner).await, (words(expected), count), "{owner:?}");
    }
    // It stays whose it was.
    assert!(store.change("t", SnapshotState::Creating, &ready("i:t")).await.unwrap());
    let ready = store.get("t").await.unwrap().unwrap();
    assert_eq!((ready.image.as_deref(), ready.owner), (Some("i:t"), owner("n", Some("t"))));
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

async fn row(path: &Path, query: &'static str) -> Vec<Option<String>> {
    let mut file = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap();
    let row = sqlx::query(query).fetch_one(&mut file).await.unwrap();
    (0..row.len()).map(|column| row.get(column)).collect()
}

async fn execute(path: &Path, statements: &[&'static str]) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut file = SqliteConnection::connect_with(&options).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&mut file).await.unwrap();
    }
    file.close().await.unwrap();
}

const OLD: &str = "CREATE TABLE snapshots (id TEXT PRIMARY KEY, source_sandbox_id TEXT NOT NULL, name TEXT, \
                   description TEXT, restore_config TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, message TEXT, \
                   last_transition_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)";
const OLD_ROW: &str = r#"INSERT INTO snapshots VALUES ('old', 'sb', 'n', 'd', '{"backend": null, "image": "i"}', 'Ready',
                         'r', 'm', '2026-01-01T00:00:00.123456', '2026-01-01T00:00:00', '2026-01-01T00:00:00Z')"#;

/// What some wrote for a tenant by hand, by the record's id; the first two name one.
const TENANTS: [&str; 5] = [
    r#"UPDATE snapshots SET restore_config = '{"tenant": "t"}' WHERE id = '0'"#,
    r#"UPDATE snapshots SET restore_config = '{"tenant": " "}' WHERE id = '1'"#,
    r#"UPDATE snapshots SET restore_config = '{"tenant": ""}' WHERE id = '2'"#,
    r#"UPDATE snapshots SET restore_config = '{"tenant": 5}' WHERE id = '3'"#,
    r#"UPDATE snapshots SET restore_config = '["tenant"]' WHERE id = '4'"#,
];

async fn odd_records(store: &dyn SnapshotStore) {
    for id in ["0", "1", "2", "3", "4"] {
        store.insert(&record(id, "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap();
    }
}

/// A list shows to a tenant what it is shown one by one.
async fn have_tenants(store: &dyn SnapshotStore) {
    let owner = SnapshotOwner { namespace: None, tenant: Some("t".into()) };
    let mut seen = Vec::new();
    for id in ["4", "3", "2", "1", "0"] {
        let record = store.get(id).await.unwrap().unwrap();
        assert_eq!(record.owner.tenant.is_some(), ["0", "1"].contains(&id), "{id}");
        if owner.sees(&record.owner) {
            seen.push(id.to_owned());
        }
    }
    assert_eq!(seen, words("4 3 2 0"));
    assert_eq!(ids_of(store, all(), &owner).await, (seen, 4));
}

#[tokio::test]
async fn whose_a_record_is_follows_one_rule() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&sqlite(&folder)).await;
    odd_records(&*store).await;
    execute(&sqlite(&folder), &TENANTS).await;
    have_tenants(&*store).await;
    let database = Database::create().await;
    let store = store::open(&server(&database.dsn())).await.unwrap();
    odd_records(&*store).await;
    for statement in TENANTS {
        database.texts(statement).await;
    }
    have_tenants(&*store).await;
    store.close().await;
    database.remove().await;
}

#[tokio::test]
async fn a_file_keeps_records() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&sqlite(&folder)).await;
    behaves(&*store).await;
    assert!(open(&sqlite(&folder)).await.get("c").await.unwrap().is_some());
}

#[tokio::test]
async fn a_database_keeps_records() {
    let database = Database::create().await;
    let store = store::open(&server(&database.dsn())).await.unwrap();
    behaves(&*store).await;
    store.close().await;
    database.remove().await;
}

#[tokio::test]
async fn a_record_has_the_existing_server_s_form() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&sqlite(&folder)).await;
    store.insert(&record("a", "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap();
    store.change("a", SnapshotState::Creating, &ready("opensandbox-snapshots:a")).await.unwrap();
    let path = sqlite(&folder);
    let columns = row(
        &path,
        "SELECT namespace, description, restore_config, state, reason, last_transition_at, created_at FROM snapshots",
    );
    let expected = [
        None,
        None,
        Some(r#"{"backend": null, "image": "opensandbox-snapshots:a"}"#),
        Some("Ready"),
        Some("snapshot_runtime_ready"),
        Some("2026-11-24T06:25:11+00:00"),
        Some("2026-11-24T06:25:10+00:00"),
    ];
    assert_eq!(columns.await.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    let updated = row(&sqlite(&folder), "SELECT updated_at FROM snapshots").await;
    assert!(updated[0].as_ref().unwrap().ends_with("+00:00"));
    assert_eq!(row(&sqlite(&folder), "PRAGMA journal_mode").await[0].as_deref(), Some("wal"));
}

#[tokio::test]
async fn nobody_else_can_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = sqlite(&folder);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = open(&path).await;
    store.insert(&record("a", "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap();
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
    store.close().await;
    // As the existing server leaves it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open(&path).await;
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn an_old_file_is_upgraded_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    execute(&path, &[OLD, OLD_ROW]).await;
    // Several at once, as when one gateway takes over from another.
    let (one, two, three) = tokio::join!(open(&path), open(&path), open(&path));
    tokio::join!(two.close(), three.close());
    let old = one.get("old").await.unwrap().unwrap();
    assert_eq!((old.image.as_deref(), old.snapshot.status.state), (Some("i"), SnapshotState::Ready));
    assert_eq!(old.snapshot.created_at.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(old.snapshot.status.last_transition_at.unwrap().to_string(), "2026-01-01T00:00:00.123456Z");
    assert_eq!(row(&path, "SELECT namespace FROM snapshots").await, [None]);
    one.insert(&record("new", "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap();
    assert_eq!(ids(&*one, all()).await.0, words("new old"));
}

#[tokio::test]
async fn records_that_somebody_broke_do_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&sqlite(&folder)).await;
    store.insert(&record("a", "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap();
    execute(
        &sqlite(&folder),
        &["INSERT INTO snapshots (id, source_sandbox_id, restore_config, state, created_at, \
                                 updated_at) VALUES ('x', 's', '{', 'Odd', 'yesterday', '')"],
    )
    .await;
    assert_eq!(ids(&*store, all()).await.1, 2);
    let broken = store.get("x").await.unwrap().unwrap();
    assert_eq!((broken.image, broken.snapshot.status.state), (None, SnapshotState::Failed));
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("not tried: only root can mount the small disk that this needs");
        return;
    }
    let store = open(&sqlite(&folder)).await;
    let mut kept = 0;
    let name = "n".repeat(2000);
    let error = loop {
        match store.insert(&record(&format!("{kept}"), "s", Some(&name), "2026-11-24T06:25:10+00:00")).await {
            Ok(()) => kept += 1,
            Err(error) => break error.to_string(),
        }
        assert!(kept < 1000);
    };
    assert!(error.contains("full") || error.contains("I/O"), "{error}");
    assert_eq!(store.page(&all(), &SnapshotOwner::default()).await.unwrap().1, kept);
    store.close().await;
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
}

#[tokio::test]
async fn servers_that_start_together_make_one_schema() {
    let database = Database::create().await;
    let backend = server(&database.dsn().replace("postgresql://", "postgresql+psycopg://"));
    let opened = futures_util::future::join_all((0..8).map(|_| store::open(&backend))).await;
    opened.into_iter().for_each(|store| drop(store.map_err(|error| error.to_string()).unwrap()));
    let columns = database.texts(
        "SELECT format('%s %s %s', column_name, data_type, is_nullable) FROM \
                                  information_schema.columns WHERE table_name = 'snapshots' ORDER BY ordinal_position",
    );
    let expected = "id text NO, source_sandbox_id text NO, namespace text YES, name text YES, description text YES, \
                    restore_config jsonb NO, state text NO, reason text YES, message text YES, \
                    last_transition_at timestamp with time zone YES, created_at timestamp with time zone NO, \
                    updated_at timestamp with time zone NO";
    assert_eq!(columns.await.into_iter().flatten().collect::<Vec<_>>().join(", "), expected);
    let indexes = database.texts("SELECT indexname::text FROM pg_indexes WHERE tablename = 'snapshots' ORDER BY 1");
    let expected = "idx_snapshots_created_at idx_snapshots_name_namespace idx_snapshots_source_sandbox_id \
                    idx_snapshots_state snapshots_pkey";
    assert_eq!(indexes.await.into_iter().flatten().collect::<Vec<_>>(), words(expected));
    database.remove().await;
}

#[tokio::test]
async fn an_unreachable_database_is_told_without_its_password() {
    let database = Database::create().await;
    let wrong = database.dsn().replace(database.password(), "s3cr");
    for dsn in ["postgresql://osb:s3cr@127.0.0.1:1/x", &wrong, "s3cr"] {
        let error = store::open(&server(dsn)).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("Cannot open the snapshot store (store.postgresql.dsn): "), "{error}");
        assert!(!error.contains("s3cr"), "{error}");
    }
    database.remove().await;
}

#[tokio::test]
async fn a_database_that_goes_away_is_missed_and_found_again() {
    let database = Database::create().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = database.dsn().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let relay = |listener: TcpListener| {
        let target = target.clone();
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        })
    };
    let running = relay(listener);
    let dsn = database.dsn().replace(&target, &format!("127.0.0.1:{port}"));
    let store = store::open(&server(&dsn)).await.unwrap();
    store.insert(&record("a", "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap();
    running.abort();
    let _ = running.await;
    let error = store.insert(&record("b", "s", None, "2026-11-24T06:25:10+00:00")).await.unwrap_err();
    assert!(!error.to_string().contains(database.password()), "{error}");
    relay(TcpListener::bind(("127.0.0.1", port)).await.unwrap());
    assert!(store.get("a").await.unwrap().is_some());
    database.remove().await;
}

#[tokio::test]
async fn records_migrate_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create().await;
    let (path, to) = (sqlite(&folder), Secret::new(database.dsn()));
    let file = open(&path).await;
    for record in [
        record("a", "s", Some("n"), "2026-01-01T00:00:00.123456+00:00"),
        record("b", "s", None, "2026-01-01T00:00:00Z"),
    ] {
        file.insert(&record).await.unwrap();
    }
    file.change("a", SnapshotState::Creating, &ready("i")).await.unwrap();
    let run = async |dry_run| migrate::run(&path, &to, dry_run).await.unwrap().to_string();
    assert_eq!(run(true).await, "Snapshots dry-run: total=2, migrated=2, skipped=0");
    assert_eq!(database.texts("SELECT to_regclass('snapshots')::text").await, [None], "a dry run makes no table");
    assert_eq!(run(false).await, "Snapshots migrated: total=2, migrated=2, skipped=0");
    assert_eq!(run(true).await, "Snapshots dry-run: total=2, migrated=0, skipped=2");
    assert_eq!(run(false).await, "Snapshots migrated: total=2, migrated=0, skipped=2");
    let store = store::open(&server(&database.dsn())).await.unwrap();
    for id in ["a", "b"] {
        assert_eq!(store.get(id).await.unwrap(), file.get(id).await.unwrap());
    }
    store.close().await;
    database.remove().await;
}

#[tokio::test]
async fn old_files_migrate_and_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create().await;
    let to = Secret::new(database.dsn());
    let (old, empty) = (folder.path().join("old.db"), folder.path().join("empty.db"));
    execute(&old, &[OLD, OLD_ROW]).await;
    execute(&empty, &["CREATE TABLE other (a)"]).await;
    let before = fs::read(&old).unwrap();
    assert_eq!(migrate::run(&old, &to, false).await.unwrap().migrated, 1);
    assert_eq!(fs::read(&old).unwrap(), before);
    assert_eq!(migrate::run(&empty, &to, false).await.unwrap().total, 0);
    let times = database.texts("SELECT to_char(last_transition_at AT TIME ZONE 'UTC', 'HH24:MI:SS.US') FROM snapshots");
    assert_eq!(times.await, [Some("00:00:00.123456".to_owned())], "times without an offset are in UTC");
    database.remove().await;
}

#[tokio::test]
async fn a_damaged_record_migrates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create().await;
    let (path, to) = (sqlite(&folder), Secret::new(database.dsn()));
    let file = open(&path).await;
    file.insert(&record("a", "s", None, "2026-01-01T00:00:00Z")).await.unwrap();
    execute(
        &path,
        &["INSERT INTO snapshots (id, source_sandbox_id, restore_config, state, created_at, updated_at) \
                      VALUES ('x', 's', '{', 'Ready', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')"],
    )
    .await;
    let error = migrate::run(&path, &to, false).await.unwrap_err().to_string();
    assert!(error.starts_with("snapshot x: "), "{error}");
    assert_eq!(database.texts("SELECT to_regclass('snapshots')::text").await, [None]);
    let missing = migrate::run(Path::new("/nope.db"), &to, false).await.unwrap_err().to_string();
    assert_eq!(missing, "SQLite snapshot database not found: /nope.db");
    database.remove().await;
}
