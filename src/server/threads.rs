//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the thread that it was given to, and so does all that its requests open: the engine's socket of a
//! log, a backend's of a proxied request. On one runtime of several threads, whatever arrives while one of them works wakes
//! another, which finds nothing to do: on a busy stream that was a wake-up for almost every read, and a third of the
//! processor time that a small proxied request took here.

use std::{
    io,
    num::NonZeroUsize,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// How many turns of a thread's tasks go by before it looks at its sockets. A busy stream's turn may move megabytes; with
/// the runtime's own 61 others would wait for all of them.
const EVENT_INTERVAL: u32 = 8;

/// How long the threads may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// The threads. They outlive the server: what a request has begun, such as a creation, may outlast its connection.
#[derive(Debug)]
pub struct Threads {
    all: Vec<Thread>,
    end: CancellationToken,
    ended: Receiver<()>,
}

/// One thread.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: TaskTracker,
}

/// A connection's place on a thread, until this is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "its drop counts")] TaskTrackerToken);

/// Tells whether all the threads still turn.
#[derive(Debug)]
pub struct Pulse(Vec<Handle>);

impl Pulse {
    /// Whether each thread runs a task within `time`.
    pub async fn beats_within(&self, time: Duration) -> bool {
        let beats: Vec<_> = self.0.iter().map(|runtime| runtime.spawn(async {})).collect();
        // An error is a thread that has ended.
        let all = async { futures_util::future::try_join_all(beats).await.is_ok() };
        tokio::time::timeout(time, all).await.unwrap_or(false)
    }
}

impl Threads {
    /// Starts as many threads as the process may use processors.
    ///
    /// # Errors
    ///
    /// The system gives no thread, or not what a runtime needs.
    pub fn start() -> io::Result<Self> {
        Self::with(thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn with(count: usize) -> io::Result<Self> {
        let (end, (done, ended)) = (CancellationToken::new(), mpsc::channel());
        let all = (0..count).map(|_| Thread::start(end.clone(), done.clone())).collect::<io::Result<_>>()?;
        Ok(Self { all, end, ended })
    }

    /// What tells whether all the threads still turn.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.all.iter().map(|thread| thread.runtime.clone()).collect())
    }

    /// A place on the thread with the fewest connections, and its runtime.
    pub fn place(&self) -> (Place, &Handle) {
        let least = self.all.iter().min_by_key(|thread| thread.connections.len());
        let thread = least.expect("there is at least one processor");
        (Place(thread.connections.token()), &thread.runtime)
    }

    /// Ends the threads, and waits until their tasks are dropped, so that each has said its last; not for long.
    pub fn end(self) {
        self.end.cancel();
        let due = Instant::now() + SHUTDOWN_TIMEOUT;
        // An error is a thread that hangs, which the end of the process ends.
        let _ = self.all.iter().try_for_each(|_| self.ended.recv_timeout(due - Instant::now()));
    }
}

impl Thread {
    fn start(end: CancellationToken, done: Sender<()>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name("connections".to_owned()).spawn(move || {
            runtime.block_on(end.cancelled());
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT / 2);
            // Nobody may be waiting any more.
            let _ = done.send(());
        })?;
        Ok(Self { runtime: handle, connections: TaskTracker::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly_and_stay_on_their_thread() {
        let threads = Threads::with(3).unwrap();
        let places: Vec<_> = (0..6).map(|_| threads.place()).collect();
        let mut homes: Vec<_> = places.iter().map(|(_, runtime)| runtime.id().to_string()).collect();
        homes.sort();
        homes.dedup();
        assert_eq!(homes.len(), 3);
        assert!(threads.all.iter().all(|thread| thread.connections.len() == 2));
        drop(places);
        assert!(threads.all.iter().all(|thread| thread.connections.is_empty()));
    }

    #[tokio::test]
    async fn a_thread_that_hangs_has_no_pulse() {
        let threads = Threads::with(2).unwrap();
        let pulse = threads.pulse();
        assert!(pulse.beats_within(Duration::from_secs(5)).await);
        let (release, held) = mpsc::channel::<()>();
        let (place, runtime) = threads.place();
        runtime.spawn(async move { held.recv().is_ok() });
        assert!(!pulse.beats_within(Duration::from_millis(100)).await);
        release.send(()).unwrap();
        assert!(pulse.beats_within(Duration::from_secs(5)).await);
        drop(place);
        threads.end();
        assert!(!pulse.beats_within(Duration::from_secs(5)).await);
    }

    #[test]
    fn the_end_drops_what_is_under_way() {
        struct Report(mpsc::Sender<()>);
        impl Drop for Report {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let threads = Threads::with(2).unwrap();
        let (said, heard) = mpsc::channel();
        for _ in 0..2 {
            let (place, runtime) = threads.place();
            let report = Report(said.clone());
            runtime.spawn(async move {
                std::future::pending::<()>().await;
                drop((place, report));
            });
        }
        threads.end();
        assert_eq!(heard.try_iter().count(), 2);
    }
}
