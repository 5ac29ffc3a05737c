//! A Unix socket before the engine's: it notes what a runtime asks, can stand in for the engine, and shows the runtime only
//! the containers and volumes of one test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional},
    net::{
        UnixListener, UnixStream,
        unix::{ReadHalf, WriteHalf},
    },
    sync::Semaphore,
    task::AbortHandle,
};

use crate::{
    fixture::socket,
    scope::{self, Request},
};

/// A Unix socket before the engine's, which notes the first line of every connection and can stand in for the engine.
pub(crate) struct Proxy {
    folder: TempDir,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The label of what is shown.
    scope: String,
    lines: Mutex<Vec<String>>,
    faults: Mutex<Vec<Fault>>,
    gates: Mutex<Vec<Held>>,
    connections: Mutex<Vec<AbortHandle>>,
    delay: Mutex<Duration>,
    /// The engine passes for one of API 1.45, unless it is newer anyway.
    is_newer: bool,
    /// It does not know that version itself.
    is_raised: AtomicBool,
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
    /// A proxy that shows what has the label `scope`, and gives that label to what is made through it.
    pub(crate) fn start(scope: &str) -> Self {
        Self::start_with(Shared { scope: scope.to_owned(), ..Shared::default() })
    }

    /// The same before an engine that passes for one of API 1.45.
    pub(crate) fn start_newer(scope: &str) -> Self {
        Self::start_with(Shared { scope: scope.to_owned(), is_newer: true, ..Shared::default() })
    }

    fn start_with(shared: Shared) -> Self {
        let proxy = Self { folder: tempfile::tempdir().unwrap(), shared: Arc::new(shared) };
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
    pub(crate) fn created_ids(&self) -> Vec<String> {
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
    let Some(mut request) = Request::read(&mut client).await else { return };
    let line = request.line().to_owned();
    shared.lines.lock().unwrap().push(line.clone());
    if let Some(gate) = shared.gate(&line) {
        gate.waiting.add_permits(1);
        // It is opened by being closed.
        let _ = gate.open.acquire().await;
    }
    // Either side may leave at any time.
    if let Some((status, message)) = shared.fault(&line) {
        // Only the engine itself writes JSON.
        let body = if status == 500 { format!(r#"{{"message":"{message}"}}"#) } else { format!("<h1>{message}</h1>") };
        let head = format!("HTTP/1.1 {status} Fault\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
        return;
    }
    if shared.is_newer && line.starts_with("POST") && line.contains("/containers/create?name=sandbox-") {
        shared.bodies.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
    }
    scope::apply(&mut request, &shared.scope);
    let mut engine = UnixStream::connect(socket()).await.unwrap();
    if shared.is_newer {
        return pass_for_newer(client, engine, request, &shared.is_raised).await;
    }
    let delay = *shared.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    if engine.write_all(&request.bytes()).await.is_err() {
        return;
    }
    if request.asks_for_info() {
        let _ = scope::pass_info(&mut engine, &mut client, &shared.scope).await;
        return;
    }
    if request.asks_for_events() {
        let _ = scope::pass_events(&mut engine, &mut client, &shared.scope).await;
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

/// Carries a request whose version the engine may not know, and the answer that says which one it knows.
async fn pass_for_newer(mut client: UnixStream, mut engine: UnixStream, request: Request, is_raised: &AtomicBool) {
    let asks_version = request.line().contains("/version");
    let mut bytes = request.bytes();
    if is_raised.load(Ordering::Relaxed) {
        replace(&mut bytes, b"/v1.45/", b"/v1.41/");
    }
    engine.write_all(&bytes).await.unwrap();
    if asks_version {
        let mut answer = vec![0; 64 * 1024];
        let length = engine.read(&mut answer).await.unwrap();
        if replace(&mut answer[..length], b"1.41", b"1.45") {
            is_raised.store(true, Ordering::Relaxed);
        }
        let _ = client.write_all(&answer[..length]).await;
    }
    let _ = copy_bidirectional(&mut client, &mut engine).await;
}

/// In place, since both are of one length. Tells whether there was anything to replace.
fn replace(text: &mut [u8], old: &[u8], new: &[u8]) -> bool {
    let mut is_found = false;
    for at in 0..text.len().saturating_sub(old.len() - 1) {
        if text[at..].starts_with(old) {
            text[at..at + new.len()].copy_from_slice(new);
            is_found = true;
        }
    }
    is_found
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
