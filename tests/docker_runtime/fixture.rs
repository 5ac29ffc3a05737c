//! A runtime on the machine's engine, a client of its own beside it, and a proxy that notes what the runtime asks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bollard::query_parameters::ListContainersOptions;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use opensandbox_gateway::{
    config::ExpiryScope,
    model::create::{CreateRequest, ImageSource},
    runtime::docker::{Docker, DockerOptions, endpoint::Endpoint},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional},
    net::{
        TcpStream, UnixListener, UnixStream,
        unix::{ReadHalf, WriteHalf},
    },
    sync::Semaphore,
    task::AbortHandle,
};

/// The machine's engine, or the one that `DOCKER_HOST` names.
pub(crate) fn socket() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    PathBuf::from(host.strip_prefix("unix://").expect("these tests need an engine on a unix socket"))
}

/// A runtime and what surrounds it.
pub(crate) struct Fixture {
    pub(crate) docker: Docker,
    /// The test's own client, past any proxy.
    pub(crate) engine: bollard::Docker,
    pub(crate) state: TempDir,
    /// Unlike that of any other test.
    pub(crate) run: String,
    pub(crate) proxy: Option<Proxy>,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(options()).await
    }

    pub(crate) async fn start_with(options: DockerOptions) -> Self {
        Self::start_at(&socket(), options, None).await
    }

    pub(crate) async fn start_behind_proxy() -> Self {
        Self::start_behind_proxy_with(options()).await
    }

    /// The engine says that it is of API 1.45. What only such engines know of a request it passes over.
    pub(crate) async fn start_with_newer_engine() -> Self {
        let proxy = Proxy::start();
        proxy.shared.is_newer.store(true, Ordering::Relaxed);
        let path = proxy.path();
        Self::start_at(&path, options(), Some(proxy)).await
    }

    pub(crate) async fn start_behind_proxy_with(options: DockerOptions) -> Self {
        let proxy = Proxy::start();
        let path = proxy.path();
        Self::start_at(&path, options, Some(proxy)).await
    }

    async fn start_at(socket: &Path, options: DockerOptions, proxy: Option<Proxy>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let docker = start(socket, options, state.path()).await;
        let engine = client().await;
        for image in ["osb-test/busybox:1", "osb-test/execd:stub"] {
            let found = engine.inspect_image(image).await;
            found.unwrap_or_else(|error| panic!("these tests need the image {image}: {error}"));
        }
        Self { docker, engine, state, run: uuid::Uuid::new_v4().to_string(), proxy }
    }

    /// A runtime with files of its own beside this one's.
    pub(crate) async fn beside(socket: &Path, options: DockerOptions, state: &Path) -> Docker {
        start(socket, options, state).await
    }

    /// Another runtime with the same files, as after a restart.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(options()).await;
    }

    pub(crate) async fn restart_with(&mut self, options: DockerOptions) {
        self.docker = start(&socket(), options, self.state.path()).await;
    }

    /// What there still is of all sandboxes that the runtime tried to create through the proxy.
    pub(crate) async fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for id in self.proxy.as_ref().unwrap().created_ids() {
            for name in [format!("sandbox-{id}"), format!("sandbox-egress-{id}")] {
                left.extend(self.engine.inspect_container(&name, None).await.ok().map(|_| name));
            }
            for name in [format!("opensandbox-runtime-{id}"), format!("opensandbox-win-oem-{id}")] {
                left.extend(self.engine.inspect_volume(&name).await.ok().map(|_| name));
            }
        }
        left
    }

    /// Whether the engine has a volume of this name.
    pub(crate) async fn has_volume(&self, name: &str) -> bool {
        self.engine.inspect_volume(name).await.is_ok()
    }

    pub(crate) async fn containers_with(&self, label: &str) -> usize {
        self.listed(label).await.len()
    }

    /// The engine's ids of the sandboxes' containers that there are.
    pub(crate) async fn container_ids(&self, ids: &[String]) -> Vec<String> {
        let mut containers = Vec::new();
        for id in ids {
            containers.extend(self.listed(&format!("opensandbox.io/id={id}")).await);
        }
        containers
    }

    async fn listed(&self, label: &str) -> Vec<String> {
        let filters = Some([("label".to_owned(), vec![label.to_owned()])].into());
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let summaries = self.engine.list_containers(Some(options)).await.unwrap();
        summaries.into_iter().filter_map(|summary| summary.id).collect()
    }
}

