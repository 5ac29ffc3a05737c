//! The namespaces whose sandboxes are watched: the server's own for as long as it runs; a tenant's from its first request until
//! nobody has asked for it for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    KubernetesOptions,
    cache::{Cache, CacheSettings},
    client::Cluster,
    objects::Pod,
    workload::{Workloads, labels},
};
use crate::{
    config::WorkloadProvider,
    error::{Error, Family, Kind},
};

/// How many changes of sandboxes go on at once; further ones wait.
pub(super) const MAX_CHANGES: u32 = 256;

/// The places of a change: its tenant's and that of all. They are free once the last of its clones is dropped.
pub(super) type Change = Arc<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

/// How many creations of sandboxes go on at once; further ones wait for a while, and are refused then. Most of their time is that
/// of the sandboxes, until they are ready.
pub(super) const MAX_CREATIONS: u32 = 1024;

/// How many removals go on that nobody waits for any more; those of more keep the places of what they come from.
pub(super) const MAX_CLEANUPS: u32 = 4096;

/// How many of them ask the API server at once.
pub(super) const MAX_CLEANUP_CALLS: u32 = 64;

/// The most namespaces that are watched at the same time: each costs two connections.
const MAX_NAMESPACES: usize = 500;

/// For how many times `cache_max_age` a namespace is watched that nobody asks for: 10 min by default.
const IDLE_AGES: u32 = 60;

/// How many times within that it is looked for such.
const SWEEPS: u32 = 10;

/// The least time between two looks.
const MIN_SWEEP: Duration = Duration::from_secs(1);

/// Whose sandboxes are meant: those of a namespace, or what of them bears a tenant's name. It keeps them watched.
#[derive(Clone)]
pub(super) struct Scope {
    /// The namespace.
    pub(super) namespace: Arc<str>,
    /// The tenant, where there are several: only what bears its name is its.
    pub(super) tenant: Option<Arc<str>>,
    space: Arc<Space>,
    places: Arc<Places>,
}

/// How much of each sort may go on for one tenant. Where there are several, one can take a quarter of all places: what it does may
/// hang in something of its namespace alone, such as a webhook, and it may do much at once.
pub(super) struct Places {
    pub(super) changes: Arc<Semaphore>,
    pub(super) creations: Arc<Semaphore>,
    pub(super) cleanups: Arc<Semaphore>,
    pub(super) cleanup_calls: Arc<Semaphore>,
}

/// What is known of a namespace.
struct Space {
    workloads: Workloads,
    /// The pods that bear a sandbox's id. Those of pools do not: they are asked for by name.
    pods: Arc<Cache<Pod>>,
}

/// The namespaces that are watched.
pub(super) struct Namespaces {
    cluster: Cluster,
    provider: WorkloadProvider,
    settings: CacheSettings,
    /// The part of all places that a tenant can take: one in so many.
    share: u32,
    idle: Duration,
    /// Requests come on threads that end before this does.
    tasks: Handle,
    spaces: Mutex<HashMap<Arc<str>, Used>>,
}

struct Used {
    space: Arc<Space>,
    /// Of each tenant; of whoever is none.
    places: HashMap<Option<Arc<str>>, Arc<Places>>,
    last: Instant,
}

impl Namespaces {
    /// None yet. The watches end when this and all scopes are dropped.
    pub(super) fn start(cluster: Cluster, options: &KubernetesOptions) -> Arc<Self> {
        let settings = CacheSettings::of(options);
        let idle = settings.max_age.saturating_mul(IDLE_AGES);
        let share = if options.has_tenants { 4 } else { 1 };
        let (provider, tasks, spaces) = (options.provider, Handle::current(), Mutex::default());
        let namespaces = Arc::new(Self { cluster, provider, settings, share, idle, tasks, spaces });
        tokio::spawn(sweep(Arc::downgrade(&namespaces), (idle / SWEEPS).max(MIN_SWEEP)));
        namespaces
    }

    /// A namespace, of which `tenant` has what bears its name. It is watched from now on, if it was not.
    ///
    /// # Errors
    /// ([`Family::KubeApi`], [`Kind::Overloaded`]) if too many others are in use.
    pub(super) fn scope(&self, namespace: &Arc<str>, tenant: Option<&Arc<str>>) -> Result<Scope, Error> {
        let mut spaces = self.spaces();
        let now = Instant::now();
        if spaces.len() >= MAX_NAMESPACES && !spaces.contains_key(namespace) {
            let idle = spaces.iter().filter(|(_, used)| used.is_idle()).min_by_key(|(_, used)| used.last);
            let idle = idle.map(|(name, _)| Arc::clone(name)).ok_or_else(|| {
                let text = format!("The sandboxes of {MAX_NAMESPACES} namespaces are in use; no more can be watched.");
                Error::new(Family::KubeApi, Kind::Overloaded, text)
            })?;
            spaces.remove(&idle);
        }
        let used = spaces.entry(Arc::clone(namespace)).or_insert_with(|| {
            let space = Arc::new(self.watch(namespace));
            Used { space, places: HashMap::new(), last: now }
        });
        used.last = now;
        let tenant = tenant.cloned();
        let places = used.places.entry(tenant.clone()).or_insert_with(|| Arc::new(Places::new(self.share)));
        Ok(Scope {
            namespace: Arc::clone(namespace),
            tenant,
            space: Arc::clone(&used.space),
            places: Arc::clone(places),
        })
    }

