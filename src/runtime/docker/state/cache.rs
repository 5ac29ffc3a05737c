//! A cache of inspected containers: a list does not inspect each of them each time, and showing one sandbox or proxying to
//! it costs no engine call.
//!
//! A list uses a view only while the event stream is requested ([`Cache::set_live`]) and only if its own summary shows
//! the same state. For one sandbox ([`Cache::of`]) there is no summary, so the stream must be open
//! ([`Cache::subscribed`]): a view is then stale for as long as an event is delayed. Our own changes invalidate it at once
//! ([`Cache::stale`]). An inspection that was under way when its container changed is not kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    id_index::{self, IdIndex},
    view::ContainerView,
};

/// Views by container id.
#[derive(Debug, Default)]
pub(in crate::runtime::docker) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_live: bool,
    is_subscribed: bool,
    /// Counts how often the cache was cleared.
    epoch: u64,
    /// Changes whenever any container does.
    last_ticket: u64,
    slots: HashMap<String, Slot>,
    /// Containers by the sandbox whose name they bear.
    named: HashMap<String, String>,
    /// All containers of sandboxes, with a view or without.
    index: IdIndex,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    /// The container was started while an inspection was under way.
    is_started: bool,
    view: Option<Arc<ContainerView>>,
    /// The sandbox under which this container is found in [`Inner::named`].
    named_after: Option<String>,
}

impl Slot {
    fn empty(ticket: u64) -> Self {
        Self { ticket, is_started: false, view: None, named_after: None }
    }
}

impl Inner {
    fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn keep(&mut self, container: &str, view: Arc<ContainerView>) {
        let Some(slot) = self.slots.get_mut(container) else { return };
        if slot.is_started && !is_running(&view) {
            return;
        }
        if view.is_named {
            slot.named_after = Some(view.sandbox.id.clone());
            self.named.insert(view.sandbox.id.clone(), container.to_owned());
        }
        slot.view = Some(view);
    }
}

/// Permission to keep the outcome of one inspection, unless the container changes before.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime::docker) struct Ticket(u64);

/// A census that is under way.
#[derive(Debug)]
pub(in crate::runtime::docker) struct Census {
    epoch: u64,
    ticket: u64,
    census: id_index::Census,
}

impl Cache {
    /// The view of a container whose state is `engine_state`.
    pub(super) fn view(&self, container: &str, engine_state: &str) -> Option<Arc<ContainerView>> {
        let inner = self.lock();
        let view = inner.slots.get(container).filter(|_| inner.is_live)?.view.as_ref()?;
        (view.engine_state == engine_state).then(|| view.clone())
    }

    /// The view of the container that bears the name of the sandbox `id`, if it is current apart from the delay of events.
    pub(in crate::runtime::docker) fn of(&self, id: &str) -> Option<Arc<ContainerView>> {
        let inner = self.lock();
        let slot = inner.slots.get(inner.named.get(id)?).filter(|_| inner.is_subscribed)?;
        slot.view.as_ref().filter(|view| view.is_named && view.sandbox.id == id).cloned()
    }

    /// Whether there certainly is no sandbox `id`, apart from the delay of events.
    pub(in crate::runtime::docker) fn lacks(&self, id: &str) -> bool {
        let inner = self.lock();
        inner.is_subscribed && inner.index.lacks(id)
    }

    /// There is a container of the sandbox `id`.
    pub(in crate::runtime::docker) fn learn(&self, container: &str, id: &str) {
        self.lock().index.learn(container, id);
    }

    /// To be called before the engine is asked for all containers of sandboxes.
    pub(in crate::runtime::docker) fn begin_census(&self) -> Census {
        let mut inner = self.lock();
        let is_told = inner.is_subscribed;
        let ticket = inner.last_ticket;
        Census { epoch: inner.epoch, ticket, census: inner.index.begin(is_told) }
    }

