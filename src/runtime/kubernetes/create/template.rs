//! The file that every sandbox's object begins from (kubernetes-runtime.md §4.7).
//!
//! What the gateway says goes over it: maps are merged, lists and single values of the gateway's replace the file's. Of the file's
//! pod, volumes are kept beside the gateway's, and of its container for the sandbox what it mounts and its security context.

use std::{collections::BTreeSet, path::Path};

use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    config::{WorkloadProvider, parse_quantity},
    error::{Error, Family, Kind},
    regular_file,
    runtime::kubernetes::objects::{MAIN_CONTAINER, WorkloadSpec},
};

/// The longest file, in bytes: half of what the API server takes for an object.
const MAX_FILE: u64 = 768 * 1024;

/// Members of a pod, at any depth, whose values are quantities.
const QUANTITIES: [&str; 2] = ["sizeLimit", "divisor"];

/// The same for maps of quantities.
const QUANTITY_MAPS: [&str; 3] = ["limits", "requests", "overhead"];

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
        decode::<ObjectMeta>(&sample["metadata"], "metadata")?;
        decode::<PodTemplateSpec>(&sample["spec"][pods], &format!("spec.{pods}"))?;
        items(sample.get("spec"), "shardPatches")
            .try_for_each(|patch| decode::<PodTemplateSpec>(patch, "spec.shardPatches"))
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

/// Checks that a part of an object is a `T`, with quantities that are such.
fn decode<T: DeserializeOwned>(value: &Value, place: &str) -> Result<(), String> {
    let mut value = value.clone();
    texts_of_quantities(&mut value)?;
    serde_json::from_value::<T>(value).map(drop).map_err(|error| format!("`{place}`: {error}"))
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

/// Checks all quantities, and makes texts of those that are numbers, as Kubernetes reads them.
fn texts_of_quantities(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(texts_of_quantities),
        Value::Object(members) => members.iter_mut().try_for_each(|(key, value)| match value {
            Value::Object(all) if QUANTITY_MAPS.contains(&key.as_str()) => {
                all.iter_mut().try_for_each(|(name, value)| as_quantity(&format!("{key}.{name}"), value))
            }
            Value::String(_) | Value::Number(_) if QUANTITIES.contains(&key.as_str()) => as_quantity(key, value),
            value => texts_of_quantities(value),
        }),
        _ => Ok(()),
    }
}

