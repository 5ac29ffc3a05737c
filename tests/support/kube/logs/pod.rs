//! Pod objects as the kubelet reports them, as far as a reader of their logs looks at them.

use serde_json::{Value, json};

use super::{Container, NODE};

/// A pod object that is being made; it is bound to [`NODE`].
#[derive(Debug, Clone)]
pub struct PodObject(Value);

/// What a pod's status says of one container.
#[derive(Debug, Clone)]
pub struct Status {
    state: Value,
    last: Value,
    id: String,
    restarts: u64,
}

impl Status {
    fn new(state: Value, id: &str) -> Self {
        Self { state, last: json!({}), id: id.to_owned(), restarts: 0 }
    }

    /// It waits for a start, for this reason.
    pub fn waiting(reason: &str) -> Self {
        Self::new(json!({"waiting": {"reason": reason}}), "")
    }

    /// The instance runs.
    pub fn running(container: &Container) -> Self {
        Self::new(json!({"running": {"startedAt": now()}}), container.id())
    }

    /// The instance has ended.
    pub fn terminated(container: &Container, code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Self::terminated_by(container, code, reason)
    }

    /// The instance has ended for a reason such as `OOMKilled` or `StartError`.
    pub fn terminated_by(container: &Container, code: i32, reason: &str) -> Self {
        Self::new(json!({"terminated": end(container, code, reason)}), container.id())
    }

    /// An instance before this one ended so; it counts as a restart.
    pub fn after(mut self, container: &Container, code: i32) -> Self {
        self.last = json!({"terminated": end(container, code, if code == 0 { "Completed" } else { "Error" })});
        self.restarts += 1;
        if self.id.is_empty() {
            container.id().clone_into(&mut self.id);
        }
        self
    }

    /// Sets the restart count.
    pub fn restarts(mut self, count: u64) -> Self {
        self.restarts = count;
        self
    }

    fn json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "state": self.state,
            "lastState": self.last,
            "ready": !self.state["running"].is_null(),
            "restartCount": self.restarts,
            "image": "example.test/image:1",
            "imageID": "",
            "containerID": self.id,
            "started": !self.state["running"].is_null(),
        })
    }
}

fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}

fn end(container: &Container, code: i32, reason: &str) -> Value {
    json!({
        "exitCode": code,
        "reason": reason,
        "startedAt": now(),
        "finishedAt": now(),
        "containerID": container.id(),
    })
}

impl PodObject {
    /// A pod without containers, with a UID of its own.
    pub fn new(namespace: &str, name: &str) -> Self {
        let uid = uuid::Uuid::new_v4().to_string();
        Self(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": now(), "labels": {}},
            "spec": {"nodeName": NODE, "restartPolicy": "Always", "containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}]},
        }))
    }

    /// Adds a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][name] = value.into();
        self
    }

    /// Binds it to another node, or to none.
    pub fn node(mut self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.0["spec"]["nodeName"] = name.into(),
            None => {
                self.0["spec"].as_object_mut().expect("an object").remove("nodeName");
                self.0["status"] = json!({"phase": "Pending"});
            }
        }
        self
    }

    /// Sets the phase.
    pub fn phase(mut self, phase: &str) -> Self {
        self.0["status"]["phase"] = phase.into();
        self
    }

    /// Adds a regular container of which the status says this.
    pub fn container(self, name: &str, status: &Status) -> Self {
        self.with("containers", "containerStatuses", name, Some(status))
    }

    /// Adds a regular container of which the status says nothing yet.
    pub fn unreported(self, name: &str) -> Self {
        self.with("containers", "containerStatuses", name, None)
    }

    /// Adds an init container.
    pub fn init(self, name: &str, status: &Status) -> Self {
        self.with("initContainers", "initContainerStatuses", name, Some(status))
    }

    /// Adds an ephemeral container.
    pub fn ephemeral(self, name: &str, status: &Status) -> Self {
        self.with("ephemeralContainers", "ephemeralContainerStatuses", name, Some(status))
    }

    fn with(mut self, list: &str, statuses: &str, name: &str, status: Option<&Status>) -> Self {
        push(&mut self.0["spec"][list], json!({"name": name, "image": "example.test/image:1"}));
        if let Some(status) = status {
            push(&mut self.0["status"][statuses], status.json(name));
        }
        self
    }

    /// The object.
    pub fn json(&self) -> Value {
        self.0.clone()
    }
}

fn push(list: &mut Value, item: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().expect("a list").push(item);
}

/// Sets what a pod object says of one of its containers.
///
/// # Panics
///
/// If it has no status of that name.
pub fn set_status(pod: &mut Value, container: &str, status: &Status) {
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        let known = pod["status"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        if let Some(found) = known.into_iter().find(|known| known["name"] == container) {
            *found = status.json(container);
            return;
        }
    }
    panic!("the pod has no container {container}");
}
