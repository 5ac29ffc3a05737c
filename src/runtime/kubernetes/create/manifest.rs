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
    error::{Error, Family, Kind},
    runtime::kubernetes::{
        CreationOptions, KubernetesOptions,
        objects::{AgentSandbox, BatchSandbox},
    },
};

/// The largest object, in bytes: etcd takes 1.5 MiB, and the API server adds to it.
const MAX_OBJECT: usize = 1_400_000;

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

/// Checks that the cluster can take an object of this size.
///
/// # Errors
/// ([`Family::Parameter`], [`Kind::Invalid`]) if it is too large.
pub(super) fn check_size(object: &Value) -> Result<(), Error> {
    let text = object.to_string();
    // The API server writes each of these with six bytes.
    let escaped = text.bytes().filter(|b| b"&<>".contains(b)).count();
    let bytes = text.len() + 5 * escaped;
    if bytes <= MAX_OBJECT {
        return Ok(());
    }
    let text = format!(
        "The sandbox's object would have {bytes} bytes; the cluster takes {MAX_OBJECT}. Send less env, lifecycle, \
         networkPolicy or extensions."
    );
    Err(Error::new(Family::Parameter, Kind::Invalid, text))
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
