//! The runtime of these tests.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};

use crate::{
    error::{Error, Family, Kind},
    model::{
        sandbox::{Sandbox, State, Status},
        timestamp::Timestamp,
    },
    runtime::{SnapshotImages, stub::Stub},
};

/// A runtime whose copies take as long as the test wants.
#[derive(Default)]
pub(super) struct Slow {
    /// One permit lets one copy end.
    pub(super) ends: Gate,
    /// Told when a copy begins.
    pub(super) begun: Notify,
    pub(super) state: Mutex<Stage>,
}

pub(super) struct Gate(pub(super) Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[derive(Default)]
pub(super) struct Stage {
    pub(super) under_way: usize,
    pub(super) most: usize,
    pub(super) images: HashSet<String>,
    pub(super) in_use: bool,
    pub(super) broken: bool,
    pub(super) paused: bool,
    /// Nothing can be told of any sandbox.
    pub(super) unreachable: bool,
    pub(super) failure: HashMap<String, (Family, Kind)>,
}

#[async_trait]
impl Stub for Slow {
    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        if id == "nope" {
            return Err(Error::not_found(id));
        }
        if self.state.lock().unwrap().unreachable {
            return Err(Error::new(Family::Query, Kind::Unavailable, "the engine is gone"));
        }
        let state = if self.state.lock().unwrap().paused { State::Paused } else { State::Running };
        Ok(Sandbox {
            id: id.to_owned(),
            image: None,
            snapshot_id: None,
            platform: None,
            status: Status { state, reason: None, message: None, last_transition_at: None },
            metadata: Default::default(),
            extensions: Default::default(),
            allocation: None,
            entrypoint: Vec::new(),
            expires_at: None,
            created_at: Timestamp::now(),
        })
    }
}

#[async_trait]
impl SnapshotImages for Slow {
    async fn commit(&self, sandbox: &str, snapshot: &str) -> Result<String, Error> {
        {
            let mut state = self.state.lock().unwrap();
            state.under_way += 1;
            state.most = state.most.max(state.under_way);
        }
        self.begun.notify_one();
        self.ends.0.acquire().await.unwrap().forget();
        let mut state = self.state.lock().unwrap();
        state.under_way -= 1;
        if let Some(&(family, kind)) = state.failure.get(sandbox) {
            return Err(Error::new(family, kind, "no space left on device"));
        }
        state.images.insert(snapshot.to_owned());
        Ok(format!("image:{snapshot}"))
    }

    async fn committed(&self, snapshot: &str) -> Result<Option<String>, Error> {
        Ok(self.state.lock().unwrap().images.contains(snapshot).then(|| format!("image:{snapshot}")))
    }

    async fn remove_snapshot(&self, snapshot: &str, _: Option<&str>) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap();
        match *state {
            Stage { broken: true, .. } => Err(Error::new(Family::SnapshotRemoval, Kind::Failed, "broken")),
            Stage { in_use: true, .. } => Err(Error::new(Family::SnapshotRemoval, Kind::InUse, "in use")),
            _ => {
                state.images.remove(snapshot);
                Ok(())
            }
        }
    }
}
