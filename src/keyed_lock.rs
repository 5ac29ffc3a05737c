//! A lock for each key: holders of the same key go one after the other, and none waits for another key's.
//!
//! A lock exists only while somebody holds it or waits for it. So nothing is left of a sandbox that is gone, nor of keys that
//! clients made up.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

/// The locks that are in use, by key. Each holds a `T`, which exists as long as the lock.
#[derive(Debug)]
pub struct KeyedLock<T = ()> {
    used: Arc<Mutex<HashMap<String, Used<T>>>>,
}

#[derive(Debug, Default)]
struct Used<T> {
    lock: Arc<tokio::sync::Mutex<T>>,
    /// Holders, and those who wait.
    users: usize,
}

/// The lock of a key, held until this is dropped.
#[derive(Debug)]
pub struct KeyedGuard<T = ()> {
    // Fields are dropped in this order: the lock is given back before it may be forgotten.
    guard: OwnedMutexGuard<T>,
    _claim: Claim<T>,
}

/// Keeps a lock from being forgotten, also while its owner still waits and may be dropped.
#[derive(Debug)]
struct Claim<T> {
    key: String,
    locks: KeyedLock<T>,
}

impl<T: Default> KeyedLock<T> {
    /// Waits for the lock of `key`. Waiters get it in the order in which they came.
    pub async fn lock(&self, key: &str) -> KeyedGuard<T> {
        let (claim, lock) = self.claim(key);
        KeyedGuard { guard: lock.lock_owned().await, _claim: claim }
    }

    /// The lock of `key`, if nobody has it.
    pub fn try_lock(&self, key: &str) -> Option<KeyedGuard<T>> {
        let (claim, lock) = self.claim(key);
        let guard = lock.try_lock_owned().ok()?;
        Some(KeyedGuard { guard, _claim: claim })
    }

    fn claim(&self, key: &str) -> (Claim<T>, Arc<tokio::sync::Mutex<T>>) {
        let mut used = self.used();
        let entry = used.entry(key.to_owned()).or_default();
        entry.users += 1;
        (Claim { key: key.to_owned(), locks: self.clone() }, entry.lock.clone())
    }
}

impl<T> KeyedLock<T> {
    /// Locks also after a panic elsewhere: the counts are valid between any two statements.
    fn used(&self) -> MutexGuard<'_, HashMap<String, Used<T>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for KeyedLock<T> {
    fn default() -> Self {
        Self { used: Arc::default() }
    }
}

impl<T> Clone for KeyedLock<T> {
    fn clone(&self) -> Self {
        Self { used: self.used.clone() }
    }
}

impl<T> Deref for KeyedGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for KeyedGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let mut used = self.locks.used();
        if let Some(entry) = used.get_mut(&self.key) {
            entry.users -= 1;
            if entry.users == 0 {
                used.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_one_key_and_all_at_once_for_others() {
        let locks = KeyedLock::<()>::default();
        let held = locks.lock("a").await;
        assert!(locks.lock("b").now_or_never().is_some());
        assert!(locks.lock("a").now_or_never().is_none());
        assert!(locks.try_lock("a").is_none() && locks.try_lock("b").is_some());
        drop(held);
        assert!(locks.lock("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn waiters_get_the_lock_in_their_order_and_share_what_it_holds() {
        let locks = KeyedLock::<Vec<u8>>::default();
        let mut held = locks.lock("a").await;
        let (mut first, mut second) = (Box::pin(locks.lock("a")), Box::pin(locks.lock("a")));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        held.push(0);
        drop(held);
        assert!((&mut second).now_or_never().is_none());
        first.await.push(1);
        assert_eq!(*second.await, [0, 1]);
        assert!(locks.lock("a").await.is_empty(), "nobody held it or waited for it in between");
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_lock_that_nobody_wants() {
        let locks = KeyedLock::<()>::default();
        let held = locks.lock("a").await;
        assert!(locks.lock("a").now_or_never().is_none(), "one leaves the queue");
        assert!(locks.try_lock("a").is_none());
        assert_eq!(locks.used().len(), 1);
        drop(held);
        assert!(locks.used().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_two_hold_a_lock_that_comes_and_goes() {
        let (locks, inside) = (KeyedLock::<()>::default(), Arc::new(AtomicUsize::new(0)));
        let work = (0..500).map(|_| {
            let (locks, inside) = (locks.clone(), inside.clone());
            tokio::spawn(async move {
                let _lock = locks.lock("a").await;
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
