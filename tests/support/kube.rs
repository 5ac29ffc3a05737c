//! A Kubernetes API server for tests: objects, lists, watches, writes, access and faults as Kubernetes 1.36.2 was measured to have
//! them (`specs/contract/kubernetes-api.md`, whose rows comments name).
//!
//! It runs on a thread of its own. What it does not do: protobuf, YAML, `Table`, server-side apply (415), gzip, admission webhooks,
//! and more than the node's name of a scheduler.

#![allow(clippy::result_large_err, clippy::large_enum_variant, reason = "a test's server need not be fast")]

mod access;
pub mod body;
mod delete;
pub mod failure;
mod fault;
mod kubeconfig;
mod list;
mod log_hook;
pub mod logs;
mod managed;
mod objects;
mod operator;
mod patch;
pub mod query;
mod record;
pub mod resource;
mod role;
mod selector;
mod serve;
mod store;
pub mod tls;
mod validate;
mod watch;
mod write;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};

pub use access::{ADMIN, Rule};
pub use body::Body;
pub use failure::Failure;
pub use fault::Action;
pub use kubeconfig::Credentials;
pub use log_hook::{LogAsked, Logs};
pub use objects::now;
pub use operator::{Operator, Outcome, Snapshots};
pub use patch::merge;
pub use record::Recorded;
pub use resource::Resource;
pub use role::Role;
pub use store::Object;

use access::Access;
use delete::{DeleteOptions, Deleted};
use fault::Fault;
use store::{Key, Quota, Store};
use write::{Options, Part, PatchKind};

/// The server; it ends, and all its connections with it, when this is dropped.
pub struct Server {
    address: SocketAddr,
    has_tls: bool,
    shared: Arc<Shared>,
    running: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
    dir: tempfile::TempDir,
}

/// An answer's body that is over.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Path and query of its request.
    pub target: String,
    /// When it ended or was dropped.
    pub at: Instant,
    /// It was dropped before its end: the client left, or the server was killed.
    pub by_peer: bool,
}

/// What a test may change.
#[derive(Debug, Clone)]
struct Settings {
    bookmark_every: Duration,
    operator: Option<Operator>,
}

struct Shared {
    store: Mutex<Store>,
    access: Mutex<Access>,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    watches_ended: Notify,
}

struct State {
    requests: Vec<Recorded>,
    /// How many came before them and were forgotten.
    forgotten: usize,
    faults: Vec<Fault>,
    logs: Arc<dyn Logs>,
    open: Vec<String>,
    closed: Vec<Closed>,
    /// Watches that began before this are over.
    watches_end: Option<tokio::time::Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    fn access(&self) -> MutexGuard<'_, Access> {
        lock(&self.access)
    }

    fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The request's number, which stays the same when others are forgotten.
    fn record(&self, request: Recorded) -> usize {
        let mut state = self.state();
        state.requests.push(request);
        state.forgotten + state.requests.len() - 1
    }

    /// Notes what a request was answered, unless it was forgotten meanwhile.
    fn note_status(&self, number: usize, status: u16) {
        let mut state = self.state();
        let Some(place) = number.checked_sub(state.forgotten) else { return };
        if let Some(request) = state.requests.get_mut(place) {
            request.status = status;
        }
    }

    fn fault_for(&self, method: &str, target: &str) -> Option<Action> {
        let mut state = self.state();
        let fault = state.faults.iter_mut().find(|fault| fault.is_for(method, target))?;
        fault.times -= 1;
        Some(fault.action.clone())
    }

    fn watches_end_before(&self, began: tokio::time::Instant) -> bool {
        self.state().watches_end.is_some_and(|end| began < end)
    }

    /// Kubelets stop pods, the garbage collector collects, and the operator makes pods.
    async fn housekeep(&self) {
        let mut changes = self.store().changes();
        loop {
            let operator = self.settings().operator;
            let next = {
                let mut store = self.store();
                changes.mark_unchanged();
                let due = operator.and_then(|operator| operator.reconcile(&mut store));
                [store.housekeep(), due].into_iter().flatten().min()
            };
            let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }
}

impl Server {
    /// Starts a server that speaks plain HTTP and takes every request for the administrator's unless it has a token.
    pub fn start() -> Self {
        Self::new(false, 0)
    }

    /// Starts a server with TLS that asks for a certificate or a token.
    pub fn start_tls() -> Self {
        Self::new(true, 0)
    }

