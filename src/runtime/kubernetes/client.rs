//! The API server: configuration, connections, deadlines, limits, errors.
//!
//! Calls go through kube's client over a stack of our own (kubernetes.md C2–C7): no retries behind the caller's back, a deadline
//! on each, and errors that keep what the API server said. Logs have connections of their own ([`log`]) under the same
//! configuration.

mod access;
mod answers;
mod connector;
mod failure;
mod keeper;
mod log;
mod plugin;
mod pool;
mod rate_limit;
mod socket;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, Response};
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, PostParams},
    client::{Body, ConfigExt, middleware::AuthLayer},
    core::NamespaceResourceScope,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tower::{BoxError, Layer, Service, util::BoxCloneSyncService};

use self::{access::Source, failure::Fault, keeper::Keeper, rate_limit::RateLimit};
pub(super) use self::{
    failure::{ApiFailure, is_about_quota},
    log::LogFailure,
    socket::Socket as LogSocket,
};
use crate::{
    error::{Error, Family, Kind},
    metrics::backend::BackendCalls,
    runtime::kubernetes::KubernetesOptions,
};

/// How long one call may take, waiting for its turn not counted.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long the start waits for an answer, waiting for its turn not counted: that there is none is no error then.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// One cluster's API server.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Shared>);

struct Shared {
    client: Client,
    keeper: Keeper,
    reads: RateLimit,
    writes: RateLimit,
    calls: BackendCalls,
    deadline: Duration,
    /// When the API server last answered anything.
    heard: Mutex<Instant>,
}

