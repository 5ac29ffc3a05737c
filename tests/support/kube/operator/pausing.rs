//! Pausing and resuming: a sandbox's pod goes, and another one comes back. One state of it a look, so that each is seen.

use serde_json::{Value, json};

use super::{Operator, write};
use crate::support::kube::{
    objects,
    resource::{AGENT_SANDBOXES, BATCH_SANDBOXES, PODS, Resource},
    store::{Key, Object, Store},
};

/// Goes one step towards what a sandbox's specification wants.
pub(super) fn step(operator: &Operator, store: &mut Store, resource: &'static Resource, key: &Key, sandbox: &Object) {
    if resource == &BATCH_SANDBOXES {
        batch(operator, store, key, sandbox);
    } else {
        agent(operator, store, key, sandbox);
    }
}

fn batch(operator: &Operator, store: &mut Store, key: &Key, sandbox: &Object) {
    let mut to = |phase: &str| write(store, &BATCH_SANDBOXES, key, &json!({"status": {"phase": phase}}));
    match (sandbox["status"]["phase"].as_str(), sandbox["spec"]["pause"].as_bool()) {
        (Some("Succeed"), Some(true)) => to("Pausing"),
        (Some("Pausing"), _) => {
            remove_pod(store, key, &format!("{}-0", key.name));
            let gone = json!({"metadata": {"annotations": {"sandbox.opensandbox.io/endpoints": null}},
                "status": {"phase": "Paused", "allocated": 0, "ready": 0}});
            write(store, &BATCH_SANDBOXES, key, &gone);
        }
        (Some("Paused"), Some(false)) => to("Resuming"),
        (Some("Resuming"), _) => {
            operator.make(store, &BATCH_SANDBOXES, key, sandbox);
        }
        _ => {}
    }
}

fn agent(operator: &Operator, store: &mut Store, key: &Key, sandbox: &Object) {
    let conditions = sandbox["status"]["conditions"].as_array();
    let suspended = |condition: &Value| condition["type"] == "Suspended" && condition["status"] == "True";
    let is_suspended = conditions.into_iter().flatten().any(suspended);
    match (sandbox["spec"]["operatingMode"].as_str(), is_suspended) {
        (Some("Suspended"), false) => {
            remove_pod(store, key, &key.name);
            let told = json!({"status": {"podIPs": null, "conditions": [{"type": "Suspended", "status": "True",
                "reason": "PodTerminated", "message": "Sandbox is suspended", "lastTransitionTime": objects::now()}]}});
            write(store, &AGENT_SANDBOXES, key, &told);
        }
        (Some("Running"), true) => {
            operator.make(store, &AGENT_SANDBOXES, key, sandbox);
        }
        _ => {}
    }
}

fn remove_pod(store: &mut Store, key: &Key, name: &str) {
    if let Some(pod) = store.get(&PODS, &Key::new(&key.namespace, name)) {
        store.remove(&PODS, (*pod).clone());
    }
}
