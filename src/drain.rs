//! Ending gracefully: one [`Drain`] for the server, a [`Watch`] for whoever must notice.

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, task::JoinSet};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a connection that is cut may take to notice.
const CUT: Duration = Duration::from_secs(1);

/// The server's end: triggers the drain and waits for its connections.
#[derive(Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    connections: Mutex<JoinSet<()>>,
    /// There is one more.
    added: Notify,
    /// Cancelled when the grace is over, and whatever is still there is ended.
    cut: CancellationToken,
}

/// The other end, held by connections and log bodies.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Tokens>);

/// Shared as a whole: a token by itself counts its clones under a lock.
#[derive(Debug)]
struct Tokens {
    begun: CancellationToken,
    cut: CancellationToken,
}

impl Drain {
    /// A watch on this drain.
    pub fn watch(&self) -> Watch {
        Watch(Arc::new(Tokens { begun: self.token.clone(), cut: self.cut.clone() }))
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

    /// Tells everyone to end, and waits for all connections, at most for `grace`. Answers how many had to be cut.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.token.cancel();
        let mut connections = std::mem::take(&mut *self.lock());
        if tokio::time::timeout(grace, ended(&mut connections)).await.is_ok() {
            return 0;
        }
        let left = connections.len();
        self.cut.cancel();
        connections.abort_all();
        if tokio::time::timeout(CUT, ended(&mut connections)).await.is_err() {
            tracing::warn!("{} connections hang", connections.len());
        }
        left
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

    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        self.0.begun.is_cancelled()
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
        assert_eq!(drain.finish(Duration::from_millis(10)).await, 1);
        assert!(watch.has_begun() && watch.has_cut());
    }
}
