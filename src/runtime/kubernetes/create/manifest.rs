//! The object of a sandbox (kubernetes-runtime.md §4.2, §4.4, §4.8).

use kube::Resource;
use serde_json::{Value, json};

use super::{
    plan::Plan,
    pod::{self, BOOTSTRAP},
    template::{Template, pods_member},
};
use crate::{
    config::{ShutdownPolicy, WorkloadProvider},
    runtime::kubernetes::{
        CreationOptions, KubernetesOptions,
        objects::{AgentSandbox, BatchSandbox},
    },
};

/// The object, of this name in this namespace.
pub(super) fn object(
    plan: &Plan,
    options: &KubernetesOptions,
    template: Option<&Template>,
    name: &str,
    namespace: &str,
) -> Value {
    let annotations = plan.annotations();
    let mut metadata = json!({"name": name, "namespace": namespace, "labels": plan.labels()});
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let creation = &options.creation;
    let (api_version, kind, spec) = match options.provider {
        WorkloadProvider::BatchSandbox => {
            (BatchSandbox::api_version(&()), BatchSandbox::kind(&()), batch_spec(plan, creation))
        }
        WorkloadProvider::AgentSandbox => {
            (AgentSandbox::api_version(&()), AgentSandbox::kind(&()), agent_spec(plan, creation))
        }
    };
    let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
    match template.filter(|_| plan.pool.is_none()) {
        Some(template) => template.merged(object, plan.expires_at.is_some()),
        None => object,
    }
}

fn batch_spec(plan: &Plan, options: &CreationOptions) -> Value {
    let mut spec = json!({"replicas": 1});
    match &plan.pool {
        Some(pool) => {
            let command = plan.entrypoint.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            spec["poolRef"] = pool.as_str().into();
            spec["taskTemplate"] = json!({"spec": {"process": {
                "command": ["/bin/sh", "-c", format!("exec {BOOTSTRAP} {command}")],
                "env": pod::task_env(plan, options),
            }}});
        }
        None => {
            spec[pods_member(WorkloadProvider::BatchSandbox)] = json!({
                "metadata": {"labels": plan.labels(), "annotations": plan.annotations()},
                "spec": pod::spec(plan, options, WorkloadProvider::BatchSandbox),
            });
        }
    }
    if let Some(time) = plan.expires_at {
        spec["expireTime"] = time.to_label().into();
    }
    spec
}

fn agent_spec(plan: &Plan, options: &CreationOptions) -> Value {
    let policy = match options.shutdown_policy {
        ShutdownPolicy::Delete => "Delete",
        ShutdownPolicy::Retain => "Retain",
    };
    let mut spec = json!({
        "operatingMode": "Running",
        "service": true,
        "shutdownPolicy": policy,
        pods_member(WorkloadProvider::AgentSandbox): {
            "metadata": {"labels": plan.labels()},
            "spec": pod::spec(plan, options, WorkloadProvider::AgentSandbox),
        },
    });
    if let Some(time) = plan.expires_at {
        spec["shutdownTime"] = time.to_label().into();
    }
    spec
}

/// A word as a shell reads it, in the existing server's way: as it is, or between single quotes.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests;
