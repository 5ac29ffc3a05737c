//! A namespace of a real cluster, and a gateway in front of it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::JoinHandle};

use super::{
    api::{self, Api},
    crds::{self, LABEL},
    reconciler, tell,
};
use crate::{
    portable::{EXPIRES, METADATA, PATIENCE, Program, Stage, Stuck},
    support::{
        gateway::{Gateway, Setup},
        kube::{
            Resource,
            resource::{AGENT_SANDBOXES, BATCH_SANDBOXES, NAMESPACES, PODS},
        },
    },
};

/// How long an operator may take to notice a sandbox.
const OPERATOR: Duration = Duration::from_secs(20);

/// The stage on a real cluster.
pub(super) struct Real {
    pub(super) api: Api,
    pub(super) namespace: String,
    gateway: Gateway,
    reconciler: Option<JoinHandle<()>>,
    /// BatchSandboxes have the suite's reconciler, which pauses them.
    is_paused_by_us: bool,
}

impl Real {
    pub(super) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With these lines in the gateway's `[kubernetes]`.
    pub(super) async fn start_with(lines: &str) -> Self {
        let api = Api::new(&api::kubeconfig()).await;
        let own = crds::ensure(&api).await;
        let namespace = format!("osb-test-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {LABEL: "true"}}});
        assert!(api.create(&NAMESPACES.path("", ""), &object).await);
        let execd = std::env::var("KUBERNETES_TEST_EXECD").unwrap_or_else(|_| "opensandbox/execd:latest".to_owned());
        let gateway = Setup::kubernetes(&api::kubeconfig(), &namespace).execd(&execd).section(lines).start();
        let mut stage = Self { api, namespace, gateway, reconciler: None, is_paused_by_us: false };
        let is_mine = stage.unattended(own).await;
        stage.is_paused_by_us = is_mine[0];
        if is_mine.contains(&true) {
            let reconcile = reconciler::reconcile(stage.api.clone(), stage.namespace.clone(), is_mine);
            stage.reconciler = Some(tokio::spawn(reconcile));
        }
        stage
    }

    /// The kinds whose pods nobody makes: their CRDs are the suite's, or no operator takes notice of a sandbox.
    async fn unattended(&self, own: [bool; 2]) -> [bool; 2] {
        static BATCH: OnceCell<bool> = OnceCell::const_new();
        static AGENT: OnceCell<bool> = OnceCell::const_new();
        let mut is_mine = own;
        for ((kind, known), is_mine) in crds::kinds().into_iter().zip([&BATCH, &AGENT]).zip(&mut is_mine) {
            if !*is_mine {
                *is_mine = *known.get_or_init(|| self.is_left(kind)).await;
            }
        }
        is_mine
    }

    /// Whether a sandbox of this kind is left without a status and without a pod.
    async fn is_left(&self, kind: &Resource) -> bool {
        let id = uuid::Uuid::new_v4().to_string();
        self.put(kind, &id, self.spec(&Program::stays([]).script(), |_| {})).await;
        let (start, path) = (std::time::Instant::now(), kind.path(&self.namespace, &name(kind, &id)));
        let is_left = loop {
            let sandbox = self.api.get(&path).await.unwrap_or_default();
            if !sandbox["status"].is_null() || !self.api.list(&PODS, &self.namespace).await.is_empty() {
                break false;
            }
            if start.elapsed() > OPERATOR {
                tell(&format!("no operator makes pods of {}: the suite does", kind.qualified()));
                break true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        self.api.delete(&path).await;
        is_left
    }

    /// The pod of a sandbox that runs a script; `change` is for its only container, or for all of it.
    pub(super) fn spec(&self, script: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut spec = json!({
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
            "volumes": [{"name": "state", "emptyDir": {}}],
            "containers": [{"name": "sandbox", "image": self.image(), "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", script], "volumeMounts": [{"name": "state", "mountPath": "/state"}]}],
        });
        change(&mut spec);
        spec
    }

    /// Creates a sandbox with this pod. Gives its id.
    pub(super) async fn create(&self, kind: &Resource, pod: Value) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.put(kind, &id, pod).await;
        id
    }

    async fn put(&self, kind: &Resource, id: &str, pod: Value) {
        let labels = json!({"opensandbox.io/id": id, METADATA.0: METADATA.1});
        let template = json!({"metadata": {"labels": {"opensandbox.io/id": id}}, "spec": pod});
        let spec = if kind == &AGENT_SANDBOXES {
            json!({"operatingMode": "Running", "shutdownPolicy": "Delete", "shutdownTime": EXPIRES, "podTemplate": template})
        } else {
            json!({"replicas": 1, "expireTime": EXPIRES, "template": template})
        };
        let object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "spec": spec,
            "metadata": {"name": name(kind, id), "namespace": self.namespace, "labels": labels}});
        assert!(self.api.create(&kind.path(&self.namespace, ""), &object).await);
    }

    /// The pod of a sandbox, if it is there.
    pub(super) async fn pod(&self, id: &str) -> Option<Value> {
        let pods = self.api.list(&PODS, &self.namespace).await;
        pods.into_iter().find(|pod| pod["metadata"]["labels"]["opensandbox.io/id"] == id)
    }

    /// Waits until a sandbox's container runs or has ended. Gives its pod.
    pub(super) async fn started(&self, id: &str) -> Value {
        let start = std::time::Instant::now();
        loop {
            self.check();
            let pod = self.pod(id).await.unwrap_or_default();
            let state = &pod["status"]["containerStatuses"][0]["state"];
            if !state["running"].is_null() || !state["terminated"].is_null() {
                return pod;
            }
            assert!(start.elapsed() < PATIENCE, "it does not start: {pod}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A kubeconfig file like the one of the tests, but with this token.
    pub(super) fn kubeconfig_with(&self, token: &str) -> (tempfile::TempDir, PathBuf) {
        let text = std::fs::read_to_string(api::kubeconfig()).unwrap();
        let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = json!({"token": token});
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        (dir, path)
    }

    /// Fails if the reconciler did.
    fn check(&self) {
        assert!(self.reconciler.as_ref().is_none_or(|task| !task.is_finished()), "the reconciler has failed");
    }
}

/// The name of a sandbox's object, as the Python server makes it.
fn name(kind: &Resource, id: &str) -> String {
    if kind == &AGENT_SANDBOXES && id.starts_with(|letter: char| letter.is_ascii_digit()) {
        format!("sandbox-{id}")
    } else {
        id.to_owned()
    }
}

impl Stage for Real {
    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    async fn sandbox(&self, program: Program) -> String {
        let policy = if program.restarts() { "Always" } else { "Never" };
        let pod = self.spec(&program.script(), |spec| spec["restartPolicy"] = policy.into());
        let id = self.create(&BATCH_SANDBOXES, pod).await;
        self.started(&id).await;
        id
    }

    async fn stuck(&self, how: Stuck) -> String {
        let pod = self.spec("exit 0", |spec| match how {
            Stuck::Image => spec["containers"][0]["image"] = "registry.invalid/nowhere:1".into(),
            Stuck::Command => spec["containers"][0]["command"] = json!(["/no/such/command"]),
            Stuck::Unscheduled => spec["nodeSelector"] = json!({"opensandbox-gateway.test/no-such-node": "true"}),
        });
        self.create(&BATCH_SANDBOXES, pod).await
    }

    /// The domain is nobody's (RFC 6761, section 6.4).
    async fn cannot_pull(&self) {}

    fn image(&self) -> String {
        std::env::var("KUBERNETES_TEST_IMAGE").unwrap_or_else(|_| "docker.io/library/busybox:stable".to_owned())
    }

    fn pauses(&self) -> bool {
        if !self.is_paused_by_us {
            tell("whether a sandbox comes to be paused is the operator's part, and is not tested");
        }
        self.is_paused_by_us
    }

    /// The cluster does it.
    async fn collect(&self, _id: &str) {}
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(reconciler) = self.reconciler.take() {
            reconciler.abort();
        }
        let path = NAMESPACES.path("", &self.namespace);
        // The test's own runtime may be ending. Whoever is interrupted before this leaves it to the sweep.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { Api::new(&api::kubeconfig()).await.delete(&path).await });
        });
        if deleted.join().is_err() {
            tell(&format!("the namespace {} could not be deleted", self.namespace));
        }
    }
}
