//! A cluster with sandboxes that print, and a gateway in front of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    client::{self, Client, Response},
    gateway::{Gateway, Setup},
    kube::{
        Role, Server,
        logs::{Container, PodLogs, PodObject, Status, pod},
        resource::{BATCH_SANDBOXES, PODS},
    },
};

/// Where the sandboxes are.
pub(crate) const NAMESPACE: &str = "osb";

/// The container of a sandbox that is read if nothing else is said.
pub(crate) const MAIN: &str = "sandbox";

/// The test API server with TLS, and the logs behind it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) logs: PodLogs,
    count: AtomicUsize,
}

/// A sandbox with its pod and the present instance of its container.
pub(crate) struct Sandbox<'a> {
    world: &'a World,
    pub(crate) id: String,
    pub(crate) container: Container,
    restarts: u64,
}

impl World {
    pub(crate) fn start() -> Self {
        let (server, logs) = (Server::start_tls(), PodLogs::new());
        server.logs(logs.clone());
        // What ends, ends soon: how soon is measured elsewhere.
        logs.node(crate::support::kube::logs::NODE).set_end_lag(std::time::Duration::from_millis(50));
        Self { server, logs, count: AtomicUsize::new(0) }
    }

    /// A gateway with these lines in `[logs]`.
    pub(crate) fn gateway(&self, lines: &str) -> Gateway {
        let kubeconfig = self.server.gateway(Role::BatchSandbox, NAMESPACE);
        Setup::kubernetes(&kubeconfig, NAMESPACE).section(&format!("[logs]\n{lines}")).start()
    }

    /// A running sandbox that has printed nothing.
    pub(crate) fn sandbox(&self) -> Sandbox<'_> {
        let container = self.logs.container();
        let status = Status::running(&container);
        self.sandbox_of(container, |pod| pod.container(MAIN, &status))
    }

    /// A sandbox whose pod is `change`d; `container` is what the test calls its own.
    pub(crate) fn sandbox_of(&self, container: Container, change: impl FnOnce(PodObject) -> PodObject) -> Sandbox<'_> {
        let id = format!("00000000-0000-4000-8000-{:012x}", self.count.fetch_add(1, Ordering::Relaxed));
        self.server.create(&BATCH_SANDBOXES, NAMESPACE, batch(&id));
        let sandbox = Sandbox { world: self, id, container, restarts: 0 };
        let pod = change(sandbox.labelled());
        self.server.create(&PODS, NAMESPACE, pod.json());
        sandbox
    }
}

/// A pod that a pool holds, with a container that runs.
pub(crate) struct PoolPod {
    pub(crate) name: String,
    pub(crate) container: Container,
}

impl World {
    /// A pod of a pool, which is nobody's yet.
    pub(crate) fn pool_pod(&self, name: &str) -> PoolPod {
        let container = self.logs.container();
        let pod = PodObject::new(NAMESPACE, name).container(MAIN, &Status::running(&container));
        self.server.create(&PODS, NAMESPACE, pod.json());
        PoolPod { name: name.to_owned(), container }
    }

    /// A sandbox that has this pod.
    pub(crate) fn pooled(&self, pod: &PoolPod) -> Sandbox<'_> {
        let id = format!("00000000-0000-4000-8000-{:012x}", self.count.fetch_add(1, Ordering::Relaxed));
        let mut object = batch(&id);
        object["metadata"]["finalizers"] = json!(["pool.sandbox.opensandbox.io/pool-allocation"]);
        let allocation = json!({"pods": [pod.name], "poolRef": "pool"}).to_string();
        object["metadata"]["annotations"]["sandbox.opensandbox.io/alloc-status"] = allocation.into();
        object["spec"] = json!({"replicas": 1, "poolRef": "pool"});
        self.server.create(&BATCH_SANDBOXES, NAMESPACE, object);
        Sandbox { world: self, id, container: pod.container.clone(), restarts: 0 }
    }
}

/// A BatchSandbox as the operator leaves one that runs.
fn batch(id: &str) -> Value {
    json!({
        "apiVersion": "sandbox.opensandbox.io/v1alpha1",
        "kind": "BatchSandbox",
        "metadata": {
            "name": id,
            "namespace": NAMESPACE,
            "labels": {"opensandbox.io/id": id},
            "annotations": {"sandbox.opensandbox.io/endpoints": "[\"127.0.0.1\"]"},
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": MAIN, "image": "example.test/image:1"}]}}},
        "status": {"phase": "Succeed", "replicas": 1, "allocated": 1, "ready": 1, "taskRunning": 0, "taskSucceed": 0,
            "taskFailed": 0, "taskPending": 0, "taskUnknown": 0},
    })
}

impl Sandbox<'_> {
    /// The name of its pod.
    pub(crate) fn pod(&self) -> String {
        format!("{}-0", self.id)
    }

    fn labelled(&self) -> PodObject {
        PodObject::new(NAMESPACE, &self.pod())
            .label("opensandbox.io/id", &self.id)
            .label("batch-sandbox.sandbox.opensandbox.io/name", &self.id)
    }

    /// The target of its log with this query.
    pub(crate) fn target(&self, query: &str) -> String {
        format!("/sandboxes/{}/logs?{query}", self.id)
    }

    /// The whole answer to a request that ends.
    pub(crate) async fn read(&self, gateway: &Gateway, query: &str) -> Response {
        client::get_once(gateway.address(), &self.target(query)).await
    }

    /// A follow whose head has come.
    pub(crate) async fn follow(&self, gateway: &Gateway, query: &str) -> Client {
        let mut client = Client::connect(gateway.address()).await;
        let head = client.get(&self.target(&format!("follow=true&{query}"))).await;
        if head.status != 200 {
            panic!("{query}: {} {:?}", head.status, client.body().await);
        }
        client
    }

    /// Sets what the pod says of its container.
    pub(crate) fn set(&self, status: &Status) {
        let mut object = (*self.world.server.get(&PODS, NAMESPACE, &self.pod()).expect("the pod is there")).clone();
        pod::set_status(&mut object, MAIN, status);
        let statuses = json!({"status": {"containerStatuses": object["status"]["containerStatuses"]}});
        self.world.server.patch(&PODS, NAMESPACE, &self.pod(), &statuses);
    }

    /// Its container ends for good.
    pub(crate) fn exit(&self, code: i32) {
        self.set(&Status::terminated(&self.container, code).restarts(self.restarts));
        self.container.exit();
    }

    /// Its container ends, and another instance runs.
    pub(crate) fn restart(&mut self, code: i32) {
        let old = std::mem::replace(&mut self.container, self.world.logs.container());
        self.restarts += 1;
        self.set(&Status::running(&self.container).after(&old, code).restarts(self.restarts));
        old.exit();
    }

    /// Its pod is gone.
    pub(crate) fn lose_pod(&self) {
        self.world.server.remove(&PODS, NAMESPACE, &self.pod());
        self.container.exit();
        self.world.logs.forget(&self.container);
    }

    /// It has another pod, which runs.
    pub(crate) fn replace_pod(&mut self) {
        (self.container, self.restarts) = (self.world.logs.container(), 0);
        let pod = self.labelled().container(MAIN, &Status::running(&self.container));
        self.world.server.create(&PODS, NAMESPACE, pod.json());
    }

    /// Its objects are gone, and its container ends.
    pub(crate) fn remove(&self) {
        self.world.server.remove(&BATCH_SANDBOXES, NAMESPACE, &self.id);
        self.world.server.remove(&PODS, NAMESPACE, &self.pod());
        self.container.exit();
        self.world.logs.forget(&self.container);
    }
}
