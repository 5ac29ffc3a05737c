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
    /// The container was started while an inspection was under way.
    is_started: bool,
    picture: Option<Arc<Described>>,
}

impl Slot {
    fn empty(ticket: u64) -> Self {
        Self { ticket, is_started: false, picture: None }
    }
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
        let slot = inner.slots.entry(container.to_owned()).or_insert(Slot::empty(fresh));
        Ticket(slot.ticket)
    }

    /// Keeps what an inspection found, if nothing happened to the container since `ticket` was given.
    pub(super) fn keep(&self, container: &str, ticket: Ticket, picture: Arc<Described>) {
        let mut inner = self.lock();
        let slot = inner.slots.get_mut(container).filter(|slot| slot.ticket == ticket.0);
        if let Some(slot) = slot.filter(|slot| !slot.is_started || is_running(&picture)) {
            slot.picture = Some(picture);
        }
    }

    /// The container changed.
    pub(super) fn stale(&self, container: &str) {
        let mut inner = self.lock();
        inner.last_ticket += 1;
        let ticket = inner.last_ticket;
        if let Some(slot) = inner.slots.get_mut(container) {
            *slot = Slot::empty(ticket);
        }
    }

    /// The container was started. A picture that shows it running is of after that: only what ended before can be
    /// started, and its end made the picture before stale. Answers whether an inspection is still to be begun.
    pub(super) fn started(&self, container: &str) -> bool {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(container) else { return true };
        let is_right = slot.picture.as_ref().is_none_or(|picture| is_running(picture));
        slot.is_started = true;
        drop(inner);
        if !is_right {
            self.stale(container);
        }
        !is_right
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

fn is_running(picture: &Described) -> bool {
    picture.engine_state == "running"
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

    use super::{super::labels, *};

    fn picture() -> Arc<Described> {
        in_state(ContainerSummaryStateEnum::RUNNING)
    }

    fn in_state(state: ContainerSummaryStateEnum) -> Arc<Described> {
        let summary = ContainerSummary {
            labels: Some([(labels::ID.to_owned(), "x".to_owned())].into()),
            state: Some(state),
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
    fn a_start_that_is_told_late_costs_no_picture() {
        let cache = Cache::default();
        cache.set_live(true);
        assert!(cache.started("c"), "nobody is about to inspect it");
        let ticket = cache.begin("c");
        assert!(!cache.started("c"));
        cache.keep("c", ticket, in_state(ContainerSummaryStateEnum::CREATED));
        assert!(cache.picture("c", "created").is_none(), "that was before the start");
        cache.keep("c", ticket, picture());
        assert!(!cache.started("c"));
        assert!(cache.picture("c", "running").is_some());
        cache.stale("c");
        let ticket = cache.begin("c");
        cache.keep("c", ticket, in_state(ContainerSummaryStateEnum::EXITED));
        assert!(cache.started("c"));
        assert!(cache.picture("c", "exited").is_none());
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
