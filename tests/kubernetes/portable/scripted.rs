//! The stage on the test API server.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::sync::oneshot;

use super::{EXPIRES, METADATA, Program, Stage, Step, Stuck, scenarios};
use crate::{
    logs::fixture::{NAMESPACE, Sandbox, World},
    support::{
        gateway::Gateway,
        kube::{
            Operator, Outcome,
            logs::{Container, Status},
            resource::{BATCH_SANDBOXES, PODS},
        },
    },
};

struct Scripted {
    world: Arc<World>,
    gateway: Gateway,
    containers: Arc<Mutex<HashMap<String, Container>>>,
}

impl Scripted {
    async fn start() -> Self {
        let world = Arc::new(World::start());
        // Of sandboxes that the gateway makes: those of the tests have their pods.
        world.server.operate(Operator::default());
        let gateway = world.gateway("");
        Self { world, gateway, containers: Arc::default() }
    }
}

/// Gives a sandbox what one has that a client made.
fn complete(world: &World, id: &str) {
    let change = json!({"metadata": {"labels": {METADATA.0: METADATA.1}}, "spec": {"expireTime": EXPIRES}});
    world.server.patch(&BATCH_SANDBOXES, NAMESPACE, id, &change);
}

async fn run(sandbox: &mut Sandbox<'_>, program: &Program, containers: &Mutex<HashMap<String, Container>>) {
    let last = program.runs.len() - 1;
    for (number, (steps, code)) in program.runs.iter().enumerate() {
        containers.lock().unwrap().insert(sandbox.id.clone(), sandbox.container.clone());
        for step in steps {
            perform(&sandbox.container, step).await;
        }
        match code {
            Some(code) if number == last => sandbox.exit(*code),
            Some(code) => sandbox.restart(*code),
            None => {}
        }
    }
}

async fn perform(container: &Container, step: &Step) {
    match step {
        Step::Out(bytes) => container.out(bytes),
        Step::Err(bytes) => container.err(bytes),
        Step::Long(length) => container.out(format!("{}\n", "y".repeat(*length))),
        Step::Lines(range) => range.clone().for_each(|number| container.out(format!("line-{number}\n"))),
        Step::Slowly(range, pause) => {
            for number in range.clone() {
                container.out(format!("line-{number}\n"));
                tokio::time::sleep(*pause).await;
            }
        }
        Step::Pause(pause) => tokio::time::sleep(*pause).await,
    }
}

impl Stage for Scripted {
    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    async fn sandbox(&self, program: Program) -> String {
        let (world, containers) = (self.world.clone(), self.containers.clone());
        let (started, id) = oneshot::channel();
        tokio::spawn(async move {
            let mut sandbox = world.sandbox();
            complete(&world, &sandbox.id);
            // The test is over if nobody wants to know.
            let _ = started.send(sandbox.id.clone());
            run(&mut sandbox, &program, &containers).await;
        });
        id.await.expect("the sandbox is made")
    }

    async fn stuck(&self, how: Stuck) -> String {
        let container = self.world.logs.container();
        let sandbox = match how {
            Stuck::Image => {
                let status = Status::waiting("ImagePullBackOff");
                self.world.sandbox_of(container, |pod| pod.container("sandbox", &status).phase("Pending"))
            }
            Stuck::Command => {
                container.exit();
                let status = Status::terminated_by(&container, 128, "StartError");
                self.world.sandbox_of(container, |pod| pod.container("sandbox", &status).phase("Failed"))
            }
            Stuck::Unscheduled => self.world.sandbox_of(container, |pod| pod.unreported("sandbox").node(None)),
        };
        sandbox.id
    }

    async fn cannot_pull(&self) {
        let outcome = Outcome::Waits { is_init: false, reason: "ImagePullBackOff", message: "it is nowhere" };
        self.world.server.operate(Operator::of(outcome));
    }

    fn image(&self) -> String {
        "example.test/image:1".to_owned()
    }

    fn pauses(&self) -> bool {
        true
    }

    async fn collect(&self, id: &str) {
        self.world.server.remove(&PODS, NAMESPACE, &format!("{id}-0"));
        let container = self.containers.lock().unwrap().remove(id).expect("it was made here");
        container.exit();
        self.world.logs.forget(&container);
    }
}

scenarios!(Scripted);
