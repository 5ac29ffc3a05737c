//! Sandboxes as objects and pods of a Kubernetes cluster (kubernetes-runtime.md, kubernetes-api.md).
//!
//! The groups, each of which imports only those below it (`tests/architecture.rs`):
//!
//! | Group | What it does |
//! |---|---|
//! | `tenancy` | a view for each tenant |
//! | `create` | creates sandboxes, and waits until they are ready |
//! | `pausing` | pauses and resumes sandboxes |
//! | `pools` | pools of sandboxes' pods |
//! | `snapshots` | asks the operator for images of sandboxes |
//! | `lifecycle` | shows sandboxes, renews, patches and deletes them |
//! | `endpoints` | where a sandbox's port is, for clients and for the proxy; signed routes |
//! | `diagnostics` | pods and their events as text |
//! | `logs` | finds the pod whose log it is, opens and reads it |
//! | `pods` | the pods of a sandbox, and how their containers do |
//! | `cleanups` | what is removed later, when the API server takes it |
//! | `namespaces` | whose sandboxes are meant; the namespaces that are watched |
//! | `workload` | the two kinds of object that a sandbox is: their state, expiry, address, and what is written to change them |
//! | `cache` | one watch for each kind and namespace |
//! | `pod_templates` | pod templates of clients and operators, checked before they are stored |
//! | `objects` | the objects, as far as the gateway reads them |
//! | `client` | the API server: configuration, connections, deadlines, limits, errors |
//! | `options` | the settings |
//!
//! What they share is `Inner`. A [`Kubernetes`] is a view of it in one scope: a namespace, and the tenant to whom that belongs.
//! kube's types stop in this folder.

mod cache;
mod cleanups;
mod client;
mod create;
mod diagnostics;
mod endpoints;
mod lifecycle;
mod logs;
mod namespaces;
mod objects;
mod options;
mod pausing;
mod pod_templates;
mod pods;
mod pools;
mod snapshots;
mod tenancy;
mod workload;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    sync::{AcquireError, Semaphore},
    time::timeout,
};
use tracing::Instrument;

use self::namespaces::Scope;
pub use self::options::{CreationOptions, KubernetesOptions};
use self::{
    cache::{Cache, CacheSettings},
    cleanups::Cleanups,
    client::{ApiFailure, Cluster},
    create::{Creations, Template},
    logs::{Looks, Streams},
    namespaces::{Change, MAX_CHANGES, Namespaces},
    objects::Pod,
    pools::PoolLists,
    snapshots::SnapshotWatches,
    workload::{Workload, Workloads, names},
};
use crate::{
    error::{Error, Family, Kind},
    logs::{LogQuery, OpenedLog},
    model::{
        create::CreateRequest,
        endpoint::{Backend, Endpoint},
        page::{ListQuery, Page},
        sandbox::{CreatedSandbox, Sandbox, SandboxJson},
        timestamp::Timestamp,
    },
    runtime::{LocalExecd, Pausing, Pools, Runtime, SnapshotMaker, Tenancy},
};

/// How long one waits for its turn.
const CHANGE_WAIT: Duration = Duration::from_secs(10);

/// How long a client waits for its change once it has its turn.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the end of the program waits for changes that have begun.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long nothing may be heard of the API server before `/ready` says so.
const OUTAGE: Duration = Duration::from_secs(30);

/// The Kubernetes runtime, as it is in one scope. Dropping the last of them ends its watches.
#[derive(Clone)]
pub struct Kubernetes {
    inner: Arc<Inner>,
    scope: Scope,
}

/// What all scopes share.
struct Inner {
    cluster: Cluster,
    options: KubernetesOptions,
    namespaces: Arc<Namespaces>,
    changes: Arc<Semaphore>,
    creations: Creations,
    cleanups: Cleanups,
    /// What every sandbox's object begins from.
    template: Option<Template>,
    /// Whether the cluster tells a log's streams apart.
    streams: Streams,
    /// Places for looks at silent logs.
    looks: Looks,
    snapshots: SnapshotWatches,
    pool_lists: PoolLists,
    started: Instant,
}

