//! A small operator for a namespace of a real cluster: makes a pod of each sandbox, tells the pod's state in the sandbox's status,
//! and takes the pod of a BatchSandbox away that is to pause. The cluster's own controllers do the rest, such as the removal of a
//! pod whose sandbox is gone.
//!
//! There need not be an image of execd: pods are made without what the gateway adds for it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{api::Api, crds::kinds};
use crate::support::kube::{
    Operator, Resource,
    resource::{BATCH_SANDBOXES, PODS},
};

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(200);

/// Goes on until it is dropped, or fails with the words of a refusal.
pub(super) async fn reconcile(api: Api, namespace: String, is_mine: [bool; 2]) {
    loop {
        for (kind, is_mine) in kinds().into_iter().zip(is_mine) {
            if !is_mine {
                continue;
            }
            for sandbox in api.list(kind, &namespace).await {
                if sandbox["metadata"]["deletionTimestamp"].is_null() {
                    look_after(&api, &namespace, kind, &sandbox).await;
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn look_after(api: &Api, namespace: &str, kind: &Resource, sandbox: &Value) {
    let Some(mut pod) = Operator::pod_of(kind, sandbox) else { return };
    without_execd(&mut pod["spec"]);
    let (path, name) = (PODS.path(namespace, ""), pod["metadata"]["name"].as_str().unwrap());
    let (phase, is_to_pause) = (&sandbox["status"]["phase"], sandbox["spec"]["pause"] == true);
    if kind == &BATCH_SANDBOXES && is_to_pause {
        api.delete(&PODS.path(namespace, name)).await;
        if phase != "Paused" && api.get(&PODS.path(namespace, name)).await.is_none() {
            tell(api, namespace, kind, sandbox, &json!({"status": {"phase": "Paused", "ready": 0, "allocated": 0}}))
                .await;
        }
        return;
    }
    let Some(seen) = api.get(&PODS.path(namespace, name)).await else {
        // 403 until the namespace has its service account.
        match api.send("POST", &path, Some(("application/json", &pod))).await {
            Ok(_) | Err(403 | 409) => return,
            Err(code) => panic!("POST {path}: {code}: {pod}"),
        }
    };
    let Some(ip) = seen["status"]["podIP"].as_str().filter(|_| seen["status"]["phase"] == "Running") else { return };
    let change = Operator::ready(kind, sandbox, ip);
    if sandbox["status"].is_null() || phase == "Paused" {
        tell(api, namespace, kind, sandbox, &change).await;
    }
}

async fn tell(api: &Api, namespace: &str, kind: &Resource, sandbox: &Value, change: &Value) {
    let own = kind.path(namespace, sandbox["metadata"]["name"].as_str().unwrap());
    // The main path leaves the status out, the other everything else.
    api.patch(&own, change).await;
    api.patch(&format!("{own}/status"), change).await;
}

/// Takes away what brings execd into a pod, and what starts it.
fn without_execd(spec: &mut Value) {
    if spec["initContainers"][0]["name"] == "execd-installer" {
        spec["initContainers"].as_array_mut().unwrap().remove(0);
    }
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        if container["command"][0] == "/opt/opensandbox/bootstrap.sh" {
            container["command"].as_array_mut().unwrap().remove(0);
        }
    }
}
