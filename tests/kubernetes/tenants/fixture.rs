//! Three tenants, two of whom share a namespace, and a cluster with a sandbox for each.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    cluster::{BATCH, CLAIMS, Cluster, PODS},
    fixture::{ID, batch},
    support::{
        client::{self, Response},
        gateway::{Gateway, Setup},
        kube::{
            Role,
            logs::{Container, PodLogs, PodObject, Status},
            resource::NAMESPACES,
        },
    },
};

pub(crate) const TENANTS: &str = "[[tenants]]\nname = 'team-a'\nnamespace = 'a'\napi_keys = ['key-a1', 'key-a2']\n\
    [[tenants]]\nname = 'shadow'\nnamespace = 'a'\napi_keys = ['key-as']\n\
    [[tenants]]\nname = 'team-b'\nnamespace = 'b'\napi_keys = ['key-b']\n";

/// A cluster with the tenants' namespaces, and a file of tenants.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) logs: PodLogs,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn start() -> Self {
        let (cluster, logs) = (Cluster::start(), PodLogs::new());
        cluster.server.logs(logs.clone());
        for name in ["a", "b"] {
            if cluster.server.get(&NAMESPACES, "", name).is_none() {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                cluster.server.create(&NAMESPACES, "", object);
            }
        }
        let world = Self { cluster, logs, dir: tempfile::tempdir().unwrap() };
        world.write(TENANTS);
        world
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("tenants.toml")
    }

    /// Makes this the file of tenants, at once.
    pub(crate) fn write(&self, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// A gateway that is told nothing of a server without keys, with these lines in `[kubernetes]`.
    pub(crate) fn setup(&self, lines: &str) -> Setup {
        let setup = self.cluster.gateway_as(Role::Tenants, lines).section("[tenants]");
        setup.env("SANDBOX_TENANTS_CONFIG_PATH", self.file().to_str().unwrap()).env("OPENSANDBOX_INSECURE_SERVER", "NO")
    }

    pub(crate) fn gateway(&self) -> Gateway {
        self.setup("").start()
    }

    /// A running sandbox of a tenant, with a pod that has printed `text`.
    pub(crate) fn sandbox(&self, id: &str, namespace: &str, tenant: &str, text: &str) -> Container {
        let object = batch(id, |object| {
            object["metadata"]["namespace"] = json!(namespace);
            object["metadata"]["labels"]["opensandbox.io/tenant"] = json!(tenant);
            object["metadata"]["labels"]["of"] = json!(tenant);
        });
        self.cluster.server.create(&BATCH, namespace, object);
        let container = self.logs.container();
        container.out(text);
        let pod = PodObject::new(namespace, &format!("{id}-0"))
            .label("opensandbox.io/id", id)
            .container("sandbox", &Status::running(&container));
        self.cluster.server.create(&PODS, namespace, pod.json());
        container
    }

    /// A claim that the server made for a sandbox, of a tenant if there is a name.
    pub(crate) fn claim(&self, name: &str, namespace: &str, tenant: Option<&str>) {
        let mut object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace,
            "labels": {"opensandbox.io/id": ID, "opensandbox.io/volume-managed-by": "server"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        if let Some(tenant) = tenant {
            object["metadata"]["labels"]["opensandbox.io/tenant"] = json!(tenant);
        }
        self.cluster.server.create(&CLAIMS, namespace, object);
    }
}

/// A request with a tenant's key, or with none if it is empty.
pub(crate) async fn with_key(gateway: &Gateway, key: &str, method: &str, target: &str, body: &str) -> Response {
    let key = format!("open-sandbox-api-key: {key}");
    let mut lines = Vec::new();
    if !key.ends_with(": ") {
        lines.push(key.as_str());
    }
    if !body.is_empty() {
        lines.push("content-type: application/json");
    }
    client::request(gateway.address(), method, target, &lines, body).await
}

pub(crate) async fn get(gateway: &Gateway, key: &str, target: &str) -> Response {
    with_key(gateway, key, "GET", target, "").await
}

/// How many sandboxes the key's owner has, or the code of the refusal.
pub(crate) async fn seen(gateway: &Gateway, key: &str) -> Value {
    let answer = get(gateway, key, "/v1/sandboxes").await.json();
    if answer["code"].is_null() { answer["pagination"]["totalItems"].clone() } else { answer["code"].clone() }
}
