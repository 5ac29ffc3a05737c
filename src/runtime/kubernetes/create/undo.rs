//! Removing what a failed creation made.
//!
//! The sandbox's object is removed by its UID, and what it owns goes with it: the secret, and the claims that are to go with it.
//! These are removed besides, as a deletion does it. Where an answer was lost, the object is looked for by its name, which nobody
//! else has: a random one.

use std::time::Duration;

use tokio::time::sleep;

use super::claims::MadeClaims;
use crate::runtime::kubernetes::{
    Inner, Scope,
    client::ApiFailure,
    workload::{Deletion, Workload},
};

/// The pauses between attempts while the API server cannot be asked: 5 min in all.
const PAUSES: [u64; 13] = [1, 1, 2, 4, 8, 16, 30, 30, 30, 30, 45, 45, 60];

/// When an object whose creation was not answered is looked for again: the request may still be on its way.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// What a creation has made.
#[derive(Debug)]
pub(super) struct Made {
    /// The sandbox's id.
    pub(super) id: String,
    /// The name of its object.
    pub(super) name: String,
    pub(super) object: Object,
    pub(super) claims: MadeClaims,
}

/// The sandbox's object.
#[derive(Debug)]
pub(super) enum Object {
    /// It was not made.
    No,
    /// Nobody has answered whether it was made.
    Perhaps,
    /// It was made.
    Yes(Workload),
}

impl Inner {
    /// Removes what was made. Tries for minutes while the API server cannot be asked.
    pub(super) async fn undo(&self, scope: &Scope, mut made: Made) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(failure) = self.try_undo(scope, &mut made).await else { break };
            let pause = pauses.next().filter(|_| failure.is_outage() || failure.is_conflict());
            let Some(pause) = pause else {
                tracing::warn!(sandbox = made.id, %failure, "what a failed creation made could not be removed");
                return;
            };
            tracing::info!(sandbox = made.id, %failure, "what a failed creation made is removed later");
            sleep(Duration::from_secs(pause).max(failure.retry_after.unwrap_or_default())).await;
        }
        tracing::info!(sandbox = made.id, "what a failed creation made was removed");
    }

    async fn try_undo(&self, scope: &Scope, made: &mut Made) -> Result<(), ApiFailure> {
        if matches!(made.object, Object::Perhaps) {
            made.object = self.find_unanswered(scope, made).await?;
        }
        if let Object::Yes(workload) = &made.object {
            match scope.workloads().delete(workload).await? {
                Deletion::Begun | Deletion::Gone | Deletion::Replaced => made.object = Object::No,
            }
        }
        if made.claims.has_managed {
            self.sweep_claims(scope, &made.id, None).await?;
            made.claims.has_managed = false;
        }
        self.remove_kept_claims(scope, &mut made.claims).await
    }

    async fn find_unanswered(&self, scope: &Scope, made: &Made) -> Result<Object, ApiFailure> {
        if let Some(found) = scope.workloads().read_named(&made.id, &made.name).await? {
            return Ok(Object::Yes(found));
        }
        sleep(SECOND_LOOK).await;
        let found = scope.workloads().read_named(&made.id, &made.name).await?;
        Ok(found.map_or(Object::No, Object::Yes))
    }
}
