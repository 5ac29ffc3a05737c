//! SIGHUP: log files are opened anew, and the API keys are read again.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use tokio::sync::Notify;

use crate::{
    config::{Config, env},
    keys::{KeyRing, Keys},
    notify::Notifier,
    telemetry::Output,
};

/// How long files must have said the same before it counts: an editor that empties one and writes it anew takes less.
const REST: Duration = Duration::from_millis(100);

/// How often they are read until they do.
const READINGS: usize = 50;

/// What is read and opened again.
#[derive(Debug)]
pub struct Reload {
    /// The log.
    pub outputs: Arc<Vec<Output>>,
    /// The keys that are valid.
    pub keys: Arc<KeyRing>,
    /// The configuration file as the command line names it.
    pub config: Option<PathBuf>,
    /// Who is told.
    pub notifier: Arc<Notifier>,
}

impl Reload {
    /// Reloads whenever it is asked to; requests that come while it does are one. Lives as long as the process.
    pub async fn run(self, asked: Arc<Notify>) {
        let this = Arc::new(self);
        loop {
            asked.notified().await;
            this.notifier.reloading();
            this.outputs.iter().for_each(Output::reopen);
            let again = Arc::clone(&this);
            // Files may hang, and nothing else may with them.
            if let Err(error) = tokio::task::spawn_blocking(move || again.read_keys()).await {
                tracing::error!(%error, "SIGHUP: the keys could not be read again");
            }
            this.notifier.ready();
        }
    }

    /// Makes the keys that the files have now the valid ones. A file that is wrong, or still being written, changes nothing.
    fn read_keys(&self) {
        let read = || Config::load(self.config.as_deref(), &env::of_process).map(|loaded| loaded.config.server.keys);
        let keys = match settled(read, || thread::sleep(REST)) {
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
        self.keys.replace(keys);
        tracing::info!("SIGHUP: the log files are opened anew; {said}; all else is read at the next start");
    }
}

/// What two readings, one after the other with a `rest` between them, agree on; nothing if they never do.
fn settled<T: PartialEq>(mut read: impl FnMut() -> T, rest: impl Fn()) -> Option<T> {
    let mut last = read();
    for _ in 1..READINGS {
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
    let names: Vec<String> = keys.names().map(ToString::to_string).collect();
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
        assert_eq!((endless, count), (None, READINGS));
    }
}