impl Cluster {
    /// Reads the configuration; that the API server cannot be reached is no error, since it may come.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub(super) async fn connect(options: &KubernetesOptions) -> Result<Self, Error> {
        let failed = |why: String| {
            Error::new(Family::Startup, Kind::Failed, format!("The Kubernetes cluster cannot be used: {why}"))
        };
        let (keeper, access) = Keeper::new(Source::new(options)).await.map_err(failed)?;
        if access.config.accept_invalid_certs {
            tracing::warn!(
                "the API server's certificate is not checked (insecure_skip_tls_verify): whoever stands in between can \
                 read and change everything"
            );
        }
        let cluster = Self(Arc::new(Shared {
            client: Client::new(keeper.clone(), access.config.default_namespace),
            keeper,
            reads: RateLimit::new(options.read_qps, options.read_burst),
            writes: RateLimit::new(options.write_qps, options.write_burst),
            calls: options.calls.clone(),
            deadline: DEADLINE,
            heard: Mutex::new(Instant::now()),
        }));
        cluster.greet().await;
        Ok(cluster)
    }

    /// Tells in the log what it talks to.
    async fn greet(&self) {
        let live = self.0.keeper.latest();
        let server = live.connector.authority();
        match self.read_at_start("version", self.0.client.apiserver_version()).await {
            Ok(version) => tracing::info!("Kubernetes {} at {server}", version.git_version),
            Err(failure) if failure.fault == Fault::TimedOut => {
                tracing::warn!("the API server at {server} has not answered yet");
            }
            Err(failure) => tracing::warn!("the API server at {server} is not to be had yet: {failure}"),
        }
    }

    /// For kube's typed calls. Each is made within [`Self::read`] or [`Self::write`].
    ///
    /// `get`, not `get_opt`: that takes any 404 for a missing object, also those of a missing kind (kubernetes-api.md §3).
    pub(super) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.0.client.clone(), namespace)
    }

    /// The same of all namespaces, or of what is in none.
    pub(super) fn api_of_all<K>(&self) -> Api<K>
    where
        K: Resource,
        K::DynamicType: Default,
    {
        Api::all(self.0.client.clone())
    }

    /// Deletes an object; gives it if something holds it. To be made within [`Self::write`]. kube's own call reads the answer as
    /// a tree, which fails for objects that are nested deeply, though they are deleted.
    pub(super) async fn delete<K>(
        &self,
        namespace: &str,
        name: &str,
        parameters: &DeleteParams,
    ) -> kube::Result<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned,
        K::DynamicType: Default,
    {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            kind: String,
        }
        let request = kube::core::Request::new(K::url_path(&K::DynamicType::default(), Some(namespace)));
        let request = request.delete(name, parameters).map_err(kube::Error::BuildRequest)?;
        let text = self.0.client.request_text(request).await?;
        let Answer { kind } = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        if kind == "Status" {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(kube::Error::SerdeError)
    }

    /// For how long the API server has not answered anything, refusals included; at first since the start.
    pub(super) fn silence(&self) -> Duration {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// A call that changes nothing, within the deadline and `read_qps`; counted as `operation`.
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ApiFailure> {
        self.call(&self.0.reads, operation, call).await
    }

    /// [`Self::read`] for the start, which an API server that is silent does not hold up. It waits for its turn however long that
    /// takes: a low `read_qps` is no silent API server.
    pub(super) async fn read_at_start<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ApiFailure> {
        self.0.reads.turn_at_last().await;
        let asked = tokio::time::timeout(START_TIMEOUT, self.observe(operation, call)).await;
        match asked {
            Ok(answer) => answer,
            Err(_) => Err(ApiFailure::timed_out(START_TIMEOUT)),
        }
    }

    /// A call that changes something, within the deadline and `write_qps`; counted as `operation`.
    pub(super) async fn write<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ApiFailure> {
        self.call(&self.0.writes, operation, call).await
    }

    /// Creates an object, and gives what `T` reads of the answer; counted as `operation`. Not kube's own call, which writes an
    /// answer that it cannot read to the log, with the secrets that are in it.
    pub(super) async fn create<K, T>(
        &self,
        operation: &'static str,
        namespace: &str,
        object: &Value,
    ) -> Result<T, ApiFailure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        T: DeserializeOwned,
    {
        let call = async {
            let object = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
            let request = kube::core::Request::new(K::url_path(&(), Some(namespace)));
            let request = request.create(&PostParams::default(), object).map_err(kube::Error::BuildRequest)?;
            let text = self.0.client.request_text(request).await?;
            serde_json::from_str(&text).map_err(kube::Error::SerdeError)
        };
        self.write(operation, call).await
    }

    async fn call<T>(
        &self,
        limit: &RateLimit,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ApiFailure> {
        limit.turn().await.map_err(ApiFailure::limited)?;
        self.observe(operation, call).await
    }

    /// A call that changes nothing and that clients cannot ask for more often, within the deadline alone: those of the caches,
    /// which keep clients' questions from the API server, and events, as in the existing server (kubernetes-runtime.md §14).
    pub(super) async fn observe<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ApiFailure> {
        let counted = self.0.calls.begin(operation);
        let result = match tokio::time::timeout(self.0.deadline, call).await {
            Ok(result) => result.map_err(ApiFailure::from),
            Err(_) => Err(ApiFailure::timed_out(self.0.deadline)),
        };
        if result.as_ref().err().is_none_or(|failure| failure.fault == Fault::Status) {
            *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        match &result {
            Ok(_) => counted.answered(200),
            Err(ApiFailure { status: Some(status), .. }) => counted.answered(*status),
            Err(_) => counted.failed(),
        }
        result
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cluster").field(&self.0.keeper.latest().connector.authority()).finish()
    }
}

/// `inner` with what each request needs: the server's address and base path, credentials, the configuration's headers.
fn dressed<S, B>(
    config: &Config,
    auth: Option<&AuthLayer>,
    inner: S,
) -> kube::Result<BoxCloneSyncService<Request<Body>, Response<B>, BoxError>>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: 'static,
{
    let inner = config.base_uri_layer().layer(inner);
    let headers = config.extra_headers_layer()?;
    Ok(match auth {
        Some(auth) => BoxCloneSyncService::new(headers.layer(auth.layer(inner))),
        None => BoxCloneSyncService::new(headers.layer(inner)),
    })
}
