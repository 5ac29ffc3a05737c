//! Idle connections to backends.
//!
//! A connection comes here only after a response that was read to its end. It belongs to its sandbox: another sandbox that is
//! later given the same address never gets it. An idle connection is not polled. Whether it is still good is checked when it
//! is taken, and every few seconds by the sweeper, a task that lives while there are idle connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime;

use super::{
    buffers::Buffers,
    connection::Connection,
    limits::{LimitReached, Limits, Permit},
};

/// Most idle connections of one sandbox.
const PER_SANDBOX: usize = 64;

/// Most idle connections in all: each holds a descriptor and, after a longer response, a buffer of up to
/// 256 KiB.
const IN_ALL: usize = 1024;

/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often connections are closed that were idle for too long, or that their backends have closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What a connection may be used for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The sandbox's id.
    pub id: String,
    /// The backend's `host:port`.
    pub authority: String,
    /// The runtime that watches its socket. On another one, each read would need a wake-up across threads.
    pub runtime: runtime::Id,
}

/// The idle connections.
#[derive(Debug, Default)]
pub struct Pool {
    /// How many connections there may be, idle ones included.
    pub limits: Arc<Limits>,
    /// The buffers of all connections, also of those in use.
    pub buffers: Buffers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sandboxes: HashMap<String, Vec<Idle>>,
    count: usize,
    is_swept: bool,
}

