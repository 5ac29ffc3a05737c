//! A node: whether its kubelet can be reached, and what it has left.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::tz::Offset;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How the kubelet answers a new request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// As it should.
    #[default]
    Up,
    /// Its port is closed (F2).
    Down,
    /// It has just started and does not know its pods: 404 of `pods/log` (§3).
    Starting,
    /// It is frozen: an error after [`Node::set_handshake_timeout`] (F3).
    Frozen,
    /// The API server does not trust its certificate (F6).
    Untrusted,
    /// The node object has no address that the API server could use (F7).
    NoAddress,
}

/// The container runtime on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runtime {
    /// As it should be.
    #[default]
    Up,
    /// It is gone: a new request reads E2.
    Down,
    /// It is frozen: a new request gets its head, and nothing of the body until it is thawed (F8).
    Frozen,
}

/// What a new follow finds when it comes to the end of the file and wants to watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inotify {
    /// There is enough.
    #[default]
    Enough,
    /// So many follows are watched at a time, and one more reads E3.
    Instances(usize),
    /// No watch is left: every new follow reads E4.
    NoWatches,
}

/// A node; clones are the same.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    name: String,
    state: Mutex<State>,
    runtime: watch::Sender<Runtime>,
}

struct State {
    reach: Reach,
    next: VecDeque<Reach>,
    alive: CancellationToken,
    address: String,
    offset: Offset,
    inotify: Inotify,
    watching: usize,
    end_lag: Duration,
    handshake_timeout: Duration,
    stream_limit: Duration,
}

impl Node {
    pub(super) fn new(name: &str) -> Self {
        let state = State {
            reach: Reach::Up,
            next: VecDeque::new(),
            alive: CancellationToken::new(),
            address: "127.0.0.1:10250".to_owned(),
            offset: Offset::UTC,
            inotify: Inotify::Enough,
            watching: 0,
            end_lag: Duration::from_millis(800),
            handshake_timeout: Duration::from_secs(10),
            stream_limit: Duration::from_hours(4),
        };
        Self(Arc::new(Inner { name: name.to_owned(), state: Mutex::new(state), runtime: watch::Sender::default() }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of the lock panics")
    }

    /// Kills the kubelet: every open stream ends, cleanly (F1). The next requests find it in the states of `then`, each
    /// in one, and the ones after those find it up.
    pub fn restart(&self, then: impl IntoIterator<Item = Reach>) {
        let mut state = self.state();
        state.next = then.into_iter().collect();
        state.reach = Reach::Up;
        let alive = std::mem::take(&mut state.alive);
        drop(state);
        alive.cancel();
    }

    /// Kills the kubelet and leaves it dead.
    pub fn kill(&self) {
        self.restart([]);
        self.set_reach(Reach::Down);
    }

    /// Sets how new requests find the kubelet; open streams go on.
    pub fn set_reach(&self, reach: Reach) {
        let mut state = self.state();
        state.reach = reach;
        state.next.clear();
    }

    /// Sets the runtime's state; open streams go on.
    pub fn set_runtime(&self, runtime: Runtime) {
        self.0.runtime.send_replace(runtime);
    }

    /// Sets the time zone of the runtime, in whose records and so in whose timestamps it is seen (B2).
    pub fn set_offset(&self, hours: i8) {
        self.state().offset = Offset::constant(hours);
    }

    /// Sets what is left of inotify.
    pub fn set_inotify(&self, inotify: Inotify) {
        self.state().inotify = inotify;
    }

    /// Sets how long after a container's end its followers end: 0.5 to 1.1 s as measured, 0.8 s if not set.
    pub fn set_end_lag(&self, lag: Duration) {
        self.state().end_lag = lag;
    }

    /// Sets for how long the API server tries to reach a frozen kubelet: 10 s if not set.
    pub fn set_handshake_timeout(&self, timeout: Duration) {
        self.state().handshake_timeout = timeout;
    }

    /// Sets after how long a stream ends with the next line, which is not delivered: 4 h if not set.
    pub fn set_stream_limit(&self, limit: Duration) {
        self.state().stream_limit = limit;
    }

    /// Sets the address that is named in errors.
    pub fn set_address(&self, address: &str) {
        address.clone_into(&mut self.state().address);
    }

    /// How many follows are watched.
    pub fn watching(&self) -> usize {
        self.state().watching
    }

    pub(super) fn next_reach(&self) -> Reach {
        let mut state = self.state();
        state.next.pop_front().unwrap_or(state.reach)
    }

    pub(super) fn runtime(&self) -> watch::Receiver<Runtime> {
        self.0.runtime.subscribe()
    }

    pub(super) fn alive(&self) -> CancellationToken {
        self.state().alive.clone()
    }

    pub(super) fn address(&self) -> String {
        self.state().address.clone()
    }

    pub(super) fn offset(&self) -> Offset {
        self.state().offset
    }

    pub(super) fn end_lag(&self) -> Duration {
        self.state().end_lag
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.state().handshake_timeout
    }

    pub(super) fn stream_limit(&self) -> Duration {
        self.state().stream_limit
    }

    /// A place among the watched follows, or what is missing for one.
    pub(super) fn watch(&self) -> Result<Watch, Inotify> {
        let mut state = self.state();
        match state.inotify {
            Inotify::Instances(most) if state.watching >= most => return Err(state.inotify),
            Inotify::NoWatches => return Err(Inotify::NoWatches),
            Inotify::Enough | Inotify::Instances(_) => {}
        }
        state.watching += 1;
        Ok(Watch(self.clone()))
    }
}

/// A follow's inotify instance; given back when dropped.
pub(super) struct Watch(Node);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.state().watching -= 1;
    }
}
