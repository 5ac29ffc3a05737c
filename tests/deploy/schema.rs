//! Manifests against the types of Kubernetes.

use std::fmt::Debug;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The kinds of the Prometheus Operator, whose types are not here.
pub(crate) const FOREIGN: [&str; 2] = ["ServiceMonitor", "PrometheusRule"];

/// Checks that Kubernetes knows each member of an object, and that it has the right type.
///
/// # Panics
///
/// With the member, if it does not.
pub(crate) fn check(object: &Value) {
    match (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default()) {
        ("v1", "ConfigMap") => read::<ConfigMap>(object),
        ("v1", "PersistentVolumeClaim") => read::<PersistentVolumeClaim>(object),
        ("v1", "Secret") => read::<Secret>(object),
        ("v1", "Service") => read::<Service>(object),
        ("v1", "ServiceAccount") => read::<ServiceAccount>(object),
        ("apps/v1", "Deployment") => read::<Deployment>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => read::<NetworkPolicy>(object),
        ("policy/v1", "PodDisruptionBudget") => read::<PodDisruptionBudget>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => read::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => read::<ClusterRoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => read::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => read::<RoleBinding>(object),
        ("monitoring.coreos.com/v1", kind) if FOREIGN.contains(&kind) => {}
        (version, kind) => panic!("{version} {kind} is not looked at here"),
    }
}

/// What is read and written again is the same, but for members that the type does not have.
fn read<T: DeserializeOwned + Serialize + Debug>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object:#}"));
    is_kept("", object, &serde_json::to_value(&typed).unwrap());
}

fn is_kept(path: &str, written: &Value, read: &Value) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let path = format!("{path}.{key}");
                is_kept(&path, value, read.get(key).unwrap_or_else(|| panic!("Kubernetes knows no {path}")));
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            assert_eq!(written.len(), read.len(), "{path}");
            for (number, (written, read)) in written.iter().zip(read).enumerate() {
                is_kept(&format!("{path}[{number}]"), written, read);
            }
        }
        _ => assert_eq!(written, read, "{path}"),
    }
}
