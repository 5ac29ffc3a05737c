//! The volume claims of a creation (§4.5).

use serde_json::{Value, json};

use super::fixture::{LONG, asked, create, error, id, never, nothing_is_left, objects, ready, world};
use crate::{
    cluster::{BATCH, CLAIMS, Cluster, NAMESPACE},
    fixture::ask,
    support::{
        eventually,
        kube::{Action, Failure},
    },
};

fn mounting(pvc: Value) -> Value {
    let mut claim = json!({"claimName": "c"});
    claim.as_object_mut().unwrap().extend(pvc.as_object().unwrap().clone());
    json!({"volumes": [{"name": "v", "mountPath": "/v", "pvc": claim}]})
}

fn put(cluster: &Cluster, change: impl FnOnce(&mut Value)) {
    let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    change(&mut claim);
    cluster.put(&CLAIMS, claim);
}

fn posts(cluster: &Cluster) -> Vec<Value> {
    asked(cluster, "POST", "/persistentvolumeclaims").into_iter().map(|request| request.body).collect()
}

#[tokio::test]
async fn a_claim_that_goes_with_its_sandbox_is_owned_by_it() {
    let (cluster, gateway) = world(ready(), "");
    let pvc = json!({"deleteOnSandboxTermination": true, "storage": "2Gi", "storageClass": "fast"});
    let id = id(&create(&gateway, mounting(pvc)).await);
    let uid = &cluster.get(&BATCH, &id).unwrap()["metadata"]["uid"];
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": NAMESPACE,
            "labels": {"opensandbox.io/volume-managed-by": "server", "opensandbox.io/id": id},
            "ownerReferences": [{"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "BatchSandbox", "name": id,
                "uid": uid, "controller": false}]},
        // With which the existing server fails.
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "fast"},
    });
    assert_eq!(posts(&cluster), [expected]);
    // As by the operator, when its time is over: the existing server's claims stay.
    cluster.server.delete(&BATCH, NAMESPACE, &id);
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn a_claim_that_stays_is_nobody_s() {
    let (cluster, gateway) = world(ready(), "");
    let first = id(&create(&gateway, mounting(json!({}))).await);
    let claim = cluster.get(&CLAIMS, "c").unwrap();
    assert_eq!((&claim["metadata"]["labels"], &claim["metadata"]["ownerReferences"]), (&Value::Null, &Value::Null));
    // The next one has it as it is.
    id(&create(&gateway, mounting(json!({"deleteOnSandboxTermination": true, "storage": "9Gi"}))).await);
    assert_eq!(posts(&cluster).len(), 1);
    assert_eq!(ask(&gateway, "DELETE", &format!("/v1/sandboxes/{first}"), "").await.status(), 204);
    assert_eq!(cluster.get(&CLAIMS, "c").unwrap()["metadata"]["uid"], claim["metadata"]["uid"]);
}

#[tokio::test]
async fn another_s_claim_is_not_taken() {
    let (cluster, gateway) = world(ready(), "");
    put(&cluster, |claim| {
        claim["metadata"]["labels"] =
            json!({"opensandbox.io/volume-managed-by": "server", "opensandbox.io/id": "other"});
    });
    let (status, code, message) = error(&create(&gateway, mounting(json!({}))).await);
    assert_eq!((status, code.as_str()), (409, "SANDBOX::INVALID_PARAMETER"));
    let expected = "PVC 'c' is already managed by sandbox 'other' and cannot be auto-attached to a new sandbox; its owner's cleanup \
                    would delete the volume. Pre-create a user-managed PVC if you need to share storage.";
    assert_eq!(message, expected);
    put(&cluster, |claim| claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]));
    cluster.server.delete(&CLAIMS, NAMESPACE, "c");
    let (status, _, message) = error(&create(&gateway, mounting(json!({}))).await);
    assert_eq!(status, 409);
    assert!(message.starts_with("PVC 'c' is being deleted."), "{message}");
    assert!(asked(&cluster, "POST", "").is_empty(), "nothing was made");
}

