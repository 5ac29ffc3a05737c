//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the thread that it was given to, and so does all that its requests open: the engine's socket of a
//! log, a backend's of a proxied request. On a runtime of several threads, whatever arrives while one of them works wakes
//! another, which finds nothing to do: on a busy stream that was a wake-up for almost every read, and a third of a small
//! proxied request's time (README.md, "Measured").

use std::{
    future::pending,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};

/// The threads. They live as long as the process: what a request has begun, such as a creation, may outlast its
/// connection and the server.
#[derive(Debug)]
pub struct Threads(Vec<Thread>);

/// One thread.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    open: Arc<AtomicUsize>,
}

/// A connection's place on a thread, until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Threads {
    /// Starts as many threads as the process may use processors.
    ///
    /// # Errors
    ///
    /// The system gives no thread, or not what a runtime needs.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (0..count).map(|_| Thread::start()).collect::<io::Result<_>>().map(Self)
    }

    /// A place on the thread with the fewest connections, and its runtime.
    pub fn place(&self) -> (Place, &Handle) {
        let least = self.0.iter().min_by_key(|thread| thread.open.load(Ordering::Relaxed));
        let thread = least.expect("there is at least one processor");
        thread.open.fetch_add(1, Ordering::Relaxed);
        (Place(Arc::clone(&thread.open)), &thread.runtime)
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name("connections".to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(Self { runtime: handle, open: Arc::default() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly_and_stay_on_their_thread() {
        let threads = Threads((0..3).map(|_| Thread::start().unwrap()).collect());
        let places: Vec<_> = (0..6).map(|_| threads.place()).collect();
        let mut homes: Vec<_> = places.iter().map(|(_, runtime)| runtime.id().to_string()).collect();
        homes.sort();
        homes.dedup();
        assert_eq!(homes.len(), 3);
        assert!(threads.0.iter().all(|thread| thread.open.load(Ordering::Relaxed) == 2));
        drop(places);
        assert!(threads.0.iter().all(|thread| thread.open.load(Ordering::Relaxed) == 0));
    }
}
