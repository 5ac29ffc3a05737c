use serde_json::json;

use super::*;

/// A BatchSandbox as a real cluster had it (transcript 34).
fn real() -> Workload {
    let object = json!({
        "apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "BatchSandbox",
        "metadata": {
            "annotations": {"sandbox.opensandbox.io/endpoints": "[\"10.78.0.53\"]"},
            "creationTimestamp": "2026-11-26T13:08:58Z", "generation": 1,
            "labels": {"opensandbox.io/id": "a20d40a3-e37b-4a88-80df-7f81c2465e44", "project": "apollo"},
            "name": "a20d40a3-e37b-4a88-80df-7f81c2465e44", "namespace": "osb", "resourceVersion": "2097",
            "uid": "6520bb17-2e2d-4608-a8fc-63e3650b2738",
        },
        "spec": {
            "expireTime": "2026-11-26T13:18:58.511753+00:00", "replicas": 1, "taskResourcePolicyWhenCompleted": "Retain",
            "template": {"spec": {"containers": [{
                "command": ["/opt/opensandbox/bootstrap.sh", "sh", "-c", "x"], "image": "example.test/busybox:1", "name": "sandbox",
                "resources": {"limits": {"cpu": "200m"}},
            }]}},
        },
        "status": {"allocated": 1, "observedGeneration": 1, "phase": "Succeed", "ready": 1, "replicas": 1, "taskFailed": 0},
    });
    Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()))
}

fn shown(workload: &Workload) -> String {
    serde_json::to_string(&workload.show(&[])).unwrap()
}

#[test]
fn a_sandbox_is_shown_as_by_the_existing_server() {
    assert_eq!(
        shown(&real()),
        r#"{"id":"a20d40a3-e37b-4a88-80df-7f81c2465e44","image":{"uri":"example.test/busybox:1"},"status":{"state":"Running","reason":"RUNNING","message":"Sandbox is running","lastTransitionAt":"2026-11-26T13:08:58Z"},"metadata":{"project":"apollo"},"entrypoint":["/opt/opensandbox/bootstrap.sh","sh","-c","x"],"expiresAt":"2026-11-26T13:18:58.511753Z","createdAt":"2026-11-26T13:08:58Z"}"#
    );
    assert_eq!(real().host(&[], &[]).map(|host| host.to_string()).as_deref(), Some("10.78.0.53"));
}

#[test]
fn a_sandbox_of_a_pool_has_no_image_of_its_own() {
    let object = json!({
        "metadata": {"labels": {"opensandbox.io/id": "d"}, "creationTimestamp": "2026-11-23T02:11:01Z"},
        "spec": {"poolRef": "*", "expireTime": "2026-11-23T02:12:01.628572+00:00"},
        "status": {"phase": "Succeed"},
    });
    let pooled = Workload::Batch(Arc::new(serde_json::from_value(object).unwrap()));
    assert_eq!(
        shown(&pooled),
        r#"{"id":"d","image":{"uri":"unknown"},"status":{"state":"Running","reason":"RUNNING","message":"Sandbox is running","lastTransitionAt":"2026-11-23T02:11:01Z"},"entrypoint":[],"expiresAt":"2026-11-23T02:12:01.628572Z","createdAt":"2026-11-23T02:11:01Z"}"#
    );
    assert!(pooled.is_pooled() && pooled.allocated_pods().is_empty());
}

#[test]
fn a_restored_sandbox_names_its_snapshot_instead_of_an_image() {
    let object = json!({
        "metadata": {"labels": {"opensandbox.io/id": "d", "opensandbox.io/snapshot-id": "s"}},
        "spec": {"template": {"spec": {"containers": [{"name": "sandbox", "image": "x"}]}}},
    });
    let restored = Workload::Batch(Arc::new(serde_json::from_value(object).unwrap())).show(&[]);
    assert_eq!((restored.snapshot_id.as_deref(), restored.image), (Some("s"), None));
}

#[test]
fn an_agent_sandbox_has_its_expiry_elsewhere() {
    let object = json!({
        "metadata": {
            "labels": {"opensandbox.io/id": "9a"}, "creationTimestamp": "2026-11-23T02:13:13Z",
            "annotations": {"opensandbox.io/secure-access-token": "t", "opensandbox.io/access-renew-extend-seconds": "600"},
        },
        "spec": {"operatingMode": "Running", "shutdownTime": "2026-11-23T02:23:13.891958+00:00", "podTemplate": {"spec": {"containers": [
            {"name": "sandbox", "image": "x", "command": ["/opt/opensandbox/bootstrap.sh", "a"]}]}}},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "DependenciesReady", "message": "ok", "lastTransitionTime": "2026-11-23T02:00:00Z"}]},
    });
    let agent = Workload::Agent(Arc::new(serde_json::from_value(object).unwrap()));
    assert_eq!(
        shown(&agent),
        r#"{"id":"9a","image":{"uri":"x"},"status":{"state":"Running","reason":"DependenciesReady","message":"ok","lastTransitionAt":"2026-11-23T02:00:00Z"},"entrypoint":["/opt/opensandbox/bootstrap.sh","a"],"expiresAt":"2026-11-23T02:23:13.891958Z","createdAt":"2026-11-23T02:13:13Z"}"#
    );
    assert_eq!(
        (agent.renewal(), agent.secure_access().map(|token| token.expose().to_owned())),
        (Some(600), Some("t".to_owned()))
    );
    let time = Timestamp::from_iso("2026-12-01T00:00:00Z").unwrap();
    assert_eq!(agent.expiry_patch(time), json!({"spec": {"shutdownTime": "2026-12-01T00:00:00+00:00"}}));
    assert_eq!(real().expiry_patch(time), json!({"spec": {"expireTime": "2026-12-01T00:00:00+00:00"}}));
}

#[test]
fn an_expiry_that_cannot_be_read_is_one() {
    let expiry =
        |spec: Value| Workload::Batch(Arc::new(serde_json::from_value(json!({"spec": spec})).unwrap())).expiry();
    assert_eq!(expiry(json!({})), Expiry::Never);
    assert_eq!(expiry(json!({"expireTime": "soon"})), Expiry::Unreadable);
    assert_eq!(
        expiry(json!({"expireTime": "2026-11-26T13:18:58Z"})),
        Expiry::At(Timestamp::from_iso("2026-11-26T13:18:58Z").unwrap())
    );
}

#[test]
fn the_oddest_object_is_still_shown() {
    for object in
        [json!({}), json!({"metadata": {"labels": {"opensandbox.io/id": "x"}}, "spec": "s", "status": [[[]]]})]
    {
        let batch = Workload::Batch(Arc::new(serde_json::from_value(object.clone()).unwrap()));
        let agent = Workload::Agent(Arc::new(serde_json::from_value(object).unwrap()));
        assert_eq!(batch.show(&[]).status.reason.as_deref(), Some("BATCHSANDBOX_PENDING"));
        assert_eq!(agent.show(&[]).status.reason.as_deref(), Some("SANDBOX_PENDING"));
    }
}
