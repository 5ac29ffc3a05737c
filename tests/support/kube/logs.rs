//! `pods/log` as Kubernetes 1.36.2 with containerd was measured to answer it (`/work/shared/contract/kubernetes-api.md` §§2–7).
//!
//! [`PodLogs`] stands for everything behind the API server: its own checks, the kubelets of the nodes and the logs that
//! the runtime keeps there. It does no IO: [`PodLogs::answer`] takes the query, `Accept` and the pod object as they
//! are, and gives a status and a body whose chunks are those that the API server would write. What is read is chosen
//! by the pod object's container IDs, as the kubelet chooses it; a test changes object and log, each for itself.
//!
//! The names `B1`, `R4`, `E3`, `F2` are the rows of that page.

mod answer;
pub mod body;
pub mod container;
pub mod fault;
mod hook;
mod kubelet;
pub mod node;
pub mod pod;
mod query;
mod reader;
mod status;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::time::Instant;

pub use answer::LogRequest;
pub use body::{Answer, Body, LogBody, Piece};
pub use container::{Container, Stream};
pub use fault::{Ending, Fault};
pub use node::{Inotify, Node, Reach, Runtime};
pub use pod::{PodObject, Status};

/// The node on which pods are that a test does not place elsewhere. It is there from the start.
pub const NODE: &str = "node1";

/// What becomes of the parameter `stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamGate {
    /// `PodLogsQuerySplitStreams` is off: every value is 422. The default of 1.32 to 1.36.
    #[default]
    Off,
    /// On in the API server only: the kubelet refuses all but `All`.
    ApiServerOnly,
    /// On in both.
    On,
    /// A server before 1.32, which ignores the parameter as it does every unknown one.
    Unknown,
}

/// The logs of all pods of a cluster; clones are the same.
#[derive(Clone, Default)]
pub struct PodLogs(Arc<Mutex<State>>);

struct State {
    gate: StreamGate,
    nodes: HashMap<String, Node>,
    containers: HashMap<String, Container>,
    faults: Vec<fault::Armed>,
    requests: Vec<Seen>,
    open: usize,
    opened: usize,
    closed: VecDeque<Closed>,
}

/// A request that came, in the order of their coming.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The pod's name.
    pub pod: String,
    /// The query as it was sent.
    pub query: Vec<(String, String)>,
}

impl Seen {
    /// The first value of a parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A streamed body that is over.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The pod's name.
    pub pod: String,
    /// When it ended or was dropped.
    pub at: Instant,
    /// It was dropped before its end: the client left.
    pub by_peer: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            gate: StreamGate::default(),
            nodes: HashMap::from([(NODE.to_owned(), Node::new(NODE))]),
            containers: HashMap::new(),
            faults: Vec::new(),
            requests: Vec::new(),
            open: 0,
            opened: 0,
            closed: VecDeque::new(),
        }
    }
}

impl PodLogs {
    /// No containers, and the one node [`NODE`].
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }

    /// Sets what becomes of `stream`.
    pub fn set_gate(&self, gate: StreamGate) {
        self.state().gate = gate;
    }

    /// The node of this name; it is added if there is none yet. A pod that is bound to a node that was never asked for
    /// here is bound to a missing one.
    pub fn node(&self, name: &str) -> Node {
        self.state().nodes.entry(name.to_owned()).or_insert_with(|| Node::new(name)).clone()
    }

    /// A new instance of a container on [`NODE`]; its ID goes into the pod object.
    pub fn container(&self) -> Container {
        self.container_on(NODE)
    }

    /// A new instance of a container on the node of this name.
    pub fn container_on(&self, node: &str) -> Container {
        let container = Container::new(self.node(node));
        self.state().containers.insert(container.id().to_owned(), container.clone());
        container
    }

    /// Removes an instance with its log, as the kubelet does with all but the last two of a container.
    pub fn forget(&self, container: &Container) {
        self.state().containers.remove(container.id());
    }

    /// Arms a fault: the next requests that it fits get it.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault::Armed::from(fault));
    }

    /// Disarms every fault.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// The requests that came so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// How many streamed bodies are open at this moment.
    pub fn open(&self) -> usize {
        self.state().open
    }

    /// How many streamed bodies were opened so far.
    pub fn opened(&self) -> usize {
        self.state().opened
    }

    /// The bodies that are over, in the order of their ends.
    pub fn closed(&self) -> Vec<Closed> {
        self.state().closed.iter().cloned().collect()
    }

    fn opens(&self) {
        let mut state = self.state();
        state.open += 1;
        state.opened += 1;
    }

    fn closes(&self, pod: &str, by_peer: bool) {
        let mut state = self.state();
        state.open -= 1;
        state.closed.push_back(Closed { pod: pod.to_owned(), at: Instant::now(), by_peer });
    }
}
