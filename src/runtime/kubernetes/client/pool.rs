//! The connections that calls share, and what becomes of those that go silent.
//!
//! What is between may forget a connection without a word, and TCP finds that only after half a minute, or never if a proxy is
//! in between. Over HTTP/1.1 nothing can be asked on it but the next question. So connections are not kept for long, and a
//! read that is not answered on one is asked on a new one too.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use http::{Extensions, Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        self,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use tokio::{sync::Semaphore, time::timeout};

use super::{connector::Connector, socket::Made};

/// How long a connection is kept for the next call. Less than any load balancer's limit, and not more than the time after which
/// a followed log is looked for that fell silent with all connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most connections that are kept for later calls.
const MAX_IDLE: usize = 32;

/// How long a read waits for its answer's head on a connection that was kept, before it is asked on a new one too.
const DOUBT: Duration = Duration::from_secs(5);

/// How many reads are asked twice at the same moment, others in their turn: an API server that is slow is not to have twice the
/// work.
const MAX_DOUBTS: usize = 4;

type Connections = legacy::Client<Connector, Body>;

/// Sends requests over connections that are kept for a while; clones share them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    kept: Mutex<Kept>,
    doubts: Semaphore,
}

struct Kept {
    connections: Connections,
    /// How often others were taken instead.
    turn: u64,
}

impl Pool {
    /// No connections yet.
    pub(super) fn new(connector: Connector) -> Self {
        let kept = Mutex::new(Kept { connections: connections(&connector), turn: 0 });
        Self(Arc::new(Shared { connector, kept, doubts: Semaphore::new(MAX_DOUBTS) }))
    }

    /// The answer to a request. A read (`GET`) that has none after [`DOUBT`] is asked once more on a new connection, if that
    /// which it is on was there before it; the first answer counts. If that is the new connection's, those that are kept are
    /// not used any more: what has silenced one has silenced them all, as far as is known.
    ///
    /// # Errors
    ///
    /// There is no connection, or it broke off.
    pub(super) async fn ask(&self, mut request: Request<Body>) -> Result<Response<Incoming>, legacy::Error> {
        let (connections, turn) = {
            let kept = self.kept();
            (kept.connections.clone(), kept.turn)
        };
        if request.method() != Method::GET {
            return connections.request(request).await;
        }
        let again = copy(&request);
        let connection = capture_connection(&mut request);
        let begun = Instant::now();
        let mut first = pin!(connections.request(request));
        if let Ok(answer) = timeout(DOUBT, &mut first).await {
            return answer;
        }
        if !was_there(&connection, begun) {
            // It was made for this, so it was not silent a moment ago: the API server is slow.
            return first.await;
        }
        let (first, doubt) = match select(first, pin!(self.0.doubts.acquire())).await {
            Either::Left((answer, _)) => return answer,
            Either::Right((doubt, first)) => (first, doubt),
        };
        let fresh = self.others_than(turn);
        let second = pin!(fresh.request(again));
        let asked = select(first, second).await;
        // From now on it is asked once, on whichever connection is left.
        drop(doubt);
        let answer = match asked {
            Either::Left((Ok(answer), _)) => return Ok(answer),
            Either::Left((Err(_), second)) => second.await?,
            Either::Right((Ok(answer), _)) => answer,
            // That there is no new one tells nothing of the old.
            Either::Right((Err(_), first)) => return first.await,
        };
        self.replace(turn, &fresh);
        Ok(answer)
    }

    /// Those that were taken instead of the connections of this turn, or new ones.
    fn others_than(&self, turn: u64) -> Connections {
        let kept = self.kept();
        if kept.turn == turn { connections(&self.0.connector) } else { kept.connections.clone() }
    }

    /// Takes other connections instead of those of this turn.
    fn replace(&self, turn: u64, fresh: &Connections) {
        let mut kept = self.kept();
        if kept.turn == turn {
            *kept = Kept { connections: fresh.clone(), turn: turn + 1 };
            drop(kept);
            tracing::info!("connections to the API server were silent; others, which are not, take their places");
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connections(connector: &Connector) -> Connections {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(MAX_IDLE).pool_timer(TokioTimer::new());
    builder.build(connector.clone())
}

/// The same read; it has no body.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Whether the connection that a request is on was made before that time.
fn was_there(connection: &CaptureConnection, time: Instant) -> bool {
    let mut told = Extensions::new();
    if let Some(connection) = connection.connection_metadata().as_ref() {
        connection.get_extras(&mut told);
    }
    told.get().is_some_and(|Made(made)| *made < time)
}
