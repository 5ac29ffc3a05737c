//! Pod templates that clients write, checked before they are stored.
//!
//! The cluster stores what a custom object has as its template without a look at it, and its operator reads all objects of all
//! namespaces at once: one that it cannot read hides all the others from it (kubernetes-api.md §12).

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::config::parse_quantity;

/// The most characters of a client's text that are told back.
const MAX_SHOWN: usize = 200;

/// The lists of containers in a pod's specification.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Whether the operator can read a pod template.
///
/// # Errors
/// Why it cannot, for the client.
pub(super) fn check(template: &Map<String, Value>) -> Result<(), String> {
    let mut template = Value::Object(template.clone());
    let mut wrong = None;
    each_quantity(&mut template["spec"], &mut |place, value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            // Kubernetes takes it for 0, the type below does not.
            Value::Null => "0".to_owned(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
        };
        if parse_quantity(&text).is_none() {
            wrong.get_or_insert_with(|| (place.to_owned(), text.clone()));
        }
        *value = Value::String(text);
    });
    if let Some((place, text)) = wrong {
        return Err(format!("template.spec.{place}: '{}' is no quantity such as 500m or 1Gi.", shown(&text)));
    }
    match PodTemplateSpec::deserialize(template) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("template is no pod template: {}.", shown(&error.to_string()))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// Shows every quantity of a pod's specification with its place in it.
fn each_quantity(spec: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    for list in CONTAINERS {
        for (at, container) in items(spec, list) {
            let place = format!("{list}[{at}]");
            each_resource(container, &place, visit);
            for (number, entry) in items(container, "env") {
                if let Some(divisor) = entry.pointer_mut("/valueFrom/resourceFieldRef/divisor") {
                    visit(&format!("{place}.env[{number}].valueFrom.resourceFieldRef.divisor"), divisor);
                }
            }
        }
    }
    for (at, volume) in items(spec, "volumes") {
        let place = format!("volumes[{at}]");
        if let Some(limit) = volume.pointer_mut("/emptyDir/sizeLimit") {
            visit(&format!("{place}.emptyDir.sizeLimit"), limit);
        }
        if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
            each_resource(claim, &format!("{place}.ephemeral.volumeClaimTemplate.spec"), visit);
        }
        if let Some(files) = volume.get_mut("downwardAPI") {
            each_divisor(files, &format!("{place}.downwardAPI"), visit);
        }
        for (number, source) in volume.get_mut("projected").into_iter().flat_map(|volume| items(volume, "sources")) {
            if let Some(files) = source.get_mut("downwardAPI") {
                each_divisor(files, &format!("{place}.projected.sources[{number}].downwardAPI"), visit);
            }
        }
    }
    each_resource(spec, "", visit);
    each_member(spec, "overhead", "overhead", visit);
}

/// Those of `resources` of a container, a claim or a whole pod.
fn each_resource(holder: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    let Some(resources) = holder.get_mut("resources") else { return };
    let dot = if place.is_empty() { "" } else { "." };
    for name in ["limits", "requests"] {
        each_member(resources, name, &format!("{place}{dot}resources.{name}"), visit);
    }
}

fn each_divisor(files: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    for (at, item) in items(files, "items") {
        if let Some(divisor) = item.pointer_mut("/resourceFieldRef/divisor") {
            visit(&format!("{place}.items[{at}].resourceFieldRef.divisor"), divisor);
        }
    }
}

fn each_member(holder: &mut Value, name: &str, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    for (key, value) in holder.get_mut(name).and_then(Value::as_object_mut).into_iter().flatten() {
        visit(&format!("{place}.{}", shown(key)), value);
    }
}

fn items<'a>(holder: &'a mut Value, name: &str) -> impl Iterator<Item = (usize, &'a mut Value)> {
    holder.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(spec: Value) -> String {
        check(json!({"spec": spec}).as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn what_an_operator_can_read_passes() {
        for template in [
            json!({}),
            json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}}),
            json!({"spec": {"containers": [{"name": "sandbox", "image": "x"}]}}),
            json!({"spec": {"containers": [{"name": "a", "unknown": 5, "resources": {"limits": {"cpu": 1.5, "memory": "1Gi",
                "nvidia.com/gpu": 2}, "requests": {"cpu": "500m", "memory": null}}, "ports": [{"containerPort": 80}]}],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], "overhead": {"cpu": "1e3"}}}),
        ] {
            assert_eq!(check(template.as_object().unwrap()), Ok(()), "{template}");
        }
    }

    #[test]
    fn every_quantity_is_looked_at() {
        let bad = "lots";
        let resources = json!({"resources": {"requests": {"cpu": bad}}});
        let divisor = json!({"resourceFieldRef": {"divisor": bad}});
        for (spec, place) in [
            (json!({"containers": [resources]}), "containers[0].resources.requests.cpu"),
            (json!({"initContainers": [{}, resources]}), "initContainers[1].resources.requests.cpu"),
            (json!({"ephemeralContainers": [resources]}), "ephemeralContainers[0].resources.requests.cpu"),
            (
                json!({"containers": [{"env": [{"valueFrom": divisor}]}]}),
                "containers[0].env[0].valueFrom.resourceFieldRef.divisor",
            ),
            (json!({"volumes": [{"emptyDir": {"sizeLimit": bad}}]}), "volumes[0].emptyDir.sizeLimit"),
            (
                json!({"volumes": [{"ephemeral": {"volumeClaimTemplate": {"spec": resources}}}]}),
                "volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests.cpu",
            ),
            (
                json!({"volumes": [{"downwardAPI": {"items": [divisor]}}]}),
                "volumes[0].downwardAPI.items[0].resourceFieldRef.divisor",
            ),
            (
                json!({"volumes": [{"projected": {"sources": [{}, {"downwardAPI": {"items": [divisor]}}]}}]}),
                "volumes[0].projected.sources[1].downwardAPI.items[0].resourceFieldRef.divisor",
            ),
            (resources.clone(), "resources.requests.cpu"),
            (json!({"overhead": {"cpu": bad}}), "overhead.cpu"),
        ] {
            assert_eq!(refused(spec), format!("template.spec.{place}: 'lots' is no quantity such as 500m or 1Gi."));
        }
        for bad in [json!(""), json!("-1"), json!("1 Gi"), json!(true), json!({}), json!("1KiB")] {
            let limits = json!({"containers": [{"resources": {"limits": {"memory": bad}}}]});
            assert!(refused(limits).starts_with("template.spec.containers[0].resources.limits.memory: '"), "{bad}");
        }
    }

    #[test]
    fn another_type_than_is_meant_is_refused() {
        for spec in [
            json!({"containers": "x"}),
            json!({"containers": [{"name": 5}]}),
            json!({"containers": [{"command": "sleep"}]}),
            json!({"containers": [{"ports": [{"containerPort": 99_999_999_999_u64}]}]}),
            json!({"containers": [{"resources": {"limits": ["cpu"]}}]}),
            json!([]),
            json!({"hostNetwork": "yes"}),
        ] {
            assert!(refused(spec.clone()).starts_with("template is no pod template: "), "{spec}");
        }
        let long = refused(json!({"hostNetwork": "y".repeat(5000)}));
        assert!(long.len() < 300, "{long}");
    }
}
