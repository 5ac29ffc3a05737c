//! Pods whose containers print what they are told.

use std::collections::HashMap;

use serde_json::json;

use crate::support::kube::{
    Server,
    logs::{Container, PodLogs, PodObject, Status, pod},
    resource::PODS,
};

/// The pods that were made here. `pods/log` is what their containers have printed, of all others it is an error of their nodes.
pub(super) struct Printing {
    logs: PodLogs,
    instances: HashMap<Place, Instance>,
}

/// Namespace, pod and container.
type Place = [String; 3];

/// The present instance of a container.
struct Instance {
    container: Container,
    /// The one before, which its node still has.
    before: Option<Container>,
    restarts: u64,
}

impl Printing {
    /// Answers for the logs of this server from now on.
    pub(super) fn new(server: &Server) -> Self {
        let logs = PodLogs::new();
        server.logs(logs.clone());
        Self { logs, instances: HashMap::new() }
    }

    /// A pod of a sandbox, whose containers run.
    pub(super) fn create(&mut self, server: &Server, namespace: &str, name: &str, sandbox: &str, containers: &[&str]) {
        let mut pod = PodObject::new(namespace, name)
            .label("opensandbox.io/id", sandbox)
            .label("batch-sandbox.sandbox.opensandbox.io/name", sandbox);
        for container in containers {
            let instance = Instance { container: self.logs.container(), before: None, restarts: 0 };
            pod = pod.container(container, &Status::running(&instance.container));
            self.instances.insert([namespace, name, container].map(str::to_owned), instance);
        }
        server.create(&PODS, namespace, pod.json());
    }

    fn instance(&mut self, place: [&str; 3]) -> &mut Instance {
        let found = self.instances.get_mut(&place.map(str::to_owned));
        found.unwrap_or_else(|| panic!("no container {place:?}"))
    }

    /// Prints the lines of a text, whose ends are written as `\n`.
    pub(super) fn print(&mut self, place: [&str; 3], text: &str) {
        self.instance(place).container.out(text.replace("\\n", "\n") + "\n");
    }

    /// Rotates the log: what was printed can be read on by those who are reading it, by nobody else.
    pub(super) fn rotate(&mut self, place: [&str; 3]) {
        self.instance(place).container.rotate();
    }

    /// A container ends for good.
    pub(super) fn exit(&mut self, server: &Server, place: [&str; 3], code: i32) {
        let instance = self.instance(place);
        let status = Status::terminated(&instance.container, code).restarts(instance.restarts);
        set(server, place, &status);
        instance.container.exit();
    }

    /// A container ends, and another instance of it runs. The one before that is removed.
    pub(super) fn restart(&mut self, server: &Server, place: [&str; 3], code: i32) {
        let next = self.logs.container();
        let instance = self.instance(place);
        let ended = std::mem::replace(&mut instance.container, next);
        instance.restarts += 1;
        set(server, place, &Status::running(&instance.container).after(&ended, code).restarts(instance.restarts));
        ended.exit();
        if let Some(older) = instance.before.replace(ended) {
            self.logs.forget(&older);
        }
    }
}

/// Sets what a pod says of a container.
fn set(server: &Server, [namespace, name, container]: [&str; 3], status: &Status) {
    let mut object = (*server.get(&PODS, namespace, name).expect("the pod is there")).clone();
    pod::set_status(&mut object, container, status);
    let statuses = json!({"status": {"containerStatuses": object["status"]["containerStatuses"]}});
    server.patch(&PODS, namespace, name, &statuses);
}
