//! The mark: a volume on the engine, by which gateways with different homes know of each other.

use std::{collections::HashMap, fs};

use bollard::{
    errors::Error as EngineError,
    models::{Volume, VolumeCreateRequest},
};

use super::{Inner, Standing, permits::Call};
use crate::runtime::docker::engine::{is_missing, labels};

/// How often the replacement of a mark is tried while a container uses the volume.
const TRIES: usize = 3;

/// What the mark says.
#[derive(Debug)]
pub(super) struct Mark {
    owner: Option<String>,
    place: Option<String>,
}

impl Mark {
    fn of(volume: &Volume) -> Self {
        let label = |key: &str| labels::value(&volume.labels, key).map(str::to_owned);
        Self { owner: label(labels::OWNER), place: label(labels::OWNER_PLACE) }
    }

    /// Whether it is of the home with this id.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.owner.as_deref() == Some(id)
    }

    /// Whose it is, for people.
    pub(super) fn who(&self) -> String {
        self.place.clone().unwrap_or_else(|| "unknown: the volume has no owner's label".to_owned())
    }
}

impl Inner {
    /// The mark; nothing if there is none, or none is to be seen.
    pub(super) async fn find_mark(&self) -> Result<Option<Mark>, EngineError> {
        let found = match self.engine.within(self.engine.api.inspect_volume(&self.owner.mark)).await {
            Ok(volume) => Ok(Some(Mark::of(&volume))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(self.owner.permits.judge(Call::Inspect, found)?.flatten())
    }

    /// Makes the mark. The engine answers with another gateway's if that was first.
    pub(super) async fn make_mark(&self, id: &str) -> Result<Standing, EngineError> {
        // Of the kernel, which answers at once. Only for people.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let own =
            [(labels::OWNER, id.to_owned()), (labels::OWNER_PLACE, format!("{} on {host}", self.owner.home.shown()))];
        let request = VolumeCreateRequest {
            name: Some(self.owner.mark.clone()),
            labels: Some(HashMap::from(own.map(|(key, value)| (key.to_owned(), value)))),
            ..Default::default()
        };
        let made = self.engine.within(self.engine.api.create_volume(request)).await;
        let made = self.owner.permits.judge(Call::Create, made)?.as_ref().map(Mark::of);
        Ok(match made {
            Some(mark) if mark.is_of(id) => Standing::Owner,
            Some(mark) => Standing::Foreign(mark.who()),
            None => Standing::Unmarked,
        })
    }

    /// Makes the mark in the place of another home's.
    pub(super) async fn take_mark(&self, id: &str) -> Result<Standing, EngineError> {
        let mut standing = Standing::Visitor;
        for _ in 0..TRIES {
            match self.engine.remove_volume(&self.owner.mark).await {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => {}
            }
            standing = self.make_mark(id).await?;
            if standing.ends_all() {
                break;
            }
        }
        Ok(standing)
    }
}
