//! Whose a snapshot is.

use serde_json::json;

use super::{FAST, column, object_name};
use crate::{
    cluster::SNAPSHOTS,
    fixture::{ID, is},
    support::kube::{Operator, Snapshots},
    tenants::fixture::{World, get, with_key},
};

#[tokio::test]
async fn a_snapshot_is_in_its_tenant_s_namespace_and_for_nobody_else() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "");
    world.sandbox(ID, "b", "team-b", "");
    world.cluster.server.operate(Operator { snapshots: Snapshots::Succeed, ..Operator::default() });
    let home = tempfile::tempdir().unwrap();
    let setup = world.setup("").section(FAST).env("HOME", home.path().to_str().unwrap());
    let gateway = setup.start();
    let answer = with_key(&gateway, "key-a1", "POST", &format!("/v1/sandboxes/{ID}/snapshots"), "").await;
    assert_eq!(answer.status(), 202, "{answer}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let target = format!("/v1/snapshots/{id}");
    let begun = std::time::Instant::now();
    while get(&gateway, "key-a2", &target).await.json()["status"]["state"] != "Ready" {
        assert!(begun.elapsed() < super::LONG);
    }
    let name = object_name(&id);
    assert!(world.cluster.server.get(&SNAPSHOTS, "a", &name).is_some());
    assert!(world.cluster.server.get(&SNAPSHOTS, "b", &name).is_none());
    assert_eq!(column(home.path(), "namespace").await.as_deref(), Some("a"));
    let missing = format!(r#"{{"code":"SNAPSHOT::NOT_FOUND","message":"Snapshot {id} not found"}}"#);
    for key in ["key-as", "key-b"] {
        assert_eq!(get(&gateway, key, "/v1/snapshots").await.json()["pagination"]["totalItems"], 0, "{key}");
        is(&get(&gateway, key, &target).await, 404, &missing);
        is(&with_key(&gateway, key, "DELETE", &target, "").await, 404, &missing);
        let restore = json!({"snapshotId": id, "resourceLimits": {}, "timeout": 60}).to_string();
        is(&with_key(&gateway, key, "POST", "/v1/sandboxes", &restore).await, 404, &missing);
    }
    for key in ["key-a1", "key-a2"] {
        assert_eq!(get(&gateway, key, "/v1/snapshots").await.json()["items"][0]["id"], json!(id));
    }
    is(&with_key(&gateway, "key-a1", "DELETE", &target, "").await, 204, "");
    assert!(world.cluster.server.get(&SNAPSHOTS, "a", &name).is_none());
}
