//! The file that every sandbox's object begins from (kubernetes-runtime.md §4.7).
//!
//! What the gateway says goes over it: maps are merged, lists and single values of the gateway's replace the file's. Of the file's
//! pod, volumes are kept beside the gateway's, and of its container for the sandbox what it mounts and its security context.

use std::{collections::BTreeSet, path::Path};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::{
    config::WorkloadProvider,
    error::{Error, Family, Kind},
    regular_file,
    runtime::kubernetes::{
        objects::{MAIN_CONTAINER, WorkloadSpec},
        pod_templates,
    },
};

/// The longest file, in bytes: half of what the API server takes for an object.
const MAX_FILE: u64 = 768 * 1024;

/// Lists of patches, for one sandbox each of those that one object may be. The operator reads them when it makes that sandbox.
const PATCHES: [&str; 2] = ["shardPatches", "shardTaskPatches"];

/// A template, checked.
#[derive(Debug, Clone)]
pub(in crate::runtime::kubernetes) struct Template {
    object: Map<String, Value>,
    provider: WorkloadProvider,
}

/// Where the pods of an object are described.
pub(super) fn pods_member(provider: WorkloadProvider) -> &'static str {
    match provider {
        WorkloadProvider::BatchSandbox => "template",
        WorkloadProvider::AgentSandbox => "podTemplate",
    }
}

impl Template {
    /// Reads a file. Blocks.
    ///
    /// # Errors
    /// ([`Family::Startup`], [`Kind::Failed`]) if it is not there, or cannot be part of an object: of one whose pods it cannot
    /// decode, an operator can read no other any more (kubernetes-api.md §12).
    pub(in crate::runtime::kubernetes) fn read(path: &Path, provider: WorkloadProvider) -> Result<Self, Error> {
        let what = match provider {
            WorkloadProvider::BatchSandbox => "BatchSandbox template file",
            WorkloadProvider::AgentSandbox => "Agent sandbox template file",
        };
        let shown = path.display();
        let failed = |text: String| Error::new(Family::Startup, Kind::Failed, text);
        let text = regular_file::read(path, MAX_FILE).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(format!("{what} not found: {shown}")),
            _ => failed(format!("{what} {shown} cannot be read: {error}")),
        })?;
        let invalid = |why: &str| failed(format!("{what} {shown} is invalid: {why}"));
        let object: Value = serde_yaml_ng::from_slice(&text).map_err(|error| invalid(&error.to_string()))?;
        let Value::Object(object) = object else { return Err(invalid("it is no YAML object")) };
        let template = Self { object, provider };
        template.check().map_err(|why| invalid(&why))?;
        Ok(template)
    }

    /// Checks what an operator decodes of an object that begins from this: what is replaced in each does not count.
    fn check(&self) -> Result<(), String> {
        for member in ["metadata", "spec"] {
            if self.object.get(member).is_some_and(|value| !value.is_object() && !value.is_null()) {
                return Err(format!("`{member}` is no object"));
            }
        }
        let pods = pods_member(self.provider);
        let container = json!({"name": MAIN_CONTAINER, "volumeMounts": []});
        let pod = json!({"containers": [container], "initContainers": [], "volumes": []});
        let sample = self.merged(json!({"metadata": {}, "spec": {pods: {"metadata": {}, "spec": pod}}}), true);
        ObjectMeta::deserialize(&sample["metadata"]).map_err(|error| format!("metadata: {error}."))?;
        pod_templates::check(&sample["spec"][pods], &format!("spec.{pods}"))?;
        match self.provider {
            WorkloadProvider::BatchSandbox => check_rest(&sample["spec"]),
            // The cluster checks the rest of it.
            WorkloadProvider::AgentSandbox => Ok(()),
        }
    }

    fn pods(&self) -> Option<&Value> {
        self.object.get("spec")?.get(pods_member(self.provider))
    }

    fn pod(&self) -> Option<&Value> {
        self.pods()?.get("spec")
    }

    /// The pod as far as its platform is told by it.
    pub(super) fn workload(&self) -> WorkloadSpec {
        // Whatever is in it is read, so there is no error.
        self.pod().and_then(|pod| serde_json::from_value(pod.clone()).ok()).unwrap_or_default()
    }

    /// The names of its volumes.
    pub(super) fn volumes(&self) -> BTreeSet<&str> {
        items(self.pod(), "volumes").filter_map(|volume| volume["name"].as_str()).collect()
    }

    /// Where it mounts something in the sandbox.
    pub(super) fn mount_paths(&self) -> impl Iterator<Item = &str> {
        items(self.main(), "volumeMounts").filter_map(|mount| mount["mountPath"].as_str())
    }

    /// Whether its container for the sandbox may not gain rights. The API server takes no privileged container with that.
    pub(super) fn forbids_escalation(&self) -> bool {
        self.main().is_some_and(|main| main["securityContext"]["allowPrivilegeEscalation"] == false)
    }

    /// The container of that name, else the first.
    fn main(&self) -> Option<&Value> {
        let named = items(self.pod(), "containers").find(|container| container["name"] == MAIN_CONTAINER);
        named.or_else(|| items(self.pod(), "containers").next())
    }

    /// The object that is made of this and of what the gateway says. `has_expiry` if the sandbox ends by itself.
    pub(super) fn merged(&self, mut generated: Value, has_expiry: bool) -> Value {
        let pod = &mut generated["spec"][pods_member(self.provider)]["spec"];
        self.add_volumes(pod);
        self.add_pull_secrets(pod);
        self.add_to_main(pod);
        let mut object = Value::Object(self.object.clone());
        if !has_expiry && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.shift_remove(match self.provider {
                WorkloadProvider::BatchSandbox => "expireTime",
                WorkloadProvider::AgentSandbox => "shutdownTime",
            });
        }
        merge(&mut object, generated);
        object
    }

    fn add_volumes(&self, pod: &mut Value) {
        let Some(own) = pod["volumes"].as_array_mut() else { return };
        for volume in items(self.pod(), "volumes") {
            if own.iter().all(|other| other["name"] != volume["name"]) {
                own.push(volume.clone());
            }
        }
    }

    /// Those of a BatchSandbox are replaced by the request's.
    fn add_pull_secrets(&self, pod: &mut Value) {
        let own = pod.get_mut("imagePullSecrets").and_then(Value::as_array_mut);
        if let (Some(own), WorkloadProvider::AgentSandbox) = (own, self.provider) {
            let others = items(self.pod(), "imagePullSecrets").filter(|secret| !own.contains(secret));
            let all: Vec<_> = others.chain(own.iter()).cloned().collect();
            *own = all;
        }
    }

    fn add_to_main(&self, pod: &mut Value) {
        let (Some(file), Some(main)) = (self.main(), pod["containers"].get_mut(0)) else { return };
        if let Some(own) = main["volumeMounts"].as_array_mut() {
            for mount in items(Some(file), "volumeMounts") {
                if own.iter().all(|other| other["mountPath"] != mount["mountPath"]) {
                    own.push(mount.clone());
                }
            }
        }
        let Some(security) = file.get("securityContext").filter(|security| security.is_object()) else { return };
        let mut merged = security.clone();
        let own = main.get("securityContext").cloned().unwrap_or_default();
        let capabilities = united(&security["capabilities"], &own["capabilities"]);
        merge(&mut merged, own);
        if let Some(capabilities) = capabilities {
            merged["capabilities"] = capabilities;
        }
        main["securityContext"] = merged;
    }
}