async fn start(socket: &Path, options: DockerOptions, state: &Path) -> Docker {
    let options = DockerOptions { state_dir: state.to_owned(), ..options };
    let docker = Docker::connect(Endpoint::Unix(socket.to_owned()), options).await;
    docker.unwrap_or_else(|error| panic!("these tests need a Docker engine at {socket:?}: {error}"))
}

/// A client of the engine past the runtime, over the crate's own connections.
async fn client() -> bollard::Docker {
    let transport = |mut request: bollard::BollardRequest| {
        let call: Call = Box::pin(async move {
            let path = request.uri().path_and_query().unwrap().as_str();
            *request.uri_mut() = path.parse().unwrap();
            request.headers_mut().insert("host", http::HeaderValue::from_static("docker"));
            let io = Endpoint::Unix(socket()).connect().await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        });
        call
    };
    let version = bollard::API_DEFAULT_VERSION;
    let client = bollard::Docker::connect_with_custom_transport(transport, Some("http://docker"), 60, version);
    client.unwrap()
}

type Call = BoxFuture<'static, Result<http::Response<hyper::body::Incoming>, bollard::errors::Error>>;

/// A runtime that publishes ports on the loopback.
pub(crate) fn options() -> DockerOptions {
    DockerOptions {
        network_mode: "bridge".to_owned(),
        publish_host: [127, 0, 0, 1].into(),
        execd_image: "osb-test/execd:stub".to_owned(),
        // Others' sandboxes are on this engine, and no mark is to stay on it.
        expiry: Some(ExpiryScope::Own),
        ..Default::default()
    }
}

/// A request for busybox, for ten minutes at most. Empty words are left out.
pub(crate) fn request(entrypoint: &[&str]) -> CreateRequest {
    let words = entrypoint.iter().filter(|word| !word.is_empty());
    CreateRequest {
        image: Some(ImageSource { uri: "osb-test/busybox:1".to_owned(), auth: None }),
        entrypoint: words.map(|word| (*word).to_owned()).collect(),
        timeout: Some(600),
        ..Default::default()
    }
}

/// Waits at most fifteen seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..150 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within fifteen seconds: {what}");
}

/// The whole answer to a GET request on the loopback.
pub(crate) async fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// A Unix socket before the engine's, which notes the first line of every connection and can stand in for the engine.
pub(crate) struct Proxy {
    folder: TempDir,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    faults: Mutex<Vec<Fault>>,
    gates: Mutex<Vec<Held>>,
    connections: Mutex<Vec<AbortHandle>>,
    delay: Mutex<Duration>,
    /// The engine passes for one of API 1.45.
    is_newer: AtomicBool,
    /// The bodies of requests for new containers, as long as it does.
    bodies: Mutex<Vec<serde_json::Value>>,
}

