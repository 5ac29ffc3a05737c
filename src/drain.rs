//! Ending gracefully: one [`Drain`] for the server, a [`Watch`] for whoever must notice.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// How long a connection that is cut may take to notice.
const CUT: Duration = Duration::from_secs(1);

/// The server's end: triggers the drain and waits for its connections.
#[derive(Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    connections: TaskTracker,
    /// Cancelled when the grace is over; ends whatever is still there.
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
        let cut = self.cut.clone();
        // Boxed before it is moved: a future within a future would take its room twice.
        let mut connection = Box::pin(connection);
        let connection = async move {
            tokio::select! {
                () = &mut connection => {}
                () = cut.cancelled() => tracing::debug!("connection cut at the end of the grace"),
            }
        };
        self.connections.spawn_on(connection, runtime);
    }

    /// Tells everyone to end, and waits for all connections, at most for `grace`. Answers how many had to be cut.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.token.cancel();
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_ok() {
            return 0;
        }
        let left = self.connections.len();
        self.cut.cancel();
        if tokio::time::timeout(CUT, self.connections.wait()).await.is_err() {
            tracing::warn!("{} connections hang", self.connections.len());
        }
        left
    }
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
