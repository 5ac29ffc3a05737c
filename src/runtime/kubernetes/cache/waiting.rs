//! Those who wait for changes of objects that bear a certain value of the cache's label, so that nobody has to look again and
//! again, and a change wakes no more than who waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Who is woken, by the label's value: one for each.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<String, Arc<Notify>>>);

/// The wish to be woken, until it is dropped.
#[derive(Debug)]
pub(in crate::runtime::kubernetes) struct Interest {
    waiting: Arc<Waiting>,
    value: String,
}

impl Waiting {
    /// Wakes `notify` at each change of an object with this value, from now on. It takes the place of another one with the same.
    pub(super) fn add(self: &Arc<Self>, value: &str, notify: &Arc<Notify>) -> Interest {
        self.lock().insert(value.to_owned(), Arc::clone(notify));
        Interest { waiting: Arc::clone(self), value: value.to_owned() }
    }

    /// An object with this value came, changed or went.
    pub(super) fn tell(&self, value: &str) {
        if let Some(notify) = self.lock().get(value) {
            // Also for who does not wait at this moment.
            notify.notify_one();
        }
    }

    /// Objects may have gone without a word about each.
    pub(super) fn tell_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.value);
    }
}
