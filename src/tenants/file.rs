//! Tenants in a file: TOML with an array `[[tenants]]` of `name`, `namespace` and `api_keys`.

use std::{
    collections::HashMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use serde::Deserialize;

use super::{Digest, Digester, tenant};
use crate::{
    keys::{MAX_LENGTH, is_sendable},
    model::tenant::Tenant,
    regular_file,
};

/// The longest file, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The most keys of all tenants.
const MAX_KEYS: usize = 10_000;

/// How often it is looked whether the file has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long reading it may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The tenants of a file, as it was when it was last right.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    digester: Digester,
    known: RwLock<Arc<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<Digest, Arc<Tenant>>,
    all: Vec<Arc<Tenant>>,
}

/// By what it is seen that a file is another one. None: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// What was read.
enum Read {
    Missing,
    Text(String),
    Failed(String),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    tenants: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    namespace: String,
    api_keys: Vec<String>,
}

impl File {
    /// Reads the file, and begins to watch it.
    pub(super) async fn start(path: PathBuf, digester: Digester) -> Result<Arc<Self>, String> {
        let place = path.display().to_string();
        let (stamp, read) =
            beside(path.clone(), None).await.map_err(|why| format!("The tenants file {place}: {why}"))?;
        let known = match read {
            Some(Read::Text(text)) => parse(&text, &digester),
            Some(Read::Failed(why)) => Err(why),
            Some(Read::Missing) | None => Err("there is no such file".to_owned()),
        };
        let known = known.map_err(|why| format!("The tenants file {place}: {why}"))?;
        tracing::info!("{} tenants have {} keys in {place}", known.all.len(), known.by_key.len());
        let file = Arc::new(Self { path, digester, known: RwLock::new(Arc::new(known)) });
        tokio::spawn(watch(Arc::downgrade(&file), stamp));
        Ok(file)
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<Tenant>> {
        self.known().by_key.get(digest).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Tenant>> {
        self.known().all.clone()
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, read: Read) {
        let place = self.path.display();
        let known = match read {
            Read::Text(text) => match parse(&text, &self.digester) {
                Ok(known) => {
                    tracing::info!("{} tenants have {} keys in {place}", known.all.len(), known.by_key.len());
                    known
                }
                Err(why) => return tracing::error!("the tenants stay as they were: {place}: {why}"),
            },
            Read::Failed(why) => return tracing::error!("the tenants stay as they were: {place}: {why}"),
            Read::Missing => {
                tracing::error!("{place} is gone: no tenant has a key until it is back");
                Known::default()
            }
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}

/// Reads the file again whenever it has changed.
async fn watch(file: std::sync::Weak<File>, mut stamp: Option<Stamp>) {
    let mut was_hanging = false;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let Some(path) = file.upgrade().map(|file| file.path.clone()) else { return };
        match beside(path, Some(stamp)).await {
            Ok((now, read)) => {
                (stamp, was_hanging) = (now, false);
                let Some(file) = file.upgrade() else { return };
                if let Some(read) = read {
                    file.take(read);
                }
            }
            Err(why) if !std::mem::replace(&mut was_hanging, true) => {
                tracing::error!("the tenants stay as they were: {why}");
            }
            Err(_) => {}
        }
    }
}

/// Looks at the file on a thread that may hang with it; reads it unless it is as it was `before`.
async fn beside(path: PathBuf, before: Option<Option<Stamp>>) -> Result<(Option<Stamp>, Option<Read>), String> {
    let looking = tokio::task::spawn_blocking(move || {
        let stamp = stamp(&path);
        let read = (before != Some(stamp)).then(|| read(&path));
        (stamp, read)
    });
    match tokio::time::timeout(READ_TIMEOUT, looking).await {
        Ok(looked) => looked.map_err(|_| "reading it failed unexpectedly".to_owned()),
        Err(_) => Err(format!("it hangs: it could not be read within {} s", READ_TIMEOUT.as_secs())),
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp { changed: found.modified().ok(), length: found.len(), inode: found.ino() })
}

fn read(path: &Path) -> Read {
    match regular_file::read(path, MAX_FILE) {
        Ok(bytes) => String::from_utf8(bytes).map_or_else(|_| Read::Failed("it is not UTF-8".to_owned()), Read::Text),
        Err(error) if error.kind() == ErrorKind::NotFound => Read::Missing,
        Err(error) => Read::Failed(error.to_string()),
    }
}

/// The tenants that a text names. What is told of a fault holds nothing of the text but names: there are keys in it.
fn parse(text: &str, digester: &Digester) -> Result<Known, String> {
    let document: Document = toml::from_str(text).map_err(|error| fault(text, &error))?;
    let mut known = Known::default();
    for (number, Entry { name, namespace, api_keys }) in document.tenants.into_iter().enumerate() {
        let tenant = Arc::new(tenant(&name, &namespace).map_err(|why| format!("tenants[{number}]: {why}"))?);
        let refuse = |at: usize, why: &str| Err(format!("tenants[{number}] ('{name}'): api_keys[{at}] {why}"));
        for (at, key) in api_keys.iter().enumerate() {
            if key.trim().is_empty() {
                return refuse(at, "is blank");
            }
            if key.len() > MAX_LENGTH {
                return refuse(at, &format!("has more than {MAX_LENGTH} bytes"));
            }
            if !is_sendable(key) {
                return refuse(
                    at,
                    "cannot be sent in a header: it begins or ends with a blank, or has control characters",
                );
            }
            if known.by_key.len() == MAX_KEYS {
                return Err(format!("there are more than {MAX_KEYS} keys"));
            }
            if let Some(other) = known.by_key.insert(digester.digest(key.as_bytes()), Arc::clone(&tenant)) {
                return refuse(at, &format!("is a key of tenant '{}' already", other.name));
            }
        }
        known.all.push(tenant);
    }
    Ok(known)
}

/// Where TOML is wrong, without the line that it quotes.
fn fault(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
    // What serde says of a value quotes it: 'invalid type: string "…"'.
    let message = error.message().split(": ").next().unwrap_or_default();
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[[tenants]]\nname = 'team-a'\nnamespace = 'a'\napi_keys = ['key-a1', 'key-a2']\n\
                       [[tenants]]\nname = 'shadow'\nnamespace = 'a'\napi_keys = ['key-as']\n";

    fn parsed(text: &str) -> Result<Known, String> {
        parse(text, &Digester::new().unwrap())
    }

    #[test]
    fn each_key_is_one_tenant_s() {
        let digester = Digester::new().unwrap();
        let known = parse(TWO, &digester).unwrap();
        let name = |key: &str| known.by_key.get(&digester.digest(key.as_bytes())).map(|tenant| &*tenant.name);
        assert_eq!(
            [name("key-a1"), name("key-a2"), name("key-as"), name("key")],
            [Some("team-a"), Some("team-a"), Some("shadow"), None]
        );
        assert_eq!((known.all.len(), parsed("").unwrap().all.len()), (2, 0));
    }

    #[test]
    fn what_is_wrong_is_told_without_a_key() {
        for (from, to, why) in [
            ("'key-as'", "'key-a1'", "tenants[1] ('shadow'): api_keys[0] is a key of tenant 'team-a' already"),
            ("'key-as'", "' '", "tenants[1] ('shadow'): api_keys[0] is blank"),
            ("'key-as'", "'key-as '", "cannot be sent in a header"),
            ("['key-as']", "'key-as'", "line 8: invalid type"),
            ("['key-as']", "['key-as', 7]", "line 8: invalid type"),
            ("'shadow'", "'a b'", "tenants[1]: the name \"a b\" cannot be a label's value"),
            ("namespace = 'a'", "namespace = 'A'", "tenants[0]: the namespace \"A\" of tenant 'team-a' cannot be one"),
            ("api_keys = ['key-as']", "api_key = ['key-as']", "missing field `api_keys`"),
            ("['key-as']", "['key-as'", "line "),
        ] {
            let error = parsed(&TWO.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(why) && !error.contains("key-a"), "{error}");
        }
        let many: String = (0..=MAX_KEYS).map(|n| format!("'k{n}',")).collect();
        assert!(parsed(&TWO.replace("'key-as'", &many)).unwrap_err().contains("more than 10000 keys"));
    }
}
