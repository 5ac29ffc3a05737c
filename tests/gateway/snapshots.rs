//! Snapshots over HTTP, on the real engine, with real stores (http-api.md §14).

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    Setup,
    support::{
        client::{Response, get_once, request},
        docker::{self, docker},
        gateway::Gateway,
        postgres::Database,
        program::Home,
    },
};

const JSON: &str = "Content-Type: application/json";
const DOCKER: &str = "[docker]\nnetwork_mode = \"bridge\"\npublish_host = \"127.0.0.1\"\n";
const OPEN: (&str, &str) = ("OPENSANDBOX_INSECURE_SERVER", "YES");

fn setup(home: &Path) -> Setup {
    Setup::docker(&docker::host()).section(DOCKER).env("HOME", home.to_str().unwrap())
}

async fn post(address: SocketAddr, target: &str, body: Value) -> Response {
    request(address, "POST", target, &[JSON], &body.to_string()).await
}

/// A new sandbox, or one restored; fails with the answer.
async fn sandbox(address: SocketAddr, source: Value) -> String {
    let mut body = json!({"resourceLimits": {}});
    body.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let created = post(address, "/v1/sandboxes", body).await;
    assert_eq!(created.status(), 202, "{created}");
    created.json()["id"].as_str().unwrap().to_owned()
}

async fn delete(address: SocketAddr, target: &str) -> Response {
    request(address, "DELETE", target, &[], "").await
}

