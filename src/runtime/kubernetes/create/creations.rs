//! The creations that are under way: how many there may be, and that the program's end waits for what they leave.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    error::{Error, Family, Kind},
    runtime::kubernetes::{Scope, namespaces::MAX_CREATIONS},
};

/// How long a creation waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// The creations that are under way.
pub(in crate::runtime::kubernetes) struct Creations {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// The program ends: nobody waits for a sandbox any more.
    closing: CancellationToken,
}

/// A creation's right to go on.
pub(super) struct Turn {
    permits: Vec<OwnedSemaphorePermit>,
    /// Counts for [`Creations::close`].
    _task: TaskTrackerToken,
}

impl Default for Creations {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_CREATIONS as usize)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }
}

impl Creations {
    /// Lets no new ones begin, and ends those that are under way; waits until what they made is removed.
    pub(in crate::runtime::kubernetes) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A place for one, when there is one.
    ///
    /// # Errors
    /// ([`Family::KubeApi`], [`Kind::Overloaded`]) if there is none for too long; [`closing`].
    pub(super) async fn turn(&self, scope: &Scope) -> Result<Turn, Error> {
        // Before it is looked whether the program ends, so that the end waits for it.
        let task = self.tasks.token();
        let places = async {
            let of_tenant = Arc::clone(&scope.places().creations).acquire_owned().await.map_err(|_| closing())?;
            Ok::<_, Error>(vec![of_tenant, Arc::clone(&self.places).acquire_owned().await.map_err(|_| closing())?])
        };
        let permits = self.unless_closing(timeout(TURN, places)).await?;
        let permits = permits.unwrap_or_else(|_| {
            let text = "Too many creations of sandboxes are under way.";
            Err(Error::new(Family::KubeApi, Kind::Overloaded, text))
        })?;
        Ok(Turn { permits, _task: task })
    }

    /// What `work` comes to, unless the program ends before.
    ///
    /// # Errors
    /// [`closing`].
    pub(super) async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(closing()),
            outcome = work => Ok(outcome),
        }
    }
}

impl Turn {
    /// Lets another creation have the place. The program's end waits for this one all the same.
    pub(super) fn give_way(&mut self) {
        self.permits.clear();
    }
}

/// The error of a creation that is cut off by the shutdown.
fn closing() -> Error {
    Error::new(Family::KubeApi, Kind::Unavailable, "The server is shutting down.")
}
