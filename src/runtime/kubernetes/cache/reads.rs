//! Reads of single objects, past what is in memory.
//!
//! Ids are clients' texts, and the proxy's clients need no key. So one call serves all who ask for a name at the same time,
//! what was found holds for a while, and names that nobody knows wait for each other, not in front of everyone else's calls.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared as SharedFuture},
};
use tokio::time::{Instant, timeout};

use super::{Cache, Shared, State, Watched, entries::Entries};
use crate::{config::is_dns_subdomain, runtime::kubernetes::client::ApiFailure};

/// How long it is believed that there is no object of a name that was asked for; the watch tells sooner when one comes.
const ABSENT_MEMORY: Duration = Duration::from_secs(1);

/// The most names of which that is known.
const MAX_ABSENT: usize = 4096;

/// The most reads at once, half of them of names that nobody knows; further ones are refused.
const MAX_FLIGHTS: usize = 1024;

/// The most reads at once of names that nobody knows; further ones wait.
pub(super) const MAX_STRANGERS: usize = 16;

/// How long they wait.
const STRANGER_WAIT: Duration = Duration::from_secs(10);

/// For how long what was known serves those who can do with it while the API server cannot be asked: what the existing server
/// does by its defaults (kubernetes-runtime.md §14).
const OUTAGE_MEMORY: Duration = Duration::from_secs(360);

/// How long they wait to hear something newer, and for how long a read is joined.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a read found.
type Found<K> = Result<Option<Arc<K>>, ApiFailure>;

/// A read that is under way, for all who wait for it.
type Flight<K> = SharedFuture<BoxFuture<'static, Found<K>>>;

/// The reads that are under way, and what the last ones did not find.
pub(super) struct Reads<K> {
    /// By name, with when they began.
    flights: HashMap<String, (Instant, Flight<K>)>,
    absent: HashMap<String, Instant>,
}

impl<K> Default for Reads<K> {
    fn default() -> Self {
        Self { flights: HashMap::new(), absent: HashMap::new() }
    }
}

impl<K> Reads<K> {
    fn is_absent(&self, name: &str) -> bool {
        self.absent.get(name).is_some_and(|found| found.elapsed() < ABSENT_MEMORY)
    }

    fn note_absent(&mut self, name: &str) {
        if self.absent.len() >= MAX_ABSENT {
            self.absent.retain(|_, found| found.elapsed() < ABSENT_MEMORY);
        }
        if self.absent.len() >= MAX_ABSENT {
            self.absent.clear();
        }
        self.absent.insert(name.to_owned(), Instant::now());
    }
}

impl<K: Watched> Cache<K> {
    /// The object of this name, also one without the label. A name that is not in memory is asked for, and so is every one
    /// while that is too old.
    ///
    /// # Errors
    ///
    /// The API server cannot be asked. That there is no such object, or kind of object, is none.
    pub(in crate::runtime::kubernetes) async fn get(&self, name: &str) -> Found<K> {
        let known = self.shared.known(&self.shared.lock(), name);
        match known {
            Some(known) => Ok(known),
            None => self.shared.read_with_others(name).await,
        }
    }

    /// The same for whom a late word is better than none: while the API server cannot be asked, what was known within the
    /// last 360 s.
    ///
    /// # Errors
    ///
    /// As [`Self::get`], if nothing was known.
    pub(in crate::runtime::kubernetes) async fn get_or_known(&self, name: &str) -> Found<K> {
        let known = {
            let state = self.shared.lock();
            if let Some(known) = self.shared.known(&state, name) {
                return Ok(known);
            }
            let read = state.entries.read_at(name);
            state.entries.get(name).filter(|_| was_within(read.max(state.contact), OUTAGE_MEMORY))
        };
        let Some(known) = known else { return self.get(name).await };
        let shared = &self.shared;
        // Begun also while it is not waited for, to learn when the API server is back.
        shared.or_known(shared.read_with_others(name), || Some(known)).await
    }

    /// Those whose label has this value, in the same way.
    ///
    /// # Errors
    ///
    /// As [`Self::list`], if nothing was known.
    pub(in crate::runtime::kubernetes) async fn labelled_or_known(
        &self,
        value: &str,
    ) -> Result<Vec<Arc<K>>, ApiFailure> {
        let of = |entries: &Entries<K>| entries.labelled(value);
        let shared = &self.shared;
        let known = {
            let state = shared.lock();
            was_within(state.contact, OUTAGE_MEMORY).then(|| (of(&state.entries), state.is_out))
        };
        match known {
            None => shared.fresh(of).await,
            // A list is not begun for who does not wait for it: the watch finds out.
            Some((known, true)) => Ok(known),
            Some((known, false)) => shared.or_known(shared.fresh(of), || known).await,
        }
    }

