//! The objects of one kind in a namespace. They are asked for each time: what keeps them is not built yet.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use super::{
    KubernetesOptions,
    client::{ApiFailure, Cluster},
};

/// How many objects are listed at once, and how many such lists one listing has at most.
const PAGE: u32 = 500;
const MAX_PAGES: usize = 1000;

/// How fresh what is known has to be.
#[derive(Debug, Clone)]
pub(super) struct CacheSettings;

impl CacheSettings {
    pub(super) fn of(_: &KubernetesOptions) -> Self {
        Self
    }
}

/// The objects of one kind in a namespace that a label selector chooses.
pub(super) struct Cache<K> {
    cluster: Cluster,
    namespace: String,
    selector: String,
    /// Since when the API server does not answer, if it does not.
    failing: Mutex<Option<Instant>>,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + fmt::Debug
        + Send
        + 'static,
{
    pub(super) fn start(cluster: Cluster, namespace: &str, selector: &str, _: CacheSettings) -> Arc<Self> {
        let (namespace, selector) = (namespace.to_owned(), selector.to_owned());
        Arc::new(Self { cluster, namespace, selector, failing: Mutex::default(), kind: std::marker::PhantomData })
    }

    /// An object by its name, whatever its labels are.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Arc<K>>, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        let answer = self.cluster.read("get_object", api.get(name)).await;
        self.hear(answer.as_ref().err());
        match answer {
            Ok(object) => Ok(Some(Arc::new(object))),
            Err(failure) if failure.is_missing_named(name) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// All that the selector chooses.
    pub(super) async fn list(&self) -> Result<Vec<Arc<K>>, ApiFailure> {
        let api = self.cluster.api::<K>(&self.namespace);
        let mut parameters = ListParams::default().labels(&self.selector).limit(PAGE);
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.cluster.read("list_objects", api.list(&parameters)).await;
            self.hear(page.as_ref().err());
            let page = page?;
            all.extend(page.items.into_iter().map(Arc::new));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => break,
            }
        }
        Ok(all)
    }

    /// Whether [`Self::get`] asks nobody.
    pub(super) fn is_at_hand(&self, _: &str) -> bool {
        false
    }

    /// An own write's answer.
    pub(super) fn note(&self, _: K) {}

    /// An object that this program has deleted.
    pub(super) fn forget(&self, _: &str, _: &str) {}

    /// For how long the API server has not answered what it was asked.
    pub(super) fn age(&self) -> Option<Duration> {
        let failing = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        Some(failing.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn hear(&self, failure: Option<&ApiFailure>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        *failing = match failure {
            Some(ApiFailure { status: None, .. }) => failing.or_else(|| Some(Instant::now())),
            Some(_) | None => None,
        };
    }
}
