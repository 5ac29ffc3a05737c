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

/// The times in the metadata of a template or a claim, which servers set.
const TIMES: [&str; 2] = ["creationTimestamp", "deletionTimestamp"];

/// Whether the operator can read a pod template. It may know more of a pod than this program does: what is unknown here is left to
/// it.
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
            wrong.get_or_insert_with(|| format!("spec.{place}: '{}' is no quantity such as 500m or 1Gi", shown(&text)));
        }
        *value = Value::String(text);
    });
    each_time(&template, &mut |place, value| {
        let is_time = value.is_null() || value.as_str().is_some_and(is_time);
        if wrong.is_none() && !is_time {
            let text = shown(&value.to_string());
            wrong = Some(format!("{place}: {text} is no time such as 2026-11-23T02:11:02Z"));
        }
    });
    if let Some(wrong) = wrong {
        return Err(format!("template.{wrong}."));
    }
    let unreadable = |error: serde_json::Error| format!("template is no pod template: {}.", shown(&error.to_string()));
    PodTemplateSpec::deserialize(&template).map(drop).map_err(unreadable)
}

/// Whether the operator's language reads a time: more strictly than the type here does.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((head, rest)) = bytes.split_at_checked(19) else { return false };
    let has_form = |bytes: &[u8], form: &[u8]| {
        bytes.len() == form.len()
            && bytes
                .iter()
                .zip(form)
                .all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form })
    };
    let fraction = match rest {
        [b'.', digits @ ..] => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let zone = &rest[fraction..];
    let is_zone = zone == b"Z" || has_form(zone, b"+00:00") || has_form(zone, b"-00:00");
    // A second of 60 is none there; the date, and the rest of the time, are as here.
    let is_second = head[17] < b'6';
    has_form(head, b"0000-00-00T00:00:00")
        && is_second
        && is_zone
        && (fraction == 0 || (2..=10).contains(&fraction))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// Shows every time of a template, of its own metadata and of its claims', with its place in it.
fn each_time(template: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    each_time_of(&template["metadata"], "metadata", visit);
    for (at, volume) in template["spec"]["volumes"].as_array().into_iter().flatten().enumerate() {
        let place = format!("spec.volumes[{at}].ephemeral.volumeClaimTemplate.metadata");
        each_time_of(&volume["ephemeral"]["volumeClaimTemplate"]["metadata"], &place, visit);
    }
}

fn each_time_of(metadata: &Value, place: &str, visit: &mut dyn FnMut(&str, &Value)) {
    for name in TIMES {
        visit(&format!("{place}.{name}"), &metadata[name]);
    }
    for (at, entry) in metadata["managedFields"].as_array().into_iter().flatten().enumerate() {
        visit(&format!("{place}.managedFields[{at}].time"), &entry["time"]);
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
            json!({"spec": {"containers": [{"name": "sandbox", "image": "x"}], "of a newer cluster": [null, 1.5]}}),
            json!({"spec": {"containers": [{"name": "a", "unknown": null, "resources": {"limits": {"cpu": 1.5, "memory": "1Gi",
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
    fn a_time_is_as_strict_as_the_operator_reads_it() {
        let metadata = |time: &Value, name: &str| match name {
            "managedFields[0].time" => json!({"managedFields": [{"manager": "m", "time": time}]}),
            name => json!({name: time}),
        };
        let refused = |template: Value| check(template.as_object().unwrap()).err();
        let places = ["creationTimestamp", "deletionTimestamp", "managedFields[0].time"];
        for time in [
            json!("2026-11-23 02:11:02Z"),
            json!("2026-11-23t02:11:02Z"),
            json!("2026-11-23T02:11:02z"),
            json!("2026-11-23T02:11:02-04"),
            json!("2026-11-23T02:11Z"),
            json!("2026-11-23T02:11:60Z"),
            json!("2026-11-23T24:00:00Z"),
            json!("2026-02-30T02:11:02Z"),
            json!("2026-11-23T02:11:02Z[UTC]"),
            json!("2026-11-23T02:11:02.Z"),
            json!("2026-11-23T02:11:02+0400"),
            json!("+002026-11-23T02:11:02Z"),
            json!("2026-11-23T02:11:02"),
            json!("2026-11-23T02:11:0é"),
            json!(""),
            json!(5),
            json!({}),
        ] {
            for name in places {
                let metadata = metadata(&time, name);
                let why = format!("{name}: {time} is no time such as 2026-11-23T02:11:02Z.");
                assert_eq!(refused(json!({"metadata": metadata})), Some(format!("template.metadata.{why}")));
                let claim =
                    json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": metadata, "spec": {}}}}]);
                let place = "template.spec.volumes[0].ephemeral.volumeClaimTemplate.metadata";
                assert_eq!(refused(json!({"spec": {"volumes": claim}})), Some(format!("{place}.{why}")));
            }
        }
        for time in [
            json!("2026-11-23T02:11:02Z"),
            json!("2026-11-23T02:11:02.123456789Z"),
            json!("2026-11-23T02:11:02-04:00"),
            Value::Null,
        ] {
            for name in places {
                assert_eq!(refused(json!({"metadata": metadata(&time, name)})), None, "{name} {time}");
            }
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
