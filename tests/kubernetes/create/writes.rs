//! What creations write: the object, the secret, what the operator's template and the tenants add.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fixture::{asked, create, error, id, nothing_is_left, ready, world};
use crate::{
    cluster::{BATCH, Cluster, NAMESPACE},
    fixture::get,
    support::kube::{Action, Failure, Operator, resource::SECRETS},
};

fn with_auth() -> Value {
    json!({"image": {"uri": "reg.example/py:1", "auth": {"username": "u", "password": "hunter2"}}})
}

#[tokio::test]
async fn the_secret_comes_after_the_object_that_owns_it() {
    let (cluster, gateway) = world(ready(), "");
    let id = id(&create(&gateway, with_auth()).await);
    let posts: Vec<_> = asked(&cluster, "POST", "").into_iter().map(|request| request.path).collect();
    let prefix = format!("/namespaces/{NAMESPACE}/");
    let plurals: Vec<_> = posts.iter().map(|path| path.split(&prefix).nth(1).unwrap_or_default()).collect();
    assert_eq!(plurals, ["batchsandboxes", "secrets"]);
    let name = format!("opensandbox-image-auth-{id}");
    let (object, secret) = (cluster.get(&BATCH, &id).unwrap(), cluster.get(&SECRETS, &name).unwrap());
    let owner = json!([{"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "BatchSandbox", "name": id,
        "uid": object["metadata"]["uid"], "controller": false}]);
    assert_eq!(
        (&secret["metadata"]["ownerReferences"], &secret["type"]),
        (&owner, &json!("kubernetes.io/dockerconfigjson"))
    );
    assert_eq!(object.pointer("/spec/template/spec/imagePullSecrets"), Some(&json!([{"name": name}])));
    assert!(!gateway.output().contains("hunter2"));
    cluster.server.delete(&BATCH, NAMESPACE, &id);
    nothing_is_left(&cluster).await;
}

#[tokio::test]
async fn without_its_secret_a_sandbox_goes() {
    for (failure, status, code) in [
        (Failure::new(403, "Forbidden", "secrets is forbidden"), 403, "KUBERNETES::FORBIDDEN"),
        (Failure::new(422, "Invalid", "no"), 500, "KUBERNETES::API_ERROR"),
        (Failure::initializing(), 429, "KUBERNETES::API_ERROR"),
    ] {
        let (cluster, gateway) = world(ready(), "");
        cluster.server.fault("POST", "/secrets", Action::Fail(failure), 1);
        let (found, found_code, message) = error(&create(&gateway, with_auth()).await);
        assert_eq!((found, found_code.as_str()), (status, code), "{message}");
        assert!(message.starts_with("Failed to create sandbox: "), "{message}");
        nothing_is_left(&cluster).await;
        assert_eq!(asked(&cluster, "POST", "/secrets").len(), 1);
    }
}

#[tokio::test]
async fn a_secret_whose_answer_is_lost_is_there() {
    let (cluster, gateway) = world(ready(), "");
    cluster.server.fault("POST", "/secrets", Action::Cut(0), 1);
    id(&create(&gateway, with_auth()).await);
    assert_eq!(cluster.server.list(&SECRETS, NAMESPACE).len(), 1);
}

fn template(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("template.yaml");
    std::fs::write(&path, text).unwrap();
    let line = format!("batchsandbox_template_file = \"{}\"", path.display());
    (dir, line)
}

#[tokio::test]
async fn the_operator_s_template_is_below_every_object() {
    let (_dir, line) = template(
        "{metadata: {labels: {team: x}}, spec: {template: {spec: {tolerations: [{operator: Exists}], \
         volumes: [{name: extra, emptyDir: {}}], containers: [{name: sandbox, volumeMounts: [{name: extra, mountPath: /extra}]}]}}}}",
    );
    let (cluster, gateway) = world(ready(), &line);
    let object = cluster.get(&BATCH, &id(&create(&gateway, json!({})).await)).unwrap();
    assert_eq!(object["metadata"]["labels"]["team"], "x");
    let pod = &object["spec"]["template"]["spec"];
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod["containers"][0]["volumeMounts"][1], json!({"name": "extra", "mountPath": "/extra"}));
}

#[tokio::test]
async fn the_template_s_platform_is_answered() {
    let (_dir, line) =
        template("{spec: {template: {spec: {nodeSelector: {kubernetes.io/os: linux, kubernetes.io/arch: arm64}}}}}");
    let (_cluster, gateway) = world(ready(), &line);
    let platform = json!({"os": "linux", "arch": "arm64"});
    for overlay in [json!({}), json!({"platform": platform})] {
        let created = create(&gateway, overlay).await;
        let shown = get(&gateway, &format!("/v1/sandboxes/{}", id(&created))).await;
        assert_eq!([&created.json()["platform"], &shown.json()["platform"]], [&platform, &platform]);
    }
}

#[tokio::test]
async fn a_template_that_cannot_be_used_ends_the_start() {
    let cluster = Cluster::start();
    let (_dir, invalid) = template("{spec: {template: {spec: {overhead: {cpu: lots}}}}}");
    let (_other, task) = template("{spec: {taskTemplate: {spec: {process: {command: sleep}}}}}");
    for (line, text) in [
        ("batchsandbox_template_file = \"/no/t.yaml\"", "BatchSandbox template file not found: /no/t.yaml"),
        (invalid.as_str(), "is invalid: spec.template.spec.overhead.cpu: 'lots' is no quantity such as 500m or 1Gi."),
        (task.as_str(), "is invalid: spec.taskTemplate is no template of a task: "),
    ] {
        let mut gateway = cluster.gateway(line).spawn();
        let status = gateway.wait(Duration::from_secs(20));
        assert_eq!(status.code(), Some(1));
        gateway.says(text).await;
    }
}

#[test]
fn a_silent_api_server_does_not_hold_up_the_start() {
    let cluster = Cluster::start();
    cluster.server.fault("GET", "/runtimeclasses/", Action::Hang, 1);
    let begun = Instant::now();
    let secure = "[secure_runtime]\ntype = \"kata\"\nk8s_runtime_class = \"kata-qemu\"";
    let gateway = cluster.gateway("").section(secure).start();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let said = gateway.output();
    assert!(said.contains("whether the cluster has the RuntimeClass 'kata-qemu' cannot be told"), "{said}");
}

#[tokio::test]
async fn a_runtime_class_must_be_there() {
    let cluster = Cluster::start();
    cluster.server.operate(Operator::of(ready()));
    let secure = "[secure_runtime]\ntype = \"kata\"\nk8s_runtime_class = \"kata-qemu\"";
    let mut gateway = cluster.gateway("").section(secure).spawn();
    assert!(!gateway.wait(Duration::from_secs(20)).success());
    gateway.says("the cluster has no RuntimeClass 'kata-qemu'").await;
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-qemu"},
        "handler": "kata"});
    cluster.server.create(&crate::support::kube::resource::RUNTIME_CLASSES, "", class);
    let gateway = cluster.gateway("").section(secure).start();
    let object = cluster.get(&BATCH, &id(&create(&gateway, json!({})).await)).unwrap();
    assert_eq!(object["spec"]["template"]["spec"]["runtimeClassName"], "kata-qemu");
}
