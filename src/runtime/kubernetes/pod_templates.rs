//! Templates of pods and of tasks that clients and operators write, checked before they are stored.
//!
//! The cluster stores what a custom object has as its template without a look at it, and its operator reads all objects of all
//! namespaces at once: one that it cannot read hides all the others from it (kubernetes-api.md §12).

use std::marker::PhantomData;

use k8s_openapi::api::core::v1::{EnvVar, PodTemplateSpec};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};

use crate::config::parse_quantity;

/// The most characters of a client's text that are told back.
const MAX_SHOWN: usize = 200;

/// The lists of containers in a pod's specification.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The times in the metadata of a template or a claim, which servers set.
const TIMES: [&str; 2] = ["creationTimestamp", "deletionTimestamp"];

/// Whether the operator can read a pod template, which is at `place` of what its writer has sent. It may know more of a pod than
/// this program does: what is unknown here is left to it.
///
/// # Errors
/// Why it cannot, as a sentence for the writer.
pub(super) fn check(template: &Value, place: &str) -> Result<(), String> {
    let mut template = template.clone();
    let mut wrong = None;
    if let Some(spec) = template.get_mut("spec") {
        each_quantity(spec, &mut |at, value| as_quantity(value, &format!("{place}.spec.{at}"), &mut wrong));
    }
    each_time(&template, &mut |at, value| {
        let is_time = value.is_null() || value.as_str().is_some_and(is_time);
        if wrong.is_none() && !is_time {
            let text = shown(&value.to_string());
            wrong = Some(format!("{place}.{at}: {text} is no time such as 2026-11-23T02:11:02Z."));
        }
    });
    match wrong {
        Some(wrong) => Err(wrong),
        None => decode::<PodTemplateSpec>(&template, place, "pod template"),
    }
}

/// The same of the template of a task, which the operator starts in a pod.
///
/// # Errors
/// Why it cannot, as a sentence for the writer.
pub(super) fn check_task(task: &Value, place: &str) -> Result<(), String> {
    let mut task = task.clone();
    let mut wrong = None;
    if let Some(process) = task.pointer_mut("/spec/process") {
        each_divisor_of_env(process, "spec.process", &mut |at, value| {
            as_quantity(value, &format!("{place}.{at}"), &mut wrong);
        });
    }
    match wrong {
        Some(wrong) => Err(wrong),
        None => decode::<Object<TaskTemplate>>(&task, place, "template of a task"),
    }
}

fn decode<T: DeserializeOwned>(value: &Value, place: &str, what: &str) -> Result<(), String> {
    let unreadable = |error: serde_json::Error| format!("{place} is no {what}: {}.", shown(&error.to_string()));
    if !value.is_object() {
        return Err(format!("{place} is no {what}: it is no object."));
    }
    T::deserialize(value).map(drop).map_err(unreadable)
}

/// Makes a text of a quantity, as Kubernetes reads it; the first that is none is told in `wrong`.
fn as_quantity(value: &mut Value, place: &str, wrong: &mut Option<String>) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        // Kubernetes takes it for 0, the type does not.
        Value::Null => "0".to_owned(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    if parse_quantity(&text).is_none() {
        wrong.get_or_insert_with(|| format!("{place}: '{}' is no quantity such as 500m or 1Gi.", shown(&text)));
    }
    *value = Value::String(text);
}

/// What is read from an object alone: other types here take a list of an object's members too.
struct Object<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(value)?;
        T::deserialize(Value::Object(members)).map(|_| Self(PhantomData)).map_err(D::Error::custom)
    }
}

/// The task of a BatchSandbox, as its operator's types have it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct TaskTemplate {
    spec: Option<Object<TaskSpec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct TaskSpec {
    process: Option<Object<Process>>,
    timeout_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct Process {
    command: Option<Vec<Option<String>>>,
    args: Option<Vec<Option<String>>>,
    env: Option<Vec<EnvVar>>,
    working_dir: Option<String>,
    exec_mode: Option<String>,
    lifecycle: Option<Object<Hooks>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct Hooks {
    pre_start: Option<Object<Hook>>,
    post_stop: Option<Object<Hook>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct Hook {
    exec: Option<Object<Exec>>,
    exec_mode: Option<String>,
    timeout_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct Exec {
    command: Option<Vec<Option<String>>>,
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
            each_divisor_of_env(container, &place, visit);
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

fn each_divisor_of_env(container: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    for (at, entry) in items(container, "env") {
        if let Some(divisor) = entry.pointer_mut("/valueFrom/resourceFieldRef/divisor") {
            visit(&format!("{place}.env[{at}].valueFrom.resourceFieldRef.divisor"), divisor);
        }
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
mod tests;
