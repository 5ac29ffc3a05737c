//! A small operator with a scheduler and a kubelet: makes running pods of sandboxes (kubernetes-api.md §12).

use serde_json::{Value, json};

use super::{
    objects, patch,
    resource::{AGENT_SANDBOXES, BATCH_SANDBOXES, PODS, Resource},
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
}

impl Default for Operator {
    fn default() -> Self {
        Self { ip: "127.0.0.1".to_owned(), node: "node1".to_owned() }
    }
}

impl Operator {
    /// Makes what is missing. What cannot be made, as a pod over the quota, is left for the next time.
    pub(super) fn reconcile(&self, store: &mut Store) {
        for resource in [&BATCH_SANDBOXES, &AGENT_SANDBOXES] {
            for (key, sandbox) in store.all(resource, "") {
                let is_ended = !sandbox["metadata"]["deletionTimestamp"].is_null();
                if !is_ended && !is_ready(resource, &sandbox) {
                    self.make(store, resource, &key, &sandbox);
                }
            }
        }
    }

    fn make(&self, store: &mut Store, resource: &'static Resource, key: &Key, sandbox: &Object) {
        let Some(pod) = Self::pod_of(resource, sandbox) else { return };
        let pod_key = Key::new(&key.namespace, pod["metadata"]["name"].as_str().unwrap_or_default());
        if store.get(&PODS, &pod_key).is_none() {
            let options = Options { manager: "operator".to_owned(), ..Options::default() };
            if store.create(&PODS, &key.namespace, pod, &options).is_err() {
                return;
            }
            run(store, &pod_key, &self.ip, &self.node);
        }
        write(store, resource, key, &Self::ready(resource, sandbox, &self.ip));
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

fn is_ready(resource: &Resource, sandbox: &Value) -> bool {
    let status = &sandbox["status"];
    if resource == &BATCH_SANDBOXES { !status["phase"].is_null() } else { !status["conditions"].is_null() }
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