/// A method and a text in the target, how many such requests are still held, and where.
type Held = (&'static str, String, usize, Arc<Gate>);

/// Where requests wait before they go on to the engine.
pub(crate) struct Gate {
    waiting: Semaphore,
    open: Semaphore,
}

impl Gate {
    /// Waits until a request has come.
    pub(crate) async fn reached(&self) {
        self.waiting.acquire().await.unwrap().forget();
    }

    /// Lets go on what waits and what comes.
    pub(crate) fn open(&self) {
        self.open.close();
    }
}

/// An answer in the engine's place.
struct Fault {
    method: &'static str,
    text: String,
    times: usize,
    status: u16,
    message: &'static str,
}

impl Proxy {
    fn start() -> Self {
        let proxy = Self { folder: tempfile::tempdir().unwrap(), shared: Arc::default() };
        let listener = UnixListener::bind(proxy.path()).unwrap();
        let shared = proxy.shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection = tokio::spawn(carry(client, shared.clone()));
                shared.connections.lock().unwrap().push(connection.abort_handle());
            }
        });
        proxy
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// How many requests had this method and this text in their target.
    pub(crate) fn count(&self, method: &str, text: &str) -> usize {
        let lines = self.shared.lines.lock().unwrap();
        lines.iter().filter(|line| line.starts_with(method) && line.contains(text)).count()
    }

    pub(crate) fn clear(&self) {
        self.shared.lines.lock().unwrap().clear();
    }

    /// The next so many requests like this one fail with status 500.
    pub(crate) fn fail(&self, method: &'static str, text: &str, times: usize, message: &'static str) {
        self.shared.faults.lock().unwrap().push(Fault { method, text: text.to_owned(), times, status: 500, message });
    }

    /// Requests like this one are answered as by a proxy that does not let them through.
    pub(crate) fn refuse(&self, method: &'static str, text: &str, status: u16) {
        let fault = Fault { method, text: text.to_owned(), times: usize::MAX, status, message: "not for you" };
        self.shared.faults.lock().unwrap().push(fault);
    }

    /// The next request like this one is answered as if the engine knew no such thing.
    pub(crate) fn deny(&self, method: &'static str, text: &str) {
        let fault = Fault { method, text: text.to_owned(), times: 1, status: 404, message: "no such thing" };
        self.shared.faults.lock().unwrap().push(fault);
    }

    /// Requests with this text in their target are answered by the engine again.
    pub(crate) fn forgive(&self, text: &str) {
        self.shared.faults.lock().unwrap().retain(|fault| fault.text != text);
    }

    /// Requests with this method and this text in their target wait until the gate is opened.
    pub(crate) fn hold(&self, method: &'static str, text: &str) -> Arc<Gate> {
        self.hold_some(method, text, usize::MAX)
    }

    /// The next request like this one waits until the gate is opened, and no other.
    pub(crate) fn hold_next(&self, method: &'static str, text: &str) -> Arc<Gate> {
        self.hold_some(method, text, 1)
    }

    fn hold_some(&self, method: &'static str, text: &str, times: usize) -> Arc<Gate> {
        let gate = Arc::new(Gate { waiting: Semaphore::new(0), open: Semaphore::new(0) });
        self.shared.gates.lock().unwrap().push((method, text.to_owned(), times, gate.clone()));
        gate
    }

    /// The ids of the sandboxes for which a container was asked for.
    fn created_ids(&self) -> Vec<String> {
        let lines = self.shared.lines.lock().unwrap();
        let names = lines.iter().filter_map(|line| line.split_once("/containers/create?name=sandbox-"));
        let ids = names.map(|(_, rest)| rest.trim_start_matches("egress-").chars().take(36).collect());
        ids.filter(|id: &String| uuid::Uuid::try_parse(id).is_ok()).collect()
    }

    /// The first lines of all requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.lines.lock().unwrap().clone()
    }

    /// From now on, whatever is sent to the engine arrives so much later.
    pub(crate) fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
        self.break_off();
    }

    /// The bodies of requests for containers that were made for a sandbox, of an engine that passes for a newer one.
    pub(crate) fn bodies(&self) -> Vec<serde_json::Value> {
        self.shared.bodies.lock().unwrap().clone()
    }

    /// Ends all connections.
    pub(crate) fn break_off(&self) {
        self.shared.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

impl Shared {
    fn gate(&self, line: &str) -> Option<Arc<Gate>> {
        let mut gates = self.gates.lock().unwrap();
        let mut gates = gates.iter_mut();
        let (.., times, gate) = gates
            .find(|(method, text, times, _)| *times > 0 && line.starts_with(*method) && line.contains(text.as_str()))?;
        *times -= 1;
        Some(gate.clone())
    }

    fn fault(&self, line: &str) -> Option<(u16, &'static str)> {
        let mut faults = self.faults.lock().unwrap();
        let hit = |fault: &&mut Fault| fault.times > 0 && line.starts_with(fault.method) && line.contains(&fault.text);
        let fault = faults.iter_mut().find(hit)?;
        fault.times -= 1;
        Some((fault.status, fault.message))
    }
}

async fn carry(mut client: UnixStream, shared: Arc<Shared>) {
    let mut start = vec![0; 16 * 1024];
    let read = client.read(&mut start).await.unwrap_or(0);
    start.truncate(read);
    let text = String::from_utf8_lossy(&start);
    let line = text.lines().next().unwrap_or_default();
    shared.lines.lock().unwrap().push(line.to_owned());
    if let Some(gate) = shared.gate(line) {
        gate.waiting.add_permits(1);
        // It is opened by being closed.
        let _ = gate.open.acquire().await;
    }
    // Either side may leave at any time.
    if let Some((status, message)) = shared.fault(line) {
        // Only the engine itself writes JSON.
        let body = if status == 500 { format!(r#"{{"message":"{message}"}}"#) } else { format!("<h1>{message}</h1>") };
        let head = format!("HTTP/1.1 {status} Fault\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
        return;
    }
    let mut engine = UnixStream::connect(socket()).await.unwrap();
    if shared.is_newer.load(Ordering::Relaxed) {
        return pass_for_newer(client, engine, start, &shared).await;
    }
    let delay = *shared.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    if engine.write_all(&start).await.is_err() {
        return;
    }
    if delay.is_zero() {
        let _ = copy_bidirectional(&mut client, &mut engine).await;
        return;
    }
    let ((mut from_client, mut to_client), (mut from_engine, mut to_engine)) = (client.split(), engine.split());
    tokio::select! {
        () = pass_on(&mut from_client, &mut to_engine, delay) => {}
        _ = copy(&mut from_engine, &mut to_client) => {}
    }
}

/// Carries a request whose version the engine does not know, and the answer that says which one it knows.
async fn pass_for_newer(mut client: UnixStream, mut engine: UnixStream, mut start: Vec<u8>, shared: &Shared) {
    let head = String::from_utf8_lossy(&start).into_owned();
    if head.starts_with("POST") && head.contains("/containers/create?name=sandbox-") {
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let at = head.find("\r\n\r\n").unwrap() + 4;
        start.resize(at + length.unwrap_or(0), 0);
        client.read_exact(&mut start[head.len()..]).await.unwrap();
        shared.bodies.lock().unwrap().push(serde_json::from_slice(&start[at..]).unwrap());
    }
    replace(&mut start, b"/v1.45/", b"/v1.41/");
    engine.write_all(&start).await.unwrap();
    if head.lines().next().is_some_and(|line| line.contains("/version")) {
        let mut answer = vec![0; 64 * 1024];
        let length = engine.read(&mut answer).await.unwrap();
        replace(&mut answer[..length], b"1.41", b"1.45");
        let _ = client.write_all(&answer[..length]).await;
    }
    let _ = copy_bidirectional(&mut client, &mut engine).await;
}

/// In place, since both are of one length.
fn replace(text: &mut [u8], old: &[u8], new: &[u8]) {
    for at in 0..text.len().saturating_sub(old.len() - 1) {
        if text[at..].starts_with(old) {
            text[at..at + new.len()].copy_from_slice(new);
        }
    }
}

/// Passes on each piece after `delay`, until either side leaves.
async fn pass_on(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, delay: Duration) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
