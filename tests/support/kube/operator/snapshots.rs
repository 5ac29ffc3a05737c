//! Snapshots: an image of each container of a sandbox that runs.

use serde_json::{Value, json};

use super::write;
use crate::support::kube::{
    resource::{BATCH_SANDBOXES, SNAPSHOTS},
    store::{Key, Object, Store},
};

/// How the operator's snapshots end.
#[derive(Debug, Clone, PartialEq)]
pub enum Snapshots {
    /// With an image of each container.
    Succeed,
    /// With this status.
    EndAs(Value),
    /// Never.
    Stay,
}

/// Goes one step on with a snapshot.
pub(super) fn step(ends: &Snapshots, store: &mut Store, key: &Key, snapshot: &Object) {
    let status = match (snapshot["status"]["phase"].as_str(), ends) {
        (None, _) => json!({"phase": "Committing"}),
        (Some("Committing"), Snapshots::EndAs(status)) => status.clone(),
        (Some("Committing"), Snapshots::Succeed) => succeeded(store, key, snapshot),
        _ => return,
    };
    write(store, &SNAPSHOTS, key, &json!({"status": status}));
}

fn succeeded(store: &Store, key: &Key, snapshot: &Object) -> Value {
    let source = snapshot["spec"]["sandboxName"].as_str().unwrap_or_default();
    let Some(sandbox) = store.get(&BATCH_SANDBOXES, &Key::new(&key.namespace, source)) else {
        return json!({"phase": "Failed", "conditions": [{"type": "Failed", "status": "True", "reason": "SandboxNotFound",
            "message": format!("BatchSandbox {source} not found")}]});
    };
    let containers = sandbox["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let image = |container: &Value| {
        let name = container["name"].as_str().unwrap_or_default();
        json!({"containerName": name, "imageUri": format!("registry.example/snapshots/{}:{name}", key.name)})
    };
    json!({"phase": "Succeed", "containers": containers.map(image).collect::<Vec<_>>()})
}
