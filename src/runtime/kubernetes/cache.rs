//! One watch for each kind and namespace, and what it has told.
//!
//! Reads are answered from memory while the API server was heard of within `cache_max_age`. Older than that, they are read
//! through, so that a control plane that vanished and returned needs no restart, and a connection that died without a word costs
//! reads, not answers; what was read so is good for as long (`reads`). To be heard of while nothing happens, a watch lasts for less than `cache_max_age`: it begins with the
//! head of an answer, has a bookmark some 2 s before its end (kubernetes-api.md W4), and the next one begins at once.

mod entries;
mod reads;
mod waiting;
mod watch;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Api, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, Semaphore},
    task::AbortHandle,
    time::Instant,
};

pub(super) use self::waiting::Interest;
use self::{entries::Entries, reads::Reads, waiting::Waiting};
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

/// The objects of one kind in one namespace that have a certain label.
pub(super) struct Cache<K> {
    shared: Arc<Shared<K>>,
    task: AbortHandle,
}

struct Shared<K> {
    cluster: Cluster,
    api: Api<K>,
    label: &'static str,
    settings: CacheSettings,
    metrics: WatchMetrics,
    state: Mutex<State<K>>,
    /// Held by who lists on behalf of all readers; how it failed last, and when.
    listing: tokio::sync::Mutex<Option<(Instant, ApiFailure)>>,
    /// Those that are read whose names nobody knew.
    strangers: Semaphore,
    /// The API server answers again.
    back: Notify,
    /// Who is told of changes.
    waiting: Arc<Waiting>,
}

struct State<K> {
    entries: Entries<K>,
    reads: Reads<K>,
    /// When the API server was last heard of, since everything was listed.
    contact: Option<Instant>,
    /// How it failed to be listed or watched since then.
    failure: Option<ApiFailure>,
    /// A read or a list failed since the last one that did not, and not by what was asked.
    is_out: bool,
}

impl<K: Watched> Cache<K> {
    /// Begins to list and watch: one task, which ends when this is dropped.
    pub(super) fn start(cluster: Cluster, namespace: &str, label: &'static str, settings: CacheSettings) -> Arc<Self> {
        let waiting = Arc::<Waiting>::default();
        let state = State {
            entries: Entries::new(label, Arc::clone(&waiting)),
            reads: Reads::default(),
            contact: None,
            failure: None,
            is_out: false,
        };
        let shared = Arc::new(Shared {
            api: cluster.api(namespace),
            cluster,
            label,
            metrics: settings.calls.watch(kind::<K>(), namespace),
            settings,
            state: Mutex::new(state),
            listing: tokio::sync::Mutex::new(None),
            strangers: Semaphore::new(reads::MAX_STRANGERS),
            back: Notify::new(),
            waiting,
        });
        let task = tokio::spawn(watch::run(Arc::clone(&shared))).abort_handle();
        Arc::new(Self { shared, task })
    }

    /// All objects, in no order. Of a kind that the cluster does not have there are none.
    ///
    /// # Errors
    ///
    /// What is in memory is too old, and the API server cannot be asked.
    pub(super) async fn list(&self) -> Result<Vec<Arc<K>>, ApiFailure> {
        self.shared.fresh(Entries::all).await
    }

    /// The objects whose label has this value, in no order.
    ///
    /// # Errors
    ///
    /// As [`Self::list`].
    pub(super) async fn labelled(&self, value: &str) -> Result<Vec<Arc<K>>, ApiFailure> {
        self.shared.fresh(|entries| entries.labelled(value)).await
    }

    /// The same for each of several values; none for an empty one.
    ///
    /// # Errors
    ///
    /// As [`Self::list`].
    pub(super) async fn labelled_each(&self, values: &[&str]) -> Result<Vec<Vec<Arc<K>>>, ApiFailure> {
        let of_each = |entries: &Entries<K>| {
            let of = |value: &&str| if value.is_empty() { Vec::new() } else { entries.labelled(value) };
            values.iter().map(of).collect()
        };
        self.shared.fresh(of_each).await
    }

    /// Whether several of the objects that are known have one value of the label.
    pub(super) fn has_doubles(&self) -> bool {
        self.shared.lock().entries.has_doubles()
    }

    /// What an own write was answered with: seen at once, unless the watch has a newer state or has seen the object go. Answers
    /// the newer one of it and what was known.
    pub(super) fn note(&self, object: K) -> Arc<K> {
        self.shared.lock().entries.note(object, Some(Instant::now()))
    }

    /// The object of this name and UID is gone by an own write.
    pub(super) fn forget(&self, name: &str, uid: &str) {
        self.shared.lock().entries.forget(name, uid);
    }

    /// Wakes `notify` at each change of an object whose label has this value, for as long as the answer lives. One waits for a
    /// value at a time.
    pub(super) fn wake(&self, value: &str, notify: &Arc<Notify>) -> Interest {
        self.shared.waiting.add(value, notify)
    }

