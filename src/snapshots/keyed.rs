//! One lock a name, for names that come and go.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Locks by name. Whoever waits for one gets it in turn.
#[derive(Debug, Default)]
pub(super) struct Keyed(Mutex<HashMap<String, Lock>>);

impl Keyed {
    /// Waits for the lock of this name.
    pub(super) async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    /// The lock of this name, if nobody has it.
    pub(super) fn try_lock(&self, name: &str) -> Option<OwnedMutexGuard<()>> {
        self.of(name).try_lock_owned().ok()
    }

    fn of(&self, name: &str) -> Lock {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Locks that nobody holds or waits for have no other owner; new ones are only given out under this mutex.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_do_not_hinder_each_other_and_leave_nothing() {
        let keyed = Keyed::default();
        let a = keyed.lock("a").await;
        assert!(keyed.try_lock("a").is_none());
        assert!(keyed.try_lock("b").is_some());
        drop(a);
        drop(keyed.lock("a").await);
        assert_eq!(keyed.0.lock().unwrap().len(), 1);
        assert!(keyed.try_lock("c").is_some());
        assert!(!keyed.0.lock().unwrap().contains_key("a"));
    }
}
