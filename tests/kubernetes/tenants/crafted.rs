//! Objects that bear another sandbox's id: whoever may make a sandbox chooses what its pods are labelled with.

use serde_json::json;

use super::fixture::{World, get, seen, with_key};
use crate::{
    cluster::{BATCH, PODS},
    fixture::{ID, OTHER, batch, is, not_found},
    support::kube::logs::{PodObject, Status},
};

#[tokio::test]
async fn a_pod_of_another_s_sandbox_is_not_taken_for_one_s_own() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "of a\n");
    world.sandbox(OTHER, "a", "shadow", "of shadow\n");
    let uid_of = |id: &str| world.cluster.server.get(&BATCH, "a", id).unwrap()["metadata"]["uid"].clone();
    let pod = |name: &str, owner: &str, text: &str| {
        let container = world.logs.container();
        container.out(text);
        let pod = PodObject::new("a", name).label("opensandbox.io/id", ID);
        let mut pod = pod.container("sandbox", &Status::running(&container)).json();
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "sandbox.opensandbox.io/v1alpha1",
            "kind": "BatchSandbox", "name": owner, "uid": uid_of(owner), "controller": true}]);
        world.cluster.server.create(&PODS, "a", pod);
    };
    // As new as the true one, and the last by name: of two the one that would be chosen.
    pod("zz", OTHER, "crafted\n");
    let gateway = world.gateway();
    let target = |path: &str| format!("/v1/sandboxes/{ID}{path}");
    is(&get(&gateway, "key-a1", &target("/logs")).await, 200, "of a\n");
    let inspected = get(&gateway, "key-a1", &target("/diagnostics/inspect")).await;
    let name = format!("Pod Name:       {ID}-0\n");
    assert!(String::from_utf8_lossy(&inspected.body).starts_with(&name), "{inspected:?}");
    // Its own is, also beside one of which nobody says whose it is.
    pod("zzz", ID, "another of a\n");
    is(&get(&gateway, "key-a2", &target("/logs")).await, 200, "another of a\n");
}

#[tokio::test]
async fn an_object_that_stands_behind_another_of_its_id_is_nobody_s() {
    let world = World::start();
    world.sandbox(ID, "a", "team-a", "of a\n");
    let name = format!("sandbox-{ID}");
    let object = batch(&name, |object| {
        object["metadata"]["namespace"] = json!("a");
        object["metadata"]["labels"]["opensandbox.io/id"] = json!(ID);
        object["metadata"]["labels"]["opensandbox.io/tenant"] = json!("shadow");
    });
    world.cluster.server.create(&BATCH, "a", object);
    let gateway = world.gateway();
    let target = |path: &str| format!("/v1/sandboxes/{ID}{path}");
    // As a list has it, so has every route.
    assert_eq!([seen(&gateway, "key-a1").await, seen(&gateway, "key-as").await], [json!(1), json!(0)]);
    for (method, path) in [("GET", ""), ("GET", "/logs"), ("GET", "/diagnostics/inspect"), ("DELETE", "")] {
        is(&with_key(&gateway, "key-as", method, &target(path), "").await, 404, &not_found(ID));
    }
    is(&get(&gateway, "key-a1", &target("/logs")).await, 200, "of a\n");
    // Nobody stands before it any more.
    is(&with_key(&gateway, "key-a1", "DELETE", &target(""), "").await, 204, "");
    assert_eq!([seen(&gateway, "key-a1").await, seen(&gateway, "key-as").await], [json!(0), json!(1)]);
    assert_eq!(get(&gateway, "key-as", &target("")).await.status(), 200);
}