    /// Applies what a census found: container, sandbox and the engine's name for the state; `None` if it failed. Returns how
    /// many of its entries the events should have reported and did not.
    pub(in crate::runtime::docker) fn end_census(
        &self,
        census: &Census,
        found: Option<Vec<(String, String, String)>>,
    ) -> usize {
        let mut inner = self.lock();
        if inner.epoch != census.epoch {
            return 0;
        }
        let Some(found) = found else { return inner.index.end(&census.census, None) };
        let is_stale = |inner: &Inner, (container, _, state): &(String, String, String)| {
            let view = inner.slots.get(container).filter(|slot| slot.ticket <= census.ticket);
            view.and_then(|slot| slot.view.as_ref()).is_some_and(|view| view.engine_state != *state)
        };
        let stale: Vec<String> =
            found.iter().filter(|found| is_stale(&inner, found)).map(|(container, ..)| container.clone()).collect();
        let pairs: Vec<_> = found.into_iter().map(|(container, id, _)| (container, id)).collect();
        let surprises = inner.index.end(&census.census, Some(&pairs));
        drop(inner);
        stale.iter().for_each(|container| self.stale(container));
        surprises + stale.len()
    }

    /// Whether the cache has an entry for this container. Only containers of sandboxes have one.
    pub(in crate::runtime::docker) fn knows(&self, container: &str) -> bool {
        self.lock().slots.contains_key(container)
    }

    /// Whether a container's view shows it in a network; nothing without a view.
    pub(in crate::runtime::docker) fn shows(&self, container: &str, network: &str) -> Option<bool> {
        let inner = self.lock();
        Some(inner.slots.get(container)?.view.as_ref()?.addresses.is_in(network))
    }

    /// To be called before an inspection begins.
    pub(in crate::runtime::docker) fn begin(&self, container: &str) -> Ticket {
        let mut inner = self.lock();
        let fresh = inner.next_ticket();
        let slot = inner.slots.entry(container.to_owned()).or_insert(Slot::empty(fresh));
        Ticket(slot.ticket)
    }

    /// Keeps what an inspection found, if nothing happened to the container since `ticket` was given.
    pub(in crate::runtime::docker) fn keep(&self, container: &str, ticket: Ticket, view: Arc<ContainerView>) {
        let mut inner = self.lock();
        if inner.slots.get(container).is_some_and(|slot| slot.ticket == ticket.0) {
            inner.keep(container, view);
        }
    }

    /// To be called before a container is inspected of which only the name is known.
    pub(super) fn begin_any(&self) -> Ticket {
        Ticket(self.lock().last_ticket)
    }

    /// Keeps what an inspection by name found, if nothing happened to any container since `ticket` was given.
    pub(super) fn keep_found(&self, container: &str, ticket: Ticket, view: Arc<ContainerView>) {
        let mut inner = self.lock();
        if inner.last_ticket == ticket.0 {
            let fresh = inner.next_ticket();
            inner.slots.entry(container.to_owned()).or_insert(Slot::empty(fresh));
            inner.keep(container, view);
        }
    }

    /// The container changed.
    pub(in crate::runtime::docker) fn stale(&self, container: &str) {
        let mut inner = self.lock();
        let ticket = inner.next_ticket();
        if let Some(slot) = inner.slots.get_mut(container) {
            *slot = Slot { named_after: slot.named_after.take(), ..Slot::empty(ticket) };
        }
    }

    /// The container was started. A view that shows it running was taken after the start: a container must have stopped
    /// before it can be started, and its stop invalidated the view before. Returns whether an inspection is needed.
    pub(in crate::runtime::docker) fn started(&self, container: &str) -> bool {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(container) else {
            inner.next_ticket();
            return true;
        };
        let is_right = slot.view.as_ref().is_none_or(|view| is_running(view));
        slot.is_started = true;
        drop(inner);
        if !is_right {
            self.stale(container);
        }
        !is_right
    }

    /// The container is gone.
    pub(in crate::runtime::docker) fn forget(&self, container: &str) {
        let mut inner = self.lock();
        inner.next_ticket();
        inner.index.forget(container);
        let id = inner.slots.remove(container).and_then(|slot| slot.named_after);
        if let Some(id) = id.filter(|id| inner.named.get(id).is_some_and(|named| named == container)) {
            inner.named.remove(&id);
        }
    }

    /// Sets whether the event stream is requested, and clears the cache.
    pub(in crate::runtime::docker) fn set_live(&self, is_live: bool) {
        let mut inner = self.lock();
        inner.next_ticket();
        *inner = Inner { is_live, last_ticket: inner.last_ticket, epoch: inner.epoch + 1, ..Inner::default() };
    }

