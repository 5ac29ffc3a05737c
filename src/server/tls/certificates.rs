//! The certificate that new connections get, and how another one takes its place.
//!
//! The files are read again every few seconds, and not watched: what mounts a secret swaps a link above them (Kubernetes), or is
//! on another machine, and a certificate is not urgent. What they hold counts when it is a pair; between the writing of the
//! first and the second file it is none, so that a fault is told when it lasts.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::time::timeout;

use super::pair::{Content, Pair};
use crate::{config::TlsFiles, metrics::Metrics};

/// How often the files are read again.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long that may take until it is said that they hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What is said then.
const HANGS: &str =
    "its files hang; they could not be read within 10 s. When they can be again, SIGHUP reads them at once";

/// What new connections are served with.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
    /// Where it is told until when the certificate is valid.
    metrics: OnceLock<Metrics>,
}

/// What the files were when they were last looked at.
#[derive(Debug)]
struct Seen {
    used: Content,
    /// How long the certificate is valid, as far as it tells.
    until: Option<Timestamp>,
    /// What is wrong with them now.
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Fault {
    text: String,
    is_told: bool,
}

impl Certificates {
    /// Reads the pair that `files` name, and warns of what is odd about it.
    ///
    /// # Errors
    ///
    /// A text for a person: the file that is wrong, why, and what helps.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let content = Content::read(files)?;
        let pair = Pair::of(&content, files)?;
        pair.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let seen = Mutex::new(Seen { used: content.digest_only(), until: pair.until, fault: None });
        Ok(Self { files: files.clone(), current: RwLock::new(pair.config), seen, metrics: OnceLock::new() })
    }

    /// Tells `metrics`, the first that it is given, until when the certificate is valid, now and whenever another takes its place.
    pub fn measure(&self, metrics: &Metrics) {
        let seen = self.seen();
        self.metrics.get_or_init(|| metrics.clone()).set_certificate(seen.until);
    }

    /// What the next connection is served with.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the files hold now. This waits for them, however long that takes.
    ///
    /// # Errors
    ///
    /// A text for a person: a file cannot be read.
    pub fn read(&self) -> Result<Content, String> {
        Content::read(&self.files)
    }

    /// Takes what the files hold for new connections, if that is a pair and another one than before. What is wrong is told at
    /// once if `asker` wants to know, and else if it was so the time before, once.
    pub fn offer(&self, read: Result<Content, String>, asker: Option<&str>) {
        let mut seen = self.seen();
        let who = asker.map(|asker| format!("{asker}: ")).unwrap_or_default();
        let offered = read.and_then(|content| {
            if content == seen.used {
                return Ok(None);
            }
            Pair::of(&content, &self.files).map(|pair| Some((pair, content)))
        });
        match offered {
            Ok(None) => {
                seen.fault = None;
                if asker.is_some() {
                    tracing::info!("{who}the certificate is the same as before");
                }
            }
            Ok(Some((pair, content))) => {
                *seen = Seen { used: content.digest_only(), until: pair.until, fault: None };
                if let Some(metrics) = self.metrics.get() {
                    metrics.set_certificate(pair.until);
                }
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair.config;
                let until = pair.until.map(|until| format!(", which is valid until {until}")).unwrap_or_default();
                tracing::info!("{who}new connections get the new certificate of {}{until}", self.path().display());
                pair.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            Err(text) => {
                let is_same = seen.fault.as_ref().is_some_and(|fault| fault.text == text);
                let is_told = is_same && seen.fault.as_ref().is_some_and(|fault| fault.is_told);
                let tells = asker.is_some() || (is_same && !is_told);
                if tells {
                    tracing::error!("{who}the certificate stays as it was: {text}");
                }
                seen.fault = Some(Fault { text, is_told: is_told || tells });
            }
        }
    }

    /// Looks at the files for ever.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let reader = Arc::clone(&self);
            let mut reading = tokio::task::spawn_blocking(move || reader.read());
            let read = loop {
                match timeout(READ_TIMEOUT, &mut reading).await {
                    Ok(read) => break read,
                    // Another reading would hang as well, with a thread of its own.
                    Err(_) => self.offer(Err(HANGS.to_owned()), None),
                }
            };
            match read {
                Ok(read) => self.offer(read, None),
                Err(error) => tracing::error!(%error, "the files of the certificate were not read"),
            }
        }
    }

    fn path(&self) -> &Path {
        &self.files.cert
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
