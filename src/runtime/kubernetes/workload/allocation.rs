//! The pods of a pool that a BatchSandbox has (kubernetes-runtime.md §6.3). The operator tells of them in annotations. A pod
//! that is given back may be another sandbox's the next moment, so only what all of the object agrees on counts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::labels;
use crate::{config::is_dns_subdomain, model::sandbox::Allocation, runtime::kubernetes::objects::BatchSandbox};

/// Held while the object has pods of a pool.
const FINALIZER: &str = "pool.sandbox.opensandbox.io/pool-allocation";

/// What it has: `{"pods": […], "poolRef": …}`. The operator of June 2026 (4db3a99) writes the pods alone.
const STATUS: &str = "sandbox.opensandbox.io/alloc-status";

/// What is to be given back, and what was: `{"pods": […]}`.
const GIVEN_BACK: [&str; 2] = ["sandbox.opensandbox.io/alloc-release", "sandbox.opensandbox.io/alloc-released"];

/// Stands for any pool until the operator has chosen one.
const ANY_POOL: &str = "*";

struct Held {
    pods: Vec<String>,
    /// Whether the operator names the pool, too.
    is_pool_named: bool,
}

/// What the API shows of it: as the existing server, only what names its pool.
pub(super) fn shown(sandbox: &BatchSandbox) -> Option<Allocation> {
    let pool = sandbox.pool_ref().filter(|pool| *pool != ANY_POOL)?;
    held(sandbox)?.is_pool_named.then(|| Allocation { pool_ref: pool.to_owned(), state: "allocated" })
}

/// The names of the pods that it has for certain.
pub(super) fn pods(sandbox: &BatchSandbox) -> Option<Vec<String>> {
    held(sandbox).map(|held| held.pods)
}

fn held(sandbox: &BatchSandbox) -> Option<Held> {
    let meta = &sandbox.metadata;
    let pool = sandbox.pool_ref()?;
    let is_held = meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    if meta.deletion_timestamp.is_some() || !is_held {
        return None;
    }
    let status: Value = serde_json::from_str(labels::annotation(meta, STATUS)?).ok()?;
    let named = &status["poolRef"];
    if pool != ANY_POOL && !named.is_null() && named != pool {
        return None;
    }
    let pods = listed(&status)?;
    let unique: BTreeSet<&str> = pods.iter().map(String::as_str).collect();
    let is_whole = unique.len() == pods.len() && i64::try_from(pods.len()).ok() == sandbox.status.allocated;
    if pods.is_empty() || !is_whole || !pods.iter().all(|pod| is_dns_subdomain(pod)) {
        return None;
    }
    for key in GIVEN_BACK {
        let Some(text) = labels::annotation(meta, key) else { continue };
        // What cannot be read may name any of them.
        let given_back = listed(&serde_json::from_str(text).ok()?)?;
        if given_back.iter().any(|pod| unique.contains(pod.as_str())) {
            return None;
        }
    }
    Some(Held { is_pool_named: !named.is_null(), pods })
}

/// The pods that an annotation names; nothing if one of them is no text. An annotation without the member, or with null, names
/// none: Go writes an empty list so.
fn listed(annotation: &Value) -> Option<Vec<String>> {
    let names = match annotation.as_object()?.get("pods") {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(pods) => pods.as_array()?,
    };
    names.iter().map(|pod| pod.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sandbox(change: impl FnOnce(&mut Value)) -> BatchSandbox {
        let mut object = json!({
            "metadata": {
                "finalizers": [FINALIZER],
                "annotations": {STATUS: r#"{"pods":["p-1"],"poolRef":"p"}"#, GIVEN_BACK[0]: r#"{"pods":null}"#, GIVEN_BACK[1]: r#"{"pods":["p-0"]}"#},
            },
            "spec": {"poolRef": "p"},
            "status": {"allocated": 1},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_whole_allocation_is_shown() {
        let whole = sandbox(|_| {});
        assert_eq!(pods(&whole), Some(vec!["p-1".to_owned()]));
        let shown = serde_json::to_value(shown(&whole)).unwrap();
        assert_eq!(shown, json!({"mode": "pool", "poolRef": "p", "state": "allocated"}));
    }

    #[test]
    fn a_sandbox_of_any_pool_has_pods_but_names_no_pool() {
        let any = sandbox(|object| object["spec"]["poolRef"] = json!("*"));
        assert_eq!((shown(&any), pods(&any)), (None, Some(vec!["p-1".to_owned()])));
    }

    #[test]
    fn an_operator_that_names_no_pool_tells_of_pods_all_the_same() {
        for text in [r#"{"pods":["p-1"]}"#, r#"{"pods":["p-1"],"poolRef":null}"#] {
            let silent = sandbox(|object| object["metadata"]["annotations"][STATUS] = json!(text));
            assert_eq!((shown(&silent), pods(&silent)), (None, Some(vec!["p-1".to_owned()])), "{text}");
        }
    }

    #[test]
    fn whatever_is_missing_or_contradicts_it_takes_it_away() {
        let status = |text: &str| {
            let text = json!(text);
            move |object: &mut Value| object["metadata"]["annotations"][STATUS] = text
        };
        type Change = Box<dyn FnOnce(&mut Value)>;
        let changes: Vec<(&str, Change)> = vec![
            ("no pool", Box::new(|object| object["spec"]["poolRef"] = json!(" "))),
            ("deleting", Box::new(|object| object["metadata"]["deletionTimestamp"] = json!("2026-11-26T13:08:58Z"))),
            ("no finalizer", Box::new(|object| object["metadata"]["finalizers"] = json!(["x/y"]))),
            ("no status", Box::new(status(""))),
            ("no JSON", Box::new(status("{"))),
            ("a list", Box::new(status("[]"))),
            ("another pool", Box::new(status(r#"{"pods":["p-1"],"poolRef":"q"}"#))),
            ("no pods", Box::new(status(r#"{"pods":[],"poolRef":"p"}"#))),
            ("odd pods", Box::new(status(r#"{"pods":[5],"poolRef":"p"}"#))),
            ("no name", Box::new(status(r#"{"pods":["../secrets"],"poolRef":"p"}"#))),
            (
                "twice",
                Box::new(|object| {
                    object["metadata"]["annotations"][STATUS] = json!(r#"{"pods":["p-1","p-1"],"poolRef":"p"}"#);
                    object["status"]["allocated"] = json!(2);
                }),
            ),
            ("another number", Box::new(|object| object["status"]["allocated"] = json!(2))),
            ("no number", Box::new(|object| object["status"] = json!({}))),
            (
                "to be given back",
                Box::new(|object| object["metadata"]["annotations"][GIVEN_BACK[0]] = json!(r#"{"pods":["p-1"]}"#)),
            ),
            (
                "given back",
                Box::new(|object| object["metadata"]["annotations"][GIVEN_BACK[1]] = json!(r#"{"pods":["p-1"]}"#)),
            ),
            ("unreadable", Box::new(|object| object["metadata"]["annotations"][GIVEN_BACK[1]] = json!("p-0"))),
        ];
        for (name, change) in changes {
            let sandbox = sandbox(change);
            assert_eq!((shown(&sandbox), pods(&sandbox)), (None, None), "{name}");
        }
    }
}
