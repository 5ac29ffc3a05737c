//! What the API server adds to an object, and the order in which it shows its keys.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};

use super::resource::Resource;

/// Now, in whole seconds as in `creationTimestamp`.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The end of a generated name.
pub(super) fn random_suffix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut number = uuid::Uuid::new_v4().as_u128() ^ u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    let letter = |_| {
        let letter = LETTERS[(number % 27) as usize];
        number /= 27;
        char::from(letter)
    };
    (0..5).map(letter).collect()
}

/// `object` as its kind shows it: custom ones with sorted keys, others in the order of their Go structs. Null members of the latter
/// are dropped as an encoder of structs does.
pub(super) fn ordered(resource: &Resource, mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, value| !is_empty(value) || !METADATA_LISTS.contains(&key.as_str()));
    }
    if resource.custom {
        object.sort_all_objects();
        return object;
    }
    drop_nulls(&mut object, resource.kind == "Event");
    first(&mut object, &["kind", "apiVersion", "metadata", "spec", "status"]);
    first(&mut object["metadata"], &METADATA);
    for key in ["labels", "annotations"] {
        if let Some(map) = object["metadata"].get_mut(key).and_then(Value::as_object_mut) {
            map.sort_keys();
        }
    }
    if resource.kind == "Pod" {
        first(&mut object["spec"], &POD_SPEC);
        for list in ["initContainers", "containers"] {
            let containers = object["spec"].get_mut(list).and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(|container| first(container, &CONTAINER));
        }
    }
    object
}

/// Puts these keys first.
fn first(object: &mut Value, keys: &[&str]) {
    let Some(map) = object.as_object_mut() else { return };
    let mut ordered = Map::new();
    for key in keys {
        if let Some(value) = map.shift_remove(*key) {
            ordered.insert((*key).to_owned(), value);
        }
    }
    ordered.append(map);
    *map = ordered;
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Members of the metadata that are not shown when they are empty.
const METADATA_LISTS: [&str; 5] = ["labels", "annotations", "ownerReferences", "finalizers", "managedFields"];

const METADATA: [&str; 14] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

const POD_SPEC: [&str; 20] = [
    "volumes",
    "initContainers",
    "containers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "nodeName",
    "securityContext",
    "imagePullSecrets",
    "affinity",
    "schedulerName",
    "tolerations",
    "priority",
    "runtimeClassName",
    "enableServiceLinks",
    "preemptionPolicy",
];

const CONTAINER: [&str; 12] = [
    "name",
    "image",
    "command",
    "args",
    "ports",
    "env",
    "resources",
    "volumeMounts",
    "readinessProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
];

fn drop_nulls(value: &mut Value, is_event: bool) {
    match value {
        Value::Object(map) => {
            // Times of an event and of a condition are shown as null.
            map.retain(|key, value| {
                !value.is_null()
                    || key == "lastProbeTime"
                    || is_event && (key.ends_with("Timestamp") || key == "eventTime")
            });
            map.values_mut().for_each(|value| drop_nulls(value, is_event));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| drop_nulls(value, is_event)),
        _ => {}
    }
}

/// The same without what a list of a built-in kind leaves out (L1).
pub(super) fn list_item(resource: &Resource, object: &Value) -> Value {
    let mut object = object.clone();
    if !resource.custom
        && let Some(map) = object.as_object_mut()
    {
        map.shift_remove("kind");
        map.shift_remove("apiVersion");
    }
    object
}

/// Fills in what the API server does where a new object says nothing.
pub(super) fn set_defaults(resource: &Resource, object: &mut Value) {
    match resource.kind {
        "BatchSandbox" => {
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                spec.entry("taskResourcePolicyWhenCompleted").or_insert_with(|| "Retain".into());
            }
        }
        "Pod" => pod_defaults(object),
        "PersistentVolumeClaim" => {
            default(&mut object["spec"], "volumeMode", "Filesystem".into());
            object["status"] = json!({"phase": "Pending"});
        }
        "Secret" => {
            default(object, "type", "Opaque".into());
            let plain = object.as_object_mut().and_then(|map| map.shift_remove("stringData"));
            for (key, value) in plain.iter().flat_map(|plain| plain.as_object()).flatten() {
                use base64::{Engine, engine::general_purpose::STANDARD};
                object["data"][key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
            }
        }
        "Namespace" => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
            default(object, "spec", json!({"finalizers": ["kubernetes"]}));
            object["status"] = json!({"phase": "Active"});
        }
        _ => {}
    }
}

fn default(object: &mut Value, key: &str, value: Value) {
    if object.get(key).is_none_or(Value::is_null) {
        object[key] = value;
    }
}

fn pod_defaults(pod: &mut Value) {
    let spec = &mut pod["spec"];
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            default(container, "resources", json!({}));
            default(container, "terminationMessagePath", "/dev/termination-log".into());
            default(container, "terminationMessagePolicy", "File".into());
            default(container, "imagePullPolicy", "IfNotPresent".into());
        }
    }
    let toleration = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("serviceAccountName", json!("default")),
        ("serviceAccount", json!("default")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
        ("tolerations", json!([toleration("not-ready"), toleration("unreachable")])),
        ("priority", json!(0)),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        default(spec, key, value);
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
}
