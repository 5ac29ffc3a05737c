//! The test API server's objects, lists, watches, writes, access and faults, held against what a real cluster answered
//! (`kubernetes-api.md`; its `pods/log` is [`crate::pod_log`]).

mod access;
mod faults;
mod lists;
mod replay;
mod watches;
mod wire;
mod writes;

use serde_json::{Value, json};

/// The path of the BatchSandboxes, and of one of them.
const BATCH: &str = "/apis/sandbox.opensandbox.io/v1alpha1/namespaces/default/batchsandboxes";
/// The path of the pods.
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";

/// A BatchSandbox with these labels, as the transcripts have them.
fn batch(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "sandbox.opensandbox.io/v1alpha1", "kind": "BatchSandbox",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "sandbox", "image": "example.test/busybox:1"}]}}}})
}

/// A pod that nothing schedules, as the transcripts have them.
fn pod(number: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("lw-{number}"), "labels": {"set": "lw", "n": number.to_string()}},
        "spec": {"schedulerName": "none", "restartPolicy": "Never", "automountServiceAccountToken": false,
            "enableServiceLinks": false, "containers": [{"name": "main", "image": "example.test/busybox:1"}]}})
}
