//! The metadata of an object, without what the gateway does not read: above all `managedFields`, half of an object's size.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};

use super::lenient;

/// The end of the prefixes of those annotations that are kept. Others may be of any size, such as what `kubectl apply` writes.
const KEPT: &str = "opensandbox.io";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default, deserialize_with = "lenient::read")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    namespace: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    uid: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    resource_version: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    creation_timestamp: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "lenient::read")]
    deletion_timestamp: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "lenient::read")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient::read")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient::read")]
    finalizers: Vec<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    #[serde(default, deserialize_with = "lenient::read")]
    api_version: String,
    #[serde(default, deserialize_with = "lenient::read")]
    kind: String,
    #[serde(default, deserialize_with = "lenient::read")]
    name: String,
    #[serde(default, deserialize_with = "lenient::read")]
    uid: String,
    #[serde(default, deserialize_with = "lenient::read")]
    controller: Option<bool>,
}

lenient::from_object!(Meta, Owner);

/// Reads an object's metadata (`deserialize_with`).
pub(super) fn read<'de, D: Deserializer<'de>>(metadata: D) -> Result<ObjectMeta, D::Error> {
    let mut meta: Meta = lenient::read(metadata)?;
    meta.annotations.retain(|key, _| is_kept(key));
    let owner = |Owner { api_version, kind, name, uid, controller }| OwnerReference {
        api_version,
        kind,
        name,
        uid,
        controller,
        block_owner_deletion: None,
    };
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        creation_timestamp: meta.creation_timestamp.map(Time),
        deletion_timestamp: meta.deletion_timestamp.map(Time),
        labels: some(meta.labels, BTreeMap::is_empty),
        annotations: some(meta.annotations, BTreeMap::is_empty),
        finalizers: some(meta.finalizers, Vec::is_empty),
        owner_references: some(meta.owner_references.into_iter().map(owner).collect(), Vec::is_empty),
        ..ObjectMeta::default()
    })
}

fn is_kept(key: &str) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    prefix.and_then(|prefix| prefix.strip_suffix(KEPT)).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn some<T>(value: T, is_empty: impl Fn(&T) -> bool) -> Option<T> {
    if is_empty(&value) { None } else { Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_is_kept() {
        let text = r#"{
            "name": "a", "namespace": "osb", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-11-26T13:08:58Z", "deletionTimestamp": null,
            "labels": {"opensandbox.io/id": "a"}, "finalizers": ["x/y"],
            "annotations": {"sandbox.opensandbox.io/endpoints": "[]", "opensandbox.io/a": "b", "notopensandbox.io/a": "b",
                            "kubectl.kubernetes.io/last-applied-configuration": "{}", "plain": "b"},
            "managedFields": [{"manager": "m", "fieldsV1": {"f:metadata": {}}}],
            "ownerReferences": [{"apiVersion": "v", "kind": "K", "name": "n", "uid": "o", "controller": true, "blockOwnerDeletion": true}]
        }"#;
        let meta = read(&mut serde_json::Deserializer::from_str(text)).unwrap();
        let annotations: Vec<_> = meta.annotations.unwrap().into_keys().collect();
        assert_eq!(annotations, ["opensandbox.io/a", "sandbox.opensandbox.io/endpoints"]);
        assert_eq!(meta.creation_timestamp.unwrap().0.to_string(), "2026-11-26T13:08:58Z");
        assert_eq!((meta.deletion_timestamp, meta.managed_fields), (None, None));
        assert_eq!(meta.owner_references.unwrap()[0].uid, "o");
    }
}
