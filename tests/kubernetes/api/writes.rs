//! What writes change, and what goes with an object (kubernetes-api.md §10).

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    BATCH, MERGE, PODS, batch, pod,
    wire::{Request, Wire},
};
use crate::support::{
    eventually,
    kube::{
        Server,
        resource::{self, BATCH_SANDBOXES, CLAIMS, SECRETS},
    },
};

async fn ask(server: &Server, request: Request) -> (u16, Value) {
    Wire::connect(server, None).await.json(&request).await
}

async fn create(server: &Server, target: &str, object: &Value) -> (u16, Value) {
    ask(server, Request::new("POST", target).body("application/json", object)).await
}

async fn patch(server: &Server, target: &str, patch: &Value) -> (u16, Value) {
    ask(server, Request::new("PATCH", target).body(MERGE, patch)).await
}

#[tokio::test]
async fn a_dry_run_is_answered_and_not_stored_and_a_generated_name_is_given() {
    let server = Server::start();
    let (status, dry) = create(&server, &format!("{BATCH}?dryRun=All"), &batch("w-dry", &json!({}))).await;
    assert_eq!((status, dry["metadata"].get("resourceVersion")), (201, None));
    assert_eq!(ask(&server, Request::new("GET", &format!("{BATCH}/w-dry"))).await.0, 404);
    let mut object = batch("", &json!({}));
    object["metadata"] = json!({"generateName": "gen-"});
    let (status, made) = create(&server, BATCH, &object).await;
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(status == 201 && name.len() == 9 && name.starts_with("gen-"), "{name}");
}

