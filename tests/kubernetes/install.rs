//! `deploy/kubernetes` on the test API server: `kubectl` takes the manifests, and the gateway uses each right that they give it,
//! and no other. That no gateway of any test asks for more is looked at when a server is dropped (`support/kube/role.rs`).

use std::{path::Path, process::Command};

use crate::support::kube::{Credentials, Server};

/// What `kubectl apply` says of the files in a folder of `deploy/kubernetes`.
fn apply(server: &Server, folder: &str) -> Vec<String> {
    let cache = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(folder);
    // The server has no schemas; tests/deploy compares the manifests with the types of Kubernetes.
    let output = Command::new("kubectl")
        .args(["apply", "--dry-run=client", "--validate=false", "--request-timeout=20s", "--output=name"])
        .arg(format!("--kubeconfig={}", server.kubeconfig(Credentials::Certificate("admin")).display()))
        .arg(format!("--cache-dir={}", cache.path().display()))
        .arg(format!("--filename={}", path.display()))
        .output()
        .expect("kubectl is installed: scripts/test does that");
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn kubectl_takes_the_manifests() {
    let server = Server::start_tls();
    let name = "opensandbox-gateway";
    let of = |kinds: &[&str]| kinds.iter().map(|kind| format!("{kind}/{name}")).collect::<Vec<_>>();
    let mut taken = apply(&server, "");
    taken.retain(|object| !object.starts_with("clusterrole"));
    taken.sort();
    let mut expected = of(&[
        "configmap",
        "deployment.apps",
        "networkpolicy.networking.k8s.io",
        "poddisruptionbudget.policy",
        "role.rbac.authorization.k8s.io",
        "rolebinding.rbac.authorization.k8s.io",
        "service",
        "serviceaccount",
    ]);
    expected.push(format!("service/{name}-metrics"));
    expected.sort();
    assert_eq!(taken, expected);
    assert_eq!(apply(&server, "monitoring").len(), 2);
    assert_eq!(apply(&server, "agent-sandbox").len(), 5);
    assert_eq!(apply(&server, "tenants").len(), 6);
}
