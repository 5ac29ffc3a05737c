//! A scripted Docker Engine: a real HTTP/1.1 server on a unix socket (or TCP) whose log streams do what a test says.
//!
//! For faults and speeds that a real engine cannot be made to show. Where it is not told otherwise it behaves as
//! engine 20.10.24 was measured to: API 1.41, one chunk a frame, no `Content-Type` on a log, and the head of a log
//! withheld until the first byte. It runs on a thread of its own, so that tests and benchmarks need no runtime for it.

mod connection;
mod create;
pub mod reply;
mod rule;
pub mod script;

use std::{
    collections::HashMap,
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{broadcast, oneshot},
};

use rule::Rule;

pub use rule::Action;
pub use script::{Gate, Head, Sandbox, Script, Step, chunk, frame};

/// The running engine; it ends, and all its connections with it, when this is dropped.
pub struct Engine {
    host: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

/// How a log connection ended, as the engine saw it.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The sandbox whose log it was.
    pub sandbox: String,
    /// When the engine noticed.
    pub at: Instant,
    /// The peer closed it; otherwise the script came to its end.
    pub by_peer: bool,
}

impl Closed {
    /// How long after `left` the engine saw it.
    ///
    /// # Panics
    ///
    /// If it was not the peer that ended it.
    pub fn after(&self, left: Instant) -> Duration {
        assert!(self.by_peer, "the script came to its end");
        self.at.saturating_duration_since(left)
    }
}

struct Shared {
    state: Mutex<State>,
    events: broadcast::Sender<String>,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<String, Sandbox>,
    requests: Vec<String>,
    rules: Vec<Rule>,
    /// The last body with variables in it.
    with_env: Vec<u8>,
    /// How many events were written, over all streams.
    told: usize,
    open: usize,
    opened: usize,
    peak: usize,
    closed: Vec<Closed>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

enum Listener {
    Unix(PathBuf),
    Tcp,
}

impl Engine {
    /// Starts an engine on a unix socket in a directory of its own.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        Self::on(dir, Listener::Unix(path))
    }

    /// Starts an engine on a loopback port, where a connection can really be reset.
    pub fn start_tcp() -> Self {
        Self::on(tempfile::tempdir().unwrap(), Listener::Tcp)
    }

