//! The platform of a sandbox's pods, and whether no node has it (kubernetes-runtime.md §6.2, §6.3).

use crate::{
    model::sandbox::Platform,
    runtime::kubernetes::objects::{Condition, Pod, Term, WorkloadSpec, condition},
};

/// The labels of nodes for their operating system and their processor.
pub(in crate::runtime::kubernetes) const OS: &str = "kubernetes.io/os";
pub(in crate::runtime::kubernetes) const ARCH: &str = "kubernetes.io/arch";

/// Parts of a scheduler's message that speak of what nodes have too little of.
const CAPACITY: [&str; 4] = ["insufficient cpu", "insufficient memory", "insufficient pods", "too many pods"];

/// Parts of its message for nodes whose labels do not match.
const MISMATCH: [&str; 4] = ["node affinity", "node selector", "nodeselector", "affinity/selector"];

/// The platform that pods must have, if both of its parts are told.
pub(super) fn of(pods: &WorkloadSpec) -> Option<Platform> {
    Some(Platform { os: required(pods, OS)?, arch: required(pods, ARCH)? })
}

/// The one value that a node's label must have.
pub(in crate::runtime::kubernetes) fn required(pods: &WorkloadSpec, key: &str) -> Option<String> {
    if let Some(value) = pods.node_selector.get(key) {
        return Some(value.clone());
    }
    let of_term = |term: &Term| {
        let rule = term.match_expressions.iter().find(|rule| rule.key == key && rule.operator == "In")?;
        if let [value] = rule.values.as_slice() { Some(value.clone()) } else { None }
    };
    // Each term is an alternative: one that says nothing allows everything.
    let (first, rest) = pods.affinity_terms().split_first()?;
    let value = of_term(first)?;
    rest.iter().all(|term| of_term(term).as_ref() == Some(&value)).then_some(value)
}

/// Whether pods must run on a certain system or processor.
pub(super) fn is_constrained(pods: &WorkloadSpec) -> bool {
    keys(pods).any(|key| [OS, ARCH].contains(&key))
}

/// The scheduler's message if a condition says that no node has the platform that pods must have.
pub(super) fn unschedulable<'a>(condition: &'a Condition, pods: &WorkloadSpec) -> Option<&'a str> {
    let reason = condition.reason.as_deref().unwrap_or_default().to_lowercase();
    if !(reason.contains("unschedulable") || reason.contains("failedscheduling")) || !is_constrained(pods) {
        return None;
    }
    let message = condition.message.as_deref().unwrap_or_default();
    let lower = message.to_lowercase();
    let speaks_of = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    // Where other labels are asked for as well, a mismatch may be theirs.
    let is_only = keys(pods).all(|key| [OS, ARCH].contains(&key));
    let is_platform = speaks_of(&[OS, ARCH]) || is_only && speaks_of(&MISMATCH);
    (is_platform && !speaks_of(&CAPACITY)).then_some(message)
}

/// The same of a pod, by its own condition.
pub(super) fn pod_unschedulable<'a>(pod: &'a Pod, pods: &WorkloadSpec) -> Option<&'a str> {
    let scheduled = condition(&pod.status.conditions, "PodScheduled").filter(|scheduled| !scheduled.is_true())?;
    unschedulable(scheduled, pods)
}

/// The labels of nodes that pods ask for.
fn keys(pods: &WorkloadSpec) -> impl Iterator<Item = &str> {
    let terms = pods.affinity_terms().iter().flat_map(|term| &term.match_expressions);
    pods.node_selector.keys().map(String::as_str).chain(terms.map(|rule| rule.key.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> WorkloadSpec {
        serde_json::from_value(value).unwrap()
    }

    fn affinity(terms: Value) -> WorkloadSpec {
        let required = json!({"nodeSelectorTerms": terms});
        spec(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}))
    }

    fn rule(key: &str, values: &[&str]) -> Value {
        json!({"key": key, "operator": "In", "values": values})
    }

    #[test]
    fn a_platform_is_told_by_selectors_and_by_affinity() {
        let told = |pods: &WorkloadSpec| of(pods).map(|platform| format!("{}/{}", platform.os, platform.arch));
        let selector = spec(json!({"nodeSelector": {OS: "linux", ARCH: "arm64", "disk": "ssd"}}));
        assert_eq!(told(&selector).as_deref(), Some("linux/arm64"));
        let both = json!({"matchExpressions": [rule(OS, &["linux"]), rule(ARCH, &["amd64"])]});
        assert_eq!(told(&affinity(json!([both]))).as_deref(), Some("linux/amd64"));
        assert_eq!(told(&affinity(json!([both, both]))).as_deref(), Some("linux/amd64"));
        let other = json!({"matchExpressions": [rule(OS, &["linux"]), rule(ARCH, &["arm64"])]});
        let several = json!({"matchExpressions": [rule(OS, &["linux"]), rule(ARCH, &["amd64", "arm64"])]});
        for terms in [json!([both, other]), json!([several]), json!([both, {}]), json!([]), json!("x")] {
            assert_eq!(told(&affinity(terms.clone())), None, "{terms}");
        }
        assert_eq!(told(&spec(json!({"nodeSelector": {OS: "linux"}}))), None);
    }

    #[test]
    fn a_mismatch_is_told_apart_from_want_of_room() {
        let arm = spec(json!({"nodeSelector": {OS: "linux", ARCH: "arm64"}}));
        let with_disk = spec(json!({"nodeSelector": {ARCH: "arm64", "disk": "ssd"}}));
        let free = spec(json!({"nodeSelector": {"disk": "ssd"}}));
        let selector = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
        let named = "no node has kubernetes.io/arch=arm64";
        for (pods, reason, message, is_mismatch) in [
            (&arm, "Unschedulable", selector, true),
            (&arm, "FailedScheduling", selector, true),
            (&arm, "Unschedulable", named, true),
            (&with_disk, "Unschedulable", named, true),
            (&with_disk, "Unschedulable", selector, false),
            (&free, "Unschedulable", selector, false),
            (&arm, "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.", false),
            (
                &arm,
                "Unschedulable",
                "1 Insufficient memory, 2 node(s) didn't match Pod's node affinity/selector.",
                false,
            ),
            (&arm, "Unschedulable", "1 Too many pods, no kubernetes.io/arch", false),
            (&arm, "SchedulingGated", selector, false),
            (&arm, "Unschedulable", "3 node(s) had untolerated taint", false),
        ] {
            let condition: Condition = serde_json::from_value(
                json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": message}),
            )
            .unwrap();
            assert_eq!(unschedulable(&condition, pods), is_mismatch.then_some(message), "{reason} {message}");
        }
    }
}
