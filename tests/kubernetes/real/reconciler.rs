//! A small operator for a namespace of a real cluster: makes a pod of each sandbox and tells the pod's state in the sandbox's
//! status. The cluster's own controllers do the rest, such as the removal of a pod whose sandbox is gone.

use std::time::Duration;

use serde_json::Value;

use super::{api::Api, crds::kinds};
use crate::support::kube::{Operator, Resource, resource::PODS};

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
    let Some(pod) = Operator::pod_of(kind, sandbox) else { return };
    let (path, name) = (PODS.path(namespace, ""), pod["metadata"]["name"].as_str().unwrap());
    let Some(seen) = api.get(&PODS.path(namespace, name)).await else {
        // 403 until the namespace has its service account.
        match api.send("POST", &path, Some(("application/json", &pod))).await {
            Ok(_) | Err(403 | 409) => return,
            Err(code) => panic!("POST {path}: {code}: {pod}"),
        }
    };
    let Some(ip) = seen["status"]["podIP"].as_str().filter(|_| seen["status"]["phase"] == "Running") else { return };
    let change = Operator::ready(kind, sandbox, ip);
    if sandbox["status"].is_null() {
        let own = kind.path(namespace, sandbox["metadata"]["name"].as_str().unwrap());
        // The main path leaves the status out, the other everything else.
        api.patch(&own, &change).await;
        api.patch(&format!("{own}/status"), &change).await;
    }
}