    fn on(dir: tempfile::TempDir, listener: Listener) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), events: broadcast::Sender::new(100_000) });
        let (stop, stopped) = oneshot::channel();
        let (ready, host) = std::sync::mpsc::channel();
        let thread = thread::spawn({
            let shared = shared.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let accept = accept(listener, ready, shared);
                    tokio::select! { () = accept => {}, _ = stopped => {} }
                });
                // Dropping the runtime drops every connection in mid-byte: that is what a killed engine looks like.
            }
        });
        let host = host.recv().expect("the engine's thread says where it listens");
        Self { host, shared, stop: Some(stop), thread: Some(thread), _dir: dir }
    }

    /// The value for `DOCKER_HOST`.
    pub fn docker_host(&self) -> &str {
        &self.host
    }

    /// The path of the unix socket, or the address of the TCP one.
    pub fn address(&self) -> &str {
        self.host.split_once("://").expect("host is a URL").1
    }

    /// Adds a sandbox and returns its id. One with the same id is replaced.
    pub fn sandbox(&self, sandbox: Sandbox) -> String {
        let id = sandbox.id.clone();
        let mut state = self.shared.state();
        // One that is replaced has changed in whatever way.
        let action = if state.sandboxes.contains_key(&id) { "update" } else { "create" };
        let event = reply::event(&sandbox, action);
        state.sandboxes.insert(id.clone(), sandbox);
        drop(state);
        self.tell(event);
        id
    }

    /// Tells an event, and waits until all who listen have it on its way.
    fn tell(&self, event: String) {
        let told = self.shared.state().told;
        let listeners = self.shared.events.send(event).unwrap_or(0);
        let start = Instant::now();
        while self.shared.state().told < told + listeners && start.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Adds a sandbox of which no event is told, as one that is lost on a connection that is dead without a word.
    pub fn sandbox_in_silence(&self, sandbox: Sandbox) -> String {
        let id = sandbox.id.clone();
        self.shared.state().sandboxes.insert(id.clone(), sandbox);
        id
    }

    /// Ends all event streams.
    pub fn end_events(&self) {
        self.tell(String::new());
    }

    /// The targets of the requests after the first `seen` that are about containers.
    pub fn container_requests(&self, seen: usize) -> Vec<String> {
        self.requests().into_iter().skip(seen).filter(|target| target.contains("/containers/")).collect()
    }

    /// Adds a fault for the requests with this method and this text in their target.
    pub fn fault(&self, method: &'static str, text: &str, action: Action) {
        self.shared.state().rules.push(Rule { method, text: text.to_owned(), action });
    }

    /// Takes all faults back. What hangs already goes on hanging.
    pub fn heal(&self) {
        self.shared.state().rules.clear();
    }

    /// Adds a running sandbox without a terminal whose log follows `script`.
    pub fn log(&self, script: Script) -> String {
        self.sandbox(Sandbox::new(script))
    }

    /// Takes a sandbox away; streams that are open go on by their script.
    pub fn remove(&self, id: &str) {
        let removed = self.shared.state().sandboxes.remove(id);
        if let Some(sandbox) = removed {
            self.tell(reply::event(&sandbox, "destroy"));
        }
    }

    /// How many log connections are open now.
    pub fn open_logs(&self) -> usize {
        self.shared.state().open
    }

    /// How many log connections were opened so far.
    pub fn opened_logs(&self) -> usize {
        self.shared.state().opened
    }

    /// The most log connections that were open at once.
    pub fn peak_logs(&self) -> usize {
        self.shared.state().peak
    }

    /// The log connections that have ended, in the order in which they did.
    pub fn closed_logs(&self) -> Vec<Closed> {
        self.shared.state().closed.clone()
    }

    /// The targets of all requests so far, as the peer wrote them.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// The targets of the log requests so far.
    pub fn log_requests(&self) -> Vec<String> {
        self.requests().into_iter().filter(|target| target.contains("/logs?")).collect()
    }

    /// Waits until a request has come whose target has `text` in it.
    pub async fn wait_asked(&self, text: &str) {
        let is_there = || self.shared.state().requests.iter().any(|target| target.contains(text));
        super::eventually(&format!("a request for {text}"), super::LONGEST, is_there).await;
    }

    /// Waits until `count` log connections are open.
    pub async fn wait_open(&self, count: usize) {
        super::eventually(&format!("{count} log connections"), super::LONGEST, || self.open_logs() == count).await;
    }

    /// Waits for the end of the next log connection after the first `seen`, and returns how that was.
    pub async fn wait_closed(&self, seen: usize) -> Closed {
        super::eventually("a closed log connection", Duration::from_secs(10), || self.closed_logs().len() > seen).await;
        self.closed_logs()[seen].clone()
    }

    /// Ends the engine as a kill does: connections break off and new ones are refused.
    pub fn kill(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the engine's thread did not panic");
        }
        if let Some(path) = self.host.strip_prefix("unix://") {
            // A second kill finds no file, which is as well.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(listener: Listener, ready: std::sync::mpsc::Sender<String>, shared: Arc<Shared>) {
    match listener {
        Listener::Unix(path) => {
            let listener = unix_listener(&path).unwrap();
            ready.send(format!("unix://{}", path.display())).unwrap();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                tokio::spawn(connection::serve(io, shared.clone(), |_| {}));
            }
        }
        Listener::Tcp => {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            ready.send(format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                io.set_nodelay(true).unwrap();
                tokio::spawn(connection::serve(io, shared.clone(), |io| {
                    socket2::SockRef::from(io).set_linger(Some(Duration::ZERO)).unwrap();
                }));
            }
        }
    }
}

/// A listener with a backlog for thousands of followers that come at once; tokio's own has 1,024.
fn unix_listener(path: &std::path::Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(16_384)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}