impl Kubernetes {
    /// Reads the cluster's configuration and begins to watch its sandboxes. That the API server cannot be reached now is no
    /// error: it is told by [`Runtime::fault`], and mends itself.
    ///
    /// # Errors
    /// ([`Family::Startup`], [`Kind::Failed`]) if the configuration or the template cannot be used.
    pub async fn start(options: KubernetesOptions) -> Result<Self, Error> {
        let (file, provider) = (options.creation.template_file.as_deref(), options.provider);
        let template = file.map(|file| Template::read(file, provider)).transpose()?;
        let cluster = Cluster::connect(&options).await?;
        if let Some(class) = options.creation.runtime_class() {
            create::check_runtime_class(&cluster, class).await?;
        }
        let namespaces = Namespaces::start(cluster.clone(), &options);
        let scope = namespaces.scope(&options.namespace, None)?;
        let inner = Inner {
            namespaces,
            changes: Arc::new(Semaphore::new(MAX_CHANGES as usize)),
            creations: Creations::default(),
            cleanups: Cleanups::new(),
            template,
            streams: Streams::default(),
            looks: Looks::default(),
            snapshots: SnapshotWatches::new(CacheSettings::of(&options)),
            pool_lists: PoolLists::new(),
            started: Instant::now(),
            cluster,
            options,
        };
        Ok(Self { inner: Arc::new(inner), scope })
    }

    /// Runs `work` to its end even if the caller is dropped: a deletion has to remove what belongs to the sandbox, and a
    /// change has to be in the cache when the next request comes.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.to_the_end_with(|_| work).await
    }

    /// [`Self::to_the_end`] for work that may leave some of it to a task of its own, which keeps the change's place as long.
    async fn to_the_end_with<T: Send + 'static, W>(&self, work: impl FnOnce(Change) -> W) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let failed = |text: &str| Error::new(Family::KubeApi, Kind::Failed, text);
        let (of_tenant, of_all) = (Arc::clone(&self.scope.places().changes), Arc::clone(&self.inner.changes));
        let turn = async move { Ok((of_tenant.acquire_owned().await?, of_all.acquire_owned().await?)) };
        let permits = timeout(CHANGE_WAIT, turn).await.map_err(|_| {
            Error::new(Family::KubeApi, Kind::Overloaded, "Too many changes of sandboxes are under way.")
        })?;
        let permits = permits.map_err(|_: AcquireError| failed("The server is shutting down."))?;
        let change = Arc::new(permits);
        let work = work(Arc::clone(&change));
        let work = async move {
            let _change = change;
            work.await
        };
        let result = timeout(CHANGE_TIMEOUT, tokio::spawn(work.in_current_span())).await.map_err(|_| {
            let text = format!("The change has taken {} s, and goes on.", CHANGE_TIMEOUT.as_secs());
            Error::new(Family::KubeApi, Kind::TimedOut, text)
        })?;
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "work on a sandbox broke off");
            Err(failed("The work on the sandbox broke off.").caused_by(error))
        })
    }
}

impl Inner {
    /// The sandboxes of a scope's namespace.
    fn workloads<'a>(&self, scope: &'a Scope) -> &'a Workloads {
        scope.workloads()
    }

    /// The pods of a scope's namespace that bear a sandbox's id.
    fn pods<'a>(&self, scope: &'a Scope) -> &'a Cache<Pod> {
        scope.pods()
    }
}

#[async_trait]
impl Runtime for Kubernetes {
    async fn create(&self, request: CreateRequest) -> Result<CreatedSandbox, Error> {
        self.inner.create(&self.scope, request).await
    }

    async fn get(&self, id: &str) -> Result<Sandbox, Error> {
        self.inner.get(&self.scope, id).await
    }

    async fn list(&self) -> Result<Vec<Sandbox>, Error> {
        self.inner.list(&self.scope).await
    }

    async fn page(&self, query: &ListQuery) -> Result<Page<SandboxJson>, Error> {
        self.inner.page(&self.scope, query).await
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        let (Self { inner, scope }, id) = (self.clone(), id.to_owned());
        self.to_the_end_with(|change| async move { inner.delete(&scope, &id, change).await }).await
    }

    async fn patch_metadata(&self, id: &str, patch: BTreeMap<String, Option<String>>) -> Result<Sandbox, Error> {
        let (Self { inner, scope }, id) = (self.clone(), id.to_owned());
        self.to_the_end(async move { inner.patch_metadata(&scope, &id, patch).await }).await
    }

    async fn renew(&self, id: &str, expires_at: Timestamp) -> Result<Timestamp, Error> {
        let (Self { inner, scope }, id) = (self.clone(), id.to_owned());
        self.to_the_end(async move { inner.renew(&scope, &id, expires_at).await }).await
    }

