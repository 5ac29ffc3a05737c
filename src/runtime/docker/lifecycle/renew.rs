//! Moving a sandbox's expiry: by request and by use (http-api.md §10, config.md `[renew_intent]`).

use std::io;

use jiff::SignedDuration;

use crate::runtime::docker::{Inner, state::view::ContainerView};
use crate::{
    error::{Error, Family, Kind},
    model::{sandbox::State, timestamp::Timestamp},
};

impl Inner {
    /// Moves a sandbox's expiry. To be run to its end, which holds the sandbox's lock until then: the sandbox is either
    /// removed before, and not found, or lives until the new time.
    pub(in crate::runtime::docker) async fn renew(&self, id: &str, time: Timestamp) -> Result<Timestamp, Error> {
        let _lock = self.change_locks.lock(id).await;
        let view = self.inspect(id).await?;
        let refused = |kind, text: &str| Err(Error::new(Family::Expiry, kind, text));
        if time <= Timestamp::now() {
            return refused(Kind::Invalid, "New expiration time must be in the future.");
        }
        if view.is_manual {
            let text = format!("Sandbox {id} does not have automatic expiration enabled.");
            return refused(Kind::Conflict, &text);
        }
        // One that cannot be read is one: the client's new time takes its place.
        if matches!(self.expiry_of(id, &view).await, Ok(None)) {
            let text = format!("Sandbox {id} is missing expiration metadata and cannot be renewed safely.");
            return refused(Kind::Conflict, &text);
        }
        self.move_expiry(id, &view, time).await
    }

    /// Moves the expiry of a sandbox that is used and asked for it, never to an earlier time. To be run to its end.
    pub(in crate::runtime::docker) async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        // Most sandboxes do not ask, and that never changes: the cache is good enough to say so.
        if self.inspect_cached(id).await?.renewal.is_none() {
            return Ok(None);
        }
        let _lock = self.change_locks.lock(id).await;
        let view = self.inspect(id).await?;
        let is_at_work = view.sandbox.status.state == State::Running || self.commits.has(id);
        let is_running = is_at_work && !view.is_manual;
        let Some(seconds) = view.renewal.filter(|_| is_running) else { return Ok(None) };
        let unread = |error: io::Error| {
            let text = format!("The expiry of sandbox {id} cannot be read now, so it was not moved: {error}");
            Error::new(Family::Expiry, Kind::Failed, text).caused_by(error)
        };
        let Some(present) = self.expiry_of(id, &view).await.map_err(unread)? else { return Ok(None) };
        let moved = jiff::Timestamp::now().saturating_add(SignedDuration::from_secs(seconds));
        match moved.map(Timestamp::from) {
            Ok(time) if time > present => self.move_expiry(id, &view, time).await.map(Some),
            _ => Ok(Some(present)),
        }
    }

    /// When a sandbox ends: the file's time, else the label's.
    ///
    /// # Errors
    /// There may be a file, and it cannot be read now.
    async fn expiry_of(&self, id: &str, view: &ContainerView) -> io::Result<Option<Timestamp>> {
        Ok(self.moved_expiry(id).await?.or(view.sandbox.expires_at))
    }

    async fn move_expiry(&self, id: &str, view: &ContainerView, time: Timestamp) -> Result<Timestamp, Error> {
        // First: should the file not be written, others only let the sandbox live longer.
        self.share_expiry(id, view.created_by.as_deref(), time).await?;
        let owner = id.to_owned();
        self.store(Family::Expiry, id, move |files| files.store_expiry(&owner, time)).await?;
        self.expiry.arm(id, time);
        tracing::info!(sandbox = id, %time, "the expiry was moved");
        Ok(time)
    }
}
