//! A lock for each sandbox, taken by its id: changes of one sandbox go one after the other, and none waits for another's.
//!
//! A lock exists only while somebody holds it or waits for it, so nothing is left of a sandbox that is gone, nor of ids
//! that never were one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

/// The locks that are in use, by sandbox, each with a `T` that exists as long as the lock.
#[derive(Debug)]
pub(super) struct Locks<T = ()> {
    used: Arc<Mutex<HashMap<String, Used<T>>>>,
}

#[derive(Debug, Default)]
struct Used<T> {
    lock: Arc<tokio::sync::Mutex<T>>,
    /// Holders and those who wait.
    users: usize,
}

/// A sandbox's lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<T = ()> {
    // Fields are dropped in this order: the lock is given back before it may be forgotten.
    guard: OwnedMutexGuard<T>,
    _claim: Claim<T>,
}

/// Keeps a lock from being forgotten, also while its owner still waits and may be dropped.
#[derive(Debug)]
struct Claim<T> {
    id: String,
    locks: Locks<T>,
}

impl<T> Default for Locks<T> {
    fn default() -> Self {
        Self { used: Arc::default() }
    }
}

impl<T> Clone for Locks<T> {
    fn clone(&self) -> Self {
        Self { used: self.used.clone() }
    }
}

impl<T> Turn<T> {
    /// What is kept with the lock.
    pub(super) fn kept(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: Default> Locks<T> {
    /// Waits for the lock of the sandbox `id`; those who came before get it before.
    pub(super) async fn turn(&self, id: &str) -> Turn<T> {
        let (claim, lock) = self.claim(id);
        Turn { guard: lock.lock_owned().await, _claim: claim }
    }

    fn claim(&self, id: &str) -> (Claim<T>, Arc<tokio::sync::Mutex<T>>) {
        let mut used = self.used();
        let entry = used.entry(id.to_owned()).or_default();
        entry.users += 1;
        (Claim { id: id.to_owned(), locks: self.clone() }, entry.lock.clone())
    }
}

impl<T> Locks<T> {
    fn used(&self) -> MutexGuard<'_, HashMap<String, Used<T>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let mut used = self.locks.used();
        if let Some(entry) = used.get_mut(&self.id) {
            entry.users -= 1;
            if entry.users == 0 {
                used.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_one_sandbox_and_all_at_once_for_others() {
        let locks = Locks::<()>::default();
        let held = locks.turn("a").await;
        locks.turn("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(5), locks.turn("a")).await.is_err());
        drop(held);
        locks.turn("a").await;
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_lock_that_nobody_wants() {
        let locks = Locks::<()>::default();
        let held = locks.turn("a").await;
        assert!(tokio::time::timeout(Duration::from_millis(5), locks.turn("a")).await.is_err(), "one leaves the queue");
        assert_eq!(locks.used().len(), 1);
        drop(held);
        assert!(locks.used().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_two_hold_a_lock_that_comes_and_goes() {
        let (locks, inside) = (Locks::<()>::default(), Arc::new(AtomicUsize::new(0)));
        let work = (0..500).map(|_| {
            let (locks, inside) = (locks.clone(), inside.clone());
            tokio::spawn(async move {
                let _turn = locks.turn("a").await;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for done in futures_util::future::join_all(work).await {
            done.unwrap();
        }
        assert!(locks.used().is_empty());
    }
}