    /// The object of this name if [`Self::get`] would answer it from memory.
    pub(in crate::runtime::kubernetes) fn at_hand(&self, name: &str) -> Option<Arc<K>> {
        self.shared.known(&self.shared.lock(), name).flatten()
    }

    /// The object of this name, as far as is known.
    pub(in crate::runtime::kubernetes) fn known(&self, name: &str) -> Option<Arc<K>> {
        self.shared.lock().entries.get(name)
    }
}

impl<K: Watched> Shared<K> {
    /// What is known of a name and needs no call. kube writes a name into the path as it is: what no object can be called is not
    /// asked for, lest it lead elsewhere.
    fn known(&self, state: &State<K>, name: &str) -> Option<Option<Arc<K>>> {
        match state.entries.get(name) {
            Some(known) => {
                let is_read = was_within(state.entries.read_at(name), self.settings.max_age);
                (is_read || self.is_fresh(state)).then_some(Some(known))
            }
            None if !is_dns_subdomain(name) || state.reads.is_absent(name) => Some(None),
            None => None,
        }
    }

    /// What `ask` answers, or what is `known` if the API server cannot be asked, or does not answer soon.
    async fn or_known<T>(
        &self,
        ask: impl Future<Output = Result<T, ApiFailure>>,
        known: impl FnOnce() -> T,
    ) -> Result<T, ApiFailure> {
        let patience = if self.lock().is_out { Duration::ZERO } else { PATIENCE };
        match timeout(patience, ask).await {
            Ok(Err(failure)) if failure.is_outage() => Ok(known()),
            Ok(answer) => answer,
            Err(_) => {
                self.lock().is_out = true;
                Ok(known())
            }
        }
    }

    /// The read of a name, in a task of its own: who asked first may leave, and others wait for the same answer. One that takes
    /// long is not joined: the API server may have come back meanwhile.
    /// None if too many are under way.
    fn flight(self: &Arc<Self>, name: &str) -> Option<Flight<K>> {
        let mut state = self.lock();
        let flight = state.reads.flights.get(name).filter(|(begun, _)| was_within(Some(*begun), PATIENCE));
        if let Some((_, flight)) = flight {
            return Some(flight.clone());
        }
        // Who asks for what nobody knows does not take the room of those that are there.
        let most = if state.entries.get(name).is_some() { MAX_FLIGHTS } else { MAX_FLIGHTS / 2 };
        if state.reads.flights.len() >= most {
            return None;
        }
        let begun = Instant::now();
        let landing = Landing { shared: Arc::clone(self), name: name.to_owned(), begun };
        let task = tokio::spawn(async move { landing.shared.read(&landing.name).await });
        let flight = async move {
            match task.await {
                Ok(found) => found,
                Err(_) => Err(ApiFailure::unintelligible("the read of an object broke off")),
            }
        };
        let flight = flight.boxed().shared();
        state.reads.flights.insert(name.to_owned(), (begun, flight.clone()));
        Some(flight)
    }

    async fn read_with_others(self: &Arc<Self>, name: &str) -> Found<K> {
        match self.flight(name) {
            Some(flight) => flight.await,
            None => Err(ApiFailure::limited(Duration::from_secs(1))),
        }
    }

    async fn read(&self, name: &str) -> Found<K> {
        let known = self.lock().entries.get(name);
        let _turn = match known {
            Some(_) => None,
            None => {
                let turn = timeout(STRANGER_WAIT, self.strangers.acquire()).await;
                Some(turn.map_err(|_| ApiFailure::limited(Duration::from_secs(1)))?)
            }
        };
        let asked = Instant::now();
        let answer = self.cluster.read("get", self.api.get(name)).await;
        let mut state = self.lock();
        match answer {
            Ok(object) => {
                self.is_back(&mut state);
                Ok(Some(state.entries.note(object, Some(asked))))
            }
            Err(failure) if failure.is_missing_named(name) || failure.is_missing_kind() => {
                self.is_back(&mut state);
                // Unless it was made meanwhile.
                state.entries.forget_if(name, known.as_ref());
                state.reads.note_absent(name);
                Ok(None)
            }
            Err(failure) => {
                if failure.is_outage() {
                    state.is_out = true;
                } else {
                    self.is_back(&mut state);
                }
                Err(failure)
            }
        }
    }
}

/// A read that ends, however it does, is no longer under way.
struct Landing<K: Watched> {
    shared: Arc<Shared<K>>,
    name: String,
    begun: Instant,
}

impl<K: Watched> Drop for Landing<K> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let flights = &mut state.reads.flights;
        // Unless another one was begun, since this one took so long.
        if flights.get(&self.name).is_some_and(|(begun, _)| *begun == self.begun) {
            flights.remove(&self.name);
        }
    }
}

fn was_within(time: Option<Instant>, limit: Duration) -> bool {
    time.is_some_and(|time| time.elapsed() <= limit)
}
