//! A sandbox's hold on a pool's pod. A pod that was given back lives on, and may be another sandbox's the next moment.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    backoff::spread,
    error::{Error, Family, Kind},
    runtime::kubernetes::{Inner, Scope},
};

/// How often it is looked whether the sandbox still has the pod of a log that is followed. The cache tells, without a call.
const LOOK: Duration = Duration::from_millis(500);

/// How many look at the same moment: a cache that is old asks the API server for each.
static LOOKS: Semaphore = Semaphore::const_new(4);

/// What a sandbox has of a pool.
#[derive(Clone)]
pub(super) struct Lease(Arc<Held>);

struct Held {
    inner: Arc<Inner>,
    scope: Scope,
    /// The sandbox's.
    id: String,
    pod: String,
}

impl Lease {
    /// The hold of the sandbox `id` on `pod`.
    pub(super) fn new(inner: Arc<Inner>, scope: Scope, id: String, pod: String) -> Self {
        Self(Arc::new(Held { inner, scope, id, pod }))
    }

    /// Whether the sandbox has the pod for certain.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub(super) async fn holds(&self) -> Result<bool, Error> {
        let Held { inner, scope, id, pod } = &*self.0;
        match Box::pin(inner.find(scope, id)).await {
            Ok(sandbox) => Ok(sandbox.allocated_pods().contains(pod)),
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// The sandbox has the pod no more, or the cluster cannot be asked.
    pub(super) async fn check(&self) -> Result<(), Error> {
        if self.holds().await? {
            return Ok(());
        }
        Err(Error::new(Family::KubeSandbox, Kind::NotFound, "The sandbox has its pod no more."))
    }

    /// Whether it is known already that the sandbox has the pod no more.
    pub(super) fn is_known_to_be_lost(&self) -> bool {
        matches!(Box::pin(self.holds()).now_or_never(), Some(Ok(false)))
    }

    /// Waits until the sandbox has the pod no more. While the cluster cannot be asked, nobody gives it away either.
    pub(super) async fn lost(&self) {
        loop {
            let holds = {
                // It is never closed.
                let _looks = LOOKS.acquire().await;
                self.holds().await
            };
            if !holds.unwrap_or(true) {
                return;
            }
            sleep(spread(LOOK)).await;
        }
    }
}
