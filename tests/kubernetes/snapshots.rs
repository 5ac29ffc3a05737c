//! Snapshots over HTTP: the objects that are written, how they end, and what is left when something breaks off
//! (http-api.md §14, kubernetes-runtime.md §10; the forms are those of transcripts 12 and 15).

mod faults;
mod replicas;
mod tenants;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    cluster::{AGENT, BATCH, Cluster, NAMESPACE, SNAPSHOTS},
    fixture::{ID, OTHER, ask, batch, get, is, not_found, pod},
    support::{
        client::Response,
        gateway::{Gateway, Setup},
        kube::{Action, Object, Operator, Snapshots, resource::RUNTIME_CLASSES},
    },
};

const LONG: Duration = Duration::from_secs(60);
const FAST: &str = "[store]\nsnapshot_recovery_interval_seconds = 1\n";

/// A cluster with a sandbox that runs, and what the gateway writes at home.
struct World {
    cluster: Cluster,
    home: tempfile::TempDir,
}

impl World {
    /// Without an operator.
    fn start() -> Self {
        let cluster = Cluster::start();
        cluster.put(&BATCH, batch(ID, |_| {}));
        cluster.put(&crate::cluster::PODS, pod(&format!("{ID}-0"), ID));
        Self { cluster, home: tempfile::tempdir().unwrap() }
    }

    /// With one whose snapshots end so.
    fn operated(ends: Snapshots) -> Self {
        let world = Self::start();
        world.cluster.server.operate(Operator { snapshots: ends, ..Operator::default() });
        world
    }

    fn setup(&self, lines: &str) -> Setup {
        self.cluster.gateway(lines).section(FAST).env("HOME", self.home.path().to_str().unwrap())
    }

    fn gateway(&self) -> Gateway {
        self.setup("").start()
    }

    fn objects(&self) -> Vec<Object> {
        self.cluster.server.list(&SNAPSHOTS, NAMESPACE)
    }

    /// A column of the only record.
    async fn column(&self, name: &str) -> Option<String> {
        column(self.home.path(), name).await
    }

    /// Makes all records older than any server waits for.
    async fn age(&self) {
        let mut file = connect(self.home.path()).await;
        sqlx::query("UPDATE snapshots SET created_at = '2026-01-01T00:00:00+00:00'").execute(&mut file).await.unwrap();
        file.close().await.unwrap();
    }
}

