//! Pools of sandboxes' pods, as objects of the scope's namespace (kubernetes-runtime.md §11). Each request asks the API server:
//! they are few, and nothing else needs to know them.
//!
//! A pool that bears the name of another tenant of the same namespace does not exist for this one; one without a name is the
//! namespace's, whoever made it.

use std::{panic::resume_unwind, time::Duration};

use async_trait::async_trait;
use kube::{
    Resource as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    Inner, Kubernetes, Scope,
    client::ApiFailure,
    objects::Pool,
    pod_templates,
    workload::{failed, labels},
};
use crate::{
    config::is_dns_subdomain,
    error::{Error, Family, Kind},
    keyed_lock::{KeyedGuard, KeyedLock},
    model::{
        pool::{self, Capacity, NewPool},
        read::Members,
        timestamp::Timestamp,
    },
    runtime::Pools,
};

/// How many pools are listed at once, and how many such lists one request works through. A pool may have 1 MiB of template, and
/// a page of them is held at a time.
const PAGE_SIZE: u32 = 10;
const MAX_PAGES: usize = 1000;

/// How many requests list pools at the same time, of all namespaces; of one namespace it is one.
const MAX_LISTS: usize = 4;

/// How long a request waits until it may list them.
const LIST_WAIT: Duration = Duration::from_secs(10);

/// The largest number of pods that the operator can read.
const MAX_CAPACITY: i64 = i32::MAX as i64;

/// Whose turn it is to list pools: their templates are long, and only a bounded number of them is held.
pub(super) struct PoolLists {
    /// By namespace: one tenant's requests wait for each other, not in front of everyone else's.
    of_namespace: KeyedLock,
    of_all: Semaphore,
}

impl PoolLists {
    pub(super) fn new() -> Self {
        Self { of_namespace: KeyedLock::default(), of_all: Semaphore::new(MAX_LISTS) }
    }

    /// Waits for a turn, which lasts until what is given is dropped.
    async fn turn(&self, namespace: &str) -> Result<(KeyedGuard, SemaphorePermit<'_>), Error> {
        let turn = async { (self.of_namespace.lock(namespace).await, self.of_all.acquire().await) };
        match timeout(LIST_WAIT, turn).await {
            Ok((lock, Ok(permit))) => Ok((lock, permit)),
            _ => Err(Error::new(Family::Pool, Kind::Overloaded, "Too many lists of pools are under way.")),
        }
    }
}

impl Inner {
    /// The pool of this name that a scope may use.
    async fn find_pool(&self, scope: &Scope, name: &str) -> Result<Pool, Error> {
        if !is_dns_subdomain(name) {
            return Err(not_found(name));
        }
        let api = self.cluster.api::<Pool>(&scope.namespace);
        let found = self.cluster.read("get_pool", api.get(name)).await;
        let found = found.map_err(|failure| pool_error(failure, name, "Failed to get pool"))?;
        if is_ours(scope, &found) { Ok(found) } else { Err(not_found(name)) }
    }

    async fn list_pools(&self, scope: &Scope) -> Result<Vec<pool::Pool>, Error> {
        let _turn = self.pool_lists.turn(&scope.namespace).await?;
        let listed = match self.pool_pages(scope).await {
            // A later page can be asked for no more (kubernetes-api.md W8).
            Err(failure) if failure.is_expired() => self.pool_pages(scope).await,
            listed => listed,
        };
        match listed {
            Ok(Some(pools)) => Ok(pools),
            Ok(None) => {
                let text = format!("Failed to list pools: there are more than {}.", MAX_PAGES * PAGE_SIZE as usize);
                Err(Error::new(Family::Pool, Kind::Failed, text))
            }
            // Of a kind that the cluster does not have there are none.
            Err(failure) if failure.is_missing_kind() => Ok(Vec::new()),
            Err(failure) => Err(pools_error(failure, "Failed to list pools")),
        }
    }