    /// The same on this port; 0 is any.
    pub fn new(has_tls: bool, port: u16) -> Self {
        let access = Access { is_required: has_tls, ..Access::default() };
        let settings = Settings { bookmark_every: Duration::from_secs(60), operator: None };
        let state = State {
            requests: Vec::new(),
            forgotten: 0,
            faults: Vec::new(),
            logs: Arc::new(log_hook::NoLogs),
            open: Vec::new(),
            closed: Vec::new(),
            watches_end: None,
        };
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new()),
            access: Mutex::new(access),
            settings: Mutex::new(settings),
            state: Mutex::new(state),
            watches_ended: Notify::new(),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self { address, has_tls, shared, running: None, dir: tempfile::tempdir().unwrap() };
        server.up();
        server
    }

    /// Listens again, on the same port, after a [`Self::kill`]. The objects are still there.
    ///
    /// # Panics
    ///
    /// If it is running.
    pub fn up(&mut self) {
        assert!(self.running.is_none(), "the server is running");
        let listener = bind(self.address);
        self.address = listener.local_addr().unwrap();
        let acceptor = self.has_tls.then(tls::acceptor);
        let shared = self.shared.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let accept = serve::accept(listener, acceptor, shared.clone());
                tokio::select! { () = accept => {}, () = shared.housekeep() => {}, _ = stopped => {} }
            });
            // Dropping the runtime drops every connection in mid-byte: that is what a killed server looks like (F4).
        });
        self.running = Some((stop, thread));
    }

    /// Ends the server as a kill does: connections break off and new ones are refused.
    pub fn kill(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let joined = super::bounded_thread("the end of the test API server", || thread.join().is_ok());
            // A test that fails already is not to abort all.
            assert!(joined || thread::panicking(), "the server's thread has panicked");
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.has_tls { "https" } else { "http" }, self.address)
    }

    /// Lets this token stand for this user.
    pub fn token(&self, token: &str, user: &str) {
        self.shared.access().tokens.insert(token.to_owned(), user.to_owned());
    }

    /// Takes a token back: 401 from now on.
    pub fn revoke(&self, token: &str) {
        self.shared.access().tokens.remove(token);
    }

    /// Sets what a user may do. The administrator may do everything.
    pub fn rules(&self, user: &str, rules: Vec<Rule>) {
        self.shared.access().rules.insert(user.to_owned(), rules);
    }

    /// The token of a gateway that has the role of `deploy/` for the sandboxes of this namespace. A call that the role does not
    /// allow fails the test when the server is dropped.
    pub fn gateway_token(&self, role: Role, namespace: &str) -> String {
        let token = format!("{role:?}-{namespace}");
        let user = format!("{}:{token}", role::ACCOUNT);
        self.token(&token, &user);
        self.rules(&user, role.rules(namespace));
        token
    }

    /// A kubeconfig file with that token.
    pub fn gateway(&self, role: Role, namespace: &str) -> PathBuf {
        self.kubeconfig(Credentials::Token(&self.gateway_token(role, namespace)))
    }

    /// What gateways with roles of `deploy/` have asked for, as `verb resource.group`.
    pub fn asked_by_gateways(&self) -> Vec<String> {
        self.shared.access().by_gateways.keys().cloned().collect()
    }

    /// Limits the objects of a namespace: `pods`, `count/<plural>.<group>`, `requests.cpu`.
    pub fn quota(&self, namespace: &str, name: &str, hard: &[(&str, u64)]) {
        let hard = hard.iter().map(|(item, limit)| ((*item).to_owned(), *limit)).collect();
        let quota = Quota { namespace: namespace.to_owned(), name: name.to_owned(), hard };
        self.shared.store().quotas.push(quota);
    }

    /// Switches the operator on.
    pub fn operate(&self, operator: Operator) {
        lock(&self.shared.settings).operator = Some(operator);
        // It looks again when something happens.
        self.shared.store().pass_versions(1);
    }

    /// Sets who answers for logs.
    pub fn logs(&self, logs: impl Logs + 'static) {
        self.shared.state().logs = Arc::new(logs);
    }

    /// How often a watch that begins from now on tells a bookmark; 60 s at first.
    pub fn bookmark_every(&self, every: Duration) {
        lock(&self.shared.settings).bookmark_every = every;
    }

    /// How long a pod that runs takes to stop after a deletion; none: until [`Self::remove`].
    pub fn pod_stop(&self, after: Option<Duration>) {
        self.shared.store().pod_stop = after;
    }

    /// Adds or removes a CRD. Watches of one that is removed end.
    pub fn set_there(&self, resource: &'static Resource, is_there: bool) {
        self.shared.store().set_there(resource, is_there);
    }

    /// Forgets what happened so far: older watches and lists are expired (410).
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// Raises the resource version as writes to other kinds do.
    pub fn pass_versions(&self, count: u64) {
        self.shared.store().pass_versions(count);
    }

    /// Goes back to an older version, as after a restored backup.
    pub fn restore(&self, version: u64) {
        self.shared.store().restore(version);
    }

    /// Ends all watches cleanly.
    pub fn end_watches(&self) {
        self.shared.state().watches_end = Some(tokio::time::Instant::now());
        self.shared.watches_ended.notify_waiters();
    }

    /// Adds a fault for the next `times` requests with this method and this text in their target.
    pub fn fault(&self, method: &'static str, text: &str, action: Action, times: usize) {
        self.shared.state().faults.push(Fault { method, text: text.to_owned(), action, times });
    }

    /// Takes all faults back. What hangs already goes on hanging.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Takes the faults of this text back.
    pub fn heal_of(&self, text: &str) {
        self.shared.state().faults.retain(|fault| fault.text != text);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    /// The requests so far but for the first `count`.
    pub fn requests_since(&self, count: usize) -> Vec<Recorded> {
        self.shared.state().requests[count..].to_vec()
    }

    /// Forgets the requests so far, also those that are not answered yet.
    pub fn forget_requests(&self) {
        let mut state = self.shared.state();
        let count = state.requests.drain(..).count();
        state.forgotten += count;
    }

    /// How many answers are open whose target has this text in it.
    pub fn open(&self, text: &str) -> usize {
        self.shared.state().open.iter().filter(|target| target.contains(text)).count()
    }

    /// The answers that are over.
    pub fn closed(&self) -> Vec<Closed> {
        self.shared.state().closed.clone()
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.shared.store().version()
    }

    /// Creates an object, with its status if it has one.
    ///
    /// # Panics
    ///
    /// If the server would refuse it. The same for those below.
    pub fn create(&self, resource: &'static Resource, namespace: &str, object: Value) -> Object {
        let status = object.get("status").cloned();
        let options = Options { manager: "test".to_owned(), ..Options::default() };
        let made = self.shared.store().create_with(resource, namespace, object, status.as_ref(), &options);
        made.expect("an object that can be created").0
    }

    /// The object, if it is there.
    pub fn get(&self, resource: &'static Resource, namespace: &str, name: &str) -> Option<Object> {
        self.shared.store().get(resource, &key(resource, namespace, name))
    }

    /// The objects of a namespace, or all of them if it is empty.
    pub fn list(&self, resource: &'static Resource, namespace: &str) -> Vec<Object> {
        self.shared.store().all(resource, namespace).into_values().collect()
    }

    /// Patches all parts of an object, unchecked, by RFC 7396.
    pub fn patch(&self, resource: &'static Resource, namespace: &str, name: &str, patch: &Value) -> Object {
        let options = Options { manager: "test".to_owned(), ..Options::default() };
        let patch = (PatchKind::Merge, patch);
        let key = key(resource, namespace, name);
        self.shared.store().patch(resource, &key, Part::Whole, patch, &options).expect("it is there").0
    }

    /// Deletes an object as a client does that gives no options.
    pub fn delete(&self, resource: &'static Resource, namespace: &str, name: &str) {
        let key = key(resource, namespace, name);
        let deleted = self.shared.store().delete(resource, &key, &DeleteOptions::default()).expect("it is there");
        match deleted {
            Deleted::Gone(_) | Deleted::Marked(_) => {}
        }
    }

    /// Takes an object away whatever holds it.
    pub fn remove(&self, resource: &'static Resource, namespace: &str, name: &str) {
        let key = key(resource, namespace, name);
        let mut store = self.shared.store();
        let object = store.get(resource, &key).expect("it is there");
        store.remove(resource, (*object).clone());
    }

    /// Binds a pod to a node and lets its containers run.
    pub fn run_pod(&self, namespace: &str, name: &str, ip: &str, node: &str) -> Object {
        let key = Key::new(namespace, name);
        let mut store = self.shared.store();
        operator::run(&mut store, &key, ip, node);
        store.get(&resource::PODS, &key).expect("it is there")
    }

    /// Waits until a request has come whose target has `text` in it.
    pub async fn wait_asked(&self, text: &str) {
        let is_there = || self.shared.state().requests.iter().any(|request| request.target.contains(text));
        super::eventually(&format!("a request for {text}"), super::LONGEST, is_there).await;
    }
}

fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
    Key::new(if resource.namespaced { namespace } else { "" }, name)
}

/// A listener with a backlog for thousands of followers that come at once, on a port that may just have been left.
fn bind(address: SocketAddr) -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(16_384).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let access = self.shared.access();
        let refused: Vec<_> =
            access.by_gateways.iter().filter(|(_, is_allowed)| !**is_allowed).map(|(call, _)| call).collect();
        // A test that fails already is not to abort all.
        assert!(refused.is_empty() || thread::panicking(), "deploy/ does not allow the gateway to {refused:?}");
    }
}