    fn watch(&self, namespace: &Arc<str>) -> Space {
        let _entered = self.tasks.enter();
        Space {
            workloads: Workloads::start(&self.cluster, namespace, self.provider, self.settings.clone()),
            pods: Cache::start(self.cluster.clone(), namespace, labels::ID, self.settings.clone()),
        }
    }

    fn spaces(&self) -> MutexGuard<'_, HashMap<Arc<str>, Used>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn new(share: u32) -> Self {
        let of = |all: u32| Arc::new(Semaphore::new((all / share) as usize));
        Self {
            changes: of(MAX_CHANGES),
            creations: of(MAX_CREATIONS),
            cleanups: of(MAX_CLEANUPS),
            cleanup_calls: of(MAX_CLEANUP_CALLS),
        }
    }
}

impl Scope {
    /// Whether what bears this tenant's name, or none, is in it.
    pub(super) fn owns(&self, tenant: Option<&str>) -> bool {
        owns(self.tenant.as_deref(), tenant)
    }

    /// The tenant's places. Whoever has one keeps the scope for as long: without it the places are forgotten.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The sandboxes of the namespace, of whatever tenant.
    pub(super) fn workloads(&self) -> &Workloads {
        &self.space.workloads
    }

    /// The pods of the namespace that bear a sandbox's id, of whatever tenant.
    pub(super) fn pods(&self) -> &Cache<Pod> {
        &self.space.pods
    }
}

impl Used {
    /// Whether no scope has it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.space) == 1
    }
}

fn owns(own: Option<&str>, tenant: Option<&str>) -> bool {
    own.is_none_or(|own| tenant == Some(own))
}

/// Ends the watches of namespaces that nobody asks for.
async fn sweep(namespaces: Weak<Namespaces>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(namespaces) = namespaces.upgrade() else { return };
        let mut spaces = namespaces.spaces();
        for used in spaces.values_mut() {
            used.places.retain(|_, places| Arc::strong_count(places) > 1);
        }
        spaces.retain(|_, used| !used.is_idle() || used.last.elapsed() < namespaces.idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::kubernetes::options;

    /// The namespaces of a cluster that nobody reaches.
    async fn unreachable() -> (Arc<Namespaces>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let options = options::tests::unreachable(dir.path());
        let options = KubernetesOptions { namespace: "own".into(), has_tenants: true, ..options };
        let cluster = Cluster::connect(&options).await.unwrap();
        (Namespaces::start(cluster, &options), dir)
    }

    #[tokio::test]
    async fn so_many_namespaces_are_watched_and_no_more_unless_one_is_idle() {
        let (namespaces, _dir) = unreachable().await;
        let name = |number: usize| Arc::<str>::from(format!("n{number}"));
        let mut scopes: Vec<_> =
            (0..MAX_NAMESPACES).map(|number| namespaces.scope(&name(number), None).unwrap()).collect();
        let refused = |number| namespaces.scope(&name(number), None).map(drop).unwrap_err();
        let error = refused(MAX_NAMESPACES);
        assert_eq!(error.key(), (Family::KubeApi, Kind::Overloaded));
        assert_eq!(error.to_string(), "The sandboxes of 500 namespaces are in use; no more can be watched.");
        // Those that are known can be had at any time.
        assert!(namespaces.scope(&name(7), None).is_ok());
        // Two are let go: of these the one that was asked for longest ago makes room.
        drop((scopes.remove(9), scopes.remove(7)));
        let is_watched = |number: usize| namespaces.spaces().contains_key(&name(number));
        let first = namespaces.scope(&name(MAX_NAMESPACES), None).unwrap();
        assert_eq!((is_watched(9), is_watched(7)), (false, true));
        let second = namespaces.scope(&name(MAX_NAMESPACES + 1), None).unwrap();
        assert_eq!((is_watched(7), namespaces.spaces().len()), (false, MAX_NAMESPACES));
        assert_eq!(refused(9).key(), (Family::KubeApi, Kind::Overloaded));
        drop((first, second));
        assert!(namespaces.scope(&name(9), None).is_ok());
    }

    #[tokio::test]
    async fn each_tenant_of_a_namespace_has_its_places() {
        let (namespaces, _dir) = unreachable().await;
        let (namespace, [a, b]) = (Arc::<str>::from("n"), ["a", "b"].map(Arc::<str>::from));
        let scope = |tenant| namespaces.scope(&namespace, tenant).unwrap();
        let free = |scope: &Scope| {
            let Places { changes, creations, cleanups, cleanup_calls } = scope.places();
            [changes, creations, cleanups, cleanup_calls].map(|places| places.available_permits())
        };
        let first = scope(Some(&a));
        let _change = first.places().changes.try_acquire().unwrap();
        let _creations = first.places().creations.try_acquire_many(256).unwrap();
        assert_eq!(free(&scope(Some(&a))), [63, 0, 1024, 16]);
        for other in [scope(Some(&b)), scope(None)] {
            assert_eq!(free(&other), [64, 256, 1024, 16]);
        }
    }

    #[test]
    fn a_tenant_has_only_what_bears_its_name() {
        assert!(owns(None, None) && owns(None, Some("b")) && owns(Some("a"), Some("a")));
        assert!(!owns(Some("a"), Some("b")) && !owns(Some("a"), None) && !owns(Some("a"), Some("")));
    }
}
