//! What `deploy/` gives a cluster: the plain manifests and the Helm chart, against what Kubernetes knows and what the gateway
//! needs. `tests/kubernetes/rbac.rs` has the roles, and `tests/gateway/image.rs` the image.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

mod chart;
mod install;
mod manifests;
mod schema;

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

/// The objects of YAML documents, each as JSON. A key that stands twice is refused.
fn objects(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml)
        .map(|document| serde_yaml_ng::Value::deserialize(document).expect("it is YAML"));
    let objects = documents.map(|document| serde_json::to_value(document).expect("its keys are texts"));
    // A document that has only comments.
    objects.filter(|object| !object.is_null()).collect()
}

/// The objects of a folder below `deploy/kubernetes`.
fn plain(folder: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(folder);
    let mut files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.into_iter().filter(|file| file.is_file()).map(|file| fs::read_to_string(file).unwrap());
    texts.flat_map(|text| objects(&text)).collect()
}

/// The objects of `deploy/kubernetes` with those of a variant in place of their likes.
fn variant(folder: &str) -> Vec<Value> {
    let of_variant = plain(folder);
    let place = |object: &Value| (object["kind"].clone(), object["metadata"]["name"].clone());
    // Other roles, not more of them.
    let roles = ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
    let has_roles = of_variant.iter().any(|object| roles.contains(&text(&object["kind"])));
    let is_replaced = |object: &Value| {
        of_variant.iter().any(|other| place(other) == place(object))
            || has_roles && roles.contains(&text(&object["kind"]))
    };
    let mut all: Vec<_> = plain("").into_iter().filter(|object| !is_replaced(object)).collect();
    all.extend(of_variant);
    all
}

/// A text, or an empty one.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The members of a list, or none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The only object of a kind.
fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there is more than one {kind}");
    first
}
