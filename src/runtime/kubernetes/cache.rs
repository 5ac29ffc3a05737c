//! One watch for each kind and namespace, and what it has told.
//!
//! Reads are answered from memory while the API server was heard of within `cache_max_age`. Older than that, they are read
//! through, so that a control plane that vanished and returned needs no restart, and a connection that died without a word costs
//! reads, not answers. To be heard of while nothing happens, a watch lasts for less than `cache_max_age`: it begins with the
//! head of an answer, has a bookmark some 2 s before its end (kubernetes-api.md W4), and the next one begins at once.

mod entries;
mod watch;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Api, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use tokio::{task::AbortHandle, time::Instant};

use self::entries::Entries;
use super::{
    KubernetesOptions,
    client::{ApiFailure, Cluster},
};
use crate::metrics::backend::{BackendCalls, WatchMetrics};

/// The longest watch: kube refuses longer ones.
const MAX_WATCH: Duration = Duration::from_secs(290);

/// How long a watch may be silent beyond its time: then the connection is dead.
const IDLE_MARGIN: Duration = Duration::from_secs(5);

/// The most objects that one answer lists.
const PAGE_SIZE: u32 = 500;

/// The most pages of one list: half a million objects, more than etcd holds well. A server that always names another page is
/// not asked for ever.
const MAX_PAGES: usize = 1000;

/// How a cache is kept.
#[derive(Debug, Clone)]
pub(super) struct CacheSettings {
    /// What is known of older than that is asked for again.
    pub(super) max_age: Duration,
    /// The longest watch; three quarters of `max_age` if that is less.
    pub(super) watch_timeout: Duration,
    /// Where it is told how the watch does.
    pub(super) calls: BackendCalls,
}

impl CacheSettings {
    /// The runtime's.
    pub(super) fn of(options: &KubernetesOptions) -> Self {
        let KubernetesOptions { cache_max_age, watch_timeout, calls, .. } = options;
        Self { max_age: *cache_max_age, watch_timeout: *watch_timeout, calls: calls.clone() }
    }
}

/// What a watch can be of.
pub(super) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The objects of one kind in one namespace that a label selector lets through.
pub(super) struct Cache<K> {
    shared: Arc<Shared<K>>,
    task: AbortHandle,
}

struct Shared<K> {
    cluster: Cluster,
    api: Api<K>,
    selector: String,
    settings: CacheSettings,
    metrics: WatchMetrics,
    state: Mutex<State<K>>,
    /// Held by who lists on behalf of all readers; how it failed last, and when.
    listing: tokio::sync::Mutex<Option<(Instant, ApiFailure)>>,
}

struct State<K> {
    entries: Entries<K>,
    /// When the API server was last heard of, since everything was listed.
    contact: Option<Instant>,
}

impl<K: Watched> Cache<K> {
    /// Begins to list and watch: one task, which ends when this is dropped. `selector` may name keys (`a`) and values (`a=b`).
    pub(super) fn start(cluster: Cluster, namespace: &str, selector: &str, settings: CacheSettings) -> Arc<Self> {
        let shared = Arc::new(Shared {
            api: cluster.api(namespace),
            cluster,
            selector: selector.to_owned(),
            metrics: settings.calls.watch(kind::<K>(), namespace),
            settings,
            state: Mutex::new(State { entries: Entries::new(selector), contact: None }),
            listing: tokio::sync::Mutex::new(None),
        });
        let task = tokio::spawn(watch::run(Arc::clone(&shared))).abort_handle();
        Arc::new(Self { shared, task })
    }

    /// The object of this name, also one that the selector does not let through. A name that is not in memory is asked for, and
    /// so is every one while that is too old.
    ///
    /// # Errors
    ///
    /// The API server cannot be asked. That there is no such object is none.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Arc<K>>, ApiFailure> {
        if !is_name(name) {
            return Ok(None);
        }
        let known = {
            let state = self.shared.lock();
            let known = state.entries.get(name);
            if known.is_some() && self.shared.is_fresh(&state) {
                return Ok(known);
            }
            known
        };
        match self.shared.cluster.read("get", self.shared.api.get(name)).await {
            Ok(object) => Ok(Some(self.shared.lock().entries.note(stripped(object)))),
            Err(failure) if failure.is_missing_named(name) => {
                // Unless it was made meanwhile.
                self.shared.lock().entries.forget_if(name, known.as_ref());
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// All objects, in no order.
    ///
    /// # Errors
    ///
    /// What is in memory is too old, and the API server cannot be asked.
    pub(super) async fn list(&self) -> Result<Vec<Arc<K>>, ApiFailure> {
        self.shared.fresh_list().await
    }

    /// Whether [`Self::get`] would answer from memory.
    pub(super) fn is_at_hand(&self, name: &str) -> bool {
        let state = self.shared.lock();
        self.shared.is_fresh(&state) && state.entries.get(name).is_some()
    }

    /// What an own write was answered with: seen at once, unless the watch has a newer state or has seen the object go.
    pub(super) fn note(&self, object: K) {
        self.shared.lock().entries.note(stripped(object));
    }

    /// The object of this name and UID is gone by an own write.
    pub(super) fn forget(&self, name: &str, uid: &str) {
        self.shared.lock().entries.forget(name, uid);
    }

    /// How long ago the API server was last heard of; nothing before everything was listed once.
    pub(super) fn age(&self) -> Option<Duration> {
        self.shared.lock().contact.map(|contact| contact.elapsed())
    }
}

impl<K: Watched> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, state: &State<K>) -> bool {
        state.contact.is_some_and(|contact| contact.elapsed() <= self.settings.max_age)
    }