#[tokio::test]
async fn an_unknown_field_of_a_custom_object_is_dropped_with_a_warning() {
    let server = Server::start();
    let mut object = batch("w-6", &json!({}));
    object["spec"]["nosuch"] = 1.into();
    let request = Request::new("POST", BATCH).body("application/json", &object);
    let (head, text) = Wire::connect(&server, None).await.whole(&request).await;
    assert_eq!((head.status, head.header("Warning")), (201, r#"299 - "unknown field \"spec.nosuch\"""#));
    assert!(!text.contains("nosuch"));
}

#[tokio::test]
async fn a_null_in_an_environment_is_kept_in_a_custom_object_and_dropped_in_a_pod() {
    let server = Server::start();
    let env = json!([{"name": "A", "value": null}]);
    let mut object = pod(50);
    object["spec"]["containers"][0]["env"] = env.clone();
    let (status, made) = create(&server, PODS, &object).await;
    assert_eq!((status, &made["spec"]["containers"][0]["env"]), (201, &json!([{"name": "A"}])));
    let mut object = batch("w-5", &json!({}));
    object["spec"]["template"]["spec"]["containers"][0]["env"] = env.clone();
    let (status, made) = create(&server, BATCH, &object).await;
    assert_eq!((status, &made["spec"]["template"]["spec"]["containers"][0]["env"]), (201, &env));
}

#[tokio::test]
async fn what_is_too_large_is_500_of_etcd_or_413() {
    let server = Server::start();
    let mut object = batch("w-big", &json!({}));
    object["spec"]["template"]["spec"]["note"] = "x".repeat(1_600_000).into();
    let (status, answer) = create(&server, BATCH, &object).await;
    assert_eq!((status, &answer["message"]), (500, &json!("etcdserver: request is too large")));
    assert_eq!((answer.get("reason"), answer.get("details")), (None, None));
    object["spec"]["template"]["spec"]["note"] = "x".repeat(3_200_000).into();
    let (status, answer) = create(&server, BATCH, &object).await;
    assert_eq!((status, &answer["message"]), (413, &json!("Request entity too large: limit is 3145728")));
}

#[tokio::test]
async fn a_patch_that_changes_nothing_keeps_the_version_and_one_of_the_spec_raises_the_generation() {
    let server = Server::start();
    server.create(&BATCH_SANDBOXES, "default", batch("w-1", &json!({"u": "1"})));
    let before = server.version();
    let path = format!("{BATCH}/w-1");
    let (status, same) = patch(&server, &path, &json!({"metadata": {"labels": {"u": "1", "none": null}}})).await;
    assert_eq!((status, &same["metadata"]["resourceVersion"]), (200, &json!(before.to_string())));
    let (_, renewed) =
        patch(&server, &path, &json!({"spec": {"expireTime": "2030-01-01T00:00:00.123456+00:00"}})).await;
    assert_eq!(
        (&renewed["metadata"]["generation"], &renewed["spec"]["expireTime"]),
        (&json!(2), &json!("2030-01-01T00:00:00.123456+00:00"))
    );
    let (_, labelled) = patch(&server, &path, &json!({"metadata": {"labels": {"v": "2"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 2);
}

#[tokio::test]
async fn the_status_is_written_through_its_own_path_alone() {
    let server = Server::start();
    server.create(&BATCH_SANDBOXES, "default", batch("w-1", &json!({"u": "1"})));
    let status = json!({"phase": "Succeed", "allocated": 1, "ready": 1, "replicas": 1, "taskFailed": 0, "taskPending": 0,
        "taskRunning": 0, "taskSucceed": 0, "taskUnknown": 0});
    let (code, main) = patch(&server, &format!("{BATCH}/w-1"), &json!({"status": status})).await;
    assert_eq!((code, main.get("status")), (200, None));
    let both = json!({"status": status, "metadata": {"labels": {"u": "2"}}, "spec": {"replicas": 5}});
    let (code, own) = patch(&server, &format!("{BATCH}/w-1/status"), &both).await;
    assert_eq!((code, &own["status"]), (200, &status));
    assert_eq!((&own["metadata"]["labels"], &own["spec"]["replicas"]), (&json!({"u": "1"}), &json!(1)));
}

#[tokio::test]
async fn lists_of_a_pod_are_merged_by_their_keys_by_a_strategic_patch_and_replaced_by_a_merge() {
    let server = Server::start();
    server.create(
        &CLAIMS,
        "default",
        json!({"metadata": {"name": "c", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "one"}]}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
    );
    let path = CLAIMS.path("default", "c");
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": uid});
    let change = json!({"metadata": {"ownerReferences": [owner("two")], "finalizers": ["f/1"]}});
    let request = Request::new("PATCH", &path).body("application/strategic-merge-patch+json", &change);
    let (status, merged) = ask(&server, request).await;
    let uids = |object: &Value| -> Vec<String> {
        let owners = object["metadata"]["ownerReferences"].as_array().unwrap();
        owners.iter().map(|owner| owner["uid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((status, uids(&merged)), (200, vec!["one".to_owned(), "two".to_owned()]));
    let (_, replaced) = patch(&server, &path, &json!({"metadata": {"ownerReferences": [owner("three")]}})).await;
    assert_eq!((uids(&replaced), &replaced["metadata"]["finalizers"]), (vec!["three".to_owned()], &json!(["f/1"])));
}

#[tokio::test]
async fn a_put_needs_the_present_version_and_a_custom_object_any() {
    let server = Server::start();
    server.create(&BATCH_SANDBOXES, "default", batch("w-1", &json!({"u": "1"})));
    let path = format!("{BATCH}/w-1");
    let put = async |object: &Value| ask(&server, Request::new("PUT", &path).body("application/json", object)).await;
    let (_, mut object) = ask(&server, Request::new("GET", &path)).await;
    let old = object.clone();
    object["metadata"]["labels"]["v"] = "3".into();
    let (status, stored) = put(&object).await;
    assert_eq!((status, &stored["metadata"]["labels"]["v"]), (200, &json!("3")));
    let (status, conflict) = put(&old).await;
    let message = "Operation cannot be fulfilled on batchsandboxes.sandbox.opensandbox.io \"w-1\": the object has been modified; \
         please apply your changes to the latest version and try again";
    assert_eq!((status, &conflict["message"], &conflict["reason"]), (409, &json!(message), &json!("Conflict")));
    object["metadata"].as_object_mut().unwrap().shift_remove("resourceVersion");
    let (status, invalid) = put(&object).await;
    let message = "batchsandboxes.sandbox.opensandbox.io \"w-1\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
         specified for an update";
    assert_eq!((status, &invalid["message"]), (422, &json!(message)));
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let server = Server::start();
    let mut object = batch("w-fin", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.test/f"]);
    create(&server, BATCH, &object).await;
    let path = format!("{BATCH}/w-fin");
    let (_, first) = ask(&server, Request::new("DELETE", &path)).await;
    let (status, second) = ask(&server, Request::new("DELETE", &path)).await;
    assert_eq!((status, &second), (200, &first));
    let (status, freed) = patch(&server, &path, &json!({"metadata": {"finalizers": null}})).await;
    // The answer still has the version before.
    assert_eq!((status, &freed["metadata"]["resourceVersion"]), (200, &first["metadata"]["resourceVersion"]));
    assert_eq!(ask(&server, Request::new("GET", &path)).await.0, 404);
}

/// A sandbox, and a pod and a Secret that it owns.
fn owned(server: &Server) {
    let sandbox = server.create(&BATCH_SANDBOXES, "default", batch("w-1", &json!({})));
    let owners = json!([{"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "BatchSandbox", "name": "w-1",
        "uid": sandbox["metadata"]["uid"]}]);
    let mut one = pod(1);
    one["metadata"]["ownerReferences"] = owners.clone();
    server.create(&resource::PODS, "default", one);
    server.create(&SECRETS, "default", json!({"metadata": {"name": "s", "ownerReferences": owners}}));
    server.create(&resource::PODS, "default", pod(2));
}

#[tokio::test]
async fn what_an_object_owns_goes_with_it_or_before_it_or_stays() {
    for (policy, status, stays) in
        [("Background", "Status", false), ("Foreground", "BatchSandbox", false), ("Orphan", "Status", true)]
    {
        let server = Server::start();
        owned(&server);
        let request = Request::new("DELETE", &format!("{BATCH}/w-1?propagationPolicy={policy}"));
        let (code, answer) = ask(&server, request).await;
        assert_eq!((code, &answer["kind"]), (200, &json!(status)), "{policy}");
        if policy == "Foreground" {
            assert_eq!(answer["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        }
        let is_gone = || server.get(&BATCH_SANDBOXES, "default", "w-1").is_none();
        eventually(policy, Duration::from_secs(10), is_gone).await;
        let is_there = |resource, name| server.get(resource, "default", name).is_some();
        assert_eq!((is_there(&resource::PODS, "lw-1"), is_there(&SECRETS, "s")), (stays, stays), "{policy}");
        assert!(is_there(&resource::PODS, "lw-2"), "{policy}");
    }
}

#[tokio::test]
async fn a_pod_that_runs_is_marked_and_goes_when_its_kubelet_has_stopped_it_or_at_once_without_grace() {
    let server = Server::start();
    server.pod_stop(None);
    for number in [1, 2] {
        server.create(&resource::PODS, "default", pod(number));
        server.run_pod("default", &format!("lw-{number}"), "10.0.0.1", "node1");
    }
    let (status, marked) = ask(&server, Request::new("DELETE", &format!("{PODS}/lw-1"))).await;
    assert_eq!((status, &marked["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(30)));
    assert!(server.get(&resource::PODS, "default", "lw-1").is_some());
    server.remove(&resource::PODS, "default", "lw-1");
    let (status, _) = ask(&server, Request::new("DELETE", &format!("{PODS}/lw-2?gracePeriodSeconds=0"))).await;
    assert_eq!((status, server.get(&resource::PODS, "default", "lw-2")), (200, None));
}