fn as_quantity(name: &str, value: &mut Value) -> Result<(), String> {
    if value.is_number() {
        *value = value.to_string().into();
    }
    match value.as_str().map(parse_quantity) {
        Some(Some(_)) => Ok(()),
        _ => Err(format!("`{name}`: {value} is no quantity such as 500m, 2 or 1Gi")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, provider: WorkloadProvider) -> Result<Template, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.yaml");
        std::fs::write(&path, text).unwrap();
        Template::read(&path, provider).map_err(|error| {
            assert_eq!(error.key(), (Family::Startup, Kind::Failed));
            error.message.replace(&path.display().to_string(), "FILE")
        })
    }

    fn batch(text: &str) -> Template {
        read(text, WorkloadProvider::BatchSandbox).unwrap()
    }

    #[test]
    fn a_file_that_cannot_be_used_ends_the_start() {
        let missing = Template::read(Path::new("/no/t.yaml"), WorkloadProvider::BatchSandbox).unwrap_err();
        assert_eq!(missing.message, "BatchSandbox template file not found: /no/t.yaml");
        let missing = Template::read(Path::new("/no/t.yaml"), WorkloadProvider::AgentSandbox).unwrap_err();
        assert_eq!(missing.message, "Agent sandbox template file not found: /no/t.yaml");
        for (text, why) in [
            ("- a", "it is no YAML object"),
            ("spec: x", "`spec` is no object"),
            ("metadata: []", "`metadata` is no object"),
            (
                "spec: {template: {spec: {terminationGracePeriodSeconds: soon}}}",
                "`spec.template`: invalid type: string \"soon\", expected i64",
            ),
            ("metadata: {labels: {a: 1}}", "`metadata`: invalid type: integer `1`, expected a string"),
            (
                "spec: {template: {metadata: {annotations: {a: yes, b: 2}}}}",
                "`spec.template`: invalid type: integer `2`, expected a string",
            ),
            (
                "spec: {shardPatches: [{spec: {containers: [{name: a, resources: {limits: {cpu: lots}}}]}}]}",
                "`limits.cpu`: \"lots\" is no quantity such as 500m, 2 or 1Gi",
            ),
            (
                "spec: {template: {spec: {volumes: [{name: a, emptyDir: {sizeLimit: 1GB}}]}}}",
                "`sizeLimit`: \"1GB\" is no quantity such as 500m, 2 or 1Gi",
            ),
            (
                "spec: {template: {spec: {overhead: {cpu: [1]}}}}",
                "`overhead.cpu`: [1] is no quantity such as 500m, 2 or 1Gi",
            ),
        ] {
            let found = read(text, WorkloadProvider::BatchSandbox).unwrap_err();
            assert_eq!(found, format!("BatchSandbox template file FILE is invalid: {why}"));
        }
        assert!(read("a: [", WorkloadProvider::BatchSandbox).is_err());
        assert!(read("a: 1\n---\nb: 2", WorkloadProvider::BatchSandbox).is_err());
        // Numbers are quantities too.
        batch("spec: {template: {spec: {overhead: {cpu: 1, memory: 1Gi}}}}");
        batch("{}");
    }

    /// Row "an ordinary template": lists of containers are replaced.
    #[test]
    fn what_is_in_no_object_is_not_checked() {
        batch("metadata:\nspec:");
        batch("spec: {template: }");
        batch(
            "spec: {template: {spec: {initContainers: [{name: a, resources: {limits: {cpu: lots}}}], containers: [\
             {name: sandbox, env: [{name: PORT, value: 8080}], resources: {limits: {cpu: lots}}, \
              volumeMounts: [{name: x, mountPath: /x}]}]}}}",
        );
        let text = "spec: {template: {spec: {containers: [{name: sandbox, volumeMounts: [{name: x, mountPath: 5}]}]}}}";
        assert!(read(text, WorkloadProvider::BatchSandbox).unwrap_err().contains("expected a string"));
    }

    /// Row "maps merge, lists and single values replace, nulls never do".
    #[test]
    fn what_the_gateway_says_goes_over_the_file() {
        let file = batch(
            "{kind: Other, metadata: {labels: {a: file, b: file}}, spec: {replicas: 7, ttl: 5, expireTime: '2026-01-01T00:00:00Z', \
             template: {spec: {restartPolicy: Never, initContainers: [{name: x}], nodeSelector: {disk: ssd, os: x}}}}}",
        );
        let generated = json!({"kind": "BatchSandbox", "metadata": {"labels": {"a": "own"}, "annotations": null},
            "spec": {"replicas": 1, "template": {"spec": {"initContainers": [{"name": "y"}], "nodeSelector": {"os": "linux"},
                "restartPolicy": null}}}});
        let expected = json!({"kind": "BatchSandbox", "metadata": {"labels": {"a": "own", "b": "file"}},
            "spec": {"replicas": 1, "ttl": 5, "template": {"spec": {"restartPolicy": "Never",
                "initContainers": [{"name": "y"}], "nodeSelector": {"disk": "ssd", "os": "linux"}}}}});
        assert_eq!(file.merged(generated.clone(), false), expected);
        // A sandbox that ends by itself says when.
        let mut ending = generated;
        ending["spec"]["expireTime"] = json!("2027");
        assert_eq!(file.merged(ending, true)["spec"]["expireTime"], "2027");
    }

    /// Rows "pod volumes are appended" and "what the main container mounts, and its security context".
    #[test]
    fn volumes_and_the_main_container_are_completed() {
        let file = batch(
            "{spec: {template: {spec: {volumes: [{name: bin, hostPath: {path: /x}}, {name: extra, emptyDir: {}}], containers: [\
             {name: other, env: [{name: A}]}, \
             {name: sandbox, image: ignored, env: [{name: B}], imagePullPolicy: Always, \
              volumeMounts: [{name: extra, mountPath: /extra}, {name: extra, mountPath: /bin}], \
              securityContext: {runAsUser: 1000, seccompProfile: {type: RuntimeDefault}, \
                capabilities: {add: [CHOWN, NET_ADMIN], drop: [ALL]}}}]}}}}",
        );
        assert_eq!(file.volumes().into_iter().collect::<Vec<_>>(), ["bin", "extra"]);
        assert_eq!(file.mount_paths().collect::<Vec<_>>(), ["/extra", "/bin"]);
        let generated = json!({"spec": {"template": {"spec": {
        "volumes": [{"name": "bin", "emptyDir": {}}],
        "containers": [
            {"name": "sandbox", "image": "x", "volumeMounts": [{"name": "bin", "mountPath": "/bin"}],
             "securityContext": {"capabilities": {"drop": ["NET_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}}},
            {"name": "egress"},
        ]}}}});
        let expected = json!({"spec": {"template": {"spec": {
        "volumes": [{"name": "bin", "emptyDir": {}}, {"name": "extra", "emptyDir": {}}],
        "containers": [
            {"name": "sandbox", "image": "x",
             "volumeMounts": [{"name": "bin", "mountPath": "/bin"}, {"name": "extra", "mountPath": "/extra"}],
             "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"},
                "capabilities": {"add": ["CHOWN"], "drop": ["ALL", "NET_ADMIN"]}}},
            {"name": "egress"},
        ]}}}});
        assert_eq!(file.merged(generated, false), expected);
    }

    /// Row "imagePullSecrets are replaced when image.auth is given (agent-sandbox appends)".
    #[test]
    fn pull_secrets_are_replaced_or_added() {
        let secrets = "imagePullSecrets: [{name: regcred}]";
        let file = batch(&format!("{{spec: {{template: {{spec: {{{secrets}}}}}}}}}"));
        let pod = |member: &str, secrets: Value| json!({"spec": {member: {"spec": {"imagePullSecrets": secrets}}}});
        let own = json!([{"name": "own"}]);
        assert_eq!(file.merged(pod("template", own.clone()), false), pod("template", own.clone()));
        assert_eq!(file.merged(pod("template", Value::Null), false), pod("template", json!([{"name": "regcred"}])));
        let file = format!("{{spec: {{podTemplate: {{spec: {{{secrets}}}}}}}}}");
        let file = read(&file, WorkloadProvider::AgentSandbox).unwrap();
        let both = json!([{"name": "regcred"}, {"name": "own"}]);
        assert_eq!(file.merged(pod("podTemplate", own), false), pod("podTemplate", both));
    }
}
