//! The kinds of patches.

use serde_json::{Map, Value};

/// RFC 7396: null removes.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Map::new().into();
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made one").shift_remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// A strategic merge: as [`merge`], but lists whose items have a key are merged by it, and finalizers are a set.
pub(super) fn strategic(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = Map::new().into();
            }
            for (key, value) in patch {
                if value.is_null() {
                    target.as_object_mut().expect("made one").shift_remove(key);
                } else {
                    strategic(&mut target[key], value, key);
                }
            }
        }
        Value::Array(items) if field == "finalizers" => {
            let mut all = target.as_array().cloned().unwrap_or_default();
            all.extend(items.iter().filter(|item| !all.contains(item)).cloned().collect::<Vec<_>>());
            *target = all.into();
        }
        Value::Array(items) => match merge_key(field) {
            None => *target = patch.clone(),
            Some(merge_key) => {
                let mut all = target.as_array().cloned().unwrap_or_default();
                for item in items {
                    let at = all.iter().position(|one| one[merge_key] == item[merge_key]);
                    match (at, item["$patch"] == "delete") {
                        (Some(at), true) => drop(all.remove(at)),
                        (None, true) => {}
                        (Some(at), false) => strategic(&mut all[at], item, ""),
                        (None, false) => all.push(item.clone()),
                    }
                }
                *target = all.into();
            }
        },
        other => *target = other.clone(),
    }
}

fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" => {
            Some("name")
        }
        "containerStatuses" | "initContainerStatuses" => None,
        "ownerReferences" => Some("uid"),
        "conditions" => Some("type"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

/// RFC 6902. None if an operation fails.
pub(super) fn json_patch(target: &mut Value, patch: &Value) -> Option<()> {
    for operation in patch.as_array()? {
        let path = operation["path"].as_str()?;
        match operation["op"].as_str()? {
            "add" => add(target, path, operation.get("value")?.clone())?,
            "remove" => drop(remove(target, path)?),
            "replace" => *target.pointer_mut(path)? = operation.get("value")?.clone(),
            "test" => {
                if target.pointer(path) != operation.get("value") {
                    return None;
                }
            }
            "move" => {
                let value = remove(target, operation["from"].as_str()?)?;
                add(target, path, value)?;
            }
            "copy" => {
                let value = target.pointer(operation["from"].as_str()?)?.clone();
                add(target, path, value)?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    Some((parent, key.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(map) => drop(map.insert(key, value)),
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = key.parse().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(map) => map.shift_remove(&key),
        Value::Array(items) => key.parse().ok().filter(|at| *at < items.len()).map(|at| items.remove(at)),
        _ => None,
    }
}