/// Waits until the snapshot is in this state.
async fn reaches(address: SocketAddr, snapshot: &str, state: &str) -> Value {
    let start = Instant::now();
    loop {
        let shown = get_once(address, &format!("/v1/snapshots/{snapshot}")).await.json();
        if shown["status"]["state"] == state {
            return shown;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is(response: &Response, status: u16, code: &str, message: &str) {
    assert_eq!((response.status(), response.code().as_str()), (status, code), "{response}");
    assert_eq!(response.json()["message"], message);
}

fn source() -> Value {
    json!({
        "image": {"uri": "osb-test/busybox:1"}, "entrypoint": ["sleep", "1000"], "timeout": 60,
        "metadata": {"owner": "alice"}, "extensions": {"opensandbox.extensions.foo": "bar"}, "env": {"SECRET": "s3cr"},
    })
}

#[tokio::test]
async fn a_snapshot_is_made_restored_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let gateway = setup(home.path()).start();
    let at = gateway.address();
    let source = sandbox(at, source()).await;
    let target = format!("/sandboxes/{source}/snapshots");
    let accepted = post(at, &target, json!({"name": "s1"})).await;
    assert_eq!(accepted.status(), 202, "{accepted}");
    let snapshot = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.head.field("location"), format!("/v1/snapshots/{snapshot}"));
    let status = &accepted.json()["status"];
    assert_eq!((&status["state"], &status["reason"]), (&json!("Creating"), &json!("snapshot_accepted")));
    assert_eq!(status["lastTransitionAt"], accepted.json()["createdAt"]);
    let ready = reaches(at, &snapshot, "Ready").await;
    assert_eq!(ready["status"]["message"], "Docker snapshot image created successfully.");
    assert_eq!((&ready["sandboxId"], &ready["name"]), (&json!(source), &json!("s1")));

    let page = |query: String| async move { get_once(at, &format!("/snapshots?sandboxId={query}")).await.json() };
    assert_eq!(page(format!("{source}&state=Ready&state=Failed&name=s1")).await["items"], json!([ready]));
    for none in ["&name=", "&state=ready", "&page=2", "x"] {
        assert_eq!(page(format!("{source}{none}")).await["items"], json!([]), "{none}");
    }
    is(&get_once(at, "/snapshots/nope").await, 404, "SNAPSHOT::NOT_FOUND", "Snapshot nope not found");
    let nobody = request(at, "POST", "/v1/sandboxes/nope/snapshots", &[], "").await;
    is(&nobody, 404, "DOCKER::SANDBOX_NOT_FOUND", "Sandbox nope not found.");
    assert_eq!(post(at, &target, json!({"name": ""})).await.status(), 422);

    let restored = sandbox(at, json!({"snapshotId": snapshot})).await;
    let shown = get_once(at, &format!("/v1/sandboxes/{restored}")).await.json();
    assert_eq!((&shown["snapshotId"], &shown["entrypoint"]), (&json!(snapshot), &json!(["tail", "-f", "/dev/null"])));
    for leak in ["image", "metadata", "extensions", "expiresAt"] {
        assert_eq!(shown[leak], Value::Null, "{shown}");
    }
    let conflict = "snapshot image cannot be deleted due to a conflict";
    let target = format!("/v1/snapshots/{snapshot}");
    for _ in 0..2 {
        is(&delete(at, &target).await, 409, "SNAPSHOT::DELETE_CONFLICT", conflict);
        assert_eq!(get_once(at, &target).await.json(), ready, "a refused deletion changes nothing");
    }
    for id in [&source, &restored] {
        assert_eq!(delete(at, &format!("/v1/sandboxes/{id}")).await.status(), 204);
    }
    assert_eq!(delete(at, &target).await.status(), 204);
    is(&delete(at, &target).await, 404, "SNAPSHOT::NOT_FOUND", &format!("Snapshot {snapshot} not found"));
    assert_eq!(docker(&["images", "-q", &format!("opensandbox-snapshots:{snapshot}")]), "");
}

/// Rows in the form of the existing server, as it leaves them when it is killed.
async fn left_by_the_existing_server(home: &Path, rows: &[(&str, &str)]) {
    let database = home.join(".opensandbox/opensandbox.db");
    std::fs::create_dir(database.parent().unwrap()).unwrap();
    let mut script = include_str!("snapshots.sql").to_owned();
    for (id, state) in rows {
        script.push_str(&format!(
            "INSERT INTO snapshots VALUES('{id}','sb',NULL,NULL,NULL,'{{\"backend\": null, \"image\": null}}','{state}',\
             'r','m','2026-11-24T06:25:10.630351+00:00','2026-11-24T06:25:10.630351+00:00',\
             '2026-11-24T06:25:10.630351+00:00');\n"
        ));
    }
    let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_start_finishes_what_another_server_left() {
    let home = tempfile::tempdir().unwrap();
    let [made, lost, removed] = [(); 3].map(|()| uuid::Uuid::new_v4().to_string());
    for id in [&made, &removed] {
        docker(&["tag", "osb-test/busybox:1", &format!("opensandbox-snapshots:{id}")]);
    }
    left_by_the_existing_server(home.path(), &[(&made, "Creating"), (&lost, "Creating"), (&removed, "Deleting")]).await;
    let gateway = setup(home.path()).start();
    let at = gateway.address();
    let ready = reaches(at, &made, "Ready").await;
    assert_eq!(ready["status"]["reason"], "snapshot_recovery_ready");
    assert_eq!(ready["createdAt"], "2026-11-24T06:25:10.630351Z");
    let failed = reaches(at, &lost, "Failed").await;
    assert_eq!(failed["status"]["reason"], "snapshot_recovery_missing_image");
    while get_once(at, &format!("/v1/snapshots/{removed}")).await.status() != 404 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(docker(&["images", "-q", &format!("opensandbox-snapshots:{removed}")]), "");
    let not_ready = post(at, "/v1/sandboxes", json!({"snapshotId": lost, "resourceLimits": {}})).await;
    is(&not_ready, 409, "SNAPSHOT::NOT_READY", &format!("Snapshot {lost} is not ready for restore."));
    let unknown = post(at, "/v1/sandboxes", json!({"snapshotId": "nope", "resourceLimits": {}})).await;
    is(&unknown, 404, "SNAPSHOT::NOT_FOUND", "Snapshot nope not found");
    assert_eq!(delete(at, &format!("/v1/snapshots/{made}")).await.status(), 204);
}

#[tokio::test]
async fn a_snapshot_begun_before_the_end_is_ready_after_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let mut gateway = setup(home.path()).start();
    let source = sandbox(gateway.address(), source()).await;
    let accepted = post(gateway.address(), &format!("/v1/sandboxes/{source}/snapshots"), json!({})).await;
    let snapshot = accepted.json()["id"].as_str().unwrap().to_owned();
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).success());
    let gateway = setup(home.path()).start();
    let at = gateway.address();
    reaches(at, &snapshot, "Ready").await;
    assert_eq!(delete(at, &format!("/v1/snapshots/{snapshot}")).await.status(), 204);
    assert_eq!(delete(at, &format!("/v1/sandboxes/{source}")).await.status(), 204);
}

