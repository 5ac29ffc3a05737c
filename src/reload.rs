//! SIGHUP: log files are opened anew, and the API keys are read again.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Notify;

use crate::{
    config::{Config, env::Lookup},
    keys::{KeyRing, Keys},
    notify::Notifier,
    telemetry::Output,
};

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

    /// Makes the keys that the files have now the valid ones. A file that is wrong changes nothing.
    fn read_keys(&self) {
        let variable: Lookup<'_> = &|name| std::env::var(name).ok();
        let loaded = match Config::load(self.config.as_deref(), variable) {
            Ok(loaded) => loaded,
            Err(error) => {
                for line in error.lines() {
                    tracing::error!("SIGHUP: the keys stay as they were: {line}");
                }
                return;
            }
        };
        let keys = loaded.config.server.keys;
        if keys.is_empty() && !self.keys.is_open() {
            tracing::error!("SIGHUP: the keys stay as they were: without any, the server would be open to everyone");
            return;
        }
        let said = describe(&keys);
        self.keys.replace(keys);
        tracing::info!("SIGHUP: the log files are opened anew; {said}; all else is read at the next start");
    }
}

fn describe(keys: &Keys) -> String {
    let names: Vec<String> = keys.names().map(ToString::to_string).collect();
    match names.len() {
        0 => "there is no API key, as before".to_owned(),
        1 => format!("the API key is {}", names[0]),
        count => format!("the {count} API keys are {}", names.join(", ")),
    }
}
