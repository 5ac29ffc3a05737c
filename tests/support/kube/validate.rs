//! The checks of a write (kubernetes-api.md §10).

use serde_json::Value;

use super::{
    failure::{Cause, Failure, quoted},
    resource::Resource,
};

const NAME: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
     must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_NAME: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// The annotations of an object may have this many bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// An object may have this many bytes in etcd.
const OBJECT: usize = 1_500_000;

fn is_word(text: &str, is_lower: bool, inner: &[char]) -> bool {
    let is_edge = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || !is_lower && c.is_ascii_uppercase();
    text.starts_with(is_edge) && text.ends_with(is_edge) && text.chars().all(|c| is_edge(c) || inner.contains(&c))
}

/// Checks an object that is to be stored.
///
/// # Errors
///
/// 400 of a quantity, 422 with the causes, 500 of one that is too large.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut causes = Vec::new();
    metadata(&object["metadata"], &mut causes);
    match resource.kind {
        "BatchSandbox" => {
            batch_spec(&object["spec"], &mut causes);
            batch_status(&object["status"], &mut causes);
        }
        "Pod" => {
            quantities(object)?;
            pod(&object["spec"], &mut causes);
        }
        "Secret"
            if object["type"] == "kubernetes.io/dockerconfigjson" && object["data"][".dockerconfigjson"].is_null() =>
        {
            causes.push(Cause::new("FieldValueRequired", "data[.dockerconfigjson]", "Required value".into()));
        }
        _ => {}
    }
    if !causes.is_empty() {
        return Err(Failure::invalid(resource, name, &causes));
    }
    if object.to_string().len() > OBJECT {
        return Err(Failure::new(500, "", "etcdserver: request is too large"));
    }
    Ok(())
}

fn metadata(metadata: &Value, causes: &mut Vec<Cause>) {
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        let why = "Required value: name or generateName is required".into();
        causes.push(Cause::new("FieldValueRequired", "metadata.name", why));
    } else if name.len() > 253 || !name.split('.').all(|part| is_word(part, true, &['-'])) {
        causes.push(Cause::invalid("metadata.name", &quoted(name), NAME));
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        let part = key.rsplit_once('/').map_or(key.as_str(), |(_, part)| part);
        if part.len() > 63 || !is_word(part, false, &['-', '_', '.']) {
            causes.push(Cause::invalid("metadata.labels", &quoted(key), KEY));
        }
        let value = value.as_str().unwrap_or_default();
        if value.len() > 63 {
            let why = "must be no more than 63 bytes";
            causes.push(Cause::invalid("metadata.labels", &quoted(value), why));
        } else if !value.is_empty() && !is_word(value, false, &['-', '_', '.']) {
            causes.push(Cause::invalid("metadata.labels", &quoted(value), VALUE));
        }
    }
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    if annotations.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum::<usize>() > ANNOTATIONS {
        let why = format!("Too long: may not be more than {ANNOTATIONS} bytes");
        causes.push(Cause::new("FieldValueTooLong", "metadata.annotations", why));
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(field: &str, expected: &str, shown: &str) -> Cause {
    let why = format!("Invalid value: {shown}: {field} in body must be of type {expected}: {shown}");
    Cause::new("FieldValueTypeInvalid", field, why)
}

fn batch_spec(spec: &Value, causes: &mut Vec<Cause>) {
    let replicas = &spec["replicas"];
    if !replicas.is_null() && !replicas.is_i64() {
        causes.push(wrong_type("spec.replicas", "integer", &quoted(type_name(replicas))));
    }
    if let Some(time) = spec["expireTime"].as_str()
        && time.parse::<jiff::Timestamp>().is_err()
    {
        causes.push(wrong_type("spec.expireTime", "date-time", &quoted(time)));
    }
}

fn batch_status(status: &Value, causes: &mut Vec<Cause>) {
    const PHASES: [&str; 6] = ["Pending", "Succeed", "Pausing", "Paused", "Resuming", "Failed"];
    let Some(map) = status.as_object() else { return };
    if let Some(phase) = map.get("phase").and_then(Value::as_str)
        && !PHASES.contains(&phase)
    {
        let supported = PHASES.map(quoted).join(", ");
        let why = format!("Unsupported value: {}: supported values: {supported}", quoted(phase));
        causes.push(Cause::new("FieldValueNotSupported", "status.phase", why));
        return;
    }
    for key in
        ["allocated", "ready", "replicas", "taskFailed", "taskPending", "taskRunning", "taskSucceed", "taskUnknown"]
    {
        if !map.contains_key(key) {
            causes.push(Cause::new("FieldValueRequired", &format!("status.{key}"), "Required value".into()));
        }
    }
}

fn pod(spec: &Value, causes: &mut Vec<Cause>) {
    let mut volumes = Vec::new();
    for (at, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        if volumes.contains(&&volume["name"]) {
            let why = format!("Duplicate value: {}", volume["name"]);
            causes.push(Cause::new("FieldValueDuplicate", &format!("spec.volumes[{at}].name"), why));
        }
        volumes.push(&volume["name"]);
    }
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::new("FieldValueRequired", "spec.containers", "Required value".into()));
    }
    for (at, container) in containers.iter().enumerate() {
        let name = container["name"].as_str().unwrap_or_default();
        if !is_word(name, true, &['-']) {
            causes.push(Cause::invalid(&format!("spec.containers[{at}].name"), &quoted(name), LABEL_NAME));
        }
    }
}

fn quantities(pod: &Value) -> Result<(), Failure> {
    let containers = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array().into_iter().flatten());
    for container in containers.into_iter().flatten() {
        let both = ["limits", "requests"].map(|list| container["resources"][list].as_object().into_iter().flatten());
        for (_, quantity) in both.into_iter().flatten() {
            if !quantity.as_str().is_none_or(is_quantity) {
                let why = "quantities must match the regular expression \
                     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                let message = format!("Pod in version \"v1\" cannot be handled as a Pod: {why}");
                return Err(Failure::bad_request(message));
            }
        }
    }
    Ok(())
}

fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let rest = unit.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    unit.len() < text.len() && rest.bytes().all(|byte| byte.is_ascii_digit())
}

/// Takes the fields out of the specification that the kind does not know, and returns their paths.
pub(super) fn prune(resource: &Resource, object: &mut Value) -> Vec<String> {
    // Of the CRD of June 2026; what lies in `template` and the like has no schema.
    const BATCH: [&str; 11] = [
        "replicas",
        "poolRef",
        "template",
        "shardPatches",
        "expireTime",
        "taskTemplate",
        "shardTaskPatches",
        "taskResourcePolicyWhenCompleted",
        "pause",
        "pausePolicy",
        "scaleStrategy",
    ];
    let mut unknown = Vec::new();
    if resource.kind == "BatchSandbox"
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.retain(|key, _| {
            let is_known = BATCH.contains(&key.as_str());
            if !is_known {
                unknown.push(format!("spec.{key}"));
            }
            is_known
        });
    }
    unknown
}