#[tokio::test]
async fn records_can_be_in_postgresql() {
    let (home, database) = (tempfile::tempdir().unwrap(), Database::create().await);
    let store = "[store]\ntype = \"postgresql\"\n";
    let dsn = ("OPENSANDBOX_STORE_POSTGRESQL_DSN", database.dsn());
    let gateway: Gateway = setup(home.path()).section(store).env(dsn.0, &dsn.1).start();
    let at = gateway.address();
    let source = sandbox(at, source()).await;
    let accepted = post(at, &format!("/v1/sandboxes/{source}/snapshots"), json!({})).await;
    let snapshot = accepted.json()["id"].as_str().unwrap().to_owned();
    reaches(at, &snapshot, "Ready").await;
    assert_eq!(
        database.texts("SELECT restore_config->>'image' FROM snapshots").await,
        [Some(format!("opensandbox-snapshots:{snapshot}"))]
    );
    assert!(!gateway.output().contains("store.type"), "{}", gateway.output());
    assert!(!home.path().join(".opensandbox/opensandbox.db").exists());
    assert_eq!(delete(at, &format!("/v1/snapshots/{snapshot}")).await.status(), 204);
    assert_eq!(delete(at, &format!("/v1/sandboxes/{source}")).await.status(), 204);
    drop(gateway);
    database.remove().await;
}

#[tokio::test]
async fn processes_have_no_snapshots() {
    let gateway = Setup::process().start();
    let at = gateway.address();
    let body = json!({"image": {"uri": "x"}, "entrypoint": ["sleep", "100"]});
    let source = sandbox(at, body).await;
    let refused = post(at, &format!("/v1/sandboxes/{source}/snapshots"), json!({})).await;
    is(&refused, 501, "SNAPSHOT::NOT_IMPLEMENTED", "Snapshots are not supported by this runtime.");
    assert_eq!(post(at, "/v1/sandboxes/nope/snapshots", json!({})).await.status(), 404);
    assert_eq!(get_once(at, "/v1/snapshots").await.json()["items"], json!([]));
    assert_eq!(delete(at, "/v1/snapshots/x").await.status(), 404);
    assert!(!gateway.home().join(".opensandbox").exists());
    assert_eq!(delete(at, &format!("/v1/sandboxes/{source}")).await.status(), 204);
}

#[test]
fn a_store_that_cannot_be_opened_stops_the_start() {
    let text = |store: &str| {
        let port = crate::support::gateway::free_port();
        format!(
            "[server]\nhost = '127.0.0.1'\nport = {port}\n[runtime]\ntype = 'docker'\nexecd_image = 'osb-test/execd:stub'\n{store}"
        )
    };
    for (store, part) in [
        ("[store]\npath = '/proc/nowhere/db'\n", "/proc/nowhere/db (store.path)"),
        (
            "[store]\ntype = 'postgresql'\npostgresql.dsn = 'postgresql://u:s3cr@127.0.0.1:1/x'\n",
            "(store.postgresql.dsn)",
        ),
    ] {
        let ended = Home::with(&text(store)).run(&[OPEN, ("DOCKER_HOST", &docker::host())]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(part) && !ended.stderr.contains("s3cr"), "{ended:?}");
    }
}

#[tokio::test]
async fn migrate_snapshots_says_what_the_existing_server_says() {
    let (home, database) = (Home::with(""), Database::create().await);
    left_by_the_existing_server(home.path(), &[("id1", "Ready")]).await;
    let dsn = database.dsn();
    for (args, expected) in [
        (vec!["--to", &dsn, "--dry-run"], "Snapshots dry-run: total=1, migrated=1, skipped=0\n\n"),
        (vec!["--to", &dsn], "Snapshots migrated: total=1, migrated=1, skipped=0\n\n"),
        (
            vec!["--to", &dsn, "--from", "~/.opensandbox/opensandbox.db"],
            "Snapshots migrated: total=1, migrated=0, skipped=1\n\n",
        ),
    ] {
        let ended = home.run_args(&[&["migrate-snapshots"], &args[..]].concat());
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), expected, ""), "{args:?}");
    }
    let ended = home.run_args(&["migrate-snapshots", "--to", &dsn, "--from", "/nope.db"]);
    assert_eq!(ended.stdout, "Failed to migrate snapshots: SQLite snapshot database not found: /nope.db\n\n");
    assert_eq!(ended.code, Some(1));
    for wrong in ["postgresql://u:s3cr@127.0.0.1:1/x", "mysql://u:s3cr@h/x", "s3cr", ""] {
        let ended = home.run_args(&["migrate-snapshots", "--to", wrong]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.starts_with("Failed to migrate snapshots: "), "{ended:?}");
        assert!(!format!("{ended:?}").contains("s3cr"), "{ended:?}");
    }
    assert_eq!(home.run_args(&["migrate-snapshots"]).code, Some(2));
    database.remove().await;
}