#[tokio::test]
async fn a_claim_that_is_not_there_and_not_to_be_made_is_told() {
    let (cluster, gateway) = world(ready(), "");
    let (status, code, message) = error(&create(&gateway, mounting(json!({"createIfNotExists": false}))).await);
    let expected = "PVC 'c' does not exist, and createIfNotExists is false.";
    assert_eq!((status, code.as_str(), message.as_str()), (400, "VOLUME::PVC_NOT_FOUND", expected));
    let both = json!({"volumes": [
        {"name": "a", "mountPath": "/a", "pvc": {"claimName": "c"}},
        {"name": "b", "mountPath": "/b", "pvc": {"claimName": "c", "deleteOnSandboxTermination": true}}]});
    let (status, code, _) = error(&create(&gateway, both).await);
    assert_eq!((status, code.as_str()), (400, "SANDBOX::INVALID_PARAMETER"));
    cluster.server.fault("GET", "/persistentvolumeclaims/", Action::Fail(Failure::new(500, "InternalError", "no")), 1);
    let (status, code, _) = error(&create(&gateway, mounting(json!({}))).await);
    assert_eq!((status, code.as_str()), (500, "KUBERNETES::API_ERROR"));
    let forbidden = Failure::new(403, "Forbidden", "no");
    cluster.server.fault("GET", "/persistentvolumeclaims/", Action::Fail(forbidden), 1);
    let (status, code, message) = error(&create(&gateway, mounting(json!({}))).await);
    let expected = "Cannot verify ownership of PVC 'c': server lacks 'get' on persistentvolumeclaims. Operator must grant the \
                    missing RBAC.";
    assert_eq!((status, code.as_str(), message.as_str()), (500, "KUBERNETES::API_ERROR", expected));
    assert!(asked(&cluster, "POST", "").is_empty(), "nothing was made");
}

#[tokio::test]
async fn a_claim_that_comes_and_goes_is_not_mounted() {
    let (cluster, gateway) = world(ready(), "");
    cluster.server.fault("POST", "/persistentvolumeclaims", Action::Conflict, 1);
    let (status, code, message) = error(&create(&gateway, mounting(json!({}))).await);
    let expected = "PVC 'c' was created concurrently and then removed before we could verify it; refusing to mount a missing \
                    claim. Retry the request.";
    assert_eq!((status, code.as_str(), message.as_str()), (503, "KUBERNETES::API_ERROR", expected));
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn a_claim_that_cannot_be_made_leaves_nothing() {
    for (failure, status, code) in [
        (Failure::new(422, "Invalid", "spec.accessModes: no"), 400, "SANDBOX::INVALID_PARAMETER"),
        (Failure::bad_request("no"), 400, "SANDBOX::INVALID_PARAMETER"),
        (Failure::new(403, "Forbidden", "persistentvolumeclaims is forbidden"), 403, "KUBERNETES::FORBIDDEN"),
        (
            Failure::new(403, "Forbidden", "\"c\" is forbidden: exceeded quota: q, requested: x=1"),
            403,
            "KUBERNETES::QUOTA_EXCEEDED",
        ),
        (Failure::new(405, "MethodNotAllowed", "no"), 500, "SANDBOX::INTERNAL_ERROR"),
    ] {
        let (cluster, gateway) = world(ready(), "");
        cluster.server.fault("POST", "/persistentvolumeclaims", Action::Fail(failure), 1);
        let (found, found_code, message) = error(&create(&gateway, mounting(json!({}))).await);
        assert_eq!((found, found_code.as_str()), (status, code), "{message}");
        nothing_is_left(&cluster).await;
    }
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_there() {
    let (cluster, gateway) = world(ready(), "");
    cluster.server.fault("POST", "/persistentvolumeclaims", Action::Cut(0), 1);
    let id = id(&create(&gateway, mounting(json!({"deleteOnSandboxTermination": true}))).await);
    assert_eq!(cluster.get(&CLAIMS, "c").unwrap()["metadata"]["labels"]["opensandbox.io/id"], id.as_str());
    assert_eq!(posts(&cluster).len(), 1);
}

/// Another sandbox may have begun to use one that is to stay, which changes nothing in it.
#[tokio::test]
async fn of_a_creation_that_fails_claims_stay_that_do_not_go_with_their_sandbox() {
    let (cluster, gateway) = world(never(), "sandbox_create_timeout_seconds = 1");
    let volumes = json!({"volumes": [
        {"name": "a", "mountPath": "/a", "pvc": {"claimName": "managed", "deleteOnSandboxTermination": true}},
        {"name": "b", "mountPath": "/b", "pvc": {"claimName": "kept"}}]});
    assert_eq!(create(&gateway, volumes).await.status(), 504);
    eventually("what is left", LONG, || objects(&cluster).len() == 1).await;
    assert!(cluster.get(&CLAIMS, "kept").is_some());
}
