//! A small operator with a scheduler and a kubelet: makes running pods of sandboxes (kubernetes-api.md §12), or pods that will not
//! run.

mod pausing;
mod snapshots;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub use self::snapshots::Snapshots;
use super::{
    lock, objects, patch,
    resource::{AGENT_SANDBOXES, BATCH_SANDBOXES, EVENTS, PODS, POOLS, Resource, SNAPSHOTS},
    store::{Key, Object, Store},
    write::{Options, Part, PatchKind},
};

/// What the operator gives its pods.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The address of every pod.
    pub ip: String,
    /// Where they run.
    pub node: String,
    /// What becomes of them.
    pub outcome: Outcome,
    /// When a sandbox was first seen, by its UID; empty at first.
    pub seen: Arc<Mutex<HashMap<String, Instant>>>,
    /// What becomes of snapshots.
    pub snapshots: Snapshots,
}

/// What becomes of a sandbox.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is ready this long after it was created.
    Ready(Duration),
    /// Its pod is not scheduled, with the scheduler's words.
    Unschedulable(String),
    /// A container of its pod waits, for this reason and with these words: the sandbox's, or the one that puts execd into it.
    Waits {
        /// Whether it is that for execd.
        is_init: bool,
        /// Such as `ImagePullBackOff`.
        reason: &'static str,
        /// The kubelet's words.
        message: &'static str,
    },
    /// The operator says that it failed, in these words.
    Failed(&'static str),
    /// Its pool has no room, in these words.
    NoRoom(&'static str),
}

impl Default for Operator {
    fn default() -> Self {
        let outcome = Outcome::Ready(Duration::ZERO);
        let (ip, node) = ("127.0.0.1".to_owned(), "node1".to_owned());
        Self { ip, node, outcome, seen: Arc::default(), snapshots: Snapshots::Succeed }
    }
}

impl Operator {
    /// The same with another outcome.
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, ..Self::default() }
    }

    /// Makes what is missing, and says when there is more to do. What cannot be made, as a pod over the quota, is left for the next
    /// time, and an event tells why.
    pub(super) fn reconcile(&self, store: &mut Store) -> Option<Instant> {
        let mut due = None::<Instant>;
        for resource in [&BATCH_SANDBOXES, &AGENT_SANDBOXES] {
            for (key, sandbox) in store.all(resource, "") {
                let is_ended = !sandbox["metadata"]["deletionTimestamp"].is_null();
                if is_ended {
                    continue;
                }
                if is_done(resource, &sandbox) {
                    pausing::step(self, store, resource, &key, &sandbox);
                } else {
                    let later = self.make(store, resource, &key, &sandbox);
                    due = [due, later].into_iter().flatten().min();
                }
            }
        }
        for (key, snapshot) in store.all(&SNAPSHOTS, "") {
            snapshots::step(&self.snapshots, store, &key, &snapshot);
        }
        for (key, pool) in store.all(&POOLS, "") {
            if pool["status"].is_null() {
                let least = &pool["spec"]["capacitySpec"]["poolMin"];
                let status = json!({"total": least, "allocated": 0, "available": least, "revision": "r1"});
                write(store, &POOLS, &key, &json!({"status": status}));
            }
        }
        due
    }

    fn make(&self, store: &mut Store, resource: &'static Resource, key: &Key, sandbox: &Object) -> Option<Instant> {
        let pod = Self::pod_of(resource, sandbox);
        let is_pooled = !sandbox["spec"]["poolRef"].is_null();
        if pod.is_none() && !is_pooled {
            return None;
        }
        let name = pod.as_ref().and_then(|pod| pod["metadata"]["name"].as_str()).unwrap_or_default();
        let pod_key = Key::new(&key.namespace, name);
        if let Some(pod) = pod
            && store.get(&PODS, &pod_key).is_none()
        {
            let options = Options { manager: "operator".to_owned(), ..Options::default() };
            let shown = pod.to_string();
            if let Err(failure) = store.create(&PODS, &key.namespace, pod, &options) {
                let why = format!("failed to create pod: {}, pod: {shown}", failure.message);
                warn(store, resource, key, sandbox, &why);
                return None;
            }
        }
        let told = |message: &str| json!([{"type": "PodFailed", "status": "True", "message": message}]);
        match &self.outcome {
            Outcome::Ready(delay) => {
                let uid = sandbox["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                let due = *lock(&self.seen).entry(uid).or_insert_with(Instant::now) + *delay;
                if Instant::now() < due {
                    return Some(due);
                }
                if !is_pooled {
                    run(store, &pod_key, &self.ip, &self.node);
                }
                write(store, resource, key, &Self::ready(resource, sandbox, &self.ip));
            }
            Outcome::Unschedulable(message) => {
                let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": message, "lastTransitionTime": objects::now()}]);
                once(store, &PODS, &pod_key, "conditions", &json!({"status": {"conditions": condition}}));
            }
            Outcome::Waits { is_init, reason, message } => {
                let (list, container) = if *is_init {
                    ("initContainerStatuses", "execd-installer")
                } else {
                    ("containerStatuses", "sandbox")
                };
                let status = json!([{"name": container, "ready": false, "restartCount": 0, "image": "x", "imageID": "",
                    "state": {"waiting": {"reason": reason, "message": message}}, "lastState": {}}]);
                let patch = json!({"spec": {"nodeName": self.node}, "status": {list: status}});
                once(store, &PODS, &pod_key, list, &patch);
            }
            Outcome::Failed(message) => write(store, resource, key, &batch_status("Failed", &told(message))),
            Outcome::NoRoom(message) => {
                let waiting = json!([{"type": "PoolAllocationPending", "status": "True", "message": message}]);
                once(store, resource, key, "conditions", &batch_status("Pending", &waiting));
            }
        }
        None
    }

    /// The pod of a sandbox; none of one without a template.
    pub fn pod_of(resource: &Resource, sandbox: &Value) -> Option<Value> {
        let is_batch = resource == &BATCH_SANDBOXES;
        let template = &sandbox["spec"][if is_batch { "template" } else { "podTemplate" }];
        if template["spec"].is_null() {
            return None;
        }
        let own = sandbox["metadata"]["name"].as_str().unwrap_or_default();
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        if pod["metadata"].is_null() {
            pod["metadata"] = json!({});
        }
        let metadata = &mut pod["metadata"];
        metadata["name"] = if is_batch { format!("{own}-0") } else { own.to_owned() }.into();
        if is_batch {
            metadata["labels"]["batch-sandbox.sandbox.opensandbox.io/name"] = own.into();
            metadata["labels"]["batch-sandbox.sandbox.opensandbox.io/pod-index"] = "0".into();
        }
        metadata["ownerReferences"] = json!([{"apiVersion": resource.api_version(), "kind": resource.kind,
            "name": own, "uid": sandbox["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]);
        Some(pod)
    }

    /// What the operator writes into a sandbox whose pod runs with this address.
    pub fn ready(resource: &Resource, sandbox: &Value, ip: &str) -> Value {
        if resource == &BATCH_SANDBOXES {
            return json!({"metadata": {"annotations": {"sandbox.opensandbox.io/endpoints": json!([ip]).to_string()}},
                "status": {"phase": "Succeed", "replicas": 1, "allocated": 1, "ready": 1, "taskRunning": 0,
                    "taskSucceed": 0, "taskFailed": 0, "taskPending": 0, "taskUnknown": 0}});
        }
        let [name, namespace] =
            ["name", "namespace"].map(|part| sandbox["metadata"][part].as_str().unwrap_or_default());
        json!({"status": {"replicas": 1, "podIPs": [ip], "service": name,
            "serviceFQDN": format!("{name}.{namespace}.svc.cluster.local"),
            "conditions": [{"type": "Ready", "status": "True", "reason": "DependenciesReady",
                "message": "Pod is Ready; Service Exists", "lastTransitionTime": objects::now()}]}})
    }
}

/// Whether nothing more becomes of a sandbox.
fn is_done(resource: &Resource, sandbox: &Value) -> bool {
    let status = &sandbox["status"];
    if resource == &BATCH_SANDBOXES {
        !status["phase"].is_null() && status["phase"] != "Pending"
    } else {
        !status["conditions"].is_null()
    }
}

/// The status of a BatchSandbox that is not ready.
fn batch_status(phase: &str, conditions: &Value) -> Value {
    json!({"status": {"phase": phase, "conditions": conditions, "replicas": 1, "allocated": 0, "ready": 0, "taskRunning": 0,
        "taskSucceed": 0, "taskFailed": 0, "taskPending": 0, "taskUnknown": 0}})
}

/// Says in an event that there can be no pod; once, since what is written is looked at again.
fn warn(store: &mut Store, resource: &'static Resource, key: &Key, sandbox: &Object, why: &str) {
    let name = format!("{}.18b0c2d6f7a1", key.name);
    if store.get(&EVENTS, &Key::new(&key.namespace, &name)).is_some() {
        return;
    }
    let now = objects::now();
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": key.namespace},
        "involvedObject": {"apiVersion": resource.api_version(), "kind": resource.kind, "namespace": key.namespace,
            "name": key.name, "uid": sandbox["metadata"]["uid"]},
        "type": "Warning", "reason": "FailedCreate", "message": &why[..why.floor_char_boundary(1024)], "count": 1,
        "source": {"component": "batchsandbox-controller"}, "firstTimestamp": now, "lastTimestamp": now});
    let options = Options { manager: "operator".to_owned(), ..Options::default() };
    store.create(&EVENTS, &key.namespace, event, &options).expect("an event has no quota");
}

/// Writes it unless this part of the status is there.
fn once(store: &mut Store, resource: &'static Resource, key: &Key, part: &str, patch: &Value) {
    if store.get(resource, key).is_some_and(|object| object["status"][part].is_null()) {
        write(store, resource, key, patch);
    }
}

fn write(store: &mut Store, resource: &'static Resource, key: &Key, patch: &Value) {
    let options = Options { manager: "operator".to_owned(), ..Options::default() };
    store.patch(resource, key, Part::Whole, (PatchKind::Merge, patch), &options).expect("it was there a moment ago");
}

/// Binds the pod to a node and gives it the status of one whose containers all run.
pub(super) fn run(store: &mut Store, key: &Key, ip: &str, node: &str) {
    let Some(pod) = store.get(&PODS, key) else { return };
    let now = objects::now();
    let id = || {
        let [one, two] = [(); 2].map(|()| uuid::Uuid::new_v4().simple().to_string());
        format!("containerd://{one}{two}")
    };
    let statuses = |list: &str, state: &dyn Fn(&str) -> Value| -> Vec<Value> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        let status = |container: &Value| {
            let id = id();
            json!({"name": container["name"], "state": state(&id), "lastState": {}, "ready": true, "restartCount": 0,
                "image": container["image"], "imageID": "sha256:b505d32bb2efbc09c03e2526eced8f7134bfd841537d45701e64ee5dc90c5448",
                "containerID": id, "started": true})
        };
        containers.map(status).collect()
    };
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let done = |id: &str| json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now, "containerID": id}});
    let mut status = json!({"phase": "Running", "conditions": conditions.map(condition), "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}], "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now, "qosClass": "BestEffort"});
    let inits = statuses("initContainers", &done);
    if !inits.is_empty() {
        status["initContainerStatuses"] = inits.into();
    }
    status["containerStatuses"] = statuses("containers", &|_| json!({"running": {"startedAt": now}})).into();
    let mut patch = json!({"spec": {"nodeName": node}});
    patch::merge(&mut patch["status"], &status);
    write(store, &PODS, key, &patch);
}
