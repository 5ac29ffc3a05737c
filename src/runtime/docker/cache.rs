//! Inspected containers, kept so that listing does not inspect each of them each time.
//!
//! A picture is used only while the event stream is up ([`Cache::set_live`]) and only if the list's own summary shows
//! the same state. An inspection that was under way when its container changed is not kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::describe::Described;

/// Pictures by container id.
#[derive(Debug, Default)]
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_live: bool,
    last_ticket: u64,
    slots: HashMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    picture: Option<Arc<Described>>,
}

/// Permission to keep the outcome of one inspection, unless the container changes before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

impl Cache {
    /// The picture of a container whose state is `engine_state`.
    pub(super) fn picture(&self, container: &str, engine_state: &str) -> Option<Arc<Described>> {
        let inner = self.lock();
        let picture = inner.slots.get(container).filter(|_| inner.is_live)?.picture.as_ref()?;
        (picture.engine_state == engine_state).then(|| picture.clone())
    }

    /// To be called before an inspection begins.
    pub(super) fn begin(&self, container: &str) -> Ticket {
        let mut inner = self.lock();
        inner.last_ticket += 1;
        let fresh = inner.last_ticket;
        let slot = inner.slots.entry(container.to_owned()).or_insert(Slot { ticket: fresh, picture: None });
        Ticket(slot.ticket)
    }

    /// Keeps what an inspection found, if nothing happened to the container since `ticket` was given.
    pub(super) fn keep(&self, container: &str, ticket: Ticket, picture: Arc<Described>) {
        if let Some(slot) = self.lock().slots.get_mut(container).filter(|slot| slot.ticket == ticket.0) {
            slot.picture = Some(picture);
        }
    }

    /// The container changed.
    pub(super) fn stale(&self, container: &str) {
        let mut inner = self.lock();
        inner.last_ticket += 1;
        let ticket = inner.last_ticket;
        if let Some(slot) = inner.slots.get_mut(container) {
            *slot = Slot { ticket, picture: None };
        }
    }

    /// The container is gone.
    pub(super) fn forget(&self, container: &str) {
        self.lock().slots.remove(container);
    }

    /// Whether changes are being told from now on. What was known before counts no more.
    pub(super) fn set_live(&self, is_live: bool) {
        let mut inner = self.lock();
        inner.is_live = is_live;
        inner.slots.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

    use super::{super::labels, *};

    fn picture() -> Arc<Described> {
        let summary = ContainerSummary {
            labels: Some([(labels::ID.to_owned(), "x".to_owned())].into()),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            ..Default::default()
        };
        Arc::new(Described::from_summary(&summary).unwrap())
    }

    #[test]
    fn keeps_pictures_of_the_same_state_while_live() {
        let cache = Cache::default();
        cache.set_live(true);
        let ticket = cache.begin("c");
        cache.keep("c", ticket, picture());
        assert!(cache.picture("c", "running").is_some());
        assert!(cache.picture("c", "exited").is_none());
        cache.set_live(false);
        assert!(cache.picture("c", "running").is_none());
    }

    #[test]
    fn drops_an_inspection_that_a_change_overtook() {
        let cache = Cache::default();
        cache.set_live(true);
        let ticket = cache.begin("c");
        cache.stale("c");
        cache.keep("c", ticket, picture());
        assert!(cache.picture("c", "running").is_none());
        let ticket = cache.begin("c");
        cache.forget("c");
        cache.keep("c", ticket, picture());
        assert!(cache.picture("c", "running").is_none());
    }

    #[test]
    fn two_inspections_at_once_are_both_welcome() {
        let cache = Cache::default();
        cache.set_live(true);
        let (first, second) = (cache.begin("c"), cache.begin("c"));
        cache.keep("c", second, picture());
        cache.keep("c", first, picture());
        assert!(cache.picture("c", "running").is_some());
    }
}
