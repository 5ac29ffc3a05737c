//! What a sandbox's container may use (kubernetes-runtime.md §4.3).
//!
//! The API server takes any text for a quantity in a BatchSandbox, and of one that is none the operator can read no sandbox of
//! the cluster any more (kubernetes-api.md §12). So all are checked here, and what of them the API server would refuse in the pod.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    config::{is_resource_name, parse_quantity},
    error::{Error, Family, Kind},
    model::quantity::{Gpus, gpus},
};

/// The name of graphics processors among a client's resources, and in a cluster.
const GPU: &str = "gpu";
const NVIDIA_GPU: &str = "nvidia.com/gpu";

/// The most characters of a refused name or value that are told.
const PREVIEW: usize = 80;

/// One of what [`parse_quantity`] counts in.
const WHOLE: i128 = 1_000_000_000;

/// The resources of the container; none without limits, whatever is requested.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) for what no pod can have.
pub(super) fn resources(
    limits: &BTreeMap<String, String>,
    requests: &BTreeMap<String, String>,
) -> Result<Option<Value>, Error> {
    if limits.is_empty() {
        return Ok(None);
    }
    let limits = checked("resourceLimits", limits)?;
    let requests = if requests.is_empty() { limits.clone() } else { checked("resourceRequests", requests)? };
    for (name, (request, amount)) in &requests {
        let shown = preview(name);
        // Of these no node gives more than it has.
        let is_exact = name.contains('/') || name.starts_with("hugepages-");
        let Some((limit, most)) = limits.get(name) else {
            if is_exact {
                return Err(invalid(format!("Invalid resourceRequests.{shown}: it has no limit.")));
            }
            continue;
        };
        if amount > most {
            return Err(invalid(format!(
                "Invalid resourceRequests.{shown}: '{}' is above its limit '{}'.",
                preview(request),
                preview(limit)
            )));
        }
        if is_exact && amount != most {
            return Err(invalid(format!("Invalid resourceRequests.{shown}: it must be equal to its limit.")));
        }
    }
    let texts = |all: BTreeMap<String, (String, i128)>| -> Value {
        all.into_iter().map(|(name, (text, _))| (name, Value::from(text))).collect()
    };
    Ok(Some(json!({"limits": texts(limits), "requests": texts(requests)})))
}

/// Resources by their names in a cluster, with their amounts.
fn checked(member: &str, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, (String, i128)>, Error> {
    let mut all = BTreeMap::new();
    for (name, text) in given {
        let (name, shown) = if name == GPU { (gpu(member, text)?, GPU.into()) } else { (name.as_str(), preview(name)) };
        if !is_resource_name(name) {
            return Err(invalid(format!(
                "Invalid {member}.{shown}: a container has no such resource. There are cpu, memory, gpu, \
                 ephemeral-storage, hugepages-<size>, and those with a domain such as nvidia.com/gpu."
            )));
        }
        let amount = parse_quantity(text).ok_or_else(|| {
            let text = preview(text);
            invalid(format!("Invalid {member}.{shown}: '{text}' is no quantity such as 500m, 2 or 1Gi."))
        })?;
        if name.contains('/') && amount % WHOLE != 0 {
            return Err(invalid(format!("Invalid {member}.{shown}: '{}' is no whole number.", preview(text))));
        }
        all.insert(name.to_owned(), (text.clone(), amount));
    }
    Ok(all)
}

/// Checks the graphics processors of a virtual machine, which has none of them.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) for all that there are, which no pod can have.
pub(super) fn check_gpus(limits: &BTreeMap<String, String>) -> Result<(), Error> {
    match limits.get(GPU) {
        Some(text) if gpus(text) == Some(Gpus::All) => gpu("resourceLimits", text).map(drop),
        _ => Ok(()),
    }
}

fn gpu(member: &str, text: &str) -> Result<&'static str, Error> {
    match gpus(text) {
        Some(Gpus::Count(_)) if text.trim() == text => Ok(NVIDIA_GPU),
        _ => Err(invalid(format!(
            "Kubernetes runtime requires {member}.gpu to be a positive integer; '{}' is not supported.",
            preview(text)
        ))),
    }
}

fn preview(text: &str) -> String {
    text.chars().take(PREVIEW).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn invalid(text: String) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn made(limits: &[(&str, &str)], requests: &[(&str, &str)]) -> Result<Option<Value>, String> {
        resources(&map(limits), &map(requests)).map_err(|error| {
            assert_eq!(error.key(), (Family::Parameter, Kind::Invalid));
            error.message
        })
    }

    #[test]
    fn limits_are_requests_unless_there_are_some() {
        let expected =
            json!({"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "2"}, "requests": {"cpu": "100m"}});
        let limits = [("cpu", "1"), ("memory", "1Gi"), ("gpu", "2")];
        assert_eq!(made(&limits, &[("cpu", "100m")]), Ok(Some(expected)));
        let expected = json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}});
        assert_eq!(made(&[("cpu", "500m")], &[]), Ok(Some(expected)));
        assert_eq!(made(&[], &[("cpu", "lots")]), Ok(None), "without limits there are none");
    }

    #[test]
    fn what_no_pod_can_have_is_refused() {
        for (limits, requests, text) in [
            (
                vec![("gpu", "all")],
                vec![],
                "Kubernetes runtime requires resourceLimits.gpu to be a positive integer; 'all' is not supported.",
            ),
            (
                vec![("gpu", "many")],
                vec![],
                "Kubernetes runtime requires resourceLimits.gpu to be a positive integer; 'many' is not supported.",
            ),
            (
                vec![("cpu", "lots")],
                vec![],
                "Invalid resourceLimits.cpu: 'lots' is no quantity such as 500m, 2 or 1Gi.",
            ),
            (
                vec![("cpu", "1")],
                vec![("memory", "1 GB")],
                "Invalid resourceRequests.memory: '1 GB' is no quantity such as 500m, 2 or 1Gi.",
            ),
            (
                vec![("cpu", "1")],
                vec![("cpu", "1001m")],
                "Invalid resourceRequests.cpu: '1001m' is above its limit '1'.",
            ),
            (
                vec![("a.b/c", "2")],
                vec![("a.b/c", "1")],
                "Invalid resourceRequests.a.b/c: it must be equal to its limit.",
            ),
            (vec![("cpu", "1")], vec![("gpu", "1")], "Invalid resourceRequests.nvidia.com/gpu: it has no limit."),
            (
                vec![("hugepages-2Mi", "4Mi")],
                vec![("hugepages-2Mi", "2Mi")],
                "Invalid resourceRequests.hugepages-2Mi: it must be equal to its limit.",
            ),
            (vec![("a.b/c", "500m")], vec![], "Invalid resourceLimits.a.b/c: '500m' is no whole number."),
        ] {
            assert_eq!(made(&limits, &requests).unwrap_err(), text);
        }
        for name in ["disk", "", "a b", "cpu\n", "/x"] {
            let text = made(&[(name, "1")], &[]).unwrap_err();
            assert!(text.contains("a container has no such resource") && !text.contains('\n'), "{text}");
        }
        assert!(made(&[("cpu", &"9".repeat(10_000))], &[]).unwrap_err().len() < 200);
    }
}
