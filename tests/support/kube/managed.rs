//! `managedFields`: who wrote which field.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{objects::now, resource::Resource};

/// What admission fills into a pod; nobody's field.
const ADMITTED: [&str; 5] = ["preemptionPolicy", "priority", "serviceAccount", "serviceAccountName", "tolerations"];

/// Notes in `managedFields` that `manager` wrote the object, or its status.
pub(super) fn manage(resource: &Resource, object: &mut Value, manager: &str, is_status: bool) {
    let set = if is_status { json!({"f:status": fields(&object["status"])}) } else { main(resource, object) };
    let mut entry = json!({"manager": manager, "operation": "Update", "apiVersion": resource.api_version(),
        "time": now(), "fieldsType": "FieldsV1", "fieldsV1": set});
    if is_status {
        entry["subresource"] = "status".into();
    }
    let metadata = &mut object["metadata"];
    let mut entries = metadata["managedFields"].as_array().cloned().unwrap_or_default();
    entries.retain(|one| one["manager"] != manager || one.get("subresource").is_some() != is_status);
    entries.push(entry);
    metadata["managedFields"] = entries.into();
}

fn main(resource: &Resource, object: &Value) -> Value {
    let mut all = Map::new();
    let mut metadata = Map::new();
    for (key, item) in
        [("annotations", None), ("finalizers", Some("")), ("labels", None), ("ownerReferences", Some("uid"))]
    {
        let value = object["metadata"].get(key).filter(|value| **value != json!({}) && **value != json!([]));
        match (value, item) {
            (None, _) => {}
            (Some(value), None) => drop(metadata.insert(format!("f:{key}"), fields(value))),
            (Some(value), Some(item)) => drop(metadata.insert(format!("f:{key}"), items(value, item))),
        }
    }
    if !metadata.is_empty() {
        all.insert("f:metadata".to_owned(), metadata.into());
    }
    if let Some(spec) = object.get("spec") {
        let spec = if resource.kind == "Pod" { pod(spec) } else { fields(spec) };
        all.insert("f:spec".to_owned(), spec);
    }
    all.into()
}

fn pod(spec: &Value) -> Value {
    let mut set = fields(spec);
    let Some(map) = set.as_object_mut() else { return set };
    map.shift_remove(".");
    for key in ADMITTED {
        map.shift_remove(&format!("f:{key}"));
    }
    for list in ["initContainers", "containers"] {
        if let Some(containers) = spec.get(list) {
            let mut set = items(containers, "name");
            if let Some(set) = set.as_object_mut().filter(|set| set.len() > 1) {
                set.shift_remove(".");
            }
            map.insert(format!("f:{list}"), set);
        }
    }
    set
}

fn fields(value: &Value) -> Value {
    let Some(map) = value.as_object().filter(|map| !map.is_empty()) else { return json!({}) };
    let mut all = BTreeMap::from([(".".to_owned(), json!({}))]);
    all.extend(map.iter().map(|(key, value)| (format!("f:{key}"), fields(value))));
    all.into_iter().collect::<Map<_, _>>().into()
}

/// The items of a list by this key of theirs, or by themselves if it is empty.
fn items(list: &Value, key: &str) -> Value {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut all = BTreeMap::from([(".".to_owned(), json!({}))]);
    all.extend(items.iter().map(|item| match key {
        "" => (format!("v:{item}"), json!({})),
        key => (format!("k:{}", json!({key: item[key]})), fields(item)),
    }));
    all.into_iter().collect::<Map<_, _>>().into()
}
