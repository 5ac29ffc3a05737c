//! `deploy/kubernetes` on the test API server: `kubectl` takes the manifests, and the gateway uses each right that they give it,
//! and no other. That no gateway of any test asks for more is looked at when a server is dropped (`support/kube/role.rs`).

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cluster::{BATCH, CLAIMS, Cluster, NAMESPACE, PODS},
    support::{
        client, eventually,
        gateway::Gateway,
        kube::{
            Credentials, Operator, Role, Server, Snapshots,
            resource::{NAMESPACES, RUNTIME_CLASSES},
        },
    },
};

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

/// The requests that use each right of a gateway, in front of a cluster whose operator does what it is asked for.
struct Walk<'a> {
    server: &'a Server,
    gateway: &'a Gateway,
    /// Where its sandboxes are.
    namespace: &'a str,
    /// Whose key it is; empty without tenants.
    tenant: &'a str,
}

impl Walk<'_> {
    async fn ask(&self, method: &str, target: &str, body: &str, status: u16) -> Value {
        let key = format!("open-sandbox-api-key: {KEY}");
        let lines = [key.as_str(), "content-type: application/json"];
        let lines = if body.is_empty() { &lines[..1] } else { &lines[..] };
        let answer = client::request(self.gateway.address(), method, target, lines, body).await;
        assert_eq!(answer.status(), status, "{method} {target}: {answer}");
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Makes a sandbox with a claim and a login for its image.
    async fn sandbox(&self) -> String {
        let body = json!({
            "image": {"uri": "reg.example/py:1", "auth": {"username": "u", "password": "p"}}, "entrypoint": ["a"],
            "resourceLimits": {}, "timeout": 600,
            "volumes": [{"name": "v", "mountPath": "/v", "pvc": {"claimName": "c", "deleteOnSandboxTermination": true}}],
        });
        let made = self.ask("POST", "/v1/sandboxes", &body.to_string(), 202).await;
        made["id"].as_str().unwrap().to_owned()
    }

    async fn pools(&self) {
        let capacity = json!({"bufferMax": 1, "bufferMin": 0, "poolMax": 2, "poolMin": 0});
        let pool = json!({"name": "p", "template": {"spec": {"containers": []}}, "capacitySpec": capacity});
        self.ask("POST", "/v1/pools", &pool.to_string(), 201).await;
        self.ask("GET", "/v1/pools", "", 200).await;
        self.ask("GET", "/v1/pools/p", "", 200).await;
        self.ask("PUT", "/v1/pools/p", &json!({"capacitySpec": capacity}).to_string(), 200).await;
        self.ask("DELETE", "/v1/pools/p", "", 204).await;
    }

    async fn snapshot(&self, id: &str) {
        let made = self.ask("POST", &format!("/v1/sandboxes/{id}/snapshots"), r#"{"name": "s"}"#, 202).await;
        let target = format!("/v1/snapshots/{}", made["id"].as_str().unwrap());
        // One that is ready when it is first looked at needs no watch.
        let watch = "watch sandboxsnapshots.sandbox.opensandbox.io";
        let is_watched = || self.server.asked_by_gateways().iter().any(|call| call == watch);
        eventually("a watch of snapshots", Duration::from_secs(30), is_watched).await;
        self.server.operate(Operator::default());
        let begun = Instant::now();
        while self.ask("GET", &target, "", 200).await["status"]["state"] != "Ready" {
            assert!(begun.elapsed() < Duration::from_secs(30), "the snapshot is not made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.ask("DELETE", &target, "", 204).await;
    }

    /// What a sandbox can be asked for and told, to its end.
    async fn through(&self, id: &str) {
        let of = |rest: &str| format!("/v1/sandboxes/{id}{rest}");
        self.ask("GET", "/v1/sandboxes/2ac503a7-652a-42be-a827-aa31fab376d3", "", 404).await;
        self.ask("PATCH", &of("/metadata"), r#"{"a": "b"}"#, 200).await;
        self.ask("GET", &of("/diagnostics/events"), "", 200).await;
        self.ask("GET", &of("/logs"), "", 200).await;
        // One that the Python server made: it has no owner.
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "left", "labels": self.labels(id)},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        self.server.create(&CLAIMS, self.namespace, claim);
        self.ask("DELETE", &of(""), "", 204).await;
        assert!(self.server.get(&CLAIMS, self.namespace, "left").is_none());
    }

    /// A sandbox whose pod is one of a pool's, and is known by its name.
    async fn pooled(&self) {
        let id = "7f3ad1a5-93bd-4bd3-8cf8-4c1ba35b9a3c";
        let status = r#"{"pods":["pool-3"],"poolRef":"pool"}"#;
        let object = json!({"apiVersion": BATCH.api_version(), "kind": "BatchSandbox",
            "metadata": {"name": id, "labels": self.labels(id), "finalizers": ["pool.sandbox.opensandbox.io/pool-allocation"],
                "annotations": {"sandbox.opensandbox.io/alloc-status": status}},
            "spec": {"replicas": 1, "poolRef": "pool"},
            "status": {"phase": "Succeed", "replicas": 1, "allocated": 1, "ready": 1}});
        self.server.create(&BATCH, self.namespace, object);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pool-3"},
            "spec": {"containers": [{"name": "sandbox", "image": "x"}]}});
        self.server.create(&PODS, self.namespace, pod);
        self.ask("GET", &format!("/v1/sandboxes/{id}/diagnostics/inspect"), "", 200).await;
    }

    fn labels(&self, id: &str) -> Value {
        let mut labels = json!({"opensandbox.io/id": id, "opensandbox.io/volume-managed-by": "server"});
        if !self.tenant.is_empty() {
            labels["opensandbox.io/tenant"] = self.tenant.into();
        }
        labels
    }
}

/// Checks that gateways have used what the role allows, all of it.
fn each_right_was_used(server: &Server, role: Role) {
    let asked: BTreeSet<_> = server.asked_by_gateways().into_iter().collect();
    let unused: Vec<_> = role.allowed().difference(&asked).cloned().collect();
    assert_eq!(unused, Vec::<String>::new(), "no gateway needs them");
}

/// The key of the tenant. A gateway without tenants needs none here.
const KEY: &str = "key-a";

/// Lets sandboxes run in a class of their own, which the start and a snapshot look at.
const SECURE: &str = "[secure_runtime]\ntype = \"kata\"\nk8s_runtime_class = \"kata-qemu\"\n";

fn operate(server: &Server) {
    server.operate(Operator { snapshots: Snapshots::Stay, ..Operator::default() });
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-qemu"}, "handler": "kata"});
    server.create(&RUNTIME_CLASSES, "", class);
}

#[tokio::test]
async fn each_right_for_the_batch_sandboxes_of_one_namespace_is_used() {
    let cluster = Cluster::start();
    operate(&cluster.server);
    let gateway = cluster.gateway_as(Role::BatchSandbox, "").section(SECURE).start();
    let walk = Walk { server: &cluster.server, gateway: &gateway, namespace: NAMESPACE, tenant: "" };
    let id = walk.sandbox().await;
    walk.snapshot(&id).await;
    walk.pools().await;
    walk.pooled().await;
    walk.through(&id).await;
    each_right_was_used(&cluster.server, Role::BatchSandbox);
}

#[tokio::test]
async fn each_right_for_the_agent_sandboxes_of_one_namespace_is_used() {
    let cluster = Cluster::start();
    operate(&cluster.server);
    let gateway = cluster.gateway("workload_provider = \"agent-sandbox\"").section(SECURE).start();
    let walk = Walk { server: &cluster.server, gateway: &gateway, namespace: NAMESPACE, tenant: "" };
    let id = walk.sandbox().await;
    walk.pools().await;
    walk.through(&id).await;
    each_right_was_used(&cluster.server, Role::AgentSandbox);
}

#[tokio::test]
async fn each_right_for_the_sandboxes_of_tenants_is_used() {
    let cluster = Cluster::start();
    operate(&cluster.server);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    cluster.server.create(&NAMESPACES, "", namespace);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tenants.toml");
    fs::write(&file, format!("[[tenants]]\nname = 'team-a'\nnamespace = 'a'\napi_keys = ['{KEY}']\n")).unwrap();
    let setup = cluster.gateway_as(Role::Tenants, "").section("[tenants]").section(SECURE);
    let setup = setup.env("SANDBOX_TENANTS_CONFIG_PATH", file.to_str().unwrap());
    let gateway = setup.env("OPENSANDBOX_INSECURE_SERVER", "NO").start();
    let walk = Walk { server: &cluster.server, gateway: &gateway, namespace: "a", tenant: "team-a" };
    let id = walk.sandbox().await;
    walk.snapshot(&id).await;
    walk.pools().await;
    walk.pooled().await;
    walk.through(&id).await;
    each_right_was_used(&cluster.server, Role::Tenants);
}
