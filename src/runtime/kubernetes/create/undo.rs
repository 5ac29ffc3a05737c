//! Removing what a failed creation made.
//!
//! The sandbox's object is removed by its UID, and what it owns goes with it: the secret, and the claims that are to go with it.
//! These are removed besides, as a deletion does it. Where an answer was lost, the object is looked for by its name, which nobody
//! else has: a random one.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::runtime::kubernetes::{
    Inner, Scope,
    cleanups::{MAX_PAUSE, pause},
    client::ApiFailure,
    workload::{Deletion, Workload},
};

/// For how long it is tried while the API server cannot be asked.
const TRIED: Duration = Duration::from_secs(300);

/// The first pause between two attempts; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

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
    /// There may be claims that go with it.
    pub(super) has_claims: bool,
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
        if matches!(made.object, Object::Perhaps) {
            sleep(SECOND_LOOK).await;
        }
        let mut begun = None;
        let mut wait = FIRST_PAUSE;
        loop {
            let turn = self.cleanups.turn(scope).await;
            // Not while others have the turn.
            let begun = *begun.get_or_insert_with(Instant::now);
            let Err(failure) = self.try_undo(scope, &mut made).await else { break };
            drop(turn);
            if begun.elapsed() >= TRIED || !(failure.is_outage() || failure.is_conflict()) {
                tracing::warn!(sandbox = made.id, %failure, "what a failed creation made could not be removed");
                return;
            }
            tracing::info!(sandbox = made.id, %failure, "what a failed creation made is removed later");
            tokio::select! {
                () = sleep(pause(wait, &failure)) => {}
                () = scope.workloads().until_back() => {}
            }
            wait = (2 * wait).min(MAX_PAUSE);
        }
        tracing::info!(sandbox = made.id, "what a failed creation made was removed");
    }

    async fn try_undo(&self, scope: &Scope, made: &mut Made) -> Result<(), ApiFailure> {
        if matches!(made.object, Object::Perhaps) {
            let found = scope.workloads().read_named(&made.id, &made.name).await?;
            made.object = found.map_or(Object::No, Object::Yes);
        }
        if let Object::Yes(workload) = &made.object {
            match scope.workloads().delete(workload).await? {
                Deletion::Begun | Deletion::Gone | Deletion::Replaced => made.object = Object::No,
            }
        }
        if made.has_claims {
            self.sweep_claims(scope, &made.id, None).await?;
            made.has_claims = false;
        }
        Ok(())
    }
}
