//! A sandbox's log file, and how far it has been written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::sleep};

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The file, open for its one writer and for all its readers: each reads at its own offset, so none needs a
/// descriptor of its own, and all can go on when the file's name is gone.
#[derive(Debug)]
pub(super) struct Log {
    /// The records.
    pub(super) file: File,
    progress: watch::Sender<Progress>,
}

/// What readers wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The file's length in bytes up to the end of its last whole record.
    pub(super) written: u64,
    /// No more will be written.
    pub(super) finished: bool,
}

impl Log {
    /// Makes the file, for this user alone.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file, progress: watch::Sender::new(Progress::default()) })
    }

    /// A view of how far the file has been written, which can be waited on.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Writes whole records, in one write, and wakes the readers.
    ///
    /// On a full disk it tries until there is room: the program waits at its pipe, and none of its output is lost.
    /// Gives the buffer back, empty.
    pub(super) async fn append(self: &Arc<Self>, mut records: Vec<u8>) -> Vec<u8> {
        let mut warned = false;
        loop {
            let log = Arc::clone(self);
            let write = move || {
                let result = log.write(&records);
                (records, result)
            };
            let (back, result) = tokio::task::spawn_blocking(write).await.expect("a write does not panic");
            records = back;
            let Err(error) = result else { break };
            if !std::mem::replace(&mut warned, true) {
                tracing::warn!(%error, "a sandbox's log cannot be written; its output waits");
            }
            sleep(RETRY).await;
        }
        records.clear();
        records
    }

    /// Writes whole records and wakes the readers; for the only writer, outside an async context.
    pub(super) fn write(&self, records: &[u8]) -> io::Result<()> {
        // At an explicit offset, so that a write which failed half-way is written over by the next.
        let start = self.progress.borrow().written;
        self.file.write_all_at(records, start)?;
        self.progress.send_modify(|progress| progress.written = start + records.len() as u64);
        Ok(())
    }

    /// Tells the readers that no more will come.
    pub(super) fn finish(&self) {
        self.progress.send_modify(|progress| progress.finished = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_see_what_was_written_and_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::create(&directory.path().join("log")).unwrap());
        let mut progress = log.progress();
        assert!(log.append(b"abc".to_vec()).await.is_empty());
        log.write(b"de").unwrap();
        progress.changed().await.unwrap();
        assert_eq!(*progress.borrow_and_update(), Progress { written: 5, finished: false });
        log.finish();
        progress.changed().await.unwrap();
        assert!(progress.borrow().finished);
        let mut bytes = [0; 5];
        log.file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"abcde");
    }
}