    /// Whether the watch tells what happens.
    pub(super) fn is_told(&self) -> bool {
        let state = self.shared.lock();
        state.failure.is_none() && self.shared.is_fresh(&state)
    }

    /// Waits until the API server answers again that did not.
    pub(super) async fn until_back(&self) {
        self.shared.back.notified().await;
    }

    /// Whether [`Self::list`] and [`Self::labelled`] answer from memory.
    pub(super) fn is_fresh(&self) -> bool {
        self.shared.is_fresh(&self.shared.lock())
    }

    /// How long ago the API server was last heard of; nothing before everything was listed once.
    pub(super) fn age(&self) -> Option<Duration> {
        self.shared.lock().contact.map(|contact| contact.elapsed())
    }

    /// How the last list or watch failed, if nothing was heard of the API server since, or the cluster does not have the kind.
    pub(super) fn failure(&self) -> Option<ApiFailure> {
        self.shared.lock().failure.clone()
    }
}

impl<K: Watched> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, state: &State<K>) -> bool {
        state.contact.is_some_and(|contact| contact.elapsed() <= self.settings.max_age)
    }

    fn fresh_entries<T>(&self, of: impl FnOnce(&Entries<K>) -> T) -> Option<T> {
        let state = self.lock();
        self.is_fresh(&state).then(|| of(&state.entries))
    }

    /// The API server was heard of: what is in memory is as it is there.
    fn contact(&self) {
        let mut state = self.lock();
        (state.contact, state.failure) = (Some(Instant::now()), None);
        self.is_back(&mut state);
        drop(state);
        self.metrics.contact();
    }

    /// It answers, so a watch need not wait for its time.
    fn is_back(&self, state: &mut State<K>) {
        if std::mem::take(&mut state.is_out) {
            self.back.notify_waiters();
        }
    }

    /// From memory, or listed anew once for all who wait.
    async fn fresh<T>(&self, of: impl Fn(&Entries<K>) -> T) -> Result<T, ApiFailure> {
        if let Some(found) = self.fresh_entries(&of) {
            return Ok(found);
        }
        let asked = Instant::now();
        let mut failed = self.listing.lock().await;
        if let Some(found) = self.fresh_entries(&of) {
            return Ok(found);
        }
        if let Some((_, failure)) = failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(failure.clone());
        }
        match self.relist(&mut failed).await {
            Err(failure) if !failure.is_missing_kind() => Err(failure),
            Ok(_) | Err(_) => Ok(of(&self.lock().entries)),
        }
    }

    /// Lists everything, while those who come meanwhile wait for it; answers the version that a watch goes on from.
    async fn list_anew(&self) -> Result<String, ApiFailure> {
        let mut failed = self.listing.lock().await;
        self.relist(&mut failed).await
    }

    async fn relist(&self, failed: &mut Option<(Instant, ApiFailure)>) -> Result<String, ApiFailure> {
        let newest = self.lock().entries.newest();
        let listed = match self.pages().await {
            // A later page can be asked for no more (kubernetes-api.md W8).
            Err(failure) if failure.is_expired() => self.pages().await,
            listed => listed,
        };
        match listed {
            Ok((objects, version)) => {
                self.lock().entries.replace(objects, &version, newest);
                self.contact();
                Ok(version)
            }
            Err(failure) if failure.is_missing_kind() => {
                self.lock().entries.clear();
                self.contact();
                self.lock().failure = Some(failure.clone());
                Err(failure)
            }
            Err(failure) => {
                *failed = Some((Instant::now(), failure.clone()));
                let mut state = self.lock();
                state.is_out |= failure.is_outage();
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// All objects, and the version that they are of. Outside `read_qps`, which is for what clients ask.
    async fn pages(&self) -> Result<(Vec<K>, String), ApiFailure> {
        let mut params = ListParams::default().labels(self.label).limit(PAGE_SIZE);
        let (mut objects, mut version) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let page = self.cluster.observe("list", self.api.list(&params)).await?;
            objects.extend(page.items);
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

    /// Whether the API server's version lies behind what was seen of it: its store was put back, and a watch from where ours
    /// stands would be silent for ever (kubernetes-api.md W6).
    async fn went_back(&self) -> Result<bool, ApiFailure> {
        let newest = self.lock().entries.newest();
        let params = ListParams::default().labels(self.label).limit(1);
        let page = self.cluster.observe("list", self.api.list(&params)).await?;
        let version = page.metadata.resource_version.and_then(|version| version.parse::<u64>().ok());
        Ok(version.is_some_and(|version| version < newest))
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
        f.debug_struct("Cache").field("label", &self.shared.label).finish_non_exhaustive()
    }
}

/// The kind's plural, which each of the objects here gives as a constant.
fn kind<K: Watched>() -> &'static str {
    match K::plural(&()) {
        Cow::Borrowed(plural) => plural,
        Cow::Owned(_) => "other",
    }
}
