//! Ending gracefully: one [`Drain`] for the server, a [`Watch`] for whoever must notice.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, task::JoinSet};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// How long the connections and requests that are cut may take to end.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many of the requests that are cut are named.
const MAX_NAMES: usize = 20;

/// The server's end: triggers the drain and waits for its connections.
#[derive(Debug, Default)]
pub struct Drain {
    shared: Arc<Shared>,
    /// Not a [`TaskTracker`], whose tasks cannot be aborted: to watch a token instead would cost each turn of each connection a
    /// lock that all of them share.
    connections: Mutex<JoinSet<()>>,
    /// There is one more.
    added: Notify,
}

/// The other end, held by connections, requests and log bodies.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Shared>);

/// Shared as a whole: a token by itself counts its clones under a lock.
#[derive(Debug, Default)]
struct Shared {
    /// The gateway is about to drain, and still takes connections. Looked at with every answer.
    announced: AtomicBool,
    begun: CancellationToken,
    /// Cancelled when the grace is over, and whatever is still there is ended.
    cut: CancellationToken,
    /// The requests under way. The streams of HTTP/2 are tasks of their own, and outlast their connection's.
    requests: TaskTracker,
    cut_requests: Mutex<CutRequests>,
}

#[derive(Debug, Default)]
struct CutRequests {
    count: usize,
    names: Vec<String>,
}

/// A request that the drain waits for, as long as this lives.
#[derive(Debug)]
pub struct Request {
    watch: Watch,
    _tracked: TaskTrackerToken,
}

/// What was still there when the grace was over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Connections.
    pub connections: usize,
    /// Requests on these.
    pub requests: usize,
    /// What some of the requests were.
    pub names: Vec<String>,
}

impl Drain {
    /// A watch on this drain.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Tells everyone that the drain is going to begin: new requests are served, but should go elsewhere.
    pub fn announce(&self) {
        self.shared.announced.store(true, Ordering::Relaxed);
    }

    /// Runs a connection as a task of its own on `runtime`, until it is done or the grace is over.
    pub fn spawn_on(&self, connection: impl Future<Output = ()> + Send + 'static, runtime: &Handle) {
        self.lock().spawn_on(connection, runtime);
        self.added.notify_one();
    }

    /// Lets go of what connections leave behind when they have ended, for ever.
    pub async fn reap(&self) {
        loop {
            self.added.notified().await;
            poll_fn(|cx| {
                let mut connections = self.lock();
                while ready!(connections.poll_join_next(cx)).is_some() {}
                Poll::Ready(())
            })
            .await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everyone to end, and waits for all connections, at most for `grace`. Answers what had to be cut.
    pub async fn finish(&self, grace: Duration) -> Cut {
        self.announce();
        self.shared.begun.cancel();
        let mut connections = std::mem::take(&mut *self.lock());
        if tokio::time::timeout(grace, ended(&mut connections)).await.is_ok() {
            return Cut::default();
        }
        let left = connections.len();
        self.shared.cut.cancel();
        connections.abort_all();
        let all_ended = async {
            ended(&mut connections).await;
            self.shared.requests.wait().await;
        };
        self.shared.requests.close();
        if tokio::time::timeout(CUT_TIMEOUT, all_ended).await.is_err() {
            tracing::warn!("{} connections and {} requests hang", connections.len(), self.shared.requests.len());
        }
        let CutRequests { count, names } = std::mem::take(&mut *self.shared.cut_requests());
        Cut { connections: left, requests: count, names }
    }
}

impl Shared {
    fn cut_requests(&self) -> MutexGuard<'_, CutRequests> {
        self.cut_requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until all have ended, by themselves or not.
async fn ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

impl Watch {
    /// Resolves when the drain begins.
    pub fn begun(&self) -> WaitForCancellationFutureOwned {
        self.0.begun.clone().cancelled_owned()
    }

    /// Whether the grace is over, so that what ends now was cut.
    pub fn has_cut(&self) -> bool {
        self.0.cut.is_cancelled()
    }

    /// Whether the drain is going to begin, or has begun.
    pub fn is_announced(&self) -> bool {
        self.0.announced.load(Ordering::Relaxed)
    }

    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
    }

    /// A request begins.
    pub fn request(&self) -> Request {
        Request { watch: self.clone(), _tracked: self.0.requests.token() }
    }
}

impl Request {
    /// Whether the grace is over, so that the request was cut if it ends now.
    pub fn is_cut(&self) -> bool {
        self.watch.has_cut()
    }

    /// Notes that the request was cut, and what it was.
    pub fn note_cut(&self, name: impl FnOnce() -> String) {
        let mut cut = self.watch.0.cut_requests();
        cut.count += 1;
        if cut.names.len() < MAX_NAMES {
            cut.names.push(name());
        }
    }
}

impl Cut {
    /// Warns of what had to be cut after `grace`: a line for all together, and one for each of the first requests.
    pub fn warn(&self, grace: Duration) {
        let Self { connections, requests, names } = self;
        tracing::warn!("cut after {} s: {connections} connections with {requests} requests", grace.as_secs());
        for name in names {
            tracing::warn!("cut: {name}");
        }
        match requests.saturating_sub(names.len()) {
            0 => {}
            more => tracing::warn!("cut: and {more} more requests"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn what_has_ended_is_let_go_of_and_what_has_not_is_cut() {
        let drain = Drain::default();
        drain.spawn_on(pending(), &Handle::current());
        for _ in 0..3 {
            drain.spawn_on(async {}, &Handle::current());
        }
        let one_is_left = async {
            while drain.lock().len() > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = drain.reap() => unreachable!("there may always be another"),
            () = one_is_left => {}
        }
        let watch = drain.watch();
        assert_eq!(drain.finish(Duration::from_millis(10)).await, Cut { connections: 1, ..Cut::default() });
        assert!(watch.has_begun() && watch.has_cut());
    }

    #[tokio::test]
    async fn the_requests_that_are_cut_are_named_but_not_all_of_many() {
        let drain = Drain::default();
        let watch = drain.watch();
        drain.spawn_on(pending(), &Handle::current());
        let requests: Vec<_> = (0..MAX_NAMES + 3).map(|number| (number, watch.request())).collect();
        let cutting = async {
            watch.0.cut.cancelled().await;
            for (number, request) in requests {
                assert!(request.is_cut());
                request.note_cut(|| format!("GET /{number}"));
            }
        };
        let (cut, ()) = tokio::join!(drain.finish(Duration::from_millis(10)), cutting);
        assert_eq!((cut.connections, cut.requests, cut.names.len()), (1, MAX_NAMES + 3, MAX_NAMES));
        assert_eq!(cut.names.first().unwrap(), "GET /0");
    }
}