    /// The engine has opened the event stream.
    pub(in crate::runtime::docker) fn subscribed(&self) {
        self.lock().is_subscribed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_running(view: &ContainerView) -> bool {
    view.engine_state == "running"
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

    use super::*;
    use crate::runtime::docker::engine::labels;

    fn view() -> Arc<ContainerView> {
        in_state(ContainerSummaryStateEnum::RUNNING)
    }

    fn in_state(state: ContainerSummaryStateEnum) -> Arc<ContainerView> {
        let summary = ContainerSummary {
            labels: Some([(labels::ID.to_owned(), "x".to_owned())].into()),
            state: Some(state),
            ..Default::default()
        };
        Arc::new(ContainerView::from_summary(&summary).unwrap())
    }

    #[test]
    fn keeps_pictures_of_the_same_state_while_live() {
        let cache = Cache::default();
        cache.set_live(true);
        let ticket = cache.begin("c");
        cache.keep("c", ticket, view());
        assert!(cache.view("c", "running").is_some());
        assert!(cache.view("c", "exited").is_none());
        cache.set_live(false);
        assert!(cache.view("c", "running").is_none());
    }

    #[test]
    fn drops_an_inspection_that_a_change_overtook() {
        let cache = Cache::default();
        cache.set_live(true);
        let ticket = cache.begin("c");
        cache.stale("c");
        cache.keep("c", ticket, view());
        assert!(cache.view("c", "running").is_none());
        let ticket = cache.begin("c");
        cache.forget("c");
        cache.keep("c", ticket, view());
        assert!(cache.view("c", "running").is_none());
    }

    #[test]
    fn a_start_that_is_told_late_costs_no_picture() {
        let cache = Cache::default();
        cache.set_live(true);
        assert!(cache.started("c"), "nobody is about to inspect it");
        let ticket = cache.begin("c");
        assert!(!cache.started("c"));
        cache.keep("c", ticket, in_state(ContainerSummaryStateEnum::CREATED));
        assert!(cache.view("c", "created").is_none(), "that was before the start");
        cache.keep("c", ticket, view());
        assert!(!cache.started("c"));
        assert!(cache.view("c", "running").is_some());
        cache.stale("c");
        let ticket = cache.begin("c");
        cache.keep("c", ticket, in_state(ContainerSummaryStateEnum::EXITED));
        assert!(cache.started("c"));
        assert!(cache.view("c", "exited").is_none());
    }

    fn named() -> Arc<ContainerView> {
        Arc::new(ContainerView { is_named: true, ..ContainerView::clone(&view()) })
    }

    #[test]
    fn a_sandbox_is_found_by_its_id_once_the_engine_tells_changes() {
        let cache = Cache::default();
        cache.set_live(true);
        let ticket = cache.begin_any();
        cache.keep_found("c", ticket, named());
        assert!(cache.of("x").is_none(), "a change might not be told yet");
        cache.subscribed();
        assert!(cache.of("x").is_some() && cache.of("y").is_none());
        cache.stale("c");
        assert!(cache.of("x").is_none());
        let ticket = cache.begin("c");
        cache.keep("c", ticket, view());
        assert!(cache.of("x").is_none(), "a container of another name is not the sandbox's");
        let ticket = cache.begin("c");
        cache.keep("c", ticket, named());
        assert!(cache.of("x").is_some());
        cache.forget("c");
        assert!(cache.of("x").is_none() && cache.lock().named.is_empty());
    }

    #[test]
    fn an_inspection_by_name_is_kept_unless_anything_changed() {
        let cache = Cache::default();
        cache.set_live(true);
        cache.subscribed();
        let changes: [fn(&Cache); 3] =
            [|cache| cache.stale("other"), |cache| cache.forget("other"), |cache| assert!(cache.started("c"))];
        for change in changes {
            let ticket = cache.begin_any();
            change(&cache);
            cache.keep_found("c", ticket, named());
            assert!(cache.of("x").is_none());
        }
    }

    #[test]
    fn a_new_container_of_the_same_name_outlives_the_old_one_s_end() {
        let cache = Cache::default();
        cache.set_live(true);
        cache.subscribed();
        for container in ["old", "new"] {
            let ticket = cache.begin(container);
            cache.keep(container, ticket, named());
        }
        cache.forget("old");
        assert!(cache.of("x").is_some());
    }

    #[test]
    fn two_inspections_at_once_are_both_welcome() {
        let cache = Cache::default();
        cache.set_live(true);
        let (first, second) = (cache.begin("c"), cache.begin("c"));
        cache.keep("c", second, view());
        cache.keep("c", first, view());
        assert!(cache.view("c", "running").is_some());
    }
}