    fn fresh_entries(&self) -> Option<Vec<Arc<K>>> {
        let state = self.lock();
        self.is_fresh(&state).then(|| state.entries.all())
    }

    /// The API server was heard of: what is in memory is as it is there.
    fn contact(&self) {
        self.lock().contact = Some(Instant::now());
        self.metrics.contact();
    }

    /// From memory, or listed anew once for all who wait.
    async fn fresh_list(&self) -> Result<Vec<Arc<K>>, ApiFailure> {
        if let Some(all) = self.fresh_entries() {
            return Ok(all);
        }
        let asked = Instant::now();
        let mut failed = self.listing.lock().await;
        if let Some(all) = self.fresh_entries() {
            return Ok(all);
        }
        if let Some((_, failure)) = failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(failure.clone());
        }
        self.relist(&mut failed).await?;
        Ok(self.lock().entries.all())
    }

    /// Lists everything, while those who come meanwhile wait for it; answers the version that a watch goes on from.
    async fn list_anew(&self) -> Result<String, ApiFailure> {
        let mut failed = self.listing.lock().await;
        self.relist(&mut failed).await
    }

    async fn relist(&self, failed: &mut Option<(Instant, ApiFailure)>) -> Result<String, ApiFailure> {
        let (objects, version) = match self.pages().await {
            // A later page can be asked for no more (kubernetes-api.md W8).
            Err(failure) if failure.is_expired() => self.pages().await,
            listed => listed,
        }
        .inspect_err(|failure| *failed = Some((Instant::now(), failure.clone())))?;
        self.lock().entries.replace(objects, &version);
        self.contact();
        Ok(version)
    }

    /// All objects, and the version that they are of.
    async fn pages(&self) -> Result<(Vec<K>, String), ApiFailure> {
        let mut params = ListParams::default().labels(&self.selector).limit(PAGE_SIZE);
        let (mut objects, mut version) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let page = self.cluster.read("list", self.api.list(&params)).await?;
            objects.extend(page.items.into_iter().map(stripped));
            if let Some(first) = page.metadata.resource_version.filter(|_| version.is_empty()) {
                version = first;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None if version.is_empty() => {
                    return Err(ApiFailure::unintelligible("the API server's list has no resource version"));
                }
                None => return Ok((objects, version)),
            }
        }
        Err(ApiFailure::unintelligible(format!("the API server's list has more than {MAX_PAGES} pages")))
    }

    /// How long a watch is to last.
    fn watch_time(&self) -> Duration {
        let time = self.settings.watch_timeout.min(self.settings.max_age.mul_f64(0.75)).min(MAX_WATCH);
        Duration::from_secs(time.as_secs().max(1))
    }
}

impl<K> Drop for Cache<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("selector", &self.shared.selector).finish_non_exhaustive()
    }
}

/// The kind's plural, which each of the objects here gives as a constant.
fn kind<K: Watched>() -> &'static str {
    match K::plural(&()) {
        Cow::Borrowed(plural) => plural,
        Cow::Owned(_) => "other",
    }
}

/// Whether an object can have this name (RFC 1123's subdomains). kube writes it into the path as it is: what a client makes up
/// must not lead to another object.
fn is_name(name: &str) -> bool {
    let may_have = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=253).contains(&name.len()) && name.bytes().all(may_have) && !name.starts_with('.') && !name.contains("..")
}

/// Without what nobody reads and is half of an object's size.
fn stripped<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_no_path() {
        for name in ["a", "sandbox-1.example", "2ac503a7-652a-42be-a827-aa31fab376d3"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../a", "a..b", "a?b", "a%2fb", "A", "a b", "ü", "a\r\n", &"a".repeat(254)]
        {
            assert!(!is_name(name), "{name}");
        }
    }
}