#[derive(Debug)]
struct Idle {
    authority: String,
    runtime: runtime::Id,
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    /// A pool of connections that count against `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits: Arc::new(limits), ..Self::default() }
    }

    /// A permit for a new connection to the sandbox `id`. Where there is none, the connection that was idle for longest is
    /// closed: one of the sandbox where its limit is reached, else any.
    ///
    /// # Errors
    ///
    /// There is none, and no idle connection to close.
    pub fn permit(&self, id: &str) -> Result<Permit, LimitReached> {
        loop {
            let limit = match self.limits.take(id) {
                Ok(permit) => return Ok(permit),
                Err(limit) => limit,
            };
            // Closed outside of the lock, which gives its permit back.
            let oldest = self.state().take_oldest(of_sandbox(limit, id));
            drop(oldest.ok_or_else(|| self.refuse(limit, id))?);
        }
    }

    /// The limit that leaves no connection for the sandbox `id`, if one does: all are in use. An idle one may be another
    /// port's, so that there may be none all the same when one is needed.
    pub fn exhausted(&self, id: &str) -> Option<LimitReached> {
        let limit = self.limits.reached(id)?;
        (!self.state().has_any(of_sandbox(limit, id))).then(|| self.refuse(limit, id))
    }

    fn refuse(&self, limit: LimitReached, id: &str) -> LimitReached {
        self.limits.warn_rate_limited(limit, id);
        limit
    }

    /// The connection of `key` that was idle for the shortest time. With `is_sure`, one that is open as far as the system knows;
    /// without, one that may have been closed by now.
    pub fn take(&self, key: &Key, is_sure: bool) -> Option<Box<Connection>> {
        loop {
            let idle = self.state().take(key)?;
            if idle.since.elapsed() < IDLE_TIMEOUT && idle.connection.is_alive(is_sure) {
                return Some(idle.connection);
            }
        }
    }

    /// Takes an idle connection. Where there is no room, the sandbox's oldest is closed instead, which may be another thread's;
    /// without one, this one is closed.
    pub fn put(self: Arc<Self>, key: Key, connection: Box<Connection>) {
        let Key { id, authority, runtime } = key;
        let idle = Idle { authority, runtime, connection, since: Instant::now() };
        let (closed, is_first) = {
            let mut state = self.state();
            let closed = state.put(id, idle);
            (closed, state.count > 0 && !std::mem::replace(&mut state.is_swept, true))
        };
        // Closed outside of the lock.
        drop(closed);
        if is_first {
            tokio::spawn(sweep(self));
        }
    }

    /// How many idle connections there are.
    pub fn len(&self) -> usize {
        self.state().count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks also after a panic elsewhere: the state is valid between any two statements.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where room has to be made under a limit: with one sandbox, or anywhere.
fn of_sandbox(limit: LimitReached, id: &str) -> Option<&str> {
    match limit {
        LimitReached::Total(_) => None,
        LimitReached::PerSandbox(_) => Some(id),
    }
}

impl State {
    /// Whether there is an idle connection of the sandbox, or any.
    fn has_any(&self, id: Option<&str>) -> bool {
        match id {
            Some(id) => self.sandboxes.get(id).is_some_and(|idle| !idle.is_empty()),
            None => self.count > 0,
        }
    }

    /// Takes out the connection of the sandbox, or of any, that was idle for longest.
    fn take_oldest(&mut self, id: Option<&str>) -> Option<Idle> {
        if self.count == 0 {
            return None;
        }
        // Each sandbox's are in the order in which they became idle.
        let oldest = match id {
            Some(id) => self.sandboxes.get_mut(id)?,
            None => self.sandboxes.values_mut().filter(|idle| !idle.is_empty()).min_by_key(|idle| idle[0].since)?,
        };
        let idle = (!oldest.is_empty()).then(|| oldest.remove(0))?;
        self.count -= 1;
        Some(idle)
    }

    /// Gives the connection that has to be closed for it, if one has to.
    fn put(&mut self, id: String, idle: Idle) -> Option<Idle> {
        let is_full = self.count >= IN_ALL;
        if is_full && self.sandboxes.get(&id).is_none_or(Vec::is_empty) {
            return Some(idle);
        }
        let of_sandbox = self.sandboxes.entry(id).or_default();
        let oldest = if is_full || of_sandbox.len() >= PER_SANDBOX { Some(of_sandbox.remove(0)) } else { None };
        of_sandbox.push(idle);
        self.count += usize::from(oldest.is_none());
        oldest
    }

    fn take(&mut self, key: &Key) -> Option<Idle> {
        let idle = self.sandboxes.get_mut(&key.id)?;
        let at = idle.iter().rposition(|idle| idle.runtime == key.runtime && idle.authority == key.authority)?;
        self.count -= 1;
        Some(idle.remove(at))
    }

    /// Takes out what is to be closed.
    fn swept(&mut self, now: Instant) -> Vec<Idle> {
        let is_done = |idle: &mut Idle| {
            now.saturating_duration_since(idle.since) >= IDLE_TIMEOUT || !idle.connection.is_alive(true)
        };
        let mut done = Vec::new();
        for idle in self.sandboxes.values_mut() {
            done.extend(idle.extract_if(.., is_done));
        }
        self.sandboxes.retain(|_, idle| !idle.is_empty());
        self.count -= done.len();
        self.is_swept = self.count > 0;
        done
    }
}

/// Closes what was idle for too long, until nothing is idle.
async fn sweep(pool: Arc<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        // Closed outside of the lock.
        let (done, is_swept) = {
            let mut state = pool.state();
            (state.swept(Instant::now()), state.is_swept)
        };
        drop(done);
        if !is_swept {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::proxy::Timeouts;

    const TIMEOUTS: Timeouts =
        Timeouts { connect: IDLE_TIMEOUT, response: IDLE_TIMEOUT, resume: IDLE_TIMEOUT, upload: IDLE_TIMEOUT };

    fn key(id: &str, authority: &str) -> Key {
        Key { id: id.to_owned(), authority: authority.to_owned(), runtime: runtime::Handle::current().id() }
    }

    #[tokio::test]
    async fn a_connection_is_its_sandboxes_and_its_ports_own() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let pool = Arc::new(Pool::default());
        for _ in 0..PER_SANDBOX + 3 {
            let connection =
                Connection::open(&authority, TIMEOUTS, pool.buffers.take(), pool.permit("a").ok()).await.unwrap();
            assert!(connection.is_alive(false));
            Arc::clone(&pool).put(key("a", &authority), connection);
        }
        assert_eq!(pool.len(), PER_SANDBOX, "bounded");
        assert!(pool.take(&key("b", &authority), false).is_none(), "another sandbox at the same address");
        assert!(pool.take(&key("a", "127.0.0.1:1"), false).is_none(), "another port of the sandbox");
        assert!(pool.take(&key("a", &authority), true).is_some());
        assert_eq!(pool.len(), PER_SANDBOX - 1);
    }

    #[tokio::test]
    async fn a_full_pool_makes_room_among_the_sandbox_s_own() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let pool = Arc::new(Pool::default());
        let connection =
            async || Connection::open(&authority, TIMEOUTS, pool.buffers.take(), pool.permit("a").ok()).await.unwrap();
        Arc::clone(&pool).put(key("a", &authority), connection().await);
        assert!(pool.take(&key("a", &authority), false).is_some(), "a place that is empty from now on");
        Arc::clone(&pool).put(key("b", &authority), connection().await);
        pool.state().count = IN_ALL;
        Arc::clone(&pool).put(key("a", &authority), connection().await);
        assert!(pool.take(&key("a", &authority), false).is_none(), "nothing of its own to make room");
        Arc::clone(&pool).put(key("b", &authority), connection().await);
        assert_eq!((pool.len(), pool.state().sandboxes["b"].len()), (IN_ALL, 1), "the newer one is kept");
    }

    #[tokio::test]
    async fn what_was_closed_or_idle_for_too_long_is_put_away() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let pool = Arc::new(Pool::default());
        let mut accepted = Vec::new();
        for _ in 0..2 {
            let connection =
                Connection::open(&authority, TIMEOUTS, pool.buffers.take(), pool.permit("a").ok()).await.unwrap();
            accepted.push(listener.accept().await.unwrap().0);
            assert!(connection.is_alive(false));
            Arc::clone(&pool).put(key("a", &authority), connection);
        }
        accepted.pop();
        // The system knows at once, the runtime when it is told.
        let taken = pool.take(&key("a", &authority), true).expect("the other one is good");
        assert!(pool.is_empty(), "the closed one is gone");
        assert!(taken.is_alive(true));
        Arc::clone(&pool).put(key("a", &authority), taken);
        assert!(pool.state().swept(Instant::now()).is_empty());
        assert_eq!(pool.state().swept(Instant::now() + IDLE_TIMEOUT).len(), 1);
        assert!(pool.is_empty());
        assert_eq!(accepted[0].read(&mut [0]).await.unwrap(), 0, "closed");
    }

    #[tokio::test]
    async fn what_was_idle_for_longest_gives_way() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let pool = Arc::new(Pool::new(Limits::new(3, 2)));
        let connection = async |id: &str| {
            let permit = pool.permit(id).unwrap();
            Connection::open(&authority, TIMEOUTS, pool.buffers.take(), Some(permit)).await.unwrap()
        };
        let (first, second, third) = (connection("a").await, connection("a").await, connection("b").await);
        assert_eq!(pool.exhausted("a"), Some(LimitReached::PerSandbox(2)));
        assert_eq!(pool.exhausted("c"), Some(LimitReached::Total(3)));
        Arc::clone(&pool).put(key("b", &authority), third);
        assert_eq!(pool.exhausted("b"), None);
        assert_eq!(pool.exhausted("c"), None, "another's may give way");
        assert_eq!(pool.permit("a").unwrap_err(), LimitReached::PerSandbox(2), "but not to who has as many as it may");
        assert_eq!(pool.len(), 1);
        Arc::clone(&pool).put(key("a", &authority), first);
        let permit = pool.permit("c").unwrap();
        assert_eq!(pool.state().sandboxes["b"].len(), 0, "it was idle for longer");
        assert_eq!((pool.limits.open(), pool.len()), (3, 1));
        drop(permit);
        let permit = pool.permit("a").unwrap();
        assert!(pool.is_empty(), "its own, since it has as many as it may");
        assert_eq!(pool.permit("a").unwrap_err(), LimitReached::PerSandbox(2));
        assert_eq!(pool.exhausted("a"), Some(LimitReached::PerSandbox(2)));
        drop((permit, second));
        assert_eq!(pool.limits.open(), 0);
    }
}
