//! Sandboxes and their pods, as the operator and the kubelet leave them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::NAMESPACE;
use crate::support::kube::logs::{PodObject, Status};

/// The pod of a sandbox.
pub fn pod_name(id: &str) -> String {
    format!("{id}-0")
}

/// A sandbox that runs, with what the Python server 1.1.1 puts into one.
pub fn sandbox(id: &str) -> Value {
    json!({
        "apiVersion": "sandbox.opensandbox.io/v1alpha1",
        "kind": "BatchSandbox",
        "metadata": {
            "name": id,
            "namespace": NAMESPACE,
            "labels": {"opensandbox.io/id": id, "team": "bench"},
            "annotations": {"sandbox.opensandbox.io/endpoints": "[\"127.0.0.1\"]"},
        },
        "spec": {
            "expireTime": "2099-11-26T13:18:58.511753+00:00",
            "replicas": 1,
            "template": {"spec": {
                "restartPolicy": "Never",
                "initContainers": [{
                    "name": "execd-installer", "image": "osb-test/execd:stub",
                    "command": ["/bin/sh", "-c"], "args": ["cp ./execd /opt/opensandbox/bin/execd"],
                    "volumeMounts": [{"name": "opensandbox-bin", "mountPath": "/opt/opensandbox/bin"}],
                }],
                "containers": [{
                    "name": "sandbox", "image": "reg.example/py:1",
                    "command": ["/opt/opensandbox/bin/bootstrap.sh", "python", "-c", "x"],
                    "env": [{"name": "EXECD", "value": "/opt/opensandbox/bin/execd"}],
                    "resources": {"limits": {"cpu": "500m", "memory": "512Mi"},
                        "requests": {"cpu": "500m", "memory": "512Mi"}},
                    "volumeMounts": [{"name": "opensandbox-bin", "mountPath": "/opt/opensandbox/bin"}],
                }],
                "volumes": [{"name": "opensandbox-bin", "emptyDir": {}}],
            }},
        },
        "status": {"phase": "Succeed", "replicas": 1, "allocated": 1, "ready": 1, "taskRunning": 0, "taskSucceed": 0,
            "taskFailed": 0, "taskPending": 0, "taskUnknown": 0},
    })
}

/// Its pod.
pub fn pod(id: &str, status: &Status) -> Value {
    let pod = PodObject::new(NAMESPACE, &pod_name(id)).label("opensandbox.io/id", id);
    pod.label("batch-sandbox.sandbox.opensandbox.io/name", id).container("sandbox", status).json()
}

/// As kubeconfig files have it.
pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
