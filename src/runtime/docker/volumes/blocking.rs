//! File system work on blocking threads, bounded in number and time: below a mount that hangs a call never returns.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::place::{Place, Refusal};

/// How long a task is waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many tasks may be under way. One that hangs counts for as long as it does: it holds a thread, and creations must not
/// use up all threads.
const MAX_TASKS: usize = 64;

/// A limited number of blocking tasks at a time.
#[derive(Debug)]
pub(in crate::runtime::docker) struct BlockingTasks {
    slots: Arc<Semaphore>,
    timeout: Duration,
}

impl Default for BlockingTasks {
    fn default() -> Self {
        Self::new(MAX_TASKS, TIMEOUT)
    }
}

impl BlockingTasks {
    pub(in crate::runtime::docker) fn new(count: usize, timeout: Duration) -> Self {
        Self { slots: Arc::new(Semaphore::new(count)), timeout }
    }

    /// Runs a task. One whose caller has stopped waiting goes on, and its outcome is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when there was no outcome in time, or no room for the task.
    pub(in crate::runtime::docker) async fn run<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let slots = self.slots.clone();
        let checked = async {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            let check = move || {
                let _slot = slot;
                check()
            };
            spawn_blocking(check).await.map_err(io::Error::other)
        };
        timeout(self.timeout, checked).await.unwrap_or_else(|_| {
            let text = format!("the file system did not answer within {} s", self.timeout.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    /// [`Place::find`].
    pub(super) async fn find(&self, path: PathBuf, roots: Vec<PathBuf>) -> Result<Place, Refusal> {
        self.run(move || Place::find(&path, &roots)).await?
    }

    /// Runs a check of a place.
    pub(super) async fn check(
        &self,
        place: &Arc<Place>,
        ask: impl FnOnce(&Place) -> io::Result<bool> + Send + 'static,
    ) -> io::Result<bool> {
        let place = place.clone();
        self.run(move || ask(&place)).await?
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    #[tokio::test]
    async fn a_check_that_hangs_is_not_waited_for() {
        let tasks = BlockingTasks::new(1, Duration::from_millis(50));
        let (release, hung) = mpsc::channel::<()>();
        let start = Instant::now();
        let error = tasks.run(move || hung.recv()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // The only slot is taken as long as it hangs.
        assert_eq!(tasks.run(|| ()).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(10));
        drop(release);
        while tasks.run(|| ()).await.is_err() {}
    }

    #[tokio::test]
    async fn a_thread_that_serves_is_free_during_a_check() {
        let (release, held) = mpsc::channel();
        let tasks = BlockingTasks::default();
        // On this one thread nobody would send if the check held it.
        let (held, ()) = tokio::join!(tasks.run(move || held.recv()), async { release.send(7).unwrap() });
        assert_eq!(held.unwrap(), Ok(7));
    }
}