    /// All pools; none if there are too many.
    async fn pool_pages(&self, scope: &Scope) -> Result<Option<Vec<pool::Pool>>, ApiFailure> {
        let api = self.cluster.api::<Pool>(&scope.namespace);
        let mut parameters = ListParams::default().limit(PAGE_SIZE);
        let mut pools = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.cluster.read("list_pools", api.list(&parameters)).await?;
            pools.extend(page.items.iter().filter(|pool| is_ours(scope, pool)).map(shown));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(Some(pools)),
            }
        }
        Ok(None)
    }

    async fn create_pool(&self, scope: &Scope, new: NewPool) -> Result<pool::Pool, Error> {
        let NewPool { name, template, capacity } = new;
        let template = checked(template).await?;
        let mut object = json!({
            "apiVersion": Pool::api_version(&()), "kind": Pool::kind(&()),
            "metadata": {"name": name, "namespace": &*scope.namespace},
            "spec": {"template": template, "capacitySpec": capacity_spec(capacity)?},
        });
        if let Some(tenant) = &scope.tenant {
            object["metadata"]["labels"] = json!({labels::TENANT: &**tenant});
        }
        match self.cluster.create::<Pool, Pool>("create_pool", &scope.namespace, &object).await {
            Ok(created) => {
                tracing::info!(pool = name, namespace = &*scope.namespace, "a pool was made");
                Ok(shown(&created))
            }
            Err(failure) if failure.is_taken() => {
                let text = format!("Pool '{name}' already exists.");
                Err(Error::new(Family::Pool, Kind::Conflict, text).caused_by(failure))
            }
            Err(failure) => Err(pools_error(failure, "Failed to create pool")),
        }
    }

    async fn update_pool(&self, scope: &Scope, name: &str, capacity: Capacity) -> Result<pool::Pool, Error> {
        let mut patch = json!({"spec": {"capacitySpec": capacity_spec(capacity)?}});
        if let Some(uid) = self.uid_to_change(scope, name).await? {
            patch["metadata"] = json!({"uid": uid});
        }
        let api = self.cluster.api::<Pool>(&scope.namespace);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        match self.cluster.write("patch_pool", api.patch(name, &parameters, &patch)).await {
            Ok(patched) => Ok(shown(&patched)),
            Err(failure) if failure.is_about("metadata.uid") => Err(not_found(name)),
            Err(failure) => Err(pool_error(failure, name, "Failed to update pool")),
        }
    }

    async fn delete_pool(&self, scope: &Scope, name: &str) -> Result<(), Error> {
        let uid = self.uid_to_change(scope, name).await?;
        let preconditions = uid.clone().map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
        let deletion = self.cluster.delete::<Pool>(&scope.namespace, name, &parameters);
        match self.cluster.write("delete_pool", deletion).await {
            Ok(_) => {
                tracing::info!(pool = name, namespace = &*scope.namespace, "a pool was deleted");
                Ok(())
            }
            // Of another pool that was made under the name since, or of an admission webhook.
            Err(failure) if failure.is_conflict() && uid.is_some() => {
                let present = self.find_pool(scope, name).await?.metadata.uid;
                Err(if present == uid { pool_error(failure, name, "Failed to delete pool") } else { not_found(name) })
            }
            Err(failure) => Err(pool_error(failure, name, "Failed to delete pool")),
        }
    }

    /// The UID of the pool that a change is of. None where it makes no difference whose a pool is: then the change itself finds
    /// out whether there is one.
    async fn uid_to_change(&self, scope: &Scope, name: &str) -> Result<Option<String>, Error> {
        if scope.tenant.is_some() {
            return Ok(self.find_pool(scope, name).await?.metadata.uid);
        }
        if is_dns_subdomain(name) { Ok(None) } else { Err(not_found(name)) }
    }
}

#[async_trait]
impl Pools for Kubernetes {
    async fn create(&self, new: NewPool) -> Result<pool::Pool, Error> {
        let Self { inner, scope } = self.clone();
        self.to_the_end(async move { inner.create_pool(&scope, new).await }).await
    }

    async fn list(&self) -> Result<Vec<pool::Pool>, Error> {
        self.inner.list_pools(&self.scope).await
    }

    async fn get(&self, name: &str) -> Result<pool::Pool, Error> {
        Ok(shown(&self.inner.find_pool(&self.scope, name).await?))
    }

    async fn update(&self, name: &str, capacity: Capacity) -> Result<pool::Pool, Error> {
        let (Self { inner, scope }, name) = (self.clone(), name.to_owned());
        self.to_the_end(async move { inner.update_pool(&scope, &name, capacity).await }).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let (Self { inner, scope }, name) = (self.clone(), name.to_owned());
        self.to_the_end(async move { inner.delete_pool(&scope, &name).await }).await
    }
}

/// Whether a pool is the scope's, or the whole namespace's.
pub(super) fn is_ours(scope: &Scope, pool: &Pool) -> bool {
    let tenant = labels::of(&pool.metadata, labels::TENANT);
    tenant.is_none() || scope.owns(tenant)
}

fn shown(pool: &Pool) -> pool::Pool {
    pool::Pool {
        name: pool.metadata.name.clone().unwrap_or_default(),
        capacity_spec: pool.capacity(),
        status: pool.status(),
        created_at: pool.metadata.creation_timestamp.as_ref().map(|time| Timestamp::from(time.0)),
    }
}

/// The member of the object; refuses numbers that would keep the operator from reading any pool.
fn capacity_spec(capacity: Capacity) -> Result<Value, Error> {
    let members = capacity.members();
    if let Some((name, _)) = members.iter().find(|(_, number)| *number > MAX_CAPACITY) {
        return Err(invalid(format!("capacitySpec.{name} must be at most {MAX_CAPACITY}.")));
    }
    Ok(members.into_iter().map(|(name, number)| (name.to_owned(), Value::from(number))).collect())
}

/// A template that the operator can read, looked at where no connections are served: it may be long.
async fn checked(template: Members) -> Result<Value, Error> {
    let check = move || {
        let template = Value::Object(template);
        pod_templates::check(&template, "template").map(|()| template)
    };
    let checked = spawn_blocking(check).await.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
    checked.map_err(invalid)
}

fn invalid(text: String) -> Error {
    Error::new(Family::Parameter, Kind::Invalid, text)
}

fn not_found(name: &str) -> Error {
    Error::new(Family::Pool, Kind::NotFound, format!("Pool '{}' not found.", Error::shown_id(name)))
}

/// A call about one pool that failed.
fn pool_error(failure: ApiFailure, name: &str, what: &str) -> Error {
    if failure.is_missing() || failure.is_missing_kind() {
        return not_found(name).caused_by(failure);
    }
    pools_error(failure, what)
}

/// A call that failed, in the family of pools unless the cluster does not allow it.
fn pools_error(failure: ApiFailure, what: &str) -> Error {
    let error = failed(failure, what);
    if error.family == Family::KubeApi { error.within(Family::Pool) } else { error }
}
