//! Label and field selectors (kubernetes-api.md L5, L6).

use serde_json::Value;

use super::{
    failure::{Failure, quoted},
    query::Query,
    resource::Resource,
};

/// Which objects a request asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    /// Path, value, and whether they are to be equal.
    fields: Vec<(String, String, bool)>,
}

#[derive(Debug, Clone)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Requirement {
    fn is_met(&self, labels: Option<&Value>) -> bool {
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        match self {
            Self::Exists(key) => label(key).is_some(),
            Self::Missing(key) => label(key).is_none(),
            Self::In(key, values) => label(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|one| one != value)),
        }
    }
}

impl Selector {
    pub(super) fn parse(resource: &Resource, query: &Query) -> Result<Self, Failure> {
        let labels = labels(query.text("labelSelector"))?;
        Ok(Self { labels, fields: fields(resource, query.text("fieldSelector"))? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object["metadata"].get("labels");
        self.labels.iter().all(|requirement| requirement.is_met(labels))
            && self.fields.iter().all(|(path, value, is_equal)| (field(object, path) == *value) == *is_equal)
    }
}

fn field(object: &Value, path: &str) -> String {
    let value = path.split('.').fold(object, |value, key| &value[key]);
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `a=b,!c,d in (e,f)` in its requirements.
fn labels(text: &str) -> Result<Vec<Requirement>, Failure> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(checked_key(key.trim())?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(checked_key(key.trim())?, vec![checked_value(value.trim())?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(checked_key(key.trim())?, vec![checked_value(value.trim())?]));
    }
    let mut words = text.splitn(2, char::is_whitespace);
    let key = checked_key(words.next().unwrap_or_default())?;
    let Some(rest) = words.next() else { return Ok(Requirement::Exists(key)) };
    let (operator, set) = rest.trim().split_once('(').unwrap_or((rest, ""));
    let values = || -> Result<Vec<String>, Failure> {
        let set = set.trim().strip_suffix(')').ok_or_else(|| unparsed(rest, "',' or ')'"))?;
        set.split(',').map(|value| checked_value(value.trim())).collect()
    };
    match operator.trim() {
        "in" => Ok(Requirement::In(key, values()?)),
        "notin" => Ok(Requirement::NotIn(key, values()?)),
        other => Err(unparsed(other, "in, notin, =, ==, !=, gt, lt")),
    }
}

fn unparsed(found: &str, expected: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: found '{found}', expected: {expected}"))
}

fn checked_key(key: &str) -> Result<String, Failure> {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    if name.len() > 63 {
        return Err(Failure::bad_request(format!(
            "unable to parse requirement: <nil>: Invalid value: {}: name part must be no more than 63 bytes",
            quoted(key)
        )));
    }
    Ok(key.to_owned())
}

fn checked_value(value: &str) -> Result<String, Failure> {
    if let Some(found) = value.split_whitespace().nth(1) {
        let found = found.trim_end_matches('!');
        return Err(Failure::bad_request(format!("found '{found}', expected: ',' or 'end of string'")));
    }
    Ok(value.to_owned())
}

fn fields(resource: &Resource, text: &str) -> Result<Vec<(String, String, bool)>, Failure> {
    let mut all = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (path, value, is_equal) = match (part.split_once("!="), part.split_once("==")) {
            (Some((path, value)), _) => (path, value, false),
            (None, Some((path, value))) => (path, value, true),
            (None, None) => match part.split_once('=') {
                Some((path, value)) => (path, value, true),
                None => {
                    let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                    return Err(Failure::bad_request(message));
                }
            },
        };
        let more: &[&str] = match resource.kind {
            "Pod" => &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ],
            "Event" => &[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "reportingComponent",
                "type",
            ],
            "Secret" => &["type"],
            "Namespace" => &["status.phase"],
            _ => &[],
        };
        let is_known = ["metadata.name", "metadata.namespace"].contains(&path) || more.contains(&path);
        if !is_known {
            return Err(Failure::bad_request(format!("field label not supported: {path}")));
        }
        all.push((path.to_owned(), value.to_owned(), is_equal));
    }
    Ok(all)
}
