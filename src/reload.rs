//! SIGHUP: log files are opened anew, and the API keys and the certificate are read again.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use tokio::sync::{Notify, Semaphore};

use crate::{
    config::{Config, ConfigError, env},
    keys::{KeyRing, Keys},
    notify::Notifier,
    server::tls::Certificates,
    telemetry::Output,
};

/// How long files must have said the same before it counts: an editor that empties one and writes it anew takes less.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

/// How often they are read until they do.
const MAX_READINGS: usize = 50;

/// How long the files may take; those that are written all the time take `SETTLE_INTERVAL * MAX_READINGS`.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How many readings may hang at the same time, each with a thread.
const MAX_HANGING: usize = 4;

/// What is read and opened again.
#[derive(Debug)]
pub struct Reload {
    /// The log.
    pub outputs: Arc<Vec<Output>>,
    /// The keys that are valid.
    pub keys: Arc<KeyRing>,
    /// The configuration file as the command line names it.
    pub config: Option<PathBuf>,
    /// The certificate of the gateway's own port, if that has TLS. Its files are those of the start.
    pub certificates: Option<Arc<Certificates>>,
    /// Who is told.
    pub notifier: Arc<Notifier>,
}

impl Reload {
    /// Reloads whenever it is asked to; requests that come while it does are one. Lives as long as the process.
    pub async fn run(self, asked: Arc<Notify>) {
        // Of their own: files that hang on one disk keep none on another from being read.
        let (places, certificate_places) =
            (Arc::new(Semaphore::new(MAX_HANGING)), Arc::new(Semaphore::new(MAX_HANGING)));
        loop {
            asked.notified().await;
            self.notifier.reloading();
            self.outputs.iter().for_each(Output::reopen);
            let file = self.config.clone();
            let load = move || Config::load(file.as_deref(), &env::of_process).map(|loaded| loaded.config.server.keys);
            match read(&places, READ_TIMEOUT, move || settled(load, || thread::sleep(SETTLE_INTERVAL))).await {
                Ok(read) => self.change_keys(read),
                Err(why) => tracing::error!("SIGHUP: the keys stay as they were: {why}"),
            }
            if let Some(certificates) = &self.certificates {
                change_certificate(&certificate_places, certificates).await;
            }
            self.notifier.ready();
        }
    }

    /// Makes the keys that the files have now the valid ones. A file that is wrong, or still being written, changes nothing.
    fn change_keys(&self, read: Option<Result<Keys, ConfigError>>) {
        let keys = match read {
            Some(Ok(keys)) => keys,
            Some(Err(error)) => {
                for line in error.lines() {
                    tracing::error!("SIGHUP: the keys stay as they were: {line}");
                }
                return;
            }
            None => {
                tracing::error!("SIGHUP: the keys stay as they were: their files change all the time");
                return;
            }
        };
        if keys.is_empty() && !self.keys.is_open() {
            tracing::error!("SIGHUP: the keys stay as they were: without any, the server would be open to everyone");
            return;
        }
        let said = describe(&keys);
        if keys.is_read_only() {
            tracing::warn!("SIGHUP: no key has the role 'admin' now, so nobody can create, change or remove sandboxes");
        }
        self.keys.replace(keys);
        // Whether a log file can be opened its writer tells, on the standard error.
        tracing::info!(
            "SIGHUP: the keys are read again: {said}; all else but the log files and the certificate is read at the next start"
        );
    }
}

/// Gives new connections the certificate that the files have now, if it is whole and has its key.
async fn change_certificate(places: &Arc<Semaphore>, certificates: &Arc<Certificates>) {
    let reader = Arc::clone(certificates);
    let settling = move || settled(|| reader.read(), || thread::sleep(SETTLE_INTERVAL));
    let read = read(places, READ_TIMEOUT, settling).await;
    let read = read.and_then(|read| read.unwrap_or_else(|| Err("its files change all the time".to_owned())));
    certificates.offer(read, Some("SIGHUP"));
}

/// Reads on a thread that may hang with the files, and is not waited for for ever then: what it reads later counts for nothing.
async fn read<T: Send + 'static>(
    places: &Arc<Semaphore>,
    timeout: Duration,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let place = Arc::clone(places).try_acquire_owned();
    let place = place.map_err(|_| format!("their files still hang, at {MAX_HANGING} readings"))?;
    let reading = tokio::task::spawn_blocking(move || {
        let _place = place;
        read()
    });
    match tokio::time::timeout(timeout, reading).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("their files hang; they could not be read within {} s", timeout.as_secs())),
    }
}

/// What two readings, one after the other with a `rest` between them, agree on; nothing if they never do.
fn settled<T: PartialEq>(mut read: impl FnMut() -> T, rest: impl Fn()) -> Option<T> {
    let mut last = read();
    for _ in 1..MAX_READINGS {
        rest();
        let next = read();
        if next == last {
            return Some(next);
        }
        last = next;
    }
    None
}

fn describe(keys: &Keys) -> String {
    let names: Vec<String> = keys.principals().map(ToString::to_string).collect();
    match names.len() {
        0 => "there is no API key, as before".to_owned(),
        1 => format!("the API key is {}", names[0]),
        count => format!("the {count} API keys are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read while an editor empties the file, writes a part of it and then the rest.
    #[test]
    fn a_file_that_is_being_written_counts_when_it_is_whole() {
        let mut readings = ["old", "", "k-n", "k-new", "k-new", "later"].into_iter();
        assert_eq!(settled(|| readings.next().unwrap(), || {}), Some("k-new"));
        assert_eq!(readings.next(), Some("later"));
        let mut count = 0;
        let endless = settled(
            || {
                count += 1;
                count
            },
            || {},
        );
        assert_eq!((endless, count), (None, MAX_READINGS));
    }
    #[tokio::test]
    async fn readings_that_hang_are_few_and_hold_up_no_later_one() {
        let places = Arc::new(Semaphore::new(MAX_HANGING));
        let (let_go, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = Arc::new(std::sync::Mutex::new(hangs));
        for _ in 0..MAX_HANGING {
            let hangs = Arc::clone(&hangs);
            let hung = read(&places, Duration::from_millis(10), move || hangs.lock().unwrap().recv()).await;
            assert!(hung.unwrap_err().contains("could not be read within"));
        }
        assert!(read(&places, READ_TIMEOUT, || ()).await.unwrap_err().contains("at 4 readings"));
        drop(let_go);
        while places.available_permits() < MAX_HANGING {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(read(&places, READ_TIMEOUT, || 7).await, Ok(7));
    }
}
