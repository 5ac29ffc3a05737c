//! Tenants: each has a view of its namespace, in which only what bears its name exists.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;

use super::{
    Kubernetes,
    workload::{failed, names},
};
use crate::{
    error::Error,
    model::tenant::Tenant,
    runtime::{Runtime, Tenancy},
};

impl Kubernetes {
    fn view(&self, namespace: &Arc<str>, tenant: Option<&Arc<str>>) -> Result<Arc<dyn Runtime>, Error> {
        let scope = self.inner.namespaces.scope(namespace, tenant)?;
        Ok(Arc::new(Self { inner: Arc::clone(&self.inner), scope }))
    }
}

#[async_trait]
impl Tenancy for Kubernetes {
    fn of_tenant(&self, Tenant { name, namespace }: &Tenant) -> Result<Arc<dyn Runtime>, Error> {
        self.view(namespace, Some(name))
    }

    fn of_namespace(&self, namespace: &Arc<str>) -> Result<Arc<dyn Runtime>, Error> {
        self.view(namespace, None)
    }

    async fn namespaces_of(&self, id: &str) -> Result<Vec<Arc<str>>, Error> {
        names::check(id)?;
        let found = self.scope.workloads().namespaces_of(id).await;
        found.map_err(|failure| failed(failure, "Failed to find sandbox"))
    }

    async fn check_namespace(&self, namespace: &str) -> Result<(), String> {
        let cluster = &self.inner.cluster;
        match cluster.read_at_start("get_namespace", cluster.api_of_all::<Namespace>().get(namespace)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_missing() => Err(format!("namespace '{namespace}' does not exist")),
            Err(failure) if failure.is_forbidden() => {
                Err(format!("namespace '{namespace}' may not be read by the gateway: {}", failure.for_client()))
            }
            Err(failure) => {
                tracing::warn!(%failure, "whether the namespace '{namespace}' of a tenant exists cannot be told now");
                Ok(())
            }
        }
    }
}