    async fn renew_on_access(&self, id: &str) -> Result<Option<Timestamp>, Error> {
        let (Self { inner, scope }, id) = (self.clone(), id.to_owned());
        self.to_the_end(async move { inner.renew_on_access(&scope, &id).await }).await
    }

    fn is_at_hand(&self, id: &str) -> bool {
        let (workloads, pods) = (self.inner.workloads(&self.scope), self.inner.pods(&self.scope));
        let needs_none = |workload: &Workload| {
            pods.is_fresh() || !workload.needs_pods() && workload.has_host(&self.inner.options.pod_networks)
        };
        names::check(id).is_err()
            || workloads.is_nameless(id)
            || workloads.at_hand(id).is_some_and(|it| needs_none(&it))
    }

    async fn open_logs(&self, id: &str, query: &LogQuery) -> Result<OpenedLog, Error> {
        self.inner.open_logs(&self.scope, id, query).await
    }

    fn has_containers(&self) -> bool {
        true
    }

    async fn endpoint(&self, id: &str, port: u16, expires: Option<i128>) -> Result<Endpoint, Error> {
        self.inner.endpoint(&self.scope, id, port, expires).await
    }

    async fn backend(&self, id: &str, port: u16) -> Result<Backend, Error> {
        self.inner.backend(&self.scope, id, port).await
    }

    async fn inspect(&self, id: &str) -> Result<String, Error> {
        self.inner.inspect(&self.scope, id).await
    }

    async fn events(&self, id: &str, limit: usize) -> Result<String, Error> {
        self.inner.events(&self.scope, id, limit).await
    }

    fn pausing(&self) -> Option<&dyn Pausing> {
        Some(self)
    }

    fn snapshots(self: Arc<Self>) -> Option<SnapshotMaker> {
        Some(SnapshotMaker::Elsewhere(self))
    }

    fn local_execd(&self) -> Option<&dyn LocalExecd> {
        None
    }

    fn tenancy(&self) -> Option<&dyn Tenancy> {
        Some(self)
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(self)
    }

    fn templates_refusal(&self) -> &'static str {
        "Template management needs the fast-sandbox backend, which this server does not have."
    }

    fn notes(&self) -> Vec<String> {
        let is_old = |age: Duration| age > self.inner.options.cache_max_age;
        let (workloads, pods) = (self.inner.workloads(&self.scope), self.inner.pods(&self.scope));
        let old = workloads.age().filter(|age| is_old(*age)).map(|age| {
            format!("What is known of the sandboxes is {} s old, so the API server is asked each time.", age.as_secs())
        });
        let unread = |what: &str, failure: Option<ApiFailure>| {
            failure.map(|failure| format!("{what} cannot be listed or watched: {}.", failure.sort()))
        };
        let unread = [unread("The sandboxes", workloads.failure()), unread("The sandboxes' pods", pods.failure())];
        old.into_iter().chain(unread.into_iter().flatten()).collect()
    }

    fn fault(&self) -> Option<String> {
        let Inner { cluster, options, started, .. } = &*self.inner;
        // Nothing was heard since the start.
        let mut age = self.scope.workloads().age().unwrap_or_else(|| started.elapsed() + options.cache_max_age);
        let mut limit = OUTAGE.max(options.cache_max_age);
        if options.has_tenants {
            // Any answer will do: the server's own namespace may be closed to it. The watch tries again within 45 s.
            (age, limit) = (age.min(cluster.silence()), limit * 2);
        }
        let failure = self.scope.workloads().failure();
        // Of a kind that the cluster does not have there are no sandboxes, which is for the notes.
        if age <= limit || failure.as_ref().is_some_and(ApiFailure::is_missing_kind) {
            return None;
        }
        let why = failure.map_or("nothing was heard of the API server", |failure| failure.sort());
        Some(format!("The cluster's sandboxes could not be read for {} s: {why}.", age.as_secs()))
    }

    async fn shutdown(&self) {
        let Inner { changes, creations, cleanups, .. } = &*self.inner;
        let ends = async {
            creations.close().await;
            // Nobody has closed it yet.
            drop(changes.acquire_many(MAX_CHANGES).await);
            cleanups.close().await;
        };
        if timeout(SHUTDOWN_TIMEOUT, ends).await.is_err() {
            tracing::warn!("creations and changes of sandboxes are still under way and are given up");
        }
        changes.close();
    }
}