/// Checks what else of a BatchSandbox the cluster takes as it comes (kubernetes-api.md §12).
fn check_rest(spec: &Value) -> Result<(), String> {
    match &spec["taskTemplate"] {
        Value::Null => {}
        task => pod_templates::check_task(task, "spec.taskTemplate")?,
    }
    for name in PATCHES {
        let patches = match &spec[name] {
            Value::Null => continue,
            Value::Array(patches) => patches,
            _ => return Err(format!("spec.{name} is no list.")),
        };
        for (at, patch) in patches.iter().enumerate() {
            let (patch, place) = (without_nulls(patch), format!("spec.{name}[{at}]"));
            match name {
                "shardPatches" => pod_templates::check(&patch, &place)?,
                _ => pod_templates::check_task(&patch, &place)?,
            }
        }
    }
    Ok(())
}

/// A patch without what it takes away.
fn without_nulls(patch: &Value) -> Value {
    match patch {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The capabilities of both. What the gateway takes away is not added by the file.
fn united(file: &Value, own: &Value) -> Option<Value> {
    if own.is_null() {
        return None;
    }
    let mut all = if file.is_object() { file.clone() } else { Value::Object(Map::new()) };
    for list in ["add", "drop"] {
        let kept =
            items(Some(file), list).filter(|name| list == "drop" || !items(Some(own), "drop").any(|it| it == *name));
        let mut names: Vec<Value> = kept.cloned().collect();
        for name in items(Some(own), list) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if !names.is_empty() {
            all[list] = names.into();
        } else if let Some(all) = all.as_object_mut() {
            all.shift_remove(list);
        }
    }
    Some(all)
}

/// The items of a list that may be of another type.
fn items<'a>(value: Option<&'a Value>, member: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.and_then(|value| value.get(member)).and_then(Value::as_array).into_iter().flatten()
}

/// Lays `over` over `base`. A null says nothing.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(base) => merge(base, value),
                    None if value.is_null() => {}
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests;