async fn connect(home: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(home.join(".opensandbox/opensandbox.db"));
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn column(home: &Path, name: &str) -> Option<String> {
    let mut file = connect(home).await;
    let query = sqlx::query(AssertSqlSafe(format!("SELECT {name} FROM snapshots")));
    query.fetch_one(&mut file).await.unwrap().get(0)
}

async fn create(gateway: &Gateway, id: &str) -> Response {
    ask(gateway, "POST", &format!("/v1/sandboxes/{id}/snapshots"), r#"{"name":"s"}"#).await
}

/// A new snapshot's id.
async fn created(gateway: &Gateway) -> String {
    let answer = create(gateway, ID).await;
    assert_eq!(answer.status(), 202, "{answer}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn shown(gateway: &Gateway, id: &str) -> Value {
    get(gateway, &format!("/v1/snapshots/{id}")).await.json()
}

async fn reaches(gateway: &Gateway, id: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let shown = shown(gateway, id).await;
        if shown["status"]["state"] == state {
            return shown["status"].clone();
        }
        assert!(begun.elapsed() < LONG, "not {state}: {shown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a sandbox is known to run: its object and its status are two writes.
async fn until_running(gateway: &Gateway, sandbox: &str) {
    let begun = Instant::now();
    while get(gateway, &format!("/v1/sandboxes/{sandbox}")).await.json()["status"]["state"] != "Running" {
        assert!(begun.elapsed() < LONG, "the change is not seen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_gone(gateway: &Gateway, id: &str) {
    let begun = Instant::now();
    while get(gateway, &format!("/v1/snapshots/{id}")).await.status() != 404 {
        assert!(begun.elapsed() < LONG, "{}", shown(gateway, id).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn count(gateway: &Gateway, query: &str) -> (usize, Value) {
    let list = get(gateway, &format!("/v1/snapshots?{query}")).await.json();
    (list["items"].as_array().unwrap().len(), list["pagination"]["totalItems"].clone())
}

fn object_name(id: &str) -> String {
    format!("osb-snap-{}", id.replace('-', ""))
}

fn refused(code: &str, message: &str) -> String {
    format!(r#"{{"code":"SNAPSHOT::{code}","message":"{message}"}}"#)
}

#[tokio::test]
async fn a_snapshot_is_asked_for_becomes_ready_and_is_removed() {
    let world = World::operated(Snapshots::Succeed);
    let gateway = world.gateway();
    let answer = create(&gateway, ID).await;
    let snapshot = answer.json();
    let id = snapshot["id"].as_str().unwrap();
    let created_at = snapshot["createdAt"].as_str().unwrap();
    let expected = format!(
        r#"{{"id":"{id}","sandboxId":"{ID}","name":"s","status":{{"state":"Creating","reason":"snapshot_accepted","message":"Snapshot creation accepted.","lastTransitionAt":"{created_at}"}},"createdAt":"{created_at}"}}"#
    );
    is(&answer, 202, &expected);
    assert_eq!(answer.head.field("location"), format!("/v1/snapshots/{id}"));
    let ready = reaches(&gateway, id, "Ready").await;
    assert_eq!(
        (&ready["reason"], &ready["message"]),
        (&json!("snapshot_runtime_ready"), &json!("Kubernetes snapshot image created successfully."))
    );
    let name = object_name(id);
    let image = format!("registry.example/snapshots/{name}:sandbox");
    assert_eq!(world.column("restore_config").await.unwrap(), format!(r#"{{"backend": null, "image": "{image}"}}"#));
    assert_eq!(world.column("namespace").await.as_deref(), Some(NAMESPACE));
    let target = format!("/v1/snapshots/{id}");
    is(&ask(&gateway, "DELETE", &target, "").await, 204, "");
    is(&get(&gateway, &target).await, 404, &refused("NOT_FOUND", &format!("Snapshot {id} not found")));
    assert!(world.objects().is_empty());
    let writes: Vec<_> = world.cluster.server.requests().into_iter().filter(|one| one.method != "GET").collect();
    let [made, deleted] = &writes[..] else { panic!("{writes:?}") };
    let path = "/apis/sandbox.opensandbox.io/v1alpha1/namespaces/osb/sandboxsnapshots";
    let object = json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "SandboxSnapshot", "metadata": {"name": name,
        "namespace": "osb", "labels": {"opensandbox.io/snapshot-id": id, "opensandbox.io/source-sandbox-id": ID,
        "opensandbox.io/snapshot-scope": "public"}}, "spec": {"sandboxName": ID}});
    assert_eq!((made.method.as_str(), made.path.as_str(), &made.body), ("POST", path, &object));
    assert_eq!(
        (deleted.method.as_str(), &deleted.path, &deleted.body["gracePeriodSeconds"]),
        ("DELETE", &format!("{path}/{name}"), &json!(0))
    );
}

#[tokio::test]
async fn the_deletion_of_its_sandbox_is_none_of_a_snapshot_s() {
    let world = World::operated(Snapshots::Succeed);
    let gateway = world.gateway();
    let id = created(&gateway).await;
    reaches(&gateway, &id, "Ready").await;
    is(&ask(&gateway, "DELETE", &format!("/v1/sandboxes/{ID}"), "").await, 204, "");
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Ready");
    assert_eq!(count(&gateway, &format!("sandboxId={ID}")).await, (1, json!(1)));
}

#[tokio::test]
async fn a_snapshot_ends_as_the_operator_says() {
    let condition = json!([{"type": "Failed", "status": "True", "reason": "CommitFailed", "message": "no space left"}]);
    let image = |name: &str| json!({"containerName": name, "imageUri": format!("r/{name}:1")});
    for (status, state, reason, message) in [
        (json!({"phase": "Failed", "conditions": condition}), "Failed", "CommitFailed", "no space left"),
        (json!({"phase": "Failed"}), "Failed", "snapshot_runtime_failed", "Kubernetes snapshot creation failed."),
        (
            json!({"phase": "Succeed", "containers": [image("main")]}),
            "Ready",
            "snapshot_runtime_ready",
            "Kubernetes snapshot image created successfully.",
        ),
        (
            json!({"phase": "Succeed", "containers": [image("a"), image("sandbox")]}),
            "Ready",
            "snapshot_runtime_ready",
            "Kubernetes snapshot image created successfully.",
        ),
        (
            json!({"phase": "Succeed"}),
            "Failed",
            "snapshot_runtime_missing_image",
            "Kubernetes SandboxSnapshot succeeded without container image status.",
        ),
        (
            json!({"phase": "Succeed", "containers": [image("a"), image("b")]}),
            "Failed",
            "snapshot_restore_image_ambiguous",
            "Kubernetes SandboxSnapshot did not identify a single restorable sandbox container image.",
        ),
        (
            json!({"phase": "Succeed", "format": "qemu-v1", "containers": [image("sandbox")]}),
            "Failed",
            "snapshot_restore_qemu_not_supported",
            "QEMU VMState restore is currently supported only by BatchSandbox pause/resume; the public snapshot API does not yet persist the complete Pod template restore plan.",
        ),
    ] {
        let world = World::operated(Snapshots::EndAs(status.clone()));
        let gateway = world.gateway();
        let id = created(&gateway).await;
        let ended = reaches(&gateway, &id, state).await;
        assert_eq!((&ended["reason"], &ended["message"]), (&json!(reason), &json!(message)), "{status}");
        // One that failed can be removed as well.
        assert_eq!(ask(&gateway, "DELETE", &format!("/v1/snapshots/{id}"), "").await.status(), 204);
        assert!(world.objects().is_empty());
    }
}

#[tokio::test]
async fn only_a_batch_sandbox_that_runs_is_copied() {
    let world = World::start();
    let cluster = &world.cluster;
    let gateway = world.gateway();
    is(&create(&gateway, "nope").await, 404, &not_found("nope"));
    cluster.put(&BATCH, batch(OTHER, |object| object["status"]["phase"] = json!("Paused")));
    let state = refused("INVALID_SOURCE_STATE", "Snapshot can only be created from a Running sandbox.");
    is(&create(&gateway, OTHER).await, 409, &state);
    let unverified = |id: &str, why: &str| {
        refused("RUNTIME_PREFLIGHT_FAILED", &format!("Cannot verify snapshot runtime for sandbox {id}: {why}"))
    };
    cluster.put(&BATCH, batch(OTHER, |_| {}));
    until_running(&gateway, OTHER).await;
    is(&create(&gateway, OTHER).await, 409, &unverified(OTHER, "no running source Pod was found."));
    // By another name than its id the operator does not find it.
    cluster
        .put(&BATCH, batch("sandbox-old", |object| object["metadata"]["labels"]["opensandbox.io/id"] = json!("old")));
    until_running(&gateway, "old").await;
    is(&create(&gateway, "old").await, 409, &unverified("old", "BatchSandbox was not found."));
    assert_eq!((count(&gateway, "").await, world.objects().len()), ((0, json!(0)), 0));
}

#[tokio::test]
async fn the_pod_is_found_by_its_operator_s_label() {
    let world = World::start();
    world.cluster.put(&BATCH, batch(OTHER, |_| {}));
    let owner = world.cluster.get(&BATCH, OTHER).unwrap();
    let mut copied = pod(&format!("{OTHER}-1"), OTHER);
    copied["metadata"]["labels"] = json!({"batch-sandbox.sandbox.opensandbox.io/name": OTHER});
    copied["metadata"]["ownerReferences"] = json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": OTHER,
        "uid": "of-another-object", "controller": true}]);
    world.cluster.put(&crate::cluster::PODS, copied.clone());
    let gateway = world.gateway();
    // Who writes a pod chooses its labels, but not whose it is.
    assert_eq!(create(&gateway, OTHER).await.status(), 409);
    copied["metadata"]["ownerReferences"][0]["uid"] = owner["metadata"]["uid"].clone();
    world.cluster.put(&crate::cluster::PODS, copied);
    assert_eq!(create(&gateway, OTHER).await.status(), 202);
}

#[tokio::test]
async fn words_that_no_store_takes_stop_nothing() {
    let message = format!("no \u{0} space{}", "x".repeat(100_000));
    let condition = json!([{"type": "Failed", "status": "True", "reason": "Bad\u{0}", "message": message}]);
    let world = World::operated(Snapshots::EndAs(json!({"phase": "Failed", "conditions": condition})));
    let gateway = world.gateway();
    let id = created(&gateway).await;
    let failed = reaches(&gateway, &id, "Failed").await;
    assert_eq!(failed["reason"], "Bad ");
    assert_eq!(failed["message"].as_str().unwrap().len(), 4096);
}

#[tokio::test]
async fn a_runtime_whose_file_systems_cannot_be_copied_is_told() {
    let world = World::start();
    let gateway = world.gateway();
    for (name, handler) in
        [("gvisor", "runsc"), ("gvisor-kvm", "runsc-kvm"), ("fine", "runscope"), ("kata", "kata-qemu")]
    {
        let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler});
        world.cluster.server.create(&RUNTIME_CLASSES, "", class);
        let pod = json!({"spec": {"runtimeClassName": name}});
        world.cluster.server.patch(&crate::cluster::PODS, NAMESPACE, &format!("{ID}-0"), &pod);
        let answer = create(&gateway, ID).await;
        let expected = if handler.starts_with("kata") || name == "fine" {
            (202, "")
        } else {
            (409, "SNAPSHOT::UNSUPPORTED_RUNTIME")
        };
        let code = if answer.status() == 202 { String::new() } else { answer.code() };
        assert_eq!((answer.status(), code.as_str()), expected, "{handler}: {answer}");
    }
    let pod = json!({"spec": {"runtimeClassName": "gone"}});
    world.cluster.server.patch(&crate::cluster::PODS, NAMESPACE, &format!("{ID}-0"), &pod);
    let answer = create(&gateway, ID).await;
    assert_eq!((answer.status(), answer.code().as_str()), (409, "SNAPSHOT::RUNTIME_PREFLIGHT_FAILED"), "{answer}");
}

#[tokio::test]
async fn an_agent_sandbox_is_not_copied() {
    let cluster = Cluster::start();
    let ready = json!({"type": "Ready", "status": "True", "reason": "DependenciesReady", "message": "ok"});
    cluster.put(
        &AGENT,
        json!({"apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": "b0b", "namespace": NAMESPACE, "labels": {"opensandbox.io/id": "b0b"}},
        "spec": {"operatingMode": "Running"}, "status": {"conditions": [ready]}}),
    );
    let home = tempfile::tempdir().unwrap();
    let setup = cluster.gateway("workload_provider = \"agent-sandbox\"").env("HOME", home.path().to_str().unwrap());
    let gateway = setup.start();
    let message = "Cannot verify snapshot runtime for sandbox b0b: BatchSandbox was not found.";
    is(&create(&gateway, "b0b").await, 409, &refused("RUNTIME_PREFLIGHT_FAILED", message));
}

#[tokio::test]
async fn what_is_read_is_what_has_become_of_it_also_behind_a_silent_watch() {
    let world = World::start();
    world.cluster.server.fault("GET", "watch=true", Action::Silence(0), usize::MAX);
    let gateway = world.setup("cache_max_age_seconds = 1").start();
    let id = created(&gateway).await;
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Creating");
    assert_eq!(count(&gateway, "state=Creating").await, (1, json!(1)));
    let status =
        json!({"status": {"phase": "Succeed", "containers": [{"containerName": "sandbox", "imageUri": "r/i:1"}]}});
    world.cluster.server.patch(&SNAPSHOTS, NAMESPACE, &object_name(&id), &status);
    // What left the states that were asked for is not shown; it was counted.
    let begun = Instant::now();
    loop {
        match count(&gateway, "state=Creating").await {
            (0, total) => {
                assert_eq!(total, 1);
                break;
            }
            (1, _) => assert!(begun.elapsed() < LONG, "it is shown for ever"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shown(&gateway, &id).await["status"]["state"], "Ready");
    assert_eq!(count(&gateway, "state=Creating").await, (0, json!(0)));
    assert_eq!(count(&gateway, "state=Ready&state=Failed").await, (1, json!(1)));
}

#[tokio::test]
async fn a_snapshot_that_is_being_made_stays_until_it_has_ended() {
    let world = World::start();
    let gateway = world.gateway();
    let id = created(&gateway).await;
    let creating = refused("INVALID_STATE", &format!("Snapshot {id} is still being created and cannot be deleted"));
    is(&ask(&gateway, "DELETE", &format!("/v1/snapshots/{id}"), "").await, 409, &creating);
    assert_eq!(world.objects().len(), 1);
    let body = json!({"snapshotId": id, "resourceLimits": {}, "timeout": 60}).to_string();
    let restored = ask(&gateway, "POST", "/v1/sandboxes", &body).await;
    is(&restored, 409, &refused("NOT_READY", &format!("Snapshot {id} is not ready for restore.")));
    // Its object is deleted behind the gateway's back.
    world.cluster.server.remove(&SNAPSHOTS, NAMESPACE, &object_name(&id));
    let failed = reaches(&gateway, &id, "Failed").await;
    assert_eq!(failed["reason"], "snapshot_recovery_missing_snapshot");
    assert_eq!(ask(&gateway, "DELETE", &format!("/v1/snapshots/{id}"), "").await.status(), 204);
}
